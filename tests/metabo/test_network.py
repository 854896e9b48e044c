"""A candidate is judged by itself in the light of a set: nothing else may matter, and nothing of the set be lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.task import UNUSED
from metarl.metabo.network import Evaluations

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
"""Sums over a set in another order."""
ROOM = 8
"""Places for evaluations, of which two are empty: as in the environment, so that few programs are compiled."""


def known(task):
    """The first half of a pool as a set, and all of it as candidates."""
    return Evaluations(task.x[:ROOM], task.y[:ROOM], jnp.arange(ROOM) < 6), task.x


def judged(model, kind, evaluations, candidates, params=None):
    """Everything that is said of each candidate, and of the whole."""
    belief, logits, value = model.answer(model.params if params is None else params, kind, evaluations, candidates)
    reading = belief.reading
    each = jnp.concatenate([reading.hidden, reading.bars, logits[:, None], reading.log_ei[:, None]], axis=1)
    return np.asarray(each), np.asarray(jnp.concatenate([reading.summary, value[None], reading.incumbent[None]]))


@pytest.fixture(scope="module", params=["none", "ard"])
def model(request, make_model):
    """Models that are told distances, and not."""
    return make_model(distances=request.param)


@pytest.mark.parametrize("distances", ["none", "ard"])
def test_half_precision_is_that_of_the_transformer_alone_and_says_nearly_the_same(make_model, room, distances):
    exact = make_model(distances=distances)
    expected = exact.answer(exact.params, room.task.kind, *known(room.task))
    with jax.numpy_dtype_promotion("standard"):  # jax's own attention mixes bfloat16 and float32
        rough = make_model(distances=distances, precision="bfloat16")
        found = rough.answer(rough.params, room.task.kind, *known(room.task))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), exact.params, rough.params)
    for low, full in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert low.dtype == full.dtype == jnp.float32 and jnp.isfinite(low).all()
        # Tokens reach 3, a rounding is 2**-9 of that, some four add up: 0.02; heads sum 16 of these by weights of .4
        np.testing.assert_allclose(low, full, atol=2.0**-4 * max(float(jnp.abs(full).max()), 1.0))
    assert (found[0].reading.mean != expected[0].reading.mean).any()


@pytest.fixture(scope="module")
def expected(model, room):
    """What is said of the pool given half of it."""
    return judged(model, room.task.kind, *known(room.task))


def test_the_order_of_evaluations_changes_nothing(model, room, expected):
    evaluations, candidates = known(room.task)
    order = jnp.array([3, 7, 0, 5, 1, 6, 4, 2])
    found = judged(model, room.task.kind, jax.tree.map(lambda leaf: leaf[order], evaluations), candidates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **TOLERANCE), found, expected)


def test_what_was_evaluated_where_does_matter(model, room, expected):
    evaluations, candidates = known(room.task)
    found = judged(
        model, room.task.kind, evaluations._replace(y=evaluations.y[jnp.array([5, 4, 3, 2, 1, 0, 6, 7])]), candidates
    )
    assert np.abs(found[0] - expected[0]).max() > 1e-2


def test_candidates_in_another_order_are_judged_the_same(model, room, expected):
    evaluations, candidates = known(room.task)
    order = np.random.default_rng(0).permutation(12)
    each, whole = judged(model, room.task.kind, evaluations, candidates[order])
    np.testing.assert_allclose(each, expected[0][order], **TOLERANCE)
    np.testing.assert_allclose(whole, expected[1], **TOLERANCE)


def test_other_candidates_change_nothing(model, room, expected):
    """Few of them, one twice."""
    evaluations, candidates = known(room.task)
    places = np.array([9, 2, 9])
    each, whole = judged(model, room.task.kind, evaluations, candidates[places])
    np.testing.assert_allclose(each, expected[0][places], **TOLERANCE)
    np.testing.assert_allclose(whole, expected[1], **TOLERANCE)


def test_empty_places_may_hold_anything(model, room, expected):
    evaluations, candidates = known(room.task)
    empty = ~evaluations.is_seen
    junk = Evaluations(jnp.where(empty[:, None], 3.0, evaluations.x), jnp.where(empty, 1e4, evaluations.y), ~empty)
    jax.tree.map(np.testing.assert_array_equal, judged(model, room.task.kind, junk, candidates), expected)


def test_more_room_changes_nothing(model, room, expected):
    evaluations, candidates = known(room.task)
    full = jax.tree.map(lambda leaf: leaf[:6], evaluations)
    found = judged(model, room.task.kind, full, candidates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **TOLERANCE), found, expected)


def test_unused_dimensions_may_hold_anything(model, room, expected):
    task = room.task
    x = jnp.where((task.kind == UNUSED)[None], 7.5, task.x)
    found = judged(model, task.kind, *known(task.replace(x=x)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_used_dimensions_matter_by_value_and_by_kind(model, room, expected):
    """A grid place and a number of the same value differ, because what dimensions are is told."""
    task = room.task
    evaluations, candidates = known(task)
    for column, moved in ((0, 0.9), (1, 0.25), (2, 2.0)):
        found = judged(model, task.kind, evaluations, candidates.at[:, column].set(moved))
        changed = candidates[:, column] != moved
        assert (np.abs(found[0] - expected[0]).max(axis=1) > 1e-3)[np.asarray(changed)].all()
    other_kind = task.kind.at[0].set(task.kind[1])
    assert np.abs(judged(model, other_kind, evaluations, candidates)[0] - expected[0]).max() > 1e-2


def test_without_evaluations_there_is_still_an_answer(model, room):
    evaluations, candidates = known(room.task)
    each, whole = judged(model, room.task.kind, evaluations._replace(is_seen=jnp.zeros((ROOM,), bool)), candidates)
    assert np.isfinite(each).all() and np.isfinite(whole).all()


def test_an_untrained_acquisition_is_expected_improvement_and_an_untrained_critic_0(model, joint, room):
    evaluations, candidates = known(room.task)
    belief, logits, value = model.answer(model.newborn, room.task.kind, evaluations, candidates)
    np.testing.assert_array_equal(logits, belief.reading.log_ei)
    assert value == 0.0 and np.ptp(logits) > 0.0
    _, logits, _ = joint.answer(joint.newborn, room.task.kind, evaluations, candidates)
    np.testing.assert_array_equal(logits, np.zeros(12))


def rms(x, scale):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale


def dense_block(x, weights, mask, bias, num_heads):
    """A layer over the whole sequence, in which every token is query, key and value; mask [S, S], bias [N, S, S]."""
    normal = rms(x, weights["norm_attention"]["scale"])
    heads = lambda name: (normal @ weights[name]["kernel"]).reshape(len(x), num_heads, -1)  # noqa: E731
    queries, keys, values = heads("to_queries"), heads("to_keys"), heads("to_values")
    scores = np.einsum("inh,jnh->nij", queries, keys) / np.sqrt(queries.shape[-1])
    scores = np.where(mask[None], scores + bias, -np.inf)
    weight = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weight /= weight.sum(axis=-1, keepdims=True)
    x = x + np.einsum("nij,jnh->inh", weight, values).reshape(x.shape) @ weights["merge"]["kernel"]
    hidden = np.maximum(rms(x, weights["norm_mlp"]["scale"]) @ weights["expand"]["kernel"], 0.0)
    return x + hidden @ weights["contract"]["kernel"]


def test_reading_is_dense_attention_over_one_sequence_with_a_mask(model, room):
    """Prior token, evaluations and candidates as one sequence in which only the first and those seen are looked at."""
    network, weights = model.nap.network, jax.tree.map(np.asarray, model.params)
    evaluations, candidates = known(room.task)
    is_seen = jnp.array([True, True, False, True, True, False, False, True])
    evaluations = evaluations._replace(is_seen=is_seen)
    belief, *_ = model.answer(model.params, room.task.kind, evaluations, candidates)

    embed = lambda x: np.asarray(  # noqa: E731
        network.apply({"params": model.params}, x, room.task.kind, method=lambda m, x, kind: m.embed_point(x, kind))
    )
    z = np.where(is_seen, np.asarray(belief.scale.standardise(evaluations.y)), 0.0)[:, None]
    values = np.concatenate([z, np.tanh(z)], axis=1) @ weights["embed_value"]["kernel"] + weights["embed_value"]["bias"]
    sequence = np.concatenate(
        [weights["layers"]["prior"][None], embed(evaluations.x) + values, embed(candidates) + weights["question"]]
    )
    visible = np.concatenate([[True], is_seen, np.zeros(12, bool)])
    mask = np.broadcast_to(visible, (len(sequence), len(sequence)))
    bias = np.zeros((network.num_layers, network.num_heads, *mask.shape), np.float32)
    if network.distances == "ard":
        seen = Evaluations(evaluations.x, jnp.asarray(z[:, 0]), is_seen)
        among, towards = network.apply(
            {"params": model.params}, room.task.kind, seen, candidates, method=lambda m, *args: m._biases(*args)
        )
        bias[:, :, : 1 + ROOM, : 1 + ROOM], bias[:, :, 1 + ROOM :, : 1 + ROOM] = among, towards
        assert np.ptp(bias) > 1.0
    for layer in range(network.num_layers):
        sequence = dense_block(sequence, weights["layers"][f"blocks_{layer}"], mask, bias[layer], network.num_heads)
    output = rms(sequence, weights["layers"]["norm"]["scale"])
    np.testing.assert_allclose(belief.reading.hidden, output[1 + ROOM :], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(belief.reading.summary, output[visible].mean(axis=0), rtol=1e-4, atol=1e-4)
