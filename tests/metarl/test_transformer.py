import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.networks import attention as module_of_attention
from metarl.networks.transformer import ContextTransformer, reserve

WIDTH, LENGTH = 8, 12
ATTENTIONS = [("causal", "none"), ("causal", "rope"), ("independent", "none"), ("independent", "rope")]
CACHES = [*ATTENTIONS, ("set", "none"), ("set", "rope")]
TOLERANCE = 1e-5
"""float32 sums of a dozen terms in another order."""


def build(attention="causal", positions="none", **options):
    module = ContextTransformer(WIDTH, 2, 2, attention, positions, **options)
    tokens = jax.random.normal(jax.random.key(1), (LENGTH, WIDTH))
    queries = jax.random.normal(jax.random.key(2), (3, WIDTH))
    return module, module.init(jax.random.key(0), tokens, queries), tokens, queries


def call(module, params, method, *inputs):
    return module.apply(params, *inputs, method=getattr(module, method))


def answers(module, params, cache, queries):
    """What three queries read from all that a cache holds."""
    visible = jnp.broadcast_to(cache.is_filled[None], (3, cache.num_slots))
    return call(module, params, "read", queries, cache, jnp.broadcast_to(cache.length, (3,)), visible)


def extended(module, params, tokens, is_valid=None, capacity=LENGTH, pieces=None):
    """A cache that tokens were put into in pieces, one by one unless told otherwise."""
    cache = call(module, params, "init_cache", capacity)
    is_valid = jnp.ones(len(tokens), bool) if is_valid is None else is_valid
    extend = jax.jit(lambda cache, tokens, is_valid: call(module, params, "extend", cache, tokens, is_valid))
    start = 0
    for size in pieces or [1] * len(tokens):
        cache = extend(cache, tokens[start : start + size], is_valid[start : start + size])
        start += size
    return cache


@pytest.mark.parametrize(("attention", "positions"), CACHES)
@pytest.mark.parametrize("pieces", [None, [5, 4, 3], [12]])
def test_a_cache_answers_as_the_whole_context_does(attention, positions, pieces):
    module, params, tokens, queries = build(attention, positions)
    whole, _ = call(module, params, "encode", tokens, jnp.ones(LENGTH, bool))
    cache = extended(module, params, tokens, pieces=pieces)
    np.testing.assert_allclose(
        answers(module, params, cache, queries), answers(module, params, whole, queries), atol=TOLERANCE
    )
    if attention != "set":  # whose outputs at tokens nobody reads
        np.testing.assert_allclose(cache.last, whole.last, atol=TOLERANCE)
    assert int(cache.length) == int(whole.length) == LENGTH


@pytest.mark.parametrize("size", [1, 5, 13])
def test_what_lies_above_the_diagonal_is_left_out_and_changes_nothing(size, monkeypatch):
    """Outputs, what is cached, and gradients are those of attention under the whole mask, however it is cut."""
    module, params, tokens, _ = build("causal", "rope")
    is_valid = jnp.arange(LENGTH) < 10

    def encode(params, tokens):
        cache, outputs = call(module, params, "encode", tokens, is_valid)
        return jnp.sum(jnp.where(jnp.arange(LENGTH + 1)[:, None] <= 10, outputs, 0.0) ** 2), (cache, outputs[:11])

    found = []
    for triangle in (LENGTH + 1, size):
        monkeypatch.setattr(module_of_attention, "TRIANGLE", triangle)
        monkeypatch.setattr(module_of_attention, "MAX_TRIANGLES", LENGTH + 1)
        found.append(jax.value_and_grad(encode, (0, 1), has_aux=True)(params, tokens))
    jax.tree.map(lambda whole, cut: np.testing.assert_allclose(whole, cut, atol=TOLERANCE, rtol=1e-4), *found)


