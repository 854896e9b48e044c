"""Both phases learn: predictions nearly exact, and choices that are better than expected improvement's."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import NUM_INIT, NUMERIC, as_task, pool_params
from envs.family import TaskFamily
from metarl.experiments.examine_predictions import prior_predictions
from metarl.experiments.metabo import make_metabo
from metarl.experiments.metabo_build import build_optimisers
from metarl.experiments.metabo_config import MetaboConfig, NAPConfig, TasksConfig, ValidationConfig
from metarl.experiments.metabo_phases import LikelihoodConfig, PolicyConfig
from metarl.experiments.metabo_policy import make_policy_step
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.batches import make_batches
from metarl.metabo.export import TrainedNAP
from metarl.metabo.trajectory import run_many

LINE = "gp-prior@min_dimensions=1,max_dimensions=1,kinds=numeric,output_share=0.0,law=known"
UNKNOWN = "gp-prior@max_dimensions=1,kinds=numeric,output_share=0.0"
PLANE = "gp-prior@max_dimensions=2,kinds=numeric,output_share=0.0"
PREDICTING = MetaboConfig(
    model=NAPConfig(values="raw", width=32, num_layers=3, num_heads=2, num_bars=100, bar_limit=5.0),
    tasks=TasksConfig(sources=(LINE,), shares=(1.0,), num_candidates=80),
    likelihood=LikelihoodConfig(
        updates=2000, updates_per_step=200, batch_size=32, learning_rate=3e-3, counts="log-uniform"
    ),
    policy=PolicyConfig(iterations=0),
    validation=ValidationConfig(tables=("xgb/20",), horizon=1),
)
SIZE, HORIZON = 24, 5
CORNERED = replace(
    PREDICTING,
    model=NAPConfig(width=16, num_layers=1, num_heads=2, num_bars=64),
    tasks=TasksConfig(sources=(PLANE,), shares=(1.0,), num_candidates=SIZE),
    likelihood=LikelihoodConfig(updates=600, updates_per_step=200, batch_size=16, max_context=12),
    policy=PolicyConfig(
        iterations=1, num_tasks=8, group_size=8, horizon=HORIZON, likelihood=0.0, learning_rate=3e-3, num_minibatches=2
    ),
)


def pretrained(config):
    """Returns the experiment, its parameters after the first phase, and the loss of every step."""
    made = make_metabo(config)
    step, state, losses = jax.jit(made.experiment.step), jax.jit(made.experiment.init)(jax.random.key(0)), []
    for _ in range(config.num_likelihood_steps):
        state, metrics = step(state)
        losses.append(float(metrics["loss"]))
    return made, state.params, losses


def likelihoods(made, params, spec, num_tasks=512):
    """Returns {(arm, evaluations): [K] minus log-likelihoods} of K functions of a law."""
    model = TrainedNAP(made.settings, jax.device_get(params), {"head": "ei"}, made.nap, "digest")
    rows = prior_predictions(model, spec, num_candidates=80, num_tasks=num_tasks, seed=1)
    return {(row["arm"], row["setting"]["context"]): np.array(row["values"]) for row in rows}


@pytest.mark.learning
def test_predictions_come_near_exact_inference():
    """Of functions of one law, whose level and scale are known, so that exact inference is what can be learned."""
    made, params, losses = pretrained(PREDICTING)
    assert np.mean(losses[-3:]) < losses[0] - 0.3
    found = likelihoods(made, params, LINE)
    gaps = {count: float(np.mean(found["np", count] - found["gp-exact", count])) for count in (5, 20, 50)}
    assert max(gaps.values()) < 0.1, gaps


@pytest.mark.learning
def test_where_lengthscale_noise_and_warp_are_unknown_few_evaluations_say_more_to_it_than_to_a_fitted_process():
    """Which of many laws a function has, the prior knows better than the most probable one after 5 or 20 values."""
    config = replace(
        PREDICTING,
        model=NAPConfig(width=32, num_layers=3, num_heads=2, num_bars=100),
        tasks=replace(PREDICTING.tasks, sources=(UNKNOWN,)),
    )
    made, params, _ = pretrained(config)
    found = likelihoods(made, params, UNKNOWN)
    for count in (5, 20):
        ahead = found["gp-fitted", count] - found["np", count]
        assert ahead.mean() > 2.0 * ahead.std() / np.sqrt(len(ahead)), (count, ahead.mean())
    gaps = [float(np.mean(found["np", count] - found["gp-exact", count])) for count in (5, 20, 50)]
    assert gaps[0] > gaps[1] > gaps[2] > 0.0, gaps


@pytest.mark.learning
def test_told_distances_it_learns_sooner_which_dimensions_matter():
    spec, found = "gp-prior@max_dimensions=6", {}
    for distances in ("none", "ard"):
        config = replace(
            PREDICTING,
            model=NAPConfig(width=32, num_layers=2, num_heads=2, num_bars=64, distances=distances),
            tasks=replace(PREDICTING.tasks, sources=(spec,)),
            likelihood=replace(PREDICTING.likelihood, updates=600),
        )
        made, params, _ = pretrained(config)
        found[distances] = likelihoods(made, params, spec, num_tasks=256)
    for count in (20, 50):
        ahead = found["none"]["np", count] - found["ard"]["np", count]
        assert ahead.mean() > max(0.1, 3.0 * ahead.std() / np.sqrt(len(ahead))), (count, ahead.mean())


class State(NamedTuple):
    """What an iteration of the second phase changes."""

    params: Any
    policy_optimiser: Any


NUM_NEAR = 8
"""Candidates around the best one, all of them bad."""


def cornered(key):
    """The best candidate is in the upper corner among the worst, and everything else is better far from there."""
    keys = jax.random.split(key, 3)
    near = jax.random.uniform(keys[0], (NUM_NEAR, 2), minval=0.85, maxval=0.97)
    far = jax.random.uniform(keys[1], (SIZE - NUM_NEAR - 1, 2), maxval=0.6)
    x = jnp.concatenate([jnp.array([[0.98, 0.98]]), near, far])
    noise = 0.05 * jax.random.normal(keys[2], (SIZE,))
    y = (-jnp.sum(x, axis=1) + noise).at[0].set(0.5)
    return as_task(pool_params(x, jnp.full((2,), NUMERIC, jnp.int32), y, horizon=HORIZON))


@pytest.mark.learning
def test_reinforcement_goes_at_once_where_expected_improvement_goes_late():
    made, params, _ = pretrained(CORNERED)
    env, optimiser = BlackBox(SIZE, max_horizon=HORIZON), build_optimisers(CORNERED)[1]
    family = TaskFamily("cornered", env, cornered, cornered, 0, 1, HORIZON)
    step = jax.jit(make_policy_step(CORNERED, made.nap, lambda size: make_batches([family], (1.0,), size), optimiser))
    state = State(params, optimiser.init(params))
    for number in range(60):
        state, _ = step(state, jax.random.key(number))
    tasks = jax.vmap(cornered)(jax.random.split(jax.random.key(999), 64)).params
    initial = jnp.tile(jnp.arange(1, 1 + NUM_INIT, dtype=jnp.int32), (64, 1))
    curves = {
        head: run_many(
            nap_optimiser(made.nap, state.params, head), env, tasks, initial, jax.random.key(0), batch_size=64
        )
        for head in ("ei", "acquisition")
    }
    areas = {head: float(np.asarray(curve)[:, 1:].mean()) for head, curve in curves.items()}
    assert areas["ei"] > 0.05 and areas["acquisition"] < 0.2 * areas["ei"], areas
