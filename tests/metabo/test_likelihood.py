"""The likelihood is that of values not in the context, whatever its size; a recording model shows what it is asked."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.task import NUMERIC, by_range, pool_params
from metarl.metabo.likelihood import MIN_CONTEXT, context_loss, gather
from metarl.metabo.nap import Belief, scale_of

MAX_CONTEXT = 6


def recording(model, asked):
    """Returns the model with beliefs that are all the same, and keeps what it was asked."""

    def believe(params, kind, evaluations, candidates):
        asked.append((evaluations, candidates))
        belief, *_ = model.answer(params, kind, evaluations, candidates)
        flat = belief.reading._replace(bars=jnp.zeros((candidates.shape[0], model.nap.bars.num_bars)))
        return Belief(flat, scale_of(evaluations.y, evaluations.is_seen))

    return model.nap._replace(believe=believe)


def rows(x):
    return {tuple(row) for row in np.asarray(x).tolist()}


def test_no_value_is_both_seen_and_asked_for(model, room):
    asked, task = [], room.task
    for seed in range(30):
        context_loss(recording(model, asked), model.params, task, jax.random.key(seed), max_context=MAX_CONTEXT)
    sizes = {int(evaluations.is_seen.sum()) for evaluations, _ in asked}
    assert sizes == set(range(MIN_CONTEXT, MAX_CONTEXT + 1))
    value_at = {tuple(x): float(y) for x, y in zip(np.asarray(task.x).tolist(), np.asarray(task.y), strict=True)}
    for evaluations, candidates in asked:
        places = np.asarray(evaluations.x).tolist()
        assert rows(evaluations.x).isdisjoint(rows(candidates)) and len(candidates) == 12 - MAX_CONTEXT
        assert [value_at[tuple(x)] for x in places] == np.asarray(evaluations.y).tolist()


def test_the_loss_is_the_mean_over_what_is_asked_for(model, room):
    """With bars of equal logits only the widths of the bars that values fall into matter."""
    asked = []
    loss = context_loss(recording(model, asked), model.params, room.task, jax.random.key(5), max_context=MAX_CONTEXT)
    evaluations, candidates = asked[0]
    y = [float(room.task.y[np.all(np.asarray(room.task.x) == x, axis=1)][0]) for x in np.asarray(candidates)]
    known = np.asarray(evaluations.y)[np.asarray(evaluations.is_seen)]
    z = (np.array(y) - known.mean()) / known.std()
    bars = model.nap.bars
    inside = np.abs(z) < bars.edges[-2]
    assert inside.all()
    density = 1.0 / bars.num_bars / bars.widths[np.searchsorted(bars.edges, z, side="right") - 1]
    np.testing.assert_allclose(loss, -np.mean(np.log(density)), rtol=1e-5)


@cache
def loss_and_gradient(nap):
    """`(params, task, key) -> (loss, gradient)`, jitted."""
    loss = lambda params, task, key: context_loss(nap, params, task, key, max_context=MAX_CONTEXT)  # noqa: E731
    return jax.jit(jax.value_and_grad(loss))


def test_padding_is_neither_seen_nor_asked_for(model, room):
    is_valid = jnp.arange(12) < 9
    for seed in range(4):
        losses = [
            loss_and_gradient(model.nap)(
                model.params,
                room.task.replace(is_valid=is_valid, y=jnp.where(is_valid, room.task.y, junk)),
                jax.random.key(seed),
            )[0]
            for junk in (0.0, 1e3)
        ]
        assert losses[0] == losses[1] and np.isfinite(losses[0])


def test_values_far_outside_count_as_at_the_last_edge(model, room):
    """One divergent value must not decide what is learned: neither its loss nor its gradient grows with it."""
    asked, key = [], jax.random.key(1)
    context_loss(recording(model, asked), model.params, room.task, key, max_context=MAX_CONTEXT)
    place = int(np.flatnonzero(np.all(np.asarray(room.task.x) == np.asarray(asked[0][1][0]), axis=1))[0])
    found = [
        loss_and_gradient(model.nap)(model.params, room.task.replace(y=room.task.y.at[place].set(outlier)), key)
        for outlier in (1e5, 1e7)
    ]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_context_of_equal_values_is_not_scored(model, room):
    flat = room.task.replace(y=jnp.full((12,), 2.0))
    value, gradient = loss_and_gradient(model.nap)(model.params, flat, jax.random.key(0))
    assert value == 0.0 and all((leaf == 0.0).all() for leaf in jax.tree.leaves(gradient))


def test_the_likelihood_teaches_transformer_and_bars_and_nothing_else(model, room):
    _, gradient = loss_and_gradient(model.nap)(model.params, room.task, jax.random.key(0))
    moves = {name: any((leaf != 0.0).any() for leaf in jax.tree.leaves(part)) for name, part in gradient.items()}
    assert {name for name, moved in moves.items() if not moved} == {"acquisition_head", "value_hidden", "value_out"}


def test_with_replacement_candidates_come_again_and_all_of_the_pool_is_asked_for(model, room):
    asked, task = [], room.task
    loss = lambda seed: context_loss(  # noqa: E731
        recording(model, asked),
        model.params,
        task,
        jax.random.key(seed),
        max_context=MAX_CONTEXT,
        with_replacement=True,
    )
    for seed in range(40):
        loss(seed)
    sizes = {int(evaluations.is_seen.sum()) for evaluations, _ in asked}
    assert sizes == set(range(1, MAX_CONTEXT + 1))
    assert any(len(rows(evaluations.x)) < MAX_CONTEXT for evaluations, _ in asked)
    assert set().union(*(rows(evaluations.x) for evaluations, _ in asked)) == rows(task.x)
    value_at = {tuple(x): float(y) for x, y in zip(np.asarray(task.x).tolist(), np.asarray(task.y), strict=True)}
    for evaluations, candidates in asked:
        places = np.asarray(evaluations.x).tolist()
        assert [value_at[tuple(x)] for x in places] == np.asarray(evaluations.y).tolist()
        np.testing.assert_array_equal(candidates, task.x)


def test_with_replacement_padding_is_neither_seen_nor_counted(model, room):
    is_valid = jnp.arange(12) % 4 != 1
    loss = jax.jit(
        lambda task, key: context_loss(
            model.nap, model.params, task, key, max_context=MAX_CONTEXT, with_replacement=True
        )
    )
    for seed in range(4):
        losses = [
            loss(room.task.replace(is_valid=is_valid, y=jnp.where(is_valid, room.task.y, junk)), jax.random.key(seed))
            for junk in (0.0, 1e3)
        ]
        assert losses[0] == losses[1] and np.isfinite(losses[0])


def test_where_values_are_not_standardised_every_context_is_scored(make_model, room):
    """Bars of equal logits over (-0.1, 1.1) are a density of 1 / 1.2, whatever is seen and asked for."""
    paper = make_model(architecture="paper", values="range", width=8, num_layers=1, num_heads=2, num_bars=24)
    params = jax.tree.map(jnp.zeros_like, paper.newborn)
    loss = jax.jit(
        lambda key: context_loss(
            paper.nap, params, by_range(room.task), key, max_context=MAX_CONTEXT, with_replacement=True
        )
    )
    for seed in range(3):
        np.testing.assert_allclose(loss(jax.random.key(seed)), np.log(1.2), rtol=1e-5)


def test_where_values_are_raw_the_density_is_that_of_the_values_themselves(make_model, room):
    """Twice the values under bars of equal logits and twice the width are half as dense, whatever the context is."""
    losses = []
    for scale in (1.0, 2.0):
        model = make_model(values="raw", width=8, num_layers=1, num_heads=2, num_bars=16, bar_limit=4.0 * scale)
        flat = jax.tree.map(jnp.zeros_like, model.newborn)
        pool = room.task.replace(y=scale * jnp.linspace(-0.1, 0.1, 12))  # all within the innermost bars
        losses.append(context_loss(model.nap, flat, pool, jax.random.key(0), max_context=MAX_CONTEXT))
        width = model.nap.bars.widths[8]
        np.testing.assert_allclose(losses[-1], np.log(16 * width), rtol=1e-5)
    assert losses[1] > losses[0]


@pytest.mark.parametrize("with_replacement", [False, True])
def test_log_uniform_counts_favour_small_contexts(model, room, with_replacement):
    """The share of every count is `log((n + 1) / n)` of what all have together, to four standard errors."""
    asked = []
    count = partial(
        context_loss,
        recording(model, asked),
        model.params,
        room.task,
        max_context=MAX_CONTEXT,
        counts="log-uniform",
        with_replacement=with_replacement,
    )
    seen = jax.jit(jax.vmap(lambda key: (count(key), asked[-1][0].is_seen.sum())[1]))
    sizes = np.asarray(seen(jax.random.split(jax.random.key(0), 4000)))
    least = 1 if with_replacement else MIN_CONTEXT
    numbers = np.arange(least, MAX_CONTEXT + 1)
    law = np.log((numbers + 1) / numbers) / np.log((MAX_CONTEXT + 1) / least)
    found = np.array([np.mean(sizes == n) for n in numbers])
    assert set(sizes.tolist()) == set(numbers.tolist())
    np.testing.assert_array_less(np.abs(found - law), 4 * np.sqrt(law * (1 - law) / 4000))


@pytest.fixture(scope="module")
def plane():
    """A hundred points of a square, ten of them padding, and values that fall away from a corner, with noise."""
    rng = np.random.default_rng(0)
    x = rng.random((100, 2)).astype(np.float32)
    y = (-x.sum(axis=1) + 0.1 * rng.standard_normal(100)).astype(np.float32)
    kind = jnp.full((2,), NUMERIC, jnp.int32)
    return pool_params(jnp.asarray(x), kind, jnp.asarray(y), is_valid=jnp.arange(100) < 90)


def contexts(pool, share, count=30, num=64):
    """[num, count] candidates of contexts."""

    def one(key):
        key_order, key_gather = jax.random.split(key)
        order = jnp.argsort(jnp.where(pool.is_valid, jax.random.uniform(key_order, (100,)), 2.0))
        return gather(pool, order, jnp.int32(count), share, key_gather)

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), num)))
    assert all(sorted(order) == list(range(100)) for order in found.tolist())
    return found[:, :count]


def spread(pool, chosen):
    """Mean squared distance of each context's points from the best of them."""
    x, y = np.asarray(pool.x)[chosen], np.asarray(pool.y)[chosen]
    best = x[np.arange(len(x)), y.argmax(axis=1)]
    return ((x - best[:, None]) ** 2).sum(axis=-1).mean(axis=1)