@pytest.mark.parametrize(("attention", "positions"), CACHES)
def test_tasks_at_different_lengths_do_not_disturb_each_other(attention, positions):
    """Batched caches with unequal lengths, of which one starts again: each as if it were alone."""
    module, params, tokens, queries = build(attention, positions)
    lengths = jnp.array([0, 3, 7, 12])
    is_valid = jnp.arange(LENGTH)[None] < lengths[:, None]
    step = jax.jit(
        jax.vmap(
            lambda cache, token, valid: call(module, params, "extend", cache, token[None], valid[None]), (0, None, 0)
        )
    )
    fresh = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), call(module, params, "init_cache", LENGTH))
    cache = fresh
    for t in range(LENGTH):
        cache = step(cache, tokens[t], is_valid[:, t])
    # The third task is reset while the others go on.
    cache = jax.tree.map(lambda new, old: old.at[2].set(new[2]), fresh, cache)
    cache = step(cache, tokens[0], jnp.array([True, False, True, False]))
    for i, length in enumerate([1, 3, 1, 12]):
        alone = extended(module, params, tokens[:length])
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], cache)
        assert int(mine.length) == length
        np.testing.assert_allclose(
            answers(module, params, mine, queries), answers(module, params, alone, queries), atol=TOLERANCE
        )


def test_a_window_holds_the_latest_transitions():
    """With independent tokens nothing of what was overwritten survives, not even in other tokens."""
    module, params, tokens, queries = build("independent")
    window = extended(module, params, tokens, capacity=5)
    latest = extended(module, params, tokens[-5:], capacity=5)
    # What is left differs in the count of what was ever seen, which only positions and queries know.
    visible = jnp.broadcast_to(window.is_filled[None], (3, window.num_slots))
    prefix = jnp.zeros((3,), jnp.int32)
    np.testing.assert_allclose(
        call(module, params, "read", queries, window, prefix, visible),
        call(module, params, "read", queries, latest, prefix, visible),
        atol=TOLERANCE,
    )
    assert bool(window.is_filled.all()) and int(window.length) == LENGTH


def test_a_wrapped_window_of_causal_tokens_answers_as_attention_to_the_latest_with_their_old_keys():
    module, params, tokens, queries = build("causal")
    whole, _ = call(module, params, "encode", tokens[:5], jnp.ones(5, bool))
    full = extended(module, params, tokens[:5], capacity=5)
    np.testing.assert_allclose(
        answers(module, params, full, queries), answers(module, params, whole, queries), atol=TOLERANCE
    )
    wrapped = extended(module, params, tokens[:7], capacity=5)
    for layer in range(2):
        np.testing.assert_array_equal(wrapped.keys[layer][3:], full.keys[layer][3:])  # transitions 2, 3 and 4 stay
        assert not np.allclose(wrapped.keys[layer][1:3], full.keys[layer][1:3])  # 5 and 6 took the places of 0 and 1


@pytest.mark.parametrize(("attention", "positions"), ATTENTIONS)
def test_unused_slots_may_hold_keys_that_are_no_numbers_and_any_finite_values(attention, positions):
    """In queries and in tokens that are added later.

    Logits of slots that a mask hides are replaced whatever they are. Values are multiplied by the weight 0 that this
    leaves them, which is 0 for all but infinities and NaN: these would be seen, and no cache is ever made with them.
    """
    module, params, tokens, queries = build(attention, positions)
    cache = extended(module, params, tokens[:4])
    is_empty = ~cache.is_filled[:, None, None]
    junk = cache._replace(
        keys=tuple(jnp.where(is_empty, jnp.nan, layer) for layer in cache.keys),
        values=tuple(jnp.where(is_empty, 1e30, layer) for layer in cache.values),
    )
    np.testing.assert_array_equal(answers(module, params, junk, queries), answers(module, params, cache, queries))
    token, valid = tokens[4:5], jnp.ones((1,), bool)
    clean, spoiled = (call(module, params, "extend", one, token, valid) for one in (cache, junk))
    for layer in range(2):
        np.testing.assert_array_equal(spoiled.keys[layer][:6], clean.keys[layer][:6])
        np.testing.assert_array_equal(spoiled.values[layer][:6], clean.values[layer][:6])
    np.testing.assert_array_equal(spoiled.last, clean.last)


