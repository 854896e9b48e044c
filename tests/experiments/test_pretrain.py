"""Pretraining over devices, over several domains, and what its configuration refuses."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments import pretrain
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_batches import context_length, spread_sizes
from metarl.experiments.pretrain_config import ModelConfig, PretrainConfig, TrainingConfig
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig, RL2Config
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
from metarl.incontext.agent import InContextAgent
from metarl.incontext.deploy import make_deploy
from populations.mesh import make_mesh, replicate, spread

TINY = PretrainConfig(
    updates=4,
    updates_per_step=2,
    env=("bandit@horizon=6,quadrature=51",),
    learner=DPTConfig(num_queries=3),
    model=ModelConfig(width=8, num_layers=1, num_heads=2),
    training=TrainingConfig(batch_size=16),
)


RECURRENT = PretrainConfig(
    updates=2,
    updates_per_step=1,
    env=("darkroom@size=3,horizon=4",),
    learner=RL2Config(hidden_size=4, num_tasks=4, episodes_per_trial=2, num_epochs=1, num_minibatches=2),
)


def trained(config, mesh=None, place=replicate):
    experiment = make_pretraining(config, mesh=mesh).experiment
    state = jax.jit(lambda key: place(experiment.init(key), mesh))(jax.random.key(0))
    state, metrics = jax.jit(experiment.step)(state)
    return jax.device_get(state.params), jax.device_get(metrics)


@pytest.mark.parametrize("place", [replicate, pytest.param(spread, marks=pytest.mark.slow)])
def test_eight_devices_learn_what_one_does(place):
    alone, metrics = trained(TINY)
    together, others = trained(TINY, make_mesh(8), place)
    # Means over the batch are summed in another order; Adam's first steps divide by tiny second moments.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), alone, together)
    np.testing.assert_allclose(metrics["loss"], others["loss"], rtol=1e-5)


@pytest.mark.slow
def test_two_devices_learn_in_trials_what_one_does():
    alone, metrics = trained(RECURRENT)
    together, others = trained(RECURRENT, make_mesh(2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), alone, together)
    np.testing.assert_allclose(metrics["loss"], others["loss"], rtol=1e-4)
    assert metrics["fitness"] == others["fitness"]  # the first batch of trials is the same, step by step


def test_devices_must_divide_what_is_spread_over_them():
    assert spread_sizes(RECURRENT) == {"learner.num_tasks / learner.num_minibatches": 2}
    config = replace(TINY, learner=DPTConfig(on_policy=0.25, behaviours=("default", "uniform", "tilted")))
    assert list(spread_sizes(config).values()) == [16, 4, 4]


@pytest.mark.slow
def test_a_set_learns_from_contexts_of_its_own_and_acts():
    learner = DPTConfig(num_queries=3, on_policy=0.5, on_policy_tasks=2)
    config = replace(TINY, learner=learner, model=replace(TINY.model, attention="set"))
    params, metrics = trained(config)
    assert np.isfinite(metrics["loss"])
    (domain,) = make_pretraining(config).domains
    deploy = make_deploy(domain, make_pretraining(config).model.agent(params, domain), horizon=9, capacity=4)
    found = jax.jit(deploy)(domain.family.sample(jax.random.key(0)).params, jax.random.key(1))
    assert found.regret.shape == (1, 9) and np.isfinite(found.regret).all()


@pytest.mark.parametrize(
    ("learner", "expected"),
    [
        (DPTConfig(num_queries=3), 2 * 16 * 6),
        (DPTConfig(num_queries=3, on_policy=0.25, on_policy_tasks=5), 2 * 12 * 6 + 5 * 6),
        (ADConfig(source="noisy-expert", episodes=4, kept_episodes=2, num_queries=3), 2 * 16 * 4 * 6),
    ],
)
def test_environment_steps_are_those_that_were_made(learner, expected):
    """Fresh contexts of two updates, and one round of play; a context of the pool that is read again costs nothing."""
    assert trained(replace(TINY, learner=learner))[1]["env_steps"] == expected


@pytest.mark.slow
def test_several_families_are_learned_by_one_model():
    config = replace(TINY, env=("bandit@num_arms=3,horizon=6,quadrature=51", "darkroom@size=3,horizon=4"))
    pretraining = make_pretraining(config)
    _, metrics = trained(config)
    assert len(pretraining.domains) == 2 and np.isfinite(metrics["loss"])
    agents = [pretraining.model.agent(pretraining.model.init(jax.random.key(0)), one) for one in pretraining.domains]
    observations = (jnp.ones((1,)), jnp.zeros((2,), jnp.int32))
    for agent, observation, count in zip(agents, observations, (3, 5), strict=True):
        memory = agent.init(jax.random.key(0), 2)
        actions = jax.vmap(agent.act, (None, None, 0))(memory, observation, jax.random.split(jax.random.key(1), 200))
        assert set(np.unique(actions)) == set(range(count))


def test_contexts_are_as_long_as_asked_for():
    assert context_length(TINY) == 6 and context_length(replace(TINY, context_length=9)) == 9
    ad = replace(TINY, env=("darkroom@size=3,horizon=4",), learner=ADConfig(episodes=7, kept_episodes=3))
    assert context_length(ad) == 12


SHARED = replace(
    TINY,
    env=("bandit@horizon=20,quadrature=51",),
    learner=DPTConfig(behaviours=("uniform",), num_queries=3, on_policy=0.25, on_policy_tasks=8),
)


def with_losses(monkeypatch, loss, **changes):
    """Makes pretraining's models lose `loss(example)` at every question, whatever their parameters are."""
    make = pretrain.make_model

    def make_other(*args, **options):
        model = make(*args, **options)

        def losses(params, example):
            return jnp.full(example.prefix.shape, loss(example)) + 0.0 * jax.tree.leaves(params)[0].sum()

        return model._replace(losses=losses, **changes)

    monkeypatch.setattr(pretrain, "make_model", make_other)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.25, 0.25), (0.4, 6 / 16), (1.0, 1.0)])
