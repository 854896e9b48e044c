"""One layer of a transformer, whose keys and values may come from elsewhere."""

import functools
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Bool, Float, Int

from metarl.networks.attention import attend, attend_causally, attention_weights, rotate

ACTIVATIONS = {"gelu": nn.gelu, "relu": nn.relu}
"""Activations of the perceptrons by name; on CPU the gradient of `relu` takes a third of the time."""
WEIGHTS = "attention"
"""Collection of variables in which layers leave their attention, for who asks for it."""


class Block(nn.Module):
    """Attention to given keys and values, then a two-layer perceptron; normalised before each; no offsets."""

    width: int
    """W."""
    num_heads: int
    """N."""
    mlp_ratio: int
    """Hidden units of the perceptron as a multiple of the width."""
    activation: str
    """One of `ACTIVATIONS`."""
    normalises: bool
    """Whether queries and keys are normalised per head, with a learned scale."""
    rotates: bool
    """Whether positions are shown by rotation."""
    dtype: Any
    """Type of activations; parameters are float32."""

    def setup(self) -> None:
        """Makes the layers."""
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype)
        self.norm_attention, self.norm_mlp = nn.RMSNorm(dtype=self.dtype), nn.RMSNorm(dtype=self.dtype)
        self.to_queries, self.to_keys, self.to_values, self.merge = (dense(self.width) for _ in range(4))
        self.expand, self.contract = dense(self.mlp_ratio * self.width), dense(self.width)
        if self.normalises:
            self.norm_queries, self.norm_keys = nn.RMSNorm(dtype=self.dtype), nn.RMSNorm(dtype=self.dtype)

    def keys_values(
        self, x: Float[Array, "S W"], positions: Int[Array, " S"]
    ) -> tuple[Float[Array, "S N d"], Float[Array, "S N d"]]:
        """Returns what others see of these tokens."""
        x = self.norm_attention(x)
        keys, values = self._heads(self.to_keys(x)), self._heads(self.to_values(x))
        keys = self.norm_keys(keys) if self.normalises else keys
        return rotate(keys, positions) if self.rotates else keys, values

    def __call__(
        self,
        x: Float[Array, "M W"],
        positions: Int[Array, " M"],
        keys: Float[Array, "S N d"],
        values: Float[Array, "S N d"],
        mask: Bool[Array, "M S"],
        *,
        is_triangular: bool = False,
        bias: Float[Array, "N M S"] | None = None,
    ) -> Float[Array, "M W"]:
        """Returns the tokens after they have looked at what their row of the mask allows.

        `is_triangular` promises that a mask [S, S] allows nothing above its diagonal; there must be no bias then.
        Applied with the collection `WEIGHTS` mutable, the layer leaves its attention [N, M, S] there.
        """
        queries = self._heads(self.to_queries(self.norm_attention(x)))
        queries = self.norm_queries(queries) if self.normalises else queries
        queries = rotate(queries, positions) if self.rotates else queries
        if self.is_mutable_collection(WEIGHTS) and not self.is_initializing():
            self.sow(WEIGHTS, "layer", attention_weights(queries, keys, mask, bias))
        if is_triangular:
            seen = attend_causally(queries, keys, values, mask)
        else:
            seen = attend(queries, keys, values, mask, bias)
        return self.think(x + self.merge(seen.reshape(x.shape)))

    def think(self, x: Float[Array, "M W"]) -> Float[Array, "M W"]:
        """Returns the tokens after the perceptron."""
        return x + self.contract(ACTIVATIONS[self.activation](self.expand(self.norm_mlp(x))))

    def _heads(self, x: Array) -> Array:
        return x.reshape(x.shape[0], self.num_heads, self.width // self.num_heads)
