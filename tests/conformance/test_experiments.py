"""Every experiment keeps the contract that the host loop relies on; a new one is one line in the table."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments.base import Experiment
from metarl.experiments.config import AgentConfig, DiscoverConfig, FamilyConfig, LPGConfig, LPOConfig, PopulationConfig
from metarl.experiments.discover import make_discovery
from metarl.experiments.metabo import make_metabo
from metarl.experiments.metabo_policy import POLICY_METRICS
from metarl.experiments.metabo_presets import SMOKE as METABO_SMOKE
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import ModelConfig, PretrainConfig, TrainingConfig
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig, RL2Config
from metarl.experiments.teach import make_teaching
from metarl.experiments.teach_config import CubesConfig, TeachConfig
from metarl.run.dispatch import RESERVED

DISCOVERY_METRICS = {
    "fitness", "fitness_std", "fitness_best", "tied_pairs", "mean_norm", "move_norm", "num_nonfinite", "num_evaluated",
    "env_steps",
}  # fmt: skip

ON_A_GRID = DiscoverConfig(
    family=FamilyConfig(("gridworld/debug",), (1, 6)),
    objective=LPGConfig(hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=5),
    population=PopulationConfig(size=16, microbatch=2),
)
ON_A_PROBE = DiscoverConfig(
    family=FamilyConfig(("probe/action_observation_reward",), (3, 3)),
    objective=LPGConfig(temporal=False, hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=5, hidden=()),
    population=PopulationConfig(strategy="snes", size=4, tasks_per_pair=2, shares_keys=False),
)
IN_TWO_WORLDS = DiscoverConfig(
    family=FamilyConfig(("gridworld/debug", "probe/action_observation_reward"), (2, 4)),
    objective=LPOConfig(hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=8, hidden=(), num_epochs=4, num_minibatches=2, anneals=True),
    population=PopulationConfig(size=16, sigma=3.0),  # far apart, so that not every pair ties
)

TINY = PretrainConfig(
    updates=6,
    updates_per_step=2,
    env=("bandit@horizon=6,quadrature=51",),
    learner=DPTConfig(num_queries=3),
    model=ModelConfig(width=8, num_layers=1, num_heads=2),
    training=TrainingConfig(batch_size=16),
)
ROOM = ("darkroom@size=3,horizon=4",)
IN_ROOMS = replace(
    TINY,
    env=ROOM,
    model=replace(TINY.model, attention="causal"),
    learner=DPTConfig(behaviours=("default", "walk"), num_queries=3, on_policy=0.5, on_policy_tasks=2),
)
OF_HISTORIES = replace(
    TINY, env=ROOM, model=replace(TINY.model, positions="rope"), learner=ADConfig(episodes=5, kept_episodes=2)
)
RECURRENT = PretrainConfig(
    updates=TINY.updates,
    updates_per_step=TINY.updates_per_step,
    env=ROOM,
    learner=RL2Config(hidden_size=4, num_tasks=4, episodes_per_trial=2, num_minibatches=2),
)
IN_CUBES = TeachConfig(
    teachers=("covar-gmm@window=8", "plr@capacity=8"),
    num_students=2,
    updates=40,
    updates_per_step=10,
    student=CubesConfig(per_dimension=2),
)
TRAINING_METRICS = {"loss", "num_nonfinite", "num_evaluated", "env_steps"}
RECURRENT_METRICS = {
    *TRAINING_METRICS, "fitness", "first_return", "last_return", "policy_kl", "policy_entropy", "value_loss",
    "gradient_norm",
}  # fmt: skip
PREDICTION_METRICS = {*TRAINING_METRICS, "gradient_norm"}


def gap_metrics(*lengths):
    """Names of what is measured against an exact posterior."""
    return {f"{name}/{n}" for name in ("cross_entropy", "bayes_gap") for n in lengths}


class Case(NamedTuple):
    make: Callable[[], Experiment]
    metrics: set[str]
    """The metrics it promises."""


CASES = {
    "discover_ta_lpg": Case(lambda: make_discovery(ON_A_GRID).experiment, DISCOVERY_METRICS),
    "discover_ta_lpo_in_two_worlds": Case(
        lambda: make_discovery(IN_TWO_WORLDS).experiment,
        DISCOVERY_METRICS | {f"fitness/{env}" for env in IN_TWO_WORLDS.family.env},
    ),
    "pretrain_dpt_in_bandits": Case(
        lambda: make_pretraining(TINY).experiment, PREDICTION_METRICS | gap_metrics(0, 1, 2, 5, 6)
    ),
    "pretrain_dpt_on_its_own_contexts": Case(
        lambda: make_pretraining(IN_ROOMS).experiment, PREDICTION_METRICS | gap_metrics(0, 1, 2, 4)
    ),
    "pretrain_ad": Case(lambda: make_pretraining(OF_HISTORIES).experiment, PREDICTION_METRICS),
    "pretrain_rl2": Case(lambda: make_pretraining(RECURRENT).experiment, RECURRENT_METRICS),
    "teach_cubes": Case(
        lambda: make_teaching(IN_CUBES).experiment,
        {"fitness", "env_steps", "num_nonfinite", "num_evaluated"}
        | {f"{metric}/{teacher}" for metric in ("mastered", "episodes") for teacher in IN_CUBES.teachers},
    ),
    "metabo_over_both_phases": Case(
        lambda: make_metabo(METABO_SMOKE).experiment,
        TRAINING_METRICS | {"likelihood_norm", "validation_regret", *POLICY_METRICS},
    ),
    "discover_lpg_with_snes": Case(lambda: make_discovery(ON_A_PROBE).experiment, DISCOVERY_METRICS),
}


class Trace(NamedTuple):
    """Four steps of an experiment by one compiled function."""

    case: Case
    experiment: Experiment
    step: Any
    """The step, jitted."""
    states: list[Any]
    """Five states."""
    metrics: list[dict]
    """What the four steps between them measured."""


def follow(experiment, step, seed, num_steps):
    states, metrics = [jax.jit(experiment.init)(jax.random.key(seed))], []
    for _ in range(num_steps):
        state, measured = step(states[-1])
        states.append(state)
        metrics.append(measured)
    return states, metrics


@pytest.fixture(params=CASES, scope="module")
def trace(request):
    case = CASES[request.param]
    experiment = case.make()
    step = jax.jit(experiment.step)
    return Trace(case, experiment, step, *follow(experiment, step, 0, 4))


def leaf_types(tree):
    """Shape, dtype and weakness of every leaf; typed keys have no weakness."""
    return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(tree)]


def types(tree):
    return jax.tree.structure(tree), leaf_types(tree)


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def bits(tree):
    leaves = jax.tree.leaves(tree)
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf).tobytes() for leaf in leaves]


def stored_and_loaded(leaf):
    """The leaf after a way through host memory, as a checkpoint takes it."""
    if is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(np.asarray(jax.random.key_data(leaf))))
    return jnp.asarray(np.asarray(leaf))


def test_a_step_adds_one_and_the_key_is_typed(trace):
    assert [int(state.step) for state in trace.states] == [0, 1, 2, 3, 4]
    assert all(state.step.dtype == jnp.int32 for state in trace.states)
    assert all(jnp.issubdtype(state.key.dtype, jax.dtypes.prng_key) for state in trace.states)


def test_the_state_keeps_its_types_and_the_step_compiles_once(trace):
    assert all(types(state) == types(trace.states[0]) for state in trace.states)
    assert not any(is_weak for *_, is_weak in leaf_types(trace.states[0]))
    assert trace.step._cache_size() == 1


def test_metrics_are_the_promised_names_as_strong_scalars(trace):
    for metrics in trace.metrics:
        assert set(metrics) == trace.case.metrics and not set(metrics) & set(RESERVED)
        assert all(x.shape == () and x.dtype in (jnp.float32, jnp.int32) for x in metrics.values())
        assert not any(x.weak_type for x in metrics.values())
    assert types(trace.metrics[0]) == types(trace.metrics[-1])


def test_everything_is_finite_and_steps_are_counted(trace):
    for metrics in trace.metrics:
        assert all(np.isfinite(value) for value in metrics.values())
        assert metrics["env_steps"] >= 0 and metrics["num_evaluated"] > 0 and metrics["num_nonfinite"] == 0
    assert trace.metrics[-1]["env_steps"] > 0  # before, an experiment may have a phase without an environment
    state = trace.experiment.export(trace.states[-1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_twice_n_steps_are_n_steps_and_n_more_from_what_was_stored(trace):
    """The state goes through host memory as a checkpoint does, so nothing can hide outside it."""
    state, measured = jax.tree.map(stored_and_loaded, trace.states[2]), []
    for _ in range(2):
        state, metrics = trace.step(state)
        measured.append(metrics)
    assert bits(state) == bits(trace.states[4])
    assert bits(measured) == bits(trace.metrics[2:])


def test_the_seed_decides_everything(trace):
    again, measured_again = follow(trace.experiment, trace.step, 0, 2)
    assert bits(again) == bits(trace.states[:3]) and bits(measured_again) == bits(trace.metrics[:2])
    other, _ = follow(trace.experiment, trace.step, 1, 2)
    exported = [jax.tree.leaves(trace.experiment.export(states[2])) for states in (trace.states, other)]
    assert any(np.any(x != y) for x, y in zip(*exported, strict=True))


def test_the_experiment_moves_and_exports_what_it_moved(trace):
    first, last = (trace.experiment.export(trace.states[index]) for index in (0, -1))
    assert types(first) == types(last)
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True))