@pytest.mark.parametrize("attention", ["causal", "independent", "set"])
def test_padding_is_inert(attention):
    module, params, tokens, queries = build(attention)
    is_valid = jnp.arange(LENGTH) < 7
    one, _ = call(module, params, "encode", tokens, is_valid)
    other, _ = call(module, params, "encode", tokens.at[7:].set(1e2), is_valid)
    np.testing.assert_array_equal(answers(module, params, one, queries), answers(module, params, other, queries))


@pytest.mark.parametrize("attention", ["causal", "independent"])
def test_a_prefix_does_not_know_what_follows(attention):
    module, params, tokens, _ = build(attention)
    valid = jnp.ones(LENGTH, bool)
    one, outputs = call(module, params, "encode", tokens, valid)
    other, changed = call(module, params, "encode", tokens.at[6:].add(3.0), valid)
    for layer in range(2):
        np.testing.assert_array_equal(one.keys[layer][:7], other.keys[layer][:7])
    np.testing.assert_array_equal(outputs[:7], changed[:7])
    assert not np.allclose(one.keys[1][7:], other.keys[1][7:])


def test_queries_do_not_see_each_other():
    module, params, tokens, queries = build()
    cache, _ = call(module, params, "encode", tokens, jnp.ones(LENGTH, bool))
    found = answers(module, params, cache, queries)
    changed = answers(module, params, cache, queries.at[0].add(5.0))
    np.testing.assert_array_equal(found[1:], changed[1:])
    assert not np.allclose(found[0], changed[0])


@pytest.mark.parametrize("attention", ["set", "independent"])
def test_the_order_of_a_set_does_not_matter(attention):
    module, params, tokens, queries = build(attention)
    order = jax.random.permutation(jax.random.key(3), LENGTH)
    valid = jnp.ones(LENGTH, bool)
    one, _ = call(module, params, "encode", tokens, valid)
    other, _ = call(module, params, "encode", tokens[order], valid)
    np.testing.assert_allclose(
        answers(module, params, one, queries), answers(module, params, other, queries), atol=TOLERANCE
    )


@pytest.mark.parametrize(("attention", "positions"), [("causal", "none"), ("independent", "rope")])
def test_the_order_of_others_matters(attention, positions):
    module, params, tokens, queries = build(attention, positions)
    valid = jnp.ones(LENGTH, bool)
    one, _ = call(module, params, "encode", tokens, valid)
    other, _ = call(module, params, "encode", tokens[::-1], valid)
    found, reversed_ = (answers(module, params, cache, queries) for cache in (one, other))
    assert np.abs(found - reversed_).max() > 1e-3


@pytest.mark.parametrize("positions", ["none", "rope"])
@pytest.mark.parametrize("pieces", [None, [5, 2, 5]])
def test_a_wrapped_window_of_a_set_is_the_latest_transitions_alone(positions, pieces):
    module, params, tokens, queries = build("set", positions)
    window = extended(module, params, tokens, capacity=5, pieces=pieces)
    latest, _ = call(module, params, "encode", tokens[-5:], jnp.ones(5, bool))
    found = answers(module, params, window._replace(length=latest.length), queries)
    np.testing.assert_allclose(found, answers(module, params, latest, queries), atol=TOLERANCE)
    assert int(window.length) == LENGTH and window.num_slots == 6


def test_a_set_that_was_encoded_whole_cannot_be_extended():
    module, params, tokens, _ = build("set")
    cache, _ = call(module, params, "encode", tokens, jnp.ones(LENGTH, bool))
    with pytest.raises(ValueError, match="that init_cache has begun"):
        call(module, params, "extend", cache, tokens[:1], jnp.ones(1, bool))