def test_the_stated_share_of_a_batch_is_what_the_model_does_itself(share, expected, monkeypatch):
    """A model that always pulls the first arm, and whose loss is whether it is shown a context of such pulls alone.

    Of the sixteen contexts, the nearest whole number; a random context consists of such pulls once in 5^20.
    """
    always = InContextAgent(lambda *_: jnp.int32(0), lambda *_: jnp.int32(0), lambda memory, *_: memory)
    is_own = lambda example: jnp.all(example.transitions[:, 0] == 1.0).astype(jnp.float32)  # noqa: E731
    with_losses(monkeypatch, is_own, agent=lambda *_, **__: always)
    _, metrics = trained(replace(SHARED, learner=replace(SHARED.learner, on_policy=share)))
    np.testing.assert_allclose(metrics["loss"], expected, atol=1e-6)


def best_means(monkeypatch, num_steps, batch_size, updates_per_step):
    """Returns the mean over each step of the best arm's mean in the tasks that training met, to four decimals."""
    # Without noise to speak of, and after 60 random pulls, that is the highest reward of a context.
    with_losses(monkeypatch, lambda example: example.transitions[:, 5].max())
    config = replace(
        TINY,
        updates=updates_per_step * num_steps,
        updates_per_step=updates_per_step,
        env=("bandit@horizon=60,noise=1e-6,quadrature=51",),
        learner=DPTConfig(behaviours=("uniform",), num_queries=1),
        training=TrainingConfig(batch_size=batch_size),
    )
    experiment = make_pretraining(config).experiment
    state, step, found = jax.jit(experiment.init)(jax.random.key(0)), jax.jit(experiment.step), []
    for _ in range(num_steps):
        state, metrics = step(state)
        found.append(round(float(metrics["loss"]), 4))
    assert step._cache_size() == 1
    return found


def test_no_two_steps_share_a_task(monkeypatch):
    """One task a step: nothing is met again."""
    assert len(set(best_means(monkeypatch, 25, 1, 1))) == 25


@pytest.mark.parametrize(("batch_size", "updates_per_step"), [(400, 1), (1, 400)])
def test_all_tasks_of_a_step_are_fresh(batch_size, updates_per_step, monkeypatch):
    """The best of five uniform means is 5/6 on average, with a deviation of 0.14: one task alone would be far away."""
    found = best_means(monkeypatch, 3, batch_size, updates_per_step)
    np.testing.assert_allclose(found, 5 / 6, atol=4 * np.sqrt(5 / 252 / 400))
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learner": DPTConfig(behaviours=("default", "walk", "uniform"))}, "multiple of the 3 kinds of context"),
        ({"learner": DPTConfig(on_policy=0.5), "env": ("bandit", "linear-bandit")}, "leave it at 0 with several"),
        ({"model": replace(TINY.model, head="binned")}, "discrete ones categorical"),
        ({"env": ("key-to-door@size=3,shows_key=false",)}, "hides what the expert goes by"),
        ({"learner": ADConfig(), "context_length": 9}, "made of learner.kept_episodes episodes"),
        ({"learner": ADConfig(), "model": replace(TINY.model, attention="set")}, "the answer in it"),
        ({"learner": RL2Config()}, "model is set, but does nothing for RL²"),
        ({"learner": RL2Config(), "model": ModelConfig(), "context_length": 9}, "context_length is set, but does"),
        ({"learner": RL2Config(), "model": ModelConfig()}, "training.batch_size is set, but does nothing"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        make_pretraining(replace(TINY, **change))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ModelConfig(width=30, num_heads=4), "must divide model.width = 30"),
        (lambda: ModelConfig(width=6, num_heads=2, positions="rope"), "need an even number"),
        (lambda: DPTConfig(on_policy=1.5), r"must lie in \[0, 1\]"),
        (lambda: ADConfig(episodes=3, kept_episodes=4), "has only learner.episodes = 3"),
        (lambda: replace(TINY, env=()), "at least one domain"),
        (lambda: replace(TINY, learner=ADConfig(), env=("bandit", "linear-bandit")), "only decision pretraining"),
    ],
)
def test_configurations_that_cannot_be_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("name", PRETRAIN_PRESETS)
def test_presets_can_be_built_and_their_steps_traced(name):
    """Every shape and type in a step fits, and it gives back a state of the kind that it was given."""
    config = PRETRAIN_PRESETS[name].config
    experiment = make_pretraining(config).experiment
    with jax.numpy_dtype_promotion("standard"):  # jax's own attention mixes bfloat16 and float32
        state = jax.eval_shape(experiment.init, jax.random.key(0))
        after, metrics = jax.eval_shape(experiment.step, state)
    assert jax.tree.leaves(state.params) and config.updates >= config.updates_per_step
    assert after == state and metrics["loss"].shape == ()
