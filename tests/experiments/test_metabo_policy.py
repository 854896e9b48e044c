"""An iteration of reinforcement: what each optimiser moves, and what a batch of episodes is made of."""

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import NUMERIC, as_task, pool_params
from envs.family import TaskFamily
from metarl.experiments.metabo_build import build_optimisers, normalised
from metarl.experiments.metabo_config import MetaboConfig, NAPConfig, TasksConfig
from metarl.experiments.metabo_phases import LikelihoodConfig, PolicyConfig
from metarl.experiments.metabo_policy import POLICY_METRICS, make_policy_step, part_of
from metarl.experiments.metabo_presets import METABO_PRESETS
from metarl.metabo.batches import make_batches
from metarl.metabo.nap import make_nap

NUM = 12
TINY = MetaboConfig(
    model=NAPConfig(width=16, num_layers=1, num_heads=2, num_bars=32),
    tasks=TasksConfig(sources=("gp-prior",), shares=(1.0,), num_candidates=NUM),
    likelihood=LikelihoodConfig(updates=2, updates_per_step=1, batch_size=4, max_context=6),
    policy=PolicyConfig(
        iterations=2, num_tasks=4, group_size=3, horizon=4, num_minibatches=2, num_epochs=2, likelihood_batch=2
    ),
)


def waves(horizon=4):
    """A family that costs nothing to draw from: a wave along one dimension."""

    def sample(key):
        x, (phase, size) = jax.random.uniform(key, (NUM, 1)), jax.random.uniform(jax.random.fold_in(key, 1), (2,))
        y = (1.0 + size) * jnp.sin(6.0 * (x[:, 0] + phase))
        return as_task(pool_params(x, jnp.array([NUMERIC], jnp.int32), y, horizon=horizon))

    return TaskFamily("waves", BlackBox(NUM, max_horizon=horizon), sample, sample, 0, 1, 4)


class State(NamedTuple):
    """What an iteration reads and changes of the state of an experiment."""

    params: Any
    policy_optimiser: Any


@cache
def stepped(**changes):
    """Returns (parameters before, after, metrics) of an iteration with these settings."""
    model = {name: changes.pop(name) for name in ("stop_gradient", "residual") if name in changes}
    config = replace(TINY, policy=replace(TINY.policy, **changes), model=replace(TINY.model, **model))
    nap = make_nap(**vars(config.model))
    optimiser = build_optimisers(config)[1]
    step = make_policy_step(config, nap, lambda size: make_batches([waves()], (1.0,), size), optimiser)
    params = jax.jit(nap.init)(jax.random.key(0))
    state, metrics = jax.jit(step)(State(params, optimiser.init(params)), jax.random.key(1))
    return params, state.params, jax.device_get(metrics)


def moved(before, after):
    """Names of the parts of a model that are not what they were."""
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    return {name for name, part in changed.items() if any(jax.tree.leaves(part))}


def test_every_parameter_has_its_optimiser():
    shapes = jax.eval_shape(make_nap(**vars(TINY.model)).init, jax.random.key(0))
    parts = {name: part_of((jax.tree_util.DictKey(name),)) for name in shapes}
    assert parts == {
        "acquisition_head": "policy",
        "value_hidden": "critic",
        "value_out": "critic",
        **dict.fromkeys(("bars_head", "embed_point", "embed_value", "layers", "question"), "backbone"),
    }


def test_by_default_the_likelihood_moves_the_backbone_and_rewards_the_acquisition():
    before, after, metrics = stepped()
    assert moved(before, after) == set(before) - {"value_hidden", "value_out"}
    assert metrics["critic_norm"] == 0.0 < min(metrics["policy_norm"], metrics["backbone_norm"])
    assert metrics["backbone_norm"] == metrics["likelihood_norm"]


@pytest.mark.slow
def test_without_the_likelihood_rewards_move_the_acquisition_alone():
    before, after, metrics = stepped(likelihood=0.0)
    assert moved(before, after) == {"acquisition_head"}
    assert metrics["loss"] == metrics["backbone_norm"] == 0.0


@pytest.mark.slow
def test_without_the_likelihood_and_without_a_stop_the_bars_learn_from_rewards_only_through_the_acquisition():
    """A newborn head passes nothing on, so that without the residual the backbone waits for the head to move first."""
    before, after, metrics = stepped(
        likelihood=0.0, stop_gradient=False, residual=False, num_epochs=1, num_minibatches=1
    )
    assert moved(before, after) == {"acquisition_head"}
    before, after, metrics = stepped(likelihood=0.0, stop_gradient=False, num_epochs=1, num_minibatches=1)
    assert moved(before, after) == set(before) - {"value_hidden", "value_out"}
    assert metrics["backbone_norm"] > 0.0


@pytest.mark.slow
def test_a_critic_learns_where_it_is_the_baseline():
    before, after, metrics = stepped(baseline="critic", likelihood=0.0)
    assert moved(before, after) == {"acquisition_head", "value_hidden", "value_out"}
    assert metrics["critic_norm"] > 0.0 and metrics["value_error"] > 0.0


@pytest.mark.parametrize(
    "changes", [{}, pytest.param({"baseline": "critic", "likelihood": 0.0}, marks=pytest.mark.slow)]
)
def test_metrics_are_finite_and_count_what_was_done(changes):
    _, _, metrics = stepped(**changes)
    assert set(POLICY_METRICS) < set(metrics) and all(np.isfinite(value) for value in metrics.values())
    assert metrics["env_steps"] == 4 * 3 * 4 and metrics["num_evaluated"] == 4 and metrics["num_nonfinite"] == 0
    assert 0.0 < metrics["entropy"] <= np.log(NUM - 5) and 0.0 <= metrics["clipped"] <= 1.0
    assert metrics["divergence"] >= 0.0
    np.testing.assert_allclose(metrics["fitness"], -4.0 * metrics["regret"], rtol=1e-5)
    assert metrics["regret_last"] <= metrics["regret"]


