"""Attention of queries to keys and values under a mask, and positions shown by rotation. About one context."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

TRIANGLE, MAX_TRIANGLES = 128, 8
"""How many queries of a causal attention are handled together, at least, with the keys up to the last of them and no
others; and in how many parts at most. Nearly half of the work for many tokens lies above the diagonal."""
ROPE_BASE = 10_000.0
"""Ratio of the slowest to the fastest wavelength of rotary positions."""


def attend(
    queries: Float[Array, "M N d"],
    keys: Float[Array, "S N d"],
    values: Float[Array, "S N d"],
    mask: Bool[Array, "M S"],
    bias: Float[Array, "N M S"] | None = None,
) -> Float[Array, "M N d"]:
    """Returns softmax attention, with a bias added to its logits; every row of the mask must allow something.

    One query of several heads is answered on CPU by `attend_alone`, which is more than twice as fast there.
    """
    if queries.shape[0] == 1 and queries.shape[1] > 1 and jax.default_backend() == "cpu":
        return attend_alone(queries, keys, values, mask, bias)
    bias = None if bias is None else bias[None]
    return jax.nn.dot_product_attention(queries[None], keys[None], values[None], bias, mask[None, None])[0]


def attend_alone(
    query: Float[Array, "1 N d"],
    keys: Float[Array, "S N d"],
    values: Float[Array, "S N d"],
    mask: Bool[Array, "1 S"],
    bias: Float[Array, "N 1 S"] | None = None,
) -> Float[Array, "1 N d"]:
    """Returns what `attend` does for one query, up to rounding, by two products of matrices with all heads in each.

    Each head of the query stands in a row of zeros. That is N times the multiplications, but keys and values are read
    as they lie, and reading is what acting waits for.
    """
    _, num_heads, size = query.shape
    own = jnp.eye(num_heads, dtype=query.dtype)[:, :, None]
    rows, width = (query * own).reshape(num_heads, -1), num_heads * size
    logits = jnp.einsum("nw,sw->ns", rows, keys.reshape(-1, width), preferred_element_type=jnp.float32)
    logits = logits / jnp.sqrt(jnp.float32(size)) + (0.0 if bias is None else bias[:, 0].astype(jnp.float32))
    weights = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=1).astype(values.dtype)
    seen = (weights @ values.reshape(-1, width)).reshape(num_heads, num_heads, size)
    return jnp.einsum("nnd->nd", seen)[None]


def attention_weights(
    queries: Float[Array, "M N d"],
    keys: Float[Array, "S N d"],
    mask: Bool[Array, "M S"],
    bias: Float[Array, "N M S"] | None = None,
) -> Float[Array, "N M S"]:
    """Returns what `attend` weighs values by, for people to look at; rows sum to 1."""
    logits = jnp.einsum("mnd,snd->nms", queries.astype(jnp.float32), keys.astype(jnp.float32))
    logits = logits / jnp.sqrt(jnp.float32(queries.shape[-1])) + (0.0 if bias is None else bias)
    return jax.nn.softmax(jnp.where(mask[None], logits, -jnp.inf), axis=-1)


def attend_causally(
    queries: Float[Array, "S N d"], keys: Float[Array, "S N d"], values: Float[Array, "S N d"], mask: Bool[Array, "S S"]
) -> Float[Array, "S N d"]:
    """Returns what `attend` does under a mask that allows nothing above its diagonal, up to rounding, by less work."""
    count = queries.shape[0]
    size = max(TRIANGLE, -(-count // MAX_TRIANGLES))
    ends = [*range(size, count, size), count]
    parts = [
        attend(queries[start:end], keys[:end], values[:end], mask[start:end, :end])
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    return jnp.concatenate(parts)


def rotate(x: Float[Array, "S N d"], positions: Int[Array, " S"]) -> Float[Array, "S N d"]:
    """Returns vectors rotated by their positions, so that products depend on differences of positions alone.

    Source: Su et al. 2021 (RoFormer), with halves instead of neighbouring entries paired.
    """
    half = x.shape[-1] // 2
    frequency = ROPE_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions.astype(jnp.float32)[:, None, None] * frequency[None, None]
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
