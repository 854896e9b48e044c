"""The network of the public code: its size, its attention over one sequence with a mask, and its heads by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from envs.blackbox.task import UNUSED, by_range
from metarl.metabo.nap import make_nap
from metarl.metabo.network import Evaluations

TINY = {"width": 8, "num_layers": 2, "num_heads": 2, "num_bars": 24, "acquisition_width": 6}
ROOM = 8
IS_SEEN = jnp.array([True, True, False, True, True, False, False, True])
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
"""Sums over a set in another order."""


@pytest.fixture(scope="module")
def paper(make_model):
    """A tiny model with noise on every weight."""
    return make_model(architecture="paper", values="range", **TINY)


@pytest.fixture(scope="module")
def pool(room):
    """The pool as such a model is shown it."""
    return by_range(room.task)


def known(task):
    """Five points of a pool as a set, and all of it as candidates."""
    return Evaluations(task.x[:ROOM], task.y[:ROOM], IS_SEEN), task.x


def judged(paper, kind, evaluations, candidates):
    """Everything that is said of each candidate."""
    belief, logits, value = paper.answer(paper.params, kind, evaluations, candidates)
    reading = belief.reading
    assert np.isfinite(value)
    return np.asarray(jnp.concatenate([reading.hidden, reading.bars, logits[:, None], reading.mean[:, None]], axis=1))


def sizes(**settings):
    shapes = jax.eval_shape(make_nap(architecture="paper", num_dimensions=6, **settings).init, jax.random.key(0))
    return {name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(part)) for name, part in shapes.items()}


def test_at_six_dimensions_it_has_the_parameters_of_the_public_code():
    """14.56 million; the maps of categories, which a space of numbers never uses, come on top."""
    found = sizes()
    layer = 4 * (512 * 512 + 512) + 2 * 512 * 1024 + 1024 + 512 + 4 * 512
    assert all(found[f"layers_{i}"] == layer for i in range(6)) and "layers_6" not in found
    assert found["bars_head"] == 512 * 1024 + 1024 + 1024 * 1000 + 1000
    assert found["acquisition_head"] == 1514 * 200 + 200 + 2 * (200 * 200 + 200) + 201
    assert found["value_hidden"] + found["value_out"] == 2 * 512 + 512 + 513
    categories = 6 * 12 * 512
    assert found["embed_point"] == 6 * 512 + 512 + categories
    total = sum(found.values())
    assert abs(total - 14.56e6) < 0.05e6 and abs(total - categories - 14.56e6) < 0.005e6


def test_layers_outside_attention_start_as_normals_of_one_hundredth_without_biases():
    nap = make_nap(architecture="paper", num_dimensions=6, width=64, num_layers=1, num_bars=40)
    params = jax.jit(nap.init)(jax.random.key(0))
    attention = {"project", "merge"}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = [step.key for step in path]
        if names[-1] == "bias":
            assert (leaf == 0.0).all()
        elif names[-1] == "kernel" and not attention & set(names):
            assert abs(float(jnp.std(leaf)) - 0.01) < 0.01 * 4.0 / math.sqrt(2.0 * leaf.size), names
    # Of attention, as torch leaves it: uniform within ±sqrt(6 / (64 + 192)) and ±1 / sqrt(64).
    for name, bound in (("project", math.sqrt(6 / 256)), ("merge", 1 / 8)):
        largest = float(jnp.abs(params["layers_0"][name]["kernel"]).max())
        assert 0.98 * bound < largest <= bound


def layer_norm(x, weights):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weights["scale"] + weights["bias"]


def linear(x, weights):
    return x @ weights["kernel"] + weights.get("bias", 0.0)


def gelu(x):
    return x * (1.0 + erf(x / np.sqrt(2.0))) / 2.0


def dense_layer(x, weights, mask, num_heads):
    """A layer over the whole sequence, in which every token is query, key and value; mask [S, S]."""
    queries, keys, values = (
        part.reshape(len(x), num_heads, -1) for part in np.split(linear(x, weights["project"]), 3, axis=1)
    )
    scores = np.einsum("inh,jnh->nij", queries, keys) / np.sqrt(queries.shape[-1])
    scores = np.where(mask[None], scores, -np.inf)
    weight = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weight /= weight.sum(axis=-1, keepdims=True)
    found = linear(np.einsum("nij,jnh->inh", weight, values).reshape(x.shape), weights["merge"])
    x = layer_norm(x + found, weights["norm_attention"])
    return layer_norm(x + linear(gelu(linear(x, weights["expand"])), weights["contract"]), weights["norm_mlp"])


def reference(params, task, evaluations, candidates, progress=0.5):
    """(bars, acquisition, value) with one array of tokens and one mask, as the public code computes them."""
    weights = jax.tree.map(np.asarray, params)
    kind, is_seen = np.asarray(task.kind), np.asarray(evaluations.is_seen)

    def embed(x):
        x = np.asarray(x)
        numbers = np.where((kind == 1) | (kind == 2), x, 0.0)
        one_hot = np.where((kind == 3)[None, :, None], np.eye(12)[x.astype(int)], 0.0)
        embedding = weights["embed_point"]
        return linear(numbers, embedding["numbers"]) + linear(one_hot.reshape(len(x), -1), embedding["categories"])

    # Places not filled hold zeros there; nobody looks at them.
    y = np.where(is_seen, np.asarray(evaluations.y), 0.0)
    sequence = np.concatenate([embed(evaluations.x) + linear(y[:, None], weights["embed_value"]), embed(candidates)])
    visible = np.concatenate([is_seen, np.zeros(len(candidates), bool)])
    mask = np.broadcast_to(visible, (len(sequence), len(sequence))) | np.eye(len(sequence), dtype=bool)
    for layer in range(TINY["num_layers"]):
        sequence = dense_layer(sequence, weights[f"layers_{layer}"], mask, TINY["num_heads"])
    head = weights["bars_head"]
    bars = linear(gelu(linear(sequence[len(y) :], head["hidden"])), head["logits"])
    probabilities = np.exp(bars - bars.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    task_features = np.array([y.max(where=is_seen, initial=0.0), progress])
    features = np.concatenate([probabilities, embed(candidates), np.tile(task_features, (len(candidates), 1))], axis=1)
    for layer in range(3):
        features = np.maximum(linear(features, weights["acquisition_head"][f"Dense_{layer}"]), 0.0)
    logits = linear(features, weights["acquisition_head"]["Dense_3"])[:, 0]
    value = linear(np.tanh(linear(task_features, weights["value_hidden"])), weights["value_out"])[0]
    return bars, logits, value


@pytest.mark.parametrize("is_seen", [IS_SEEN, jnp.zeros((ROOM,), bool)], ids=["some", "nothing"])
def test_reading_is_dense_attention_over_one_sequence_with_a_mask(paper, pool, is_seen):
    evaluations, candidates = known(pool)
    evaluations = evaluations._replace(is_seen=is_seen)
    belief, logits, value = paper.answer(paper.params, pool.kind, evaluations, candidates)
    expected = reference(paper.params, pool, evaluations, candidates)
    for found, exact in zip((belief.reading.bars, logits, value), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=5e-5)
    assert np.std(expected[1]) > 2e-3  # far above what is tolerated


def test_without_evaluations_the_best_so_far_is_the_worst_of_the_pool(paper, pool):
    evaluations, candidates = known(pool)
    nothing = evaluations._replace(is_seen=jnp.zeros((ROOM,), bool))
    belief, *_ = paper.answer(paper.params, pool.kind, nothing, candidates)
    assert belief.reading.incumbent == 0.0 and belief.scale == (0.0, 1.0)
    belief, *_ = paper.answer(paper.params, pool.kind, evaluations, candidates)
    assert belief.reading.incumbent == np.max(np.asarray(pool.y[:ROOM])[np.asarray(IS_SEEN)])


def test_candidates_are_judged_by_themselves(paper, pool):
    """In another order, fewer, one twice."""
    evaluations, candidates = known(pool)
    expected = judged(paper, pool.kind, evaluations, candidates)
    places = np.array([9, 2, 9, 0, 5, 11, 3, 1, 8, 4, 6, 10])
    np.testing.assert_allclose(judged(paper, pool.kind, evaluations, candidates[places]), expected[places], **TOLERANCE)


def test_the_order_of_evaluations_and_what_is_not_seen_change_nothing(paper, pool):
    evaluations, candidates = known(pool)
    expected = judged(paper, pool.kind, evaluations, candidates)
    order = jnp.array([3, 7, 0, 5, 1, 6, 4, 2])
    found = judged(paper, pool.kind, jax.tree.map(lambda leaf: leaf[order], evaluations), candidates)
    np.testing.assert_allclose(found, expected, **TOLERANCE)
    empty, unused = ~IS_SEEN, (pool.kind == UNUSED)[None]
    x = jnp.where(empty[:, None] | unused, 3.0, evaluations.x)
    junk = Evaluations(x, jnp.where(empty, 1e4, evaluations.y), IS_SEEN)
    np.testing.assert_array_equal(judged(paper, pool.kind, junk, jnp.where(unused, 7.5, candidates)), expected)


def test_what_was_evaluated_matters(paper, pool):
    evaluations, candidates = known(pool)
    found = judged(paper, pool.kind, evaluations._replace(y=1.0 - evaluations.y), candidates)
    assert np.abs(found - judged(paper, pool.kind, evaluations, candidates)).max() > 1e-2


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="there is no architecture 'papper'; choose one of default, paper"):
        make_nap(architecture="papper")
