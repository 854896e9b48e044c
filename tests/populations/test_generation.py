"""The generation step: common random numbers, bucketing, microbatches, averaging, and refused sizes."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations.generation import (
    UNBOUNDED,
    deal,
    draw_trials,
    generation_from,
    joint_measure,
    make_generation,
    make_measure,
)
from populations.openai_es import openai_es

MAX_LIFETIME = 30
PARAMS = jnp.zeros(3)


def sample_task(key):
    key_lifetime, key_target = jax.random.split(key)
    lifetime = jax.random.randint(key_lifetime, (), 1, MAX_LIFETIME + 1)
    return {"lifetime": lifetime, "target": jax.random.uniform(key_target, (3,))}


def lifetime_of(task):
    return task["lifetime"]


def evaluate(params, task, key, bound):
    """Returns the fitness of a point that drifts towards its parameters for a lifetime, masked beyond it."""

    def update(step, point):
        moved = point + 0.1 * (params - point) + 0.01 * jax.random.uniform(jax.random.fold_in(key, step), (3,))
        return jnp.where(step < task["lifetime"], moved, point)

    num_steps = jnp.minimum(bound, MAX_LIFETIME)
    point = jax.lax.fori_loop(0, num_steps, update, jnp.zeros(3))
    return -jnp.sum((point - task["target"]) ** 2), {"lifetime": task["lifetime"], "num_steps": num_steps}


def select(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


@partial(jax.jit, static_argnums=(1, 2))
def trials_of(key, num_pairs, tasks_per_pair):
    """Returns the trials that a generation with this key must have drawn."""
    _, key_trials = jax.random.split(key)
    return draw_trials(key_trials, sample_task, num_pairs, tasks_per_pair, cost=lifetime_of, shares_keys=True)


def run(generation, strategy, key):
    return jax.jit(generation)(key, strategy.init(key, PARAMS))


@pytest.fixture(scope="module")
def unbucketed():
    strategy = openai_es(16)
    return run(make_generation(strategy, evaluate, sample_task, microbatch=4), strategy, jax.random.key(7))


def test_bucketed_lives_equal_masked_ones_and_loop_less(unbucketed):
    strategy = openai_es(16)
    generation = make_generation(strategy, evaluate, sample_task, microbatch=4, cost=lifetime_of)
    state, result = run(generation, strategy, jax.random.key(7))
    np.testing.assert_array_equal(result.fitness, unbucketed[1].fitness)
    np.testing.assert_array_equal(state.mean, unbucketed[0].mean)
    np.testing.assert_array_equal(result.info["lifetime"], unbucketed[1].info["lifetime"])
    assert np.all(unbucketed[1].info["num_steps"] == MAX_LIFETIME)
    assert np.all(result.info["num_steps"] >= result.info["lifetime"])
    # Eight pairs in four chunks of neighbours in lifetime: each chunk loops to its own longest life.
    longest = np.sort(np.asarray(result.info["lifetime"][:8])).reshape(4, 2).max(axis=1)
    np.testing.assert_array_equal(np.sort(result.info["num_steps"][:8]), np.repeat(longest, 2))


@pytest.mark.parametrize("microbatch", [2, 8, None])
def test_the_microbatch_changes_no_fitness(unbucketed, microbatch):
    strategy = openai_es(16)
    generation = make_generation(strategy, evaluate, sample_task, microbatch=microbatch, cost=lifetime_of)
    _, result = run(generation, strategy, jax.random.key(7))
    # Vector code for another batch size may round differently, by 1e-7 per operation.
    np.testing.assert_allclose(result.fitness, unbucketed[1].fitness, rtol=1e-5)


@pytest.mark.parametrize("tasks_per_pair", [1, 3])
def test_fitness_is_the_average_over_the_tasks_of_the_pair(key, tasks_per_pair):
    strategy = openai_es(8)
    state = strategy.init(key, PARAMS)
    generation = make_generation(strategy, evaluate, sample_task, cost=lifetime_of, tasks_per_pair=tasks_per_pair)
    _, result = jax.jit(generation)(key, state)
    population = jax.jit(strategy.ask)(jax.random.split(key)[0], state)
    trials = trials_of(key, 4, tasks_per_pair)
    expand, live = jax.jit(strategy.expand), jax.jit(evaluate)
    for member in range(8):
        params = expand(state, select(population, member))
        own = select((trials.task, trials.key), trials.pair == member % 4)
        lives = [live(params, *select(own, r), UNBOUNDED)[0] for r in range(tasks_per_pair)]
        np.testing.assert_allclose(result.fitness[member], np.mean(lives), rtol=1e-5)  # alone against in a batch


def test_trials_tell_what_their_partners_were_worth_in_which_task(key):
    strategy = openai_es(16)
    generation = make_generation(strategy, evaluate, sample_task, microbatch=4, cost=lifetime_of, tasks_per_pair=3)
    _, result = run(generation, strategy, key)
    jax.tree.map(np.testing.assert_array_equal, result.trials.task, trials_of(key, 8, 3).task)
    of_pairs = result.trials.fitness.reshape(8, 3, 2).mean(axis=1)
    np.testing.assert_allclose(np.concatenate(of_pairs.T), result.fitness, rtol=1e-6)


def identical_candidates(population_size):
    """Returns a strategy whose members are all the mean."""
    return openai_es(population_size)._replace(expand=lambda state, member: state.mean)


def test_identical_candidates_of_a_pair_get_bitwise_equal_fitness(key):
    def evaluate_with_matrices(params, task, key, bound):
        weights = jax.random.normal(key, (3, 17))
        return jnp.sum(jnp.tanh(params @ weights + task["target"] @ weights)), {}

    strategy = identical_candidates(16)
    generation = make_generation(strategy, evaluate_with_matrices, sample_task, microbatch=8, cost=lifetime_of)
    state, result = jax.jit(generation)(key, strategy.init(key, jnp.ones(3)))
    np.testing.assert_array_equal(result.fitness[:8], result.fitness[8:])
    assert len(np.unique(result.fitness)) == 8
    np.testing.assert_array_equal(state.mean, jnp.ones(3))  # eight ties move nothing


def test_partners_with_their_own_keys_share_the_task_only(key):
    def report(params, task, key, bound):
        return jax.random.uniform(key), {"target": task["target"][0]}

    strategy = identical_candidates(16)
    _, result = run(make_generation(strategy, report, sample_task, shares_keys=False), strategy, key)
    assert len(np.unique(result.fitness)) == 16
    np.testing.assert_array_equal(result.info["target"][:8], result.info["target"][8:])
    assert len(np.unique(result.info["target"])) == 8


def test_results_are_in_member_order(key):
    strategy = openai_es(12)._replace(expand=lambda state, member: member.sign)

    def report(sign, task, key, bound):
        return sign * task["lifetime"].astype(jnp.float32), {}

    generation = make_generation(strategy, report, sample_task, microbatch=2, cost=lifetime_of, tasks_per_pair=2)
    _, result = run(generation, strategy, key)
    trials = trials_of(key, 6, 2)
    expected = np.asarray(trials.cost, np.float32).reshape(6, 2).mean(axis=1)
    np.testing.assert_array_equal(result.fitness, np.concatenate([expected, -expected]))


def test_without_a_cost_the_bound_is_the_largest_integer(key):
    strategy = openai_es(4)
    _, result = run(
        make_generation(strategy, lambda p, t, k, bound: (jnp.float32(0.0), {"bound": bound}), sample_task),
        strategy,
        key,
    )
    np.testing.assert_array_equal(result.info["bound"], np.full(4, np.float32(2**31 - 1)))


def test_a_generation_with_nothing_finite_keeps_the_mean(key):
    strategy = openai_es(8)
    state, result = run(
        make_generation(strategy, lambda p, t, k, b: (jnp.float32(jnp.nan), {}), sample_task), strategy, key
    )
    assert np.isnan(result.fitness).all()
    np.testing.assert_array_equal(state.mean, PARAMS)


def test_different_keys_draw_different_tasks_and_candidates(key):
    strategy = openai_es(8)
    generation = jax.jit(make_generation(strategy, evaluate, sample_task, cost=lifetime_of))
    first, again, other = (
        generation(jax.random.key(seed), strategy.init(key, PARAMS))[1].fitness for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_sorted_trials_are_dealt_round_robin():
    order = deal(jnp.array([50, 10, 40, 20, 30, 60]), 2)
    np.testing.assert_array_equal(order, [1, 4, 0, 3, 2, 5])  # costs 10 30 50 | 20 40 60


def test_the_bound_stays_one_loop_for_the_whole_chunk(key):
    """A batched bound would turn the loop's condition into a reduction over the batch."""
    strategy = openai_es(8)
    generation = make_generation(strategy, evaluate, sample_task, microbatch=4, cost=lifetime_of)
    text = jax.jit(generation).lower(key, strategy.init(key, PARAMS)).as_text()
    conditions = re.findall(r"cond \{(.*?)\} do", text, re.DOTALL)
    assert len(conditions) >= 2  # the chunks and the life
    assert not any("reduce" in condition for condition in conditions)