@pytest.mark.parametrize("attention", ["causal", "set"])
def test_more_room_changes_nothing_but_the_room(attention):
    module, params, tokens, queries = build(attention)
    small = extended(module, params, tokens[:4], capacity=4)
    large = reserve(small, 9)
    assert (small.num_slots, large.num_slots) == (5, 10)
    np.testing.assert_allclose(
        answers(module, params, small, queries), answers(module, params, large, queries), atol=TOLERANCE
    )
    assert reserve(large, 3) is large
    step = lambda cache: call(module, params, "extend", cache, tokens[4:7], jnp.ones(3, bool))  # noqa: E731
    whole, _ = call(module, params, "encode", tokens[:7], jnp.ones(7, bool))
    np.testing.assert_allclose(
        answers(module, params, step(large), queries), answers(module, params, whole, queries), atol=TOLERANCE
    )


def test_bfloat16_follows_float32():
    module, params, tokens, queries = build("independent")
    low = module.clone(dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):  # jax's own attention mixes bfloat16 and float32
        caches = [call(one, params, "encode", tokens, jnp.ones(LENGTH, bool))[0] for one in (module, low)]
        exact, rounded = (
            answers(one, params, cache, queries).astype(jnp.float32)
            for one, cache in zip((module, low), caches, strict=True)
        )
    assert caches[1].keys[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded, exact, atol=0.1)  # two layers of sums with 8 bits each; outputs are of order 1


def test_normalised_queries_are_blind_to_the_scale_of_keys():
    module, params, tokens, queries = build("independent", normalises_queries=True)
    cache, _ = call(module, params, "encode", tokens, jnp.ones(LENGTH, bool))
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 7.0 * leaf if "to_keys" in jax.tree_util.keystr(path) else leaf, params
    )
    other, _ = call(module, scaled, "encode", tokens, jnp.ones(LENGTH, bool))
    np.testing.assert_allclose(
        answers(module, params, cache, queries), answers(module, params, other, queries), atol=TOLERANCE
    )


def test_a_bias_is_added_to_logits_so_that_minus_infinity_hides_and_0_changes_nothing():
    module, params, tokens, queries = build("set")
    is_valid = jnp.arange(LENGTH) < 9
    cache, plain = call(module, params, "encode", tokens, is_valid)
    visible = jnp.broadcast_to(jnp.concatenate([jnp.ones((1,), bool), is_valid])[None], (3, 1 + LENGTH))
    bias = jnp.where(visible, 0.0, -1e9)
    shape = (2, 2, 1 + LENGTH, 1 + LENGTH)
    everything = jnp.ones((LENGTH,), bool)
    _, hidden = call(module, params, "encode", tokens, everything, jnp.broadcast_to(bias[0], shape))
    np.testing.assert_allclose(hidden[:10], plain[:10], atol=TOLERANCE)
    prefix = jnp.zeros((3,), jnp.int32)
    expected = call(module, params, "read", queries, cache, prefix, visible)
    found = call(
        module,
        params,
        "read",
        queries,
        cache,
        prefix,
        jnp.ones_like(visible),
        jnp.broadcast_to(bias, (2, 2, *bias.shape)),
    )
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    one_head = jnp.zeros((2, 2, *bias.shape)).at[0, 1, :, 3].set(1.0)
    assert np.abs(call(module, params, "read", queries, cache, prefix, visible, one_head) - expected).max() > 1e-3


@pytest.mark.parametrize("attention", ["causal", "independent"])
def test_context_tokens_that_do_not_see_all_others_take_no_bias(attention):
    module, params, tokens, _ = build(attention)
    with pytest.raises(ValueError, match="takes no bias"):
        call(module, params, "encode", tokens, jnp.ones((LENGTH,), bool), jnp.zeros((2, 2, 1 + LENGTH, 1 + LENGTH)))