def test_each_part_is_clipped_by_itself():
    """A gradient a million times too long in one part leaves the steps of the others what they are."""
    optimiser = build_optimisers(TINY)[1]
    params = jax.jit(make_nap(**vars(TINY.model)).init)(jax.random.key(0))
    gradient = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e-6), params)
    loud = {**gradient, "value_out": jax.tree.map(lambda leaf: 1e6 * leaf, gradient["value_out"])}
    steps = [jax.jit(optimiser.update)(g, optimiser.init(params), params)[0] for g in (gradient, loud)]
    for name in set(params) - {"value_hidden", "value_out"}:
        jax.tree.map(np.testing.assert_array_equal, steps[0][name], steps[1][name])
    sizes = {name: float(optax.tree.norm(steps[0][name], ord=jnp.inf)) for name in ("acquisition_head", "value_out")}
    assert sizes["value_out"] / sizes["acquisition_head"] == pytest.approx(1e-3 / 3e-4, rel=1e-2)


@pytest.mark.slow
def test_a_joint_clip_leaves_nothing_to_the_others_where_one_part_is_loud():
    """What each part's optimiser is given is read off its first moment: a tenth of the clipped gradient."""
    config = replace(TINY, policy=replace(TINY.policy, joint_clip=True))
    optimiser = build_optimisers(config)[1]
    params = jax.jit(make_nap(**vars(TINY.model)).init)(jax.random.key(0))
    gradient = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e-6), params)
    gradient["value_out"] = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e3), gradient["value_out"])
    _, state = jax.jit(optimiser.update)(gradient, optimiser.init(params), params)
    moments = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state) if ".mu" in jax.tree_util.keystr(path)]
    assert float(optax.tree.norm(moments)) == pytest.approx(0.1 * 0.5, rel=1e-3)
    assert sum(float(jnp.max(jnp.abs(leaf))) < 1e-9 for leaf in moments) == len(moments) - 2


def test_step_sizes_rise_over_the_warm_up_then_fall_to_nothing_and_are_the_same_within_an_iteration():
    settings = replace(TINY.policy, iterations=8, schedule="linear", warmup=3, num_epochs=2, num_minibatches=2)
    optimiser = build_optimisers(replace(TINY, policy=settings))[1]
    params = {"acquisition_head": jnp.zeros(()), "value_out": jnp.zeros(()), "layers": jnp.zeros(())}

    def update(state, _):
        steps, state = optimiser.update(jax.tree.map(jnp.ones_like, params), state, params)
        return state, steps

    _, steps = jax.jit(lambda state: jax.lax.scan(update, state, length=32))(optimiser.init(params))
    shares = np.repeat([0.0, 1 / 3, 2 / 3, 1.0, 0.8, 0.6, 0.4, 0.2], 4)
    for name, rate in (("acquisition_head", 3e-4), ("value_out", 1e-3), ("layers", 1e-4)):
        np.testing.assert_allclose(-steps[name], rate * shares, rtol=1e-4, atol=1e-9)


@cache
def paper_iteration():
    """Metrics of the first iteration of a tiny version of the preset, on waves."""
    small = METABO_PRESETS["nap-paper-small"].config
    policy = replace(small.policy, num_tasks=6, num_minibatches=3, likelihood_batch=4, horizon=8)
    config = replace(
        small,
        model=replace(small.model, width=16, num_layers=1, num_heads=2, num_bars=24),
        tasks=replace(small.tasks, num_candidates=NUM),
        likelihood=replace(small.likelihood, max_context=7),
        policy=policy,
    )
    nap, optimiser = make_nap(**config.model.settings), build_optimisers(config)[1]
    family = normalised(waves(8))
    step = make_policy_step(config, nap, lambda size: make_batches([family], (1.0,), size), optimiser)
    params = jax.jit(nap.init)(jax.random.key(0))
    state, metrics = jax.jit(step)(State(params, optimiser.init(params)), jax.random.key(1))
    return params, state, jax.device_get(metrics)


@pytest.mark.slow
def test_with_the_rewards_of_the_paper_the_critic_owns_the_gradient():
    """20 for every step at the optimum: errors of the critic in the hundreds, beside which rewards teach nothing."""
    _, _, metrics = paper_iteration()
    assert metrics["value_error"] > 100.0
    assert metrics["value_error"] > 100.0 * abs(metrics["surrogate"])
    assert metrics["critic_norm"] > 100.0 * max(metrics["policy_norm"], metrics["backbone_norm"])
    assert all(np.isfinite(value) for value in metrics.values()) and metrics["env_steps"] == 48


def test_the_first_iteration_of_the_paper_has_the_numbers_of_indifference():
    """Bars of nearly equal logits over 1.2, five choices of nearly equal logits, and a step size of 0."""
    before, state, metrics = paper_iteration()
    np.testing.assert_allclose(metrics["loss"], np.log(1.2), atol=0.01)
    # At the last steps fewer than five of the twelve candidates are left: never more than log 5.
    assert 0.9 * np.log(5) < metrics["entropy"] < np.log(5) + 0.01
    jax.tree.map(np.testing.assert_array_equal, state.params, before)
    assert metrics["clipped"] == 0.0
