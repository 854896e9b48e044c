"""Batches have their shares, and a task in other words is the same task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL, UNUSED, as_task, pool_params
from envs.family import TaskFamily
from metarl.metabo.batches import counts, make_batches, permute

NUM = 12


@pytest.mark.parametrize(
    ("shares", "size", "expected"),
    [
        ((1.0,), 5, [5]),
        ((0.7, 0.3), 10, [7, 3]),
        ((7.0, 3.0), 10, [7, 3]),  # shares are relative
        ((0.6, 0.2, 0.2), 12, [7, 3, 2]),  # 7.2, 2.4, 2.4: the earlier of equal remainders
        ((0.6, 0.2, 0.2), 4, [2, 1, 1]),
        ((0.98, 0.01, 0.01), 3, [1, 1, 1]),
        ((0.98, 0.01, 0.01), 100, [98, 1, 1]),
        ((0.99, 0.005, 0.005), 10, [8, 1, 1]),
    ],
)
def test_counts_by_hand(shares, size, expected):
    assert counts(shares, size) == expected


@settings(max_examples=200)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), st.integers(0, 200))
def test_counts_fill_the_batch_and_forget_no_source(shares, extra):
    size = len(shares) + extra
    found = counts(shares, size)
    assert sum(found) == size and min(found) >= 1
    exact = [share / sum(shares) * size for share in shares]
    assert all(number < share + 1.0 for number, share in zip(found, exact, strict=True) if number > 1)


def test_a_batch_too_small_for_its_sources_is_refused():
    with pytest.raises(ValueError, match="a batch of 1 tasks was to have 2 sources; it needs one task of each"):
        counts((0.5, 0.5), 1)


@pytest.fixture(scope="module")
def mixed():
    """A pool over two numbers, a grid and two categorical dimensions."""
    law = np.random.default_rng(0)
    x = np.concatenate([law.random((NUM, 3)), law.integers(0, 4, (NUM, 2))], axis=1)
    kind = jnp.array([NUMERIC, NUMERIC, ORDINAL, CATEGORICAL, CATEGORICAL], jnp.int32)
    return pool_params(jnp.asarray(x, jnp.float32), kind, jnp.arange(NUM, dtype=jnp.float32))


def same_partition(a, b):
    """Whether two columns of labels group rows alike, whatever the labels are."""
    return np.array_equal(a[:, None] == a[None], b[:, None] == b[None])


@pytest.mark.parametrize("seed", range(5))
def test_a_permuted_task_is_the_same_task(mixed, seed):
    found = jax.jit(permute)(jax.random.key(seed), mixed)
    for name in ("y", "is_valid", "y_best", "y_worst", "horizon", "num_init"):
        np.testing.assert_array_equal(getattr(found, name), getattr(mixed, name))
    assert sorted(found.kind.tolist()) == sorted(mixed.kind.tolist())
    assert (found.kind[5:] == UNUSED).all() and (found.x[:, 5:] == 0.0).all()
    columns, renamed = np.asarray(mixed.x).T[:5], np.asarray(found.x).T[:5]
    origins = []
    for kind, column in zip(np.asarray(found.kind), renamed, strict=False):
        matches = [
            place
            for place, (other, whose) in enumerate(zip(columns, np.asarray(mixed.kind), strict=False))
            if kind == whose
            and (same_partition(column, other) if kind == CATEGORICAL else np.array_equal(column, other))
        ]
        assert len(matches) == 1
        origins += matches
    assert sorted(origins) == list(range(5))


def test_labels_and_order_do_change(mixed):
    keys = jax.random.split(jax.random.key(0), 40)
    found = jax.jit(jax.vmap(permute, (0, None)))(keys, mixed)
    assert len({tuple(kind) for kind in np.asarray(found.kind).tolist()}) > 10
    is_category = np.asarray(found.kind)[:, None, :5] == CATEGORICAL
    labels = np.broadcast_to(is_category, (40, NUM, 5)) & True
    assert set(np.unique(np.asarray(found.x)[:, :, :5][labels])) == set(range(12))


def numbered(offset):
    """A family whose values tell it from others and its tasks from each other."""
    env = BlackBox(NUM, max_horizon=3)

    def sample(key):
        y = offset + jax.random.uniform(key, (NUM,))
        x = jnp.stack([y - offset, jnp.floor(4.0 * (y - offset))], axis=1)
        return as_task(pool_params(x, jnp.array([NUMERIC, CATEGORICAL], jnp.int32), y))

    return TaskFamily("numbered", env, sample, sample, 0, 1, 3)


FAMILIES = [numbered(0.0), numbered(10.0)]


def test_a_batch_has_so_many_of_each_and_all_differ(key):
    tasks = jax.jit(make_batches(FAMILIES, (0.75, 0.25), 8))(key)
    assert (np.asarray(tasks.y)[:, 0] >= 10.0).tolist() == [False] * 6 + [True] * 2
    assert len(np.unique(tasks.y)) == 8 * NUM


def test_a_task_depends_on_its_place_and_the_key_alone(key):
    small, large = (jax.jit(make_batches(FAMILIES[:1], (1.0,), size))(key) for size in (3, 7))
    np.testing.assert_array_equal(small.y, large.y[:3])
    other = jax.jit(make_batches(FAMILIES[:1], (1.0,), 3))(jax.random.fold_in(key, 1))
    assert not np.isin(other.y, small.y).any()


@pytest.mark.parametrize("permuted", [0.5, 1.0])
def test_that_share_of_the_tasks_is_permuted(key, permuted):
    plain = jax.jit(make_batches(FAMILIES, (0.5, 0.5), 60))(key)
    found = jax.jit(make_batches(FAMILIES, (0.5, 0.5), 60, permuted=permuted))(key)
    np.testing.assert_array_equal(found.y, plain.y)
    changed = np.any(np.asarray(found.x) != np.asarray(plain.x), axis=(1, 2))
    assert abs(changed.mean() - permuted) < 0.2
    for half in (changed[:30], changed[30:]):
        assert half.any()
    same = ~changed
    np.testing.assert_array_equal(np.asarray(found.kind)[same], np.asarray(plain.kind)[same])
