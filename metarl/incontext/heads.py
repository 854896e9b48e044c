"""What a model says about an action: a categorical over discrete ones; bins or a mixture over continuous ones.

A mean (squared error) would not do: acting by samples from `P(a* | data)` is what makes a pretrained model explore.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

HEADS = ("categorical", "binned", "mixture")
"""Names that `make_head` knows."""


class Head(NamedTuple):
    """A distribution over actions as pure functions of a network's outputs; all unbatched."""

    size: int
    """Outputs of the network."""
    loss: Callable[[Array, Array], Float[Array, ""]]
    """`loss(outputs [size], label) -> -log p(label)` in nats. The label is a probability for every discrete action, or
    a vector in [-1, 1]^D."""
    sample: Callable[[Array, Array], Array]
    """`sample(outputs, key) -> action`; consumes the key."""
    mode: Callable[[Array], Array]
    """`mode(outputs) -> action`: the most probable; of continuous actions the centre of the most probable bin or the
    mean of the heaviest component."""


def make_head(kind: str, num_actions: int, *, num_parts: int = 32) -> Head:
    """Returns the head of this kind.

    Args:
        kind: `categorical`; `binned` (a piecewise constant density for each dimension, as in prior-fitted networks) or
            `mixture` (Gaussians of vectors).
        num_actions: discrete actions, or dimensions of continuous ones.
        num_parts: bins of each dimension or components, at least 1; ignored by `categorical`.

    Raises:
        ValueError: if the kind is unknown or a number below 1.
    """
    if kind not in HEADS or num_actions < 1 or num_parts < 1:
        raise ValueError(
            f"a head was asked for with kind={kind!r}, num_actions={num_actions}, num_parts={num_parts}; choose one of "
            f"{', '.join(HEADS)} and numbers of at least 1"
        )
    if kind == "categorical":
        return categorical(num_actions)
    return binned(num_actions, num_parts) if kind == "binned" else mixture(num_actions, num_parts)


def categorical(num_actions: int) -> Head:
    """Returns a softmax over discrete actions; outputs are logits, of which `-inf` marks impossible actions."""

    def loss(outputs: Float[Array, " A"], label: Float[Array, " A"]) -> Float[Array, ""]:
        log_probabilities = jax.nn.log_softmax(outputs)
        return -jnp.sum(jnp.where(label > 0.0, label * log_probabilities, 0.0))

    def sample(outputs: Float[Array, " A"], key: Array) -> Array:
        return jax.random.categorical(key, outputs).astype(jnp.int32)

    return Head(num_actions, loss, sample, lambda outputs: jnp.argmax(outputs).astype(jnp.int32))


def categorical_mask(logits: Float[Array, "*batch A"], allowed: Bool[Array, " A"]) -> Float[Array, "*batch A"]:
    """Returns the logits with `-inf` for actions that are not allowed."""
    return jnp.where(jnp.broadcast_to(allowed, logits.shape), logits, -jnp.inf)


def binned(num_dimensions: int, num_bins: int) -> Head:
    """Returns a density on [-1, 1] for each dimension that is constant within each of B equal bins.

    Source: Müller et al. 2022 (prior-fitted networks), the Riemann distribution without tails.
    """
    width = 2.0 / num_bins
    centres = -1.0 + width * (jnp.arange(num_bins, dtype=jnp.float32) + 0.5)

    def logits(outputs: Float[Array, " n"]) -> Float[Array, "D B"]:
        return jax.nn.log_softmax(outputs.reshape(num_dimensions, num_bins), axis=-1)

    def loss(outputs: Float[Array, " n"], label: Float[Array, " D"]) -> Float[Array, ""]:
        index = jnp.clip(jnp.floor((label + 1.0) / width), 0, num_bins - 1).astype(jnp.int32)
        chosen = jnp.take_along_axis(logits(outputs), index[:, None], axis=-1)
        return num_dimensions * math.log(width) - jnp.sum(chosen)

    def sample(outputs: Float[Array, " n"], key: Array) -> Float[Array, " D"]:
        key_bin, key_within = jax.random.split(key)
        chosen = jax.random.categorical(key_bin, logits(outputs), axis=-1)
        within = jax.random.uniform(key_within, (num_dimensions,), minval=-0.5, maxval=0.5)
        return centres[chosen] + width * within

    return Head(num_dimensions * num_bins, loss, sample, lambda outputs: centres[jnp.argmax(logits(outputs), axis=-1)])


MIN_LOG_SCALE = -5.0
"""Components of a mixture are no narrower than e^-5, so that a repeated label cannot make the loss fall for ever."""


def mixture(num_dimensions: int, num_components: int) -> Head:
    """Returns a mixture of M Gaussians, whose dimensions are independent within each; actions are clipped to [-1, 1].

    So dimensions hang together as they do in a posterior: a goal is to the left or above, and not half of both.

    Source: Bishop 1994 (mixture density networks).
    """
    # Means start spread over the box; equal components would get equal gradients and stay equal. Every dimension has
    # them in an order of its own, or all would lie on a diagonal.
    orders = [np.random.RandomState(i).permutation(num_components) for i in range(1, num_dimensions)]
    spread = np.linspace(-1.0, 1.0, num_components + 2, dtype=np.float32)[1:-1]
    spread = np.stack([spread, *(spread[order] for order in orders)])

    def parts(outputs: Float[Array, " n"]) -> tuple[Array, Array, Array]:
        weight, rest = outputs[:num_components], outputs[num_components:]
        mean, log_scale = jnp.split(rest.reshape(num_dimensions, 2 * num_components), 2, axis=-1)
        return jax.nn.log_softmax(weight), mean + spread, MIN_LOG_SCALE + jax.nn.softplus(log_scale + 4.0)

    def loss(outputs: Float[Array, " n"], label: Float[Array, " D"]) -> Float[Array, ""]:
        weight, mean, log_scale = parts(outputs)
        z = (label[:, None] - mean) * jnp.exp(-log_scale)
        log_density = -0.5 * z**2 - log_scale - 0.5 * math.log(2.0 * math.pi)
        return -jax.nn.logsumexp(weight + jnp.sum(log_density, axis=0))

    def sample(outputs: Float[Array, " n"], key: Array) -> Float[Array, " D"]:
        key_component, key_within = jax.random.split(key)
        weight, mean, log_scale = parts(outputs)
        chosen = jax.random.categorical(key_component, weight)
        noise = jnp.exp(log_scale[:, chosen]) * jax.random.normal(key_within, (num_dimensions,))
        return jnp.clip(mean[:, chosen] + noise, -1.0, 1.0)

    def mode(outputs: Float[Array, " n"]) -> Float[Array, " D"]:
        weight, mean, _ = parts(outputs)
        return jnp.clip(mean[:, jnp.argmax(weight)], -1.0, 1.0)

    return Head((1 + 2 * num_dimensions) * num_components, loss, sample, mode)
