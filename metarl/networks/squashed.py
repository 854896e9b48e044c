"""Normal distributions squeezed into [-1, 1] by tanh: the policies of soft actor-critic."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LOG_STD_RANGE = (-20.0, 2.0)
"""Log standard deviations before squashing are clipped to this, as in Haarnoja et al. 2018."""


def squashed_action(
    outputs: Float[Array, "*batch size"], noise: Float[Array, "*batch D"]
) -> tuple[Float[Array, "*batch D"], Float[Array, "*batch"]]:
    """Returns (actions within [-1, 1], their log-densities), differentiable in the outputs.

    Source: Haarnoja et al. 2018, equation 21; `log(1 - tanh(u)^2)` as `2 (log 2 - u - softplus(-2 u))`, which does not
    overflow.

    Args:
        outputs: means and log standard deviations before squashing.
        noise: standard normals; zeros give the action of largest density before squashing.
    """
    mean, log_std = jnp.split(outputs, 2, axis=-1)
    log_std = jnp.clip(log_std, *LOG_STD_RANGE)
    before = mean + jnp.exp(log_std) * noise
    log_density = -0.5 * jnp.square(noise) - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    log_slope = 2.0 * (jnp.log(2.0) - before - jax.nn.softplus(-2.0 * before))
    return jnp.tanh(before), jnp.sum(log_density - log_slope, axis=-1)