@pytest.mark.parametrize("microbatch", [0, -2, 3, 6, 32])
def test_a_microbatch_that_does_not_fit_is_refused(microbatch):
    with pytest.raises(ValueError, match=f"microbatch is {microbatch} but must be even and divide the 16 members"):
        make_generation(openai_es(16), evaluate, sample_task, microbatch=microbatch)


def test_a_pair_without_tasks_is_refused():
    with pytest.raises(ValueError, match="tasks_per_pair is 0"):
        make_generation(openai_es(16), evaluate, sample_task, tasks_per_pair=0)


def test_a_population_without_pairs_is_refused():
    with pytest.raises(ValueError, match="population size is 7"):
        make_generation(openai_es(8)._replace(population_size=7), evaluate, sample_task)


def worlds_of(scale, *, broken=None):
    """Two worlds that want opposite things of the first parameter, the second `scale` times as loud."""

    def wants(sign, scale):
        def evaluate(params, task, key, bound):
            fitness = sign * scale * params[0] + 0.0 * task["target"][0]
            return jnp.where(params[0] > broken, jnp.nan, fitness) if broken is not None else fitness, {}

        return evaluate

    strategy = openai_es(8, sigma=1.0)
    return strategy, {
        "up": make_measure(strategy, wants(1.0, 1.0), sample_task),
        "down": make_measure(strategy, wants(-1.0, scale), sample_task),
    }


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_worlds_count_alike_whatever_their_units(scale):
    strategy, measures = worlds_of(scale)
    _, result = run(generation_from(strategy, joint_measure(measures)), strategy, jax.random.key(1))
    np.testing.assert_allclose(result.fitness, 0.0, atol=1e-5)
    np.testing.assert_allclose(result.info["down/fitness"], -scale * result.info["up/fitness"], rtol=1e-5)
    assert np.std(result.info["up/fitness"]) > 0.1


def test_the_joint_fitness_is_the_mean_of_standard_scores():
    strategy, measures = worlds_of(0.0)
    _, result = run(generation_from(strategy, joint_measure(measures)), strategy, jax.random.key(1))
    up = np.asarray(result.info["up/fitness"], np.float64)
    np.testing.assert_allclose(result.fitness, 0.5 * (up - up.mean()) / up.std(), rtol=1e-4)


def test_a_member_that_is_not_finite_in_one_world_is_not_finite():
    strategy, measures = worlds_of(1.0, broken=0.5)
    _, result = run(generation_from(strategy, joint_measure(measures)), strategy, jax.random.key(1))
    is_broken = ~np.isfinite(result.info["up/fitness"])
    assert 0 < is_broken.sum() < 8
    np.testing.assert_array_equal(~np.isfinite(result.fitness), is_broken)
