"""How far apart points are, as a bias of attention, along the dimensions that matter as far as evaluations tell.

What a Gaussian process knows after many evaluations it owes to distances, with a lengthscale of its own for every
dimension. A transformer that is shown coordinates has to learn to take differences first, and to find out which
dimensions matter from tokens that mix them all. Here it is told squared distances, weighed by a small network that
looks at one dimension after the other, in the same way at each.

Source: automatic relevance determination, Rasmussen and Williams 2006, section 5.1; amortised as in Liu et al. 2020,
"Task-agnostic amortized inference of Gaussian process hyperparameters"; distances as a bias of attention, Ashman et al.
2024, "Translation equivariant transformer neural processes".
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.task import CATEGORICAL, UNUSED

NUM_KINDS = 4
SCALES = (0.05, 0.15, 0.4)
"""Distances within which pairs of evaluations count as near, in unit cubes."""
HIDDEN = 32
"""Hidden units of what weighs dimensions."""
FIRST_LOG_WEIGHTS = (-1.0, 4.0)
"""Of an untrained model, from the first head to the last: lengthscales from 1.2 to .1."""
MAX_CHANGE = 4.0
"""By how much a log weight can be moved off these by the evaluations."""
SMALL = 1e-6


def squared_differences(
    a: Float[Array, "n D"], b: Float[Array, "m D"], kind: Int[Array, " D"]
) -> Float[Array, "D n m"]:
    """Returns squared differences; between categories 1 where they differ, and 0 in unused dimensions.

    Dimensions lead: a CPU sums over a leading axis several times as fast as over a short last one.
    """
    difference = a.T[:, :, None] - b.T[:, None, :]
    kind = kind[:, None, None]
    differs = (difference != 0.0).astype(jnp.float32)
    return jnp.where(kind == CATEGORICAL, differs, jnp.where(kind == UNUSED, 0.0, difference**2))


class Distances(nn.Module):
    """Biases of every head of every layer: `-r² - c r` for `r² = sum_d w_d difference_d²`, with w and c of the head."""

    num_layers: int
    """Layers of the transformer."""
    num_heads: int
    """Heads of each."""

    def setup(self) -> None:
        """Makes the layers."""
        size = self.num_layers * self.num_heads
        self.hidden, self.change = nn.Dense(HIDDEN), nn.Dense(size, kernel_init=nn.initializers.zeros)
        first = np.tile(np.linspace(*FIRST_LOG_WEIGHTS, self.num_heads, dtype=np.float32), self.num_layers)
        self.log_weight = self.param("log_weight", lambda key: jnp.asarray(first))
        self.log_linear = self.param("log_linear", nn.initializers.zeros, (size,))
        self.prior = self.param("prior", nn.initializers.zeros, (size,))

    def weigh(
        self, kind: Int[Array, " D"], x: Float[Array, "L D"], y: Float[Array, " L"], is_seen: Bool[Array, " L"]
    ) -> Float[Array, "K D"]:
        """Returns the weight of each dimension for each of K = layers x heads; 0 for dimensions that are not used."""
        shown = relevance_features(kind, x, y, is_seen)
        change = MAX_CHANGE * jnp.tanh(self.change(nn.gelu(self.hidden(shown))) / MAX_CHANGE)
        return jnp.where(kind == UNUSED, 0.0, jnp.exp(self.log_weight[:, None] + change.T))

    def __call__(
        self, weights: Float[Array, "K D"], kind: Int[Array, " D"], x: Float[Array, "n D"], context: Float[Array, "L D"]
    ) -> Float[Array, "layers heads n S"]:
        """Returns the bias of points towards the prior token, which is nowhere, and the L points of the context."""
        squared = jnp.einsum("kd,dnl->knl", weights, squared_differences(x, context, kind))
        bias = -squared - jnp.exp(self.log_linear)[:, None, None] * jnp.sqrt(squared + SMALL)
        prior = jnp.broadcast_to(self.prior[:, None, None], (*bias.shape[:2], 1))
        bias = jnp.concatenate([prior, bias], axis=2)
        return bias.reshape(self.num_layers, self.num_heads, *bias.shape[1:])


def relevance_features(
    kind: Int[Array, " D"], x: Float[Array, "L D"], y: Float[Array, " L"], is_seen: Bool[Array, " L"]
) -> Float[Array, "D F"]:
    """Returns what evaluations say of each dimension, whatever the others are called.

    At each of `SCALES`: half the mean squared difference of values of pairs that are near along the dimension (its
    variogram), and how many those are; the same of pairs that are near along all others, in all and as a slope along
    this one, which is what the others leave to it. Then how much of the values a line and a parabola explain, how many
    evaluations and dimensions there are, and the kind.

    Args:
        kind: what each dimension holds.
        x: points; numbers in [0, 1].
        y: their values, of mean 0 and variance 1 or thereabouts.
        is_seen: which places are filled.
    """
    seen = is_seen.astype(jnp.float32)
    y = jnp.where(is_seen, y, 0.0)
    count, num_used = jnp.maximum(jnp.sum(seen), 1.0), jnp.maximum(jnp.sum((kind != UNUSED).astype(jnp.float32)), 1.0)
    squares = squared_differences(x, x, kind)
    rest = (jnp.sum(squares, axis=0)[None] - squares) / num_used
    pairs = seen[:, None] * seen[None] * (1.0 - jnp.eye(x.shape[0], dtype=jnp.float32))
    gaps = 0.5 * (y[:, None] - y[None]) ** 2

    def total(weight: Array, values: Array) -> Float[Array, " D"]:
        return jnp.sum(weight * values, axis=(1, 2))

    features = []
    for scale in SCALES:
        near, beside = (pairs[None] * jnp.exp(-apart / (2.0 * scale**2)) for apart in (squares, rest))
        num_near, num_beside = jnp.sum(near, axis=(1, 2)), jnp.sum(beside, axis=(1, 2))
        features += [total(near, gaps[None]) / (num_near + 1.0), jnp.log1p(num_near) / 5.0]
        features += [total(beside, gaps[None]) / (num_beside + 1.0)]
        features += [total(beside, gaps[None] * squares) / (0.1 * num_beside + 0.1)]
    line = (x - jnp.sum(x * seen[:, None], axis=0, keepdims=True) / count) * seen[:, None]
    parabola = (line**2 - jnp.sum(line**2, axis=0, keepdims=True) / count) * seen[:, None]
    for curve in (line, parabola):
        norm = jnp.sum(curve**2, axis=0) * jnp.sum(y**2) + SMALL
        features += [jnp.log(count) * jnp.sum(curve * y[:, None], axis=0) ** 2 / norm]
    everywhere = jnp.ones(kind.shape, jnp.float32)
    features += [everywhere * jnp.log(count) / 3.0, everywhere * jnp.log(num_used)]
    kinds = jax.nn.one_hot(kind, NUM_KINDS, dtype=jnp.float32)
    return jax.lax.stop_gradient(jnp.concatenate([jnp.stack(features, axis=1), kinds], axis=1))
