"""RIAC's tree, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.teachers.base import unit_box
from metarl.teachers.riac import node_progress, riac, worst_task

BOX = unit_box(1)


def grown(teacher, key, tasks, rewards, refits=1):
    """Returns the tree after these episodes, looked at `refits` times."""
    state = teacher.observe(
        teacher.init(key), jnp.asarray(tasks, jnp.float32)[:, None], jnp.asarray(rewards, jnp.float32)
    )
    for i in range(refits):
        state = teacher.refit(jax.random.fold_in(key, i), state)
    return state


def halves(rewards):
    """The definition: older against newer, the older half one longer."""
    newer = len(rewards) // 2
    older = rewards[: len(rewards) - newer]
    return 0.0 if len(rewards) <= 2 else abs(np.mean(older) - np.mean(rewards[len(rewards) - newer :]))


@pytest.mark.parametrize("num", [0, 2, 3, 8, 39, 40, 57])
def test_progress_compares_the_older_with_the_newer_half(num, key):
    teacher = riac(BOX, region_size=40)
    rewards = np.random.default_rng(num).random(num)
    state = grown(teacher, key, np.full(num, 0.5), rewards, refits=0)
    progress = node_progress(state, 40)
    assert float(progress[0]) == pytest.approx(halves(rewards[-40:]), abs=1e-6)
    assert float(jnp.max(progress[1:])) == 0.0


def test_a_full_leaf_is_cut_where_progress_differs(key):
    generator = np.random.default_rng(0)
    tasks = generator.random(201)
    rewards = np.where(tasks > 0.7, np.linspace(0, 1, 201), 0.2)  # progress above 0.7 alone
    state = grown(riac(BOX), key, tasks, rewards)
    assert int(state.num_nodes) == 3 and state.is_leaf[:3].tolist() == [False, True, True]
    cut = float(state.high[1, 0])
    assert cut == float(state.low[2, 0]) and 0.45 < cut < 0.9
    for node, inside in ((1, tasks <= cut), (2, tasks >= cut)):
        assert int(state.kept[node]) == inside.sum()
        assert float(state.progress[node]) == pytest.approx(halves(rewards[inside]), abs=1e-5)


def test_counts_weigh_the_score_unless_faithful(key):
    tasks, time = np.random.default_rng(1).permutation(np.linspace(0, 1, 201)), np.linspace(0, 1, 201)
    # A small corner learns most, and half of the box learns something.
    rewards = time * np.where(tasks > 0.92, 1.0, np.where(tasks > 0.5, 0.4, 0.0))
    weighed, faithful = (grown(riac(BOX, faithful=f), key, tasks, rewards) for f in (False, True))

    def score(cut, weighs):
        left, right = rewards[tasks <= cut], rewards[tasks >= cut]
        return abs(halves(left) - halves(right)) * (len(left) * len(right) if weighs else 1)

    cuts = [float(state.high[1, 0]) for state in (weighed, faithful)]
    assert score(cuts[0], True) >= score(cuts[1], True) and score(cuts[1], False) >= score(cuts[0], False)
    assert cuts[0] != cuts[1]


def test_a_leaf_without_a_good_cut_forgets_its_oldest_quarter(key):
    rewards = np.arange(201) / 201
    state = grown(riac(BOX), key, np.full(201, 0.5), rewards)  # every cut leaves one side empty
    assert int(state.num_nodes) == 1 and int(state.kept[0]) == 151
    assert float(node_progress(state, 200)[0]) == pytest.approx(halves(rewards[-151:]), abs=1e-6)


def test_new_boxes_are_not_shorter_than_a_fifteenth(key):
    teacher = riac(BOX, region_size=20, refit_every=1)
    state = teacher.init(key)
    generator = np.random.default_rng(0)
    observe, refit = jax.jit(teacher.observe), jax.jit(teacher.refit)
    for i in range(150):
        tasks = 0.01 * generator.random((10, 1)).astype(np.float32)  # all in a corner
        state = refit(jax.random.fold_in(key, i), observe(state, tasks, generator.random(10).astype(np.float32)))
    made = slice(0, int(state.num_nodes))
    assert np.min(np.asarray(state.high - state.low)[made]) >= 1 / 15 - 1e-6


def test_children_take_what_falls_on_their_threshold(key):
    tasks = np.random.default_rng(0).random(201)
    teacher = riac(BOX)
    state = grown(teacher, key, tasks, np.where(tasks > 0.7, np.linspace(0, 1, 201), 0.2))
    before = state.kept[:3]
    state = teacher.observe(state, state.high[1:2], jnp.ones((1,), jnp.float32))
    assert (state.kept[:3] - before).tolist() == [0, 1, 1]  # the root's queue was full
    assert int(state.count[0]) == 202


def test_a_tenth_of_the_tasks_is_near_the_worst_one(key):
    teacher = riac(BOX)
    state = grown(teacher, key, np.linspace(0, 1, 50), np.abs(np.linspace(0, 1, 50) - 0.3) + 0.1)
    assert float(worst_task(state, jnp.array([0]))[0, 0]) == pytest.approx(0.3, abs=0.011)
    tasks = np.asarray(teacher.sample(key, state, 20_000))[:, 0]
    assert np.mean(np.abs(tasks - 0.3) < 0.05) == pytest.approx(0.1 * 0.383 + 0.9 * 0.1, abs=0.012)


@pytest.mark.parametrize("wrong", [{"region_size": 19}, {"num_attempts": 0}, {"max_nodes": 2}, {"min_share": 0.5}])
def test_impossible_trees_are_refused(wrong):
    with pytest.raises(ValueError, match="riac was given"):
        riac(BOX, **wrong)
