"""Pretraining over devices, over several domains, and what its configuration refuses."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_batches import context_length, spread_sizes
from metarl.experiments.pretrain_config import (
    ADConfig,
    DPTConfig,
    ModelConfig,
    PretrainConfig,
    RL2Config,
    TrainingConfig,
)
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
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
def test_presets_can_be_built(name):
    config = PRETRAIN_PRESETS[name].config
    pretraining = make_pretraining(config)
    with jax.numpy_dtype_promotion("standard"):  # jax's own attention mixes bfloat16 and float32
        state = jax.eval_shape(pretraining.experiment.init, jax.random.key(0))
    assert jax.tree.leaves(state.params) and config.updates >= config.updates_per_step
