"""A transformer over a context that queries read and never change.

Shared by in-context control and Bayesian optimisation. A context is a *prior token* (the empty data set) followed by
one token per transition. Queries attend to the prior token and to the part of the context that is theirs; context
tokens never attend to a query. All functions are about one context, unbatched; vmap them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.networks.block import Block

ATTENTIONS = ("causal", "set", "independent")
"""How context tokens see each other: those before them (cacheable), all (exactly permutation invariant, but every token
changes all others), or only themselves (exactly permutation invariant and cacheable)."""
POSITIONS = ("none", "rope")
"""Whether order is shown: not at all, or by rotating queries and keys (Su et al. 2021)."""


class Cache(NamedTuple):
    """What a model keeps of a context: keys and values of every layer, in a circular buffer behind the prior token.

    Slot 0 holds the prior token and is never overwritten; transition t, counted from 0, lies in slot `1 + t % (S - 1)`.
    """

    keys: tuple[Float[Array, "S N d"], ...]
    """Keys of each layer by slot and head."""
    values: tuple[Float[Array, "S N d"], ...]
    """Values of each layer by slot and head."""
    length: Int[Array, ""]
    """Transitions taken in since the beginning, overwritten ones included."""
    last: Float[Array, " W"]
    """Output of the last layer at the latest token; zeros where it is never read."""
    tokens: Float[Array, "S W"] | None = None
    """With attention `set`, the tokens themselves by slot, from which keys and values are made anew when there are more
    of them; None elsewhere, and for a context that was encoded whole."""

    @property
    def is_filled(self) -> Bool[Array, " S"]:
        """Which slots hold something."""
        return jnp.arange(self.num_slots) <= self.length

    @property
    def num_slots(self) -> int:
        """S, one more than the transitions there is room for."""
        return self.keys[0].shape[0]

    def slots_of_next(self, is_valid: Bool[Array, " n"]) -> Int[Array, " n"]:
        """Returns where the next transitions go; those that are not valid to S, which is out of bounds."""
        position = self.length + jnp.cumsum(is_valid.astype(jnp.int32)) - 1
        return jnp.where(is_valid, 1 + position % (self.num_slots - 1), self.num_slots)


class ContextTransformer(nn.Module):
    """Layers over the tokens of a context and of its queries; embedding and heads are the caller's."""

    width: int = 32
    """W, the size of a token."""
    num_layers: int = 4
    """L."""
    num_heads: int = 1
    """N; few wide heads are fastest."""
    attention: str = "causal"
    """One of `ATTENTIONS`."""
    positions: str = "none"
    """One of `POSITIONS`."""
    mlp_ratio: int = 4
    """Hidden units of the perceptrons as a multiple of the width."""
    activation: str = "gelu"
    """Name in `metarl.networks.block.ACTIVATIONS`."""
    normalises_queries: bool = False
    """Whether queries and keys are normalised (QK-norm)."""
    dtype: Any = jnp.float32
    """Type of activations: float32, or bfloat16 on accelerators."""

    def setup(self) -> None:
        """Makes the layers."""
        self.prior = self.param("prior", nn.initializers.normal(1.0), (self.width,))
        rest = (
            self.width,
            self.num_heads,
            self.mlp_ratio,
            self.activation,
            self.normalises_queries,
            self.positions == "rope",
        )
        self.blocks = [Block(*rest, self.dtype) for _ in range(self.num_layers)]
        self.norm = nn.RMSNorm(dtype=self.dtype)
        if self.attention == "independent":
            self.encoder = Block(*rest, self.dtype)

    def encode(
        self, tokens: Float[Array, "H W"], is_valid: Bool[Array, " H"], bias: Float[Array, "L N S S"] | None = None
    ) -> tuple[Cache, Float[Array, "S W"]]:
        """Returns the whole context at once: its cache with S = 1 + H slots, and the output at every slot.

        A bias is added to the logits of each layer and head, by slot that looks and slot that is looked at; it needs
        attention `set`.

        With `causal` and `independent` attention the first j transitions have the same keys and values whatever
        follows, so that one encoding serves queries about every prefix. Tokens that are not valid are never seen.
        """
        if bias is not None and self.attention != "set":
            raise ValueError(f"attention {self.attention!r} takes no bias among context tokens; 'set' does")
        x = jnp.concatenate([self.prior[None].astype(self.dtype), tokens.astype(self.dtype)])
        num_slots = x.shape[0]
        order = jnp.arange(num_slots)
        is_seen = jnp.concatenate([jnp.ones((1,), bool), is_valid])
        mask = jnp.broadcast_to(is_seen[None], (num_slots, num_slots))
        if self.attention == "causal":
            mask = mask & (order[:, None] >= order[None])
        keep = lambda layer, keys, values: (keys, values)  # noqa: E731
        x, keys, values = self._through(x, order, mask, keep, is_triangular=self.attention == "causal", bias=bias)
        length = jnp.sum(is_valid.astype(jnp.int32))
        return Cache(keys, values, length, x[length].astype(jnp.float32)), x

    def _through(
        self,
        x: Array,
        positions: Array,
        mask: Array,
        write: Callable[[int, Array, Array], tuple[Array, Array]],
        *,
        is_triangular: bool = False,
        bias: Array | None = None,
    ) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Returns (output, keys, values) of context tokens, which see what `write` puts these two into."""
        pairs = []
        if self.attention == "independent":
            x = self.encoder.think(x)
            pairs = [write(layer, *block.keys_values(x, positions)) for layer, block in enumerate(self.blocks)]
            x = jnp.zeros_like(x)
        else:
            for layer, block in enumerate(self.blocks):
                pairs.append(write(layer, *block.keys_values(x, positions)))
                own = None if bias is None else bias[layer]
                x = block(x, positions, *pairs[-1], mask, is_triangular=is_triangular, bias=own)
            x = self.norm(x)
        keys, values = zip(*pairs, strict=True)
        return x, keys, values

    def read(
        self,
        queries: Float[Array, "M W"],
        cache: Cache,
        prefix: Int[Array, " M"],
        is_visible: Bool[Array, "M S"],
        bias: Float[Array, "L N M S"] | None = None,
    ) -> Float[Array, "M W"]:
        """Returns the output at M queries, each of which sees the visible slots of the context and no other query.

        Args:
            queries: embedded queries.
            cache: the context.
            prefix: how many transitions each query knows of, for its position.
            is_visible: which slots it sees; slot 0 must be visible.
            bias: what is added to the logits of each layer and head.
        """
        x = queries.astype(self.dtype)
        for layer, block in enumerate(self.blocks):
            own = None if bias is None else bias[layer]
            x = block(x, prefix + 1, cache.keys[layer], cache.values[layer], is_visible, bias=own)
        return self.norm(x)

    def init_cache(self, capacity: int) -> Cache:
        """Returns the context that holds nothing, with room for `capacity` transitions."""
        empty, _ = self.encode(jnp.zeros((0, self.width)), jnp.zeros((0,), bool))
        if self.attention == "set":
            empty = empty._replace(tokens=self.prior[None].astype(self.dtype))
        return reserve(empty, capacity)

    def extend(self, cache: Cache, tokens: Float[Array, "n W"], is_valid: Bool[Array, " n"]) -> Cache:
        """Returns the context after n more tokens in order, of which only the valid count; n <= S - 1.

        Where the buffer is full, the oldest tokens are overwritten before the new ones look at it; with `causal`
        attention, what survives has still seen them. With `set` attention all S tokens are encoded again, which is
        the work of a whole context however few are new.

        Raises:
            ValueError: with `set` attention, for a cache that `init_cache` has not begun.
        """
        rank = jnp.cumsum(is_valid.astype(jnp.int32)) - 1
        position = cache.length + rank
        slot = cache.slots_of_next(is_valid)
        if self.attention == "set":
            return self._encode_again(cache, tokens, slot, cache.length + rank[-1] + 1)
        age = jnp.zeros((cache.num_slots,), jnp.int32).at[slot].set(rank + 1, mode="drop")
        mask = (cache.is_filled | (age > 0))[None] & (age[None] <= rank[:, None] + 1)

        def write(layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
            return (
                cache.keys[layer].at[slot].set(keys, mode="drop"),
                cache.values[layer].at[slot].set(values, mode="drop"),
            )

        x, keys, values = self._through(tokens.astype(self.dtype), position + 1, mask, write)
        count = rank[-1] + 1
        latest = x[jnp.argmax(rank)].astype(jnp.float32)  # the first with the highest rank is the last valid one
        return Cache(keys, values, cache.length + count, jnp.where(count > 0, latest, cache.last))

    def _encode_again(self, cache: Cache, new: Array, slot: Array, length: Array) -> Cache:
        """Returns the context with new tokens in these slots, encoded as `encode` would the `length` latest or all."""
        if cache.tokens is None:
            raise ValueError("with attention 'set' only a context that init_cache has begun can be extended")
        tokens = cache.tokens.at[slot].set(new.astype(self.dtype), mode="drop")
        capacity, order = cache.num_slots - 1, jnp.arange(cache.num_slots)
        oldest = jnp.where(length > capacity, length % capacity, 0)
        positions = jnp.where(order == 0, 0, 1 + (order - 1 - oldest) % capacity)
        mask = jnp.broadcast_to((order <= length)[None], (order.shape[0], order.shape[0]))
        _, keys, values = self._through(tokens, positions, mask, lambda layer, keys, values: (keys, values))
        return Cache(keys, values, length, cache.last, tokens)

    def __call__(self, tokens: Array, queries: Array) -> Array:
        """Returns the output at one query per token and touches every parameter; for initialisation only."""
        cache, outputs = self.encode(tokens, jnp.ones(tokens.shape[0], bool))
        prefix = jnp.full((queries.shape[0],), tokens.shape[0])
        visible = jnp.broadcast_to(cache.is_filled[None], (queries.shape[0], cache.num_slots))
        return self.read(queries, cache, prefix, visible) + jnp.sum(outputs)


def reserve(cache: Cache, capacity: int) -> Cache:
    """Returns the cache with room for at least `capacity` transitions; one that has been filled up must not be given.

    Overwriting starts where the buffer ends, so that a cache may grow only while it is not full.
    """
    missing = 1 + capacity - cache.num_slots
    if missing <= 0:
        return cache
    pad = lambda leaf: jnp.pad(leaf, ((0, missing), *((0, 0),) * (leaf.ndim - 1)))  # noqa: E731
    slots = (cache.keys, cache.values, cache.tokens)
    keys, values, tokens = jax.tree.map(pad, slots)
    return cache._replace(keys=keys, values=values, tokens=tokens)
