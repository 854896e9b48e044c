"""Continuous actions from end to end: both heads train, act, are examined and written; references act beside them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.experiments.acting import act
from metarl.experiments.examine_model import contestant, examine_models
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import ActingConfig, ModelConfig, PretrainConfig
from metarl.experiments.pretrain_config import TrainingConfig as Training
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig
from metarl.incontext.agent import belief_agent
from metarl.incontext.baselines import baselines_for
from metarl.incontext.collect import make_collect
from metarl.incontext.examples import expert_questions, fresh_examples
from metarl.incontext.export import load_model, save_model
from metarl.incontext.histories import noisy_expert_history
from metarl.incontext.model import make_codec

ARENA = "navigation@horizon=6,grid=8"
HEADS = pytest.mark.parametrize("head", ["binned", "mixture"])
TINY = PretrainConfig(
    updates=2,
    updates_per_step=2,
    env=(ARENA,),
    context_length=12,
    learner=DPTConfig(num_queries=3, on_policy=0.5, on_policy_tasks=4, on_policy_episodes=2),
    model=ModelConfig(width=8, num_layers=1, num_heads=2, head="mixture", num_parts=4),
    training=Training(batch_size=8),
)


def config_of(head, **changes):
    return replace(TINY, model=replace(TINY.model, head=head), **changes)


def example_of(domain, model, **options):
    ask = expert_questions(domain, model.codec, num_queries=6, **options)
    return fresh_examples(domain, make_collect(domain, "uniform", 12), ask)(jax.random.key(3))


HISTORIES = {"learner": ADConfig(source="noisy-expert", episodes=4, kept_episodes=2), "context_length": None}


@HEADS
@pytest.mark.parametrize("changes", [{}, HISTORIES], ids=["dpt", "ad"])
def test_a_head_trains_and_leaves_numbers(head, changes):
    experiment = make_pretraining(config_of(head, **changes)).experiment
    state, metrics = jax.jit(experiment.step)(experiment.init(jax.random.key(0)))
    assert np.isfinite(metrics["loss"]) and metrics["num_nonfinite"] == 0 and metrics["gradient_norm"] > 0
    assert not any("bayes_gap" in name for name in metrics)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@HEADS
def test_a_repeated_batch_is_learned(head):
    pretraining = make_pretraining(config_of(head))
    model, domain = pretraining.model, pretraining.domains[0]
    example, params = example_of(domain, model), model.init(jax.random.key(0))
    step = jax.jit(jax.value_and_grad(lambda params: jnp.mean(model.losses(params, example))))
    losses = []
    for _ in range(60):
        value, gradient = step(params)
        losses.append(float(value))
        params = jax.tree.map(lambda leaf, slope: leaf - 0.02 * slope, params, gradient)
    assert losses[-1] < losses[0] - 0.2 and np.isfinite(losses).all()


@HEADS
def test_acting_reads_what_training_reads(head):
    """The cache, filled one transition at a time, against the whole context; the most probable action of both."""
    pretraining = make_pretraining(config_of(head))
    model, domain = pretraining.model, pretraining.domains[0]
    params = jax.tree.map(lambda leaf: leaf * 3.0, model.init(jax.random.key(0)))  # far from the small outputs at first
    task = domain.family.sample(jax.random.key(1)).params
    context = make_collect(domain, "walk", 12)(task, jax.random.key(2))
    query = domain.sample_query(jax.random.key(4), task)
    example = example_of(domain, model)._replace(
        transitions=jax.vmap(lambda one: model.codec.transition(domain, one))(context.transitions),
        queries=jnp.stack([model.codec.query(domain, query)] * 13),
        prefix=jnp.arange(13),
    )
    expected = jax.vmap(model.head.mode)(model.outputs(params, example))
    agent = model.agent(params, domain, greedy=True)
    observe, memory = jax.jit(agent.observe), agent.init(jax.random.key(0), 12)
    for t in range(13):
        found = agent.act(memory, query, jax.random.key(0))
        assert found.shape == (2,) and found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected[t], atol=1e-5)  # sums over cache and context have other orders
        if t < 12:
            memory = observe(memory, jax.tree.map(lambda leaf, t=t: leaf[t], context.transitions), jnp.bool_(True))


def written(head, path):
    """Returns an untrained model, written and read again, and what it comes from."""
    config = config_of(head)
    pretraining = make_pretraining(config)
    params = jax.device_get(pretraining.model.init(jax.random.key(0)))
    return load_model(save_model(path, pretraining.settings, config.env, params, {})), pretraining


@HEADS
def test_a_model_that_was_written_acts_as_before(head, tmp_path):
    model, pretraining = written(head, tmp_path)
    fresh = pretraining.model.agent(model.params, pretraining.domains[0])
    for key in jax.random.split(jax.random.key(1), 3):
        found = [agent.act(agent.init(key, 4), jnp.full((2,), 0.3), key) for agent in (model.agent(), fresh)]
        np.testing.assert_array_equal(*found)


def test_a_model_is_examined_beside_those_who_can_act_there(tmp_path):
    model, _ = written("mixture", tmp_path)
    config = ActingConfig(num_tasks=8, num_episodes=2, modes=("online",), protocols=("stepwise",), batch_size=8)
    findings = examine_models([contestant(model)], make_domain("navigation@horizon=6,radius=0.3"), config, seed=0)
    assert {row["arm"] for row in findings.rows} == {"dpt", "uniform", "psrl", "sampled", "expert"}


def test_who_infers_the_platform_is_between_chance_and_who_knows_it():
    domain = make_domain("navigation@horizon=15,radius=0.2")
    agents = {name: lambda weights, agent=agent: agent for name, agent in baselines_for(domain, "online").items()}
    config = ActingConfig(num_tasks=128, num_episodes=4, modes=("online",), protocols=("stepwise",), batch_size=128)
    findings = act(agents, domain, config, seed=0)
    last = {row["arm"]: row for row in findings.rows if row["setting"]["episode"] == 4}
    (best,) = (row for row in findings.rows if row["arm"] == "expert")
    tasks = jax.vmap(domain.held_out.sample)(jax.random.split(jax.random.split(jax.random.key(0), 3)[0], 128)).params
    np.testing.assert_allclose(best["mean"], jax.vmap(domain.family.optimal_return)(tasks).mean(), rtol=1e-6)
    for arm in ("sampled", "psrl"):
        clear = 4.0 * np.hypot(last[arm]["error"], max(best["error"], last["uniform"]["error"]))
        assert last["uniform"]["mean"] + clear < last[arm]["mean"] < best["mean"]


def test_labels_of_one_who_errs_are_actions_and_weigh_by_their_reward():
    pretraining = make_pretraining(TINY)
    model, domain = pretraining.model, pretraining.domains[0]
    ask = expert_questions(domain, model.codec, num_queries=2000, label_noise=0.25, reward_temperature=0.5)
    plain = expert_questions(domain, model.codec, num_queries=2000)
    params = domain.family.sample(jax.random.key(0)).params
    context = make_collect(domain, "uniform", 12)(params, jax.random.key(1))
    noisy, clean = (make(params, context, jax.random.key(2)) for make in (ask, plain))
    replaced = (np.asarray(noisy.labels) != np.asarray(clean.labels)).any(1)
    assert abs(replaced.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
    np.testing.assert_array_equal(np.asarray(noisy.labels)[~replaced], np.asarray(clean.labels)[~replaced])
    assert np.abs(np.asarray(noisy.labels)[replaced]).max() > 0.9  # from the whole box
    positions = (noisy.queries + 1.0) / 2.0
    after = jax.vmap(domain.env.move)(positions, noisy.labels)
    distance = np.linalg.norm(np.asarray(after) - np.asarray(params.goal), axis=1)
    sure = np.abs(distance - domain.env.radius) > 1e-5  # queries were written and read again
    expected = np.where(distance <= domain.env.radius, np.exp(2.0), 1.0)
    np.testing.assert_allclose(np.asarray(noisy.weight)[sure], expected[sure], rtol=1e-6)
    assert (np.asarray(clean.weight) == 1.0).all() and 0 < (np.asarray(noisy.weight) > 1.0).sum()


@pytest.mark.parametrize("behaviour", ["uniform", "walk", "expert"])
def test_contexts_hold_actions_from_the_box(behaviour):
    domain = make_domain(ARENA)
    collect = make_collect(domain, behaviour, 12)
    keys = jax.random.split(jax.random.key(0), 300)
    params = jax.vmap(domain.family.sample)(keys).params
    step = jax.jit(jax.vmap(collect))(params, keys).transitions
    assert step.action.shape == (300, 12, 2) and step.action.dtype == jnp.float32
    assert jnp.abs(step.action).max() <= 1.0 + 1e-6
    rewards, after = jax.vmap(jax.vmap(domain.transition, (None, 0, 0, None)), (None, 0, 0, 0))(
        jnp.zeros(0), step.observation, step.action, params
    )
    np.testing.assert_allclose(after, step.next_observation, atol=1e-6)
    assert (rewards == step.reward).mean() > 0.999  # the edge of a platform, in programs that round otherwise


def test_the_most_probable_continuous_action_is_not_asked_of_a_belief():
    with pytest.raises(ValueError, match="none of which is the most probable; sample them"):
        belief_agent(make_domain(ARENA), greedy=True)


def test_a_domain_without_an_expert_is_refused_before_anything_is_compiled():
    domain = make_domain(ARENA)

    def refuse(*_):
        raise ValueError("has no expert")

    lacking = domain._replace(expert=refuse)
    for make in (
        lambda: expert_questions(lacking, make_codec([domain])),
        lambda: noisy_expert_history(lacking, num_episodes=2),
    ):
        with pytest.raises(ValueError, match="has no expert"):
            make()


def test_continuous_actions_need_a_head_for_them():
    with pytest.raises(ValueError, match="continuous actions need binned or mixture"):
        make_pretraining(config_of("categorical"))
