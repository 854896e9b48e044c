"""Every head scores as it says, and no optimiser evaluates anything twice or looks at what it must not."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import pool_params
from metarl.metabo.acquisitions import HEADS, nap_optimiser
from metarl.metabo.nap import BLOCK
from metarl.metabo.trajectory import run_trajectory


@cache
def chooser(nap, head):
    """The first choice of a head for any parameters, compiled once."""
    choose = lambda params, key, observation, task: nap_optimiser(nap, params, head).choose(  # noqa: E731
        key, (), observation, task
    )
    return jax.jit(choose)


@cache
def runner(nap, env, head):
    """The choices of a head for any parameters, compiled once."""
    run = lambda params, task, initial, key: run_trajectory(  # noqa: E731
        nap_optimiser(nap, params, head), env, task, initial, key
    )
    return jax.jit(run)


def choose(model, room, head, key=0, params=None):
    hidden = room.task.replace(y=None, y_best=None, y_worst=None)
    params = model.params if params is None else params
    return int(chooser(model.nap, head)(params, jax.random.key(key), room.observation, hidden)[1])


def best(scores, room):
    return int(np.argmax(np.where(room.observation["is_visited"], -np.inf, np.asarray(scores))))


def test_every_head_takes_the_largest_of_its_scores(model, room):
    belief, *_ = model.answer(model.params, room.task.kind, room.evaluations, room.task.x)
    rows, bars = belief.reading.bars, model.nap.bars
    assert choose(model, room, "ei") == best(bars.ei(rows, jnp.full((12,), belief.reading.incumbent)), room)
    assert choose(model, room, "ucb") == best(bars.quantile(rows, jnp.full((12,), 0.9)), room)
    assert choose(model, room, "acquisition") == best(model.nap.prefer(model.params, belief, jnp.float32(0.0)), room)


def test_chance_plays_a_part_in_thompson_sampling_only(model, room):
    picks = {head: {choose(model, room, head, key) for key in range(6)} for head in HEADS}
    assert {head for head, found in picks.items() if len(found) > 1} == {"thompson"}


@pytest.mark.parametrize("head", HEADS)
def test_no_index_comes_twice(model, room, head):
    found = runner(model.nap, room.env, head)(model.params, room.task, room.initial, jax.random.key(1)).indices
    assert len({*np.asarray(room.initial).tolist(), *np.asarray(found).tolist()}) == 8


def test_untrained_the_acquisition_does_what_expected_improvement_does(model, room):
    one, other = (
        runner(model.nap, room.env, head)(model.newborn, room.task, room.initial, jax.random.key(0)).indices
        for head in ("acquisition", "ei")
    )
    np.testing.assert_array_equal(one, other)


def test_the_weights_of_the_acquisition_decide_for_that_head_alone(model, room):
    head = jax.tree.map(lambda leaf: -3.0 * leaf, model.params["acquisition_head"])
    changed = {**model.params, "acquisition_head": head}
    picks = [{name: choose(model, room, name, params=params) for name in HEADS} for params in (model.params, changed)]
    assert {name for name in HEADS if picks[0][name] != picks[1][name]} == {"acquisition"}


@pytest.mark.parametrize("head", HEADS)
def test_choices_in_blocks_are_those_among_all_candidates_at_once(model, room, head):
    """Twelve candidates as three blocks of five, the last of them padded."""
    run = lambda params, key: run_trajectory(  # noqa: E731
        nap_optimiser(model.nap, params, head, block=5), room.env, room.task, room.initial, key
    )
    found = jax.jit(run)(model.params, jax.random.key(1)).indices
    whole = runner(model.nap, room.env, head)(model.params, room.task, room.initial, jax.random.key(1)).indices
    np.testing.assert_array_equal(found, whole)


def test_choosing_from_a_large_pool_never_holds_what_lies_between_for_all_of_it(model, room):
    """65 000 candidates: with attention, perceptrons and bars for all of them at once it would be several times that.

    What is left is what the scores are made of, and the comparison of rows.
    """
    many = 65_000
    env = BlackBox(many, max_horizon=5, max_init=3)
    task = pool_params(jnp.zeros((many, 3)), room.task.kind[:3], jnp.zeros((many,)), num_init=3)
    hidden = task.replace(y=None, y_best=None, y_worst=None)
    observation, _ = env.reset_at(room.initial, task)

    def held(block):
        choose = lambda params, seen, task: nap_optimiser(model.nap, params, "ei", block=block).choose(  # noqa: E731
            jax.random.key(0), (), seen, task
        )
        compiled = jax.jit(choose).lower(model.params, observation, hidden).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert held(BLOCK) < held(many) / 3


def test_an_unknown_head_is_refused(model):
    with pytest.raises(ValueError, match="there is no head 'pi'; choose one of acquisition, ei, ucb, thompson"):
        nap_optimiser(model.nap, model.params, "pi")