def test_gathered_contexts_lie_around_the_best_and_hold_no_padding(plane):
    chosen, blind = contexts(plane, 1.0), contexts(plane, 0.0)
    assert (chosen < 90).all() and (blind < 90).all()
    assert spread(plane, chosen).mean() < 0.8 * spread(plane, blind).mean()
    values = np.asarray(plane.y)
    assert values[chosen].mean() > values[blind].mean() + 0.2


def test_half_of_the_contexts_are_gathered_where_half_are_to_be(plane):
    half, ends = spread(plane, contexts(plane, 0.5, num=512)), [spread(plane, contexts(plane, s)) for s in (0.0, 1.0)]
    np.testing.assert_allclose(half.mean(), (ends[0].mean() + ends[1].mean()) / 2.0, rtol=0.1)


def test_what_is_left_out_has_no_say_in_what_is_chosen(plane):
    """Values outside a context may be anything: it stays the same, so that nothing can be learned from being left."""
    chosen = contexts(plane, 1.0, num=16)
    for row in range(16):
        outside = np.setdiff1d(np.arange(100), chosen[row])
        moved = plane.replace(y=plane.y.at[outside].set(100.0 + jnp.arange(len(outside), dtype=jnp.float32)))
        np.testing.assert_array_equal(contexts(moved, 1.0, num=16)[row], chosen[row])


@pytest.mark.parametrize("count", [2, 3, 90])
def test_contexts_of_any_size_can_be_gathered(plane, count):
    chosen = contexts(plane, 1.0, count=count, num=8)
    assert all(len(set(row)) == count and max(row) < 90 for row in chosen.tolist())
