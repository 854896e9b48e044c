"""Drift functions: the penalty f of a proximal actor loss `-mean(r A - f)`, written down (PPO, DPO) or learned (LPO).

All work elementwise on the ratio r of an action's new and old probability, its logarithm, and the advantage A. A drift
is a valid mirror step where f >= 0 everywhere, and f = 0 with zero slope at r = 1.

Source: Kuba et al. 2022 (mirror learning); Lu et al. 2022 (LPO, DPO).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Batch = Float[Array, "*batch"]

Drift = Callable[[Batch, Batch, Batch], Batch]
"""`drift(ratio, log_ratio, advantage) -> f`, elementwise."""

NUM_FEATURES = 8
"""Inputs of a learned drift before time multiplies them."""
HIDDEN_SIZE = 128
"""Units of a learned drift, as in luchris429/discovered-policy-optimisation."""


def clip_drift(ratio: Batch, advantage: Batch, clip: float) -> Batch:
    """Returns PPO as a drift, `relu((r - clip(r, 1 - c, 1 + c)) A)`, so that `r A - drift = min(r A, clip(r) A)`.

    Source: Schulman et al. 2017, Eq. 7, in the form of Lu et al. 2022.
    """
    return jax.nn.relu((ratio - jnp.clip(ratio, 1.0 - clip, 1.0 + clip)) * advantage)


def dpo_drift(ratio: Batch, log_ratio: Batch, advantage: Batch, *, a: float = 2.0, b: float = 0.6) -> Batch:
    """Returns the drift of discovered policy optimisation.

    `relu((r - 1) A - a tanh((r - 1) A / a))` where A >= 0 and `relu(A log r - b tanh(A log r / b))` where A < 0.

    Source: Lu et al. 2022, Eq. 15 and 16.
    """
    gain, loss = (ratio - 1.0) * advantage, log_ratio * advantage
    return jnp.where(
        advantage >= 0.0,
        jax.nn.relu(gain - a * jnp.tanh(gain / a)),
        jax.nn.relu(loss - b * jnp.tanh(loss / b)),
    )


def drift_features(
    ratio: Batch, log_ratio: Batch, advantage: Batch, time: Float[Array, " F"]
) -> Float[Array, "*batch inputs"]:
    """Returns `[x, t_1 x, ..., t_F x]` with `x = [u, u^2, v, v^2, A u, A u^2, A v, A v^2]`, u = log r and v = 1 - r.

    Every entry vanishes at r = 1, and only because time multiplies and is never appended, whatever the time says.

    Source: Lu et al. 2022 (x); Jackson et al. 2024, Eq. 10 (its product with n/N).
    """
    u, v = log_ratio, 1.0 - ratio
    bases = jnp.stack([u, jnp.square(u), v, jnp.square(v)], axis=-1)
    x = jnp.concatenate([bases, advantage[..., None] * bases], axis=-1)
    return jnp.concatenate([x, *(time[index] * x for index in range(time.shape[0]))], axis=-1)


def init_drift(key: Array, *, num_time_features: int, hidden_size: int) -> dict[str, Any]:
    """Returns the parameters of a drift network that says 0 everywhere: a lecun-normal hidden layer, a zero output.

    Not zeros throughout: a network of zeros without biases computes the same function for opposite perturbations, so
    that antithetic pairs always tie and evolution never moves. Consumes the key.
    """
    num_inputs = NUM_FEATURES * (1 + num_time_features)
    hidden = jax.nn.initializers.lecun_normal()(key, (num_inputs, hidden_size), jnp.float32)
    return {"hidden": {"kernel": hidden}, "output": {"kernel": jnp.zeros((hidden_size, 1), jnp.float32)}}


def learned_drift(
    meta_params: dict[str, Any],
    ratio: Batch,
    log_ratio: Batch,
    advantage: Batch,
    *,
    time: Float[Array, " F"],
    start_clip: float | None,
    offset: float,
) -> Batch:
    """Returns `relu(start + network(x) - offset)`, never negative, and flat at 0 around r = 1 if `offset` is positive.

    Args:
        meta_params: from `init_drift`; layers have no biases.
        ratio: r.
        log_ratio: log r.
        advantage: A.
        time: features of the point in life, which multiply the inputs; their number must be that of `init_drift`.
        start_clip: PPO's clip, whose drift the network is added to; None adds it to nothing.
        offset: what is subtracted, so that the argument is negative at r = 1. With 0 the slope there is 0 only for a
            network of zeros.

    Source: luchris429/discovered-policy-optimisation (the network, `offset` 1e-4); google/learned_optimization (the
    start from PPO).
    """
    inputs = drift_features(ratio, log_ratio, advantage, time)
    hidden = jnp.tanh(inputs @ meta_params["hidden"]["kernel"])
    start = 0.0 if start_clip is None else clip_drift(ratio, advantage, start_clip)
    return jax.nn.relu(start + (hidden @ meta_params["output"]["kernel"])[..., 0] - offset)
