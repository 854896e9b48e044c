"""What rewards add up to: discounted returns, generalised advantages and lambda-returns of one trajectory.

All functions take arrays `[T]` of one environment; callers `vmap` over B. None consumes a key.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def discounted_returns(reward: Float[Array, " T"], done: Bool[Array, " T"], discount: float) -> Float[Array, " T"]:
    """Returns the discounted sum of rewards to the end of the episode or of the trajectory, `[T]`, without bootstrap.

    `G_t = r_t + discount (1 - done_t) G_{t+1}`, with `G_T = 0` after the last step. `discount` lies in [0, 1].
    """
    return _backward(lambda later, now: now[0] + now[1] * later, (reward, discount * _continues(done)))


def generalised_advantages(
    reward: Float[Array, " T"],
    value: Float[Array, " T"],
    next_value: Float[Array, " T"],
    *,
    terminated: Bool[Array, " T"],
    truncated: Bool[Array, " T"],
    discount: float,
    lambda_: float,
) -> Float[Array, " T"]:
    """Returns the exponentially weighted sum of temporal-difference errors, `[T]`.

    `A_t = delta_t + discount lambda (1 - done_t) A_{t+1}` with `delta_t = r_t + discount (1 - terminated_t) v'_t -
    v_t`. Termination has no successor, so nothing is bootstrapped there; truncation and the end of the trajectory
    bootstrap from the successor's value; neither lets errors of the next episode through.

    Args:
        reward: reward of each transition.
        value: value of the state acted on.
        next_value: value of the true successor, before any reset; ignored where `terminated`, and must be finite there.
        terminated: the episode ended in the world's own terms.
        truncated: the episode was cut by a time limit.
        discount: in [0, 1].
        lambda_: in [0, 1]; 0 gives one-step errors, 1 gives Monte-Carlo returns minus values.

    Source: Schulman et al. 2016, Eq. 16.
    """
    error = reward + discount * _continues(terminated) * next_value - value
    decay = discount * lambda_ * _continues(terminated | truncated)
    return _backward(lambda later, now: now[0] + now[1] * later, (error, decay))


def lambda_returns(
    reward: Float[Array, " T"],
    next_value: Float[Array, " T"],
    *,
    terminated: Bool[Array, " T"],
    truncated: Bool[Array, " T"],
    discount: float,
    lambda_: float,
) -> Float[Array, " T"]:
    """Returns the mixture of n-step returns with weights `(1 - lambda) lambda^(n-1)`, `[T]`.

    `G_t = r_t + discount (1 - terminated_t) ((1 - lambda) v'_t + lambda G_{t+1})`, where `G_{t+1}` is `v'_t` at a
    truncation and at the end of the trajectory. Arguments as in `generalised_advantages`; where `v'_t = v_{t+1}` within
    episodes, this is those advantages plus the values.

    Source: Sutton and Barto 2018, Eq. 12.3.
    """
    weight = lambda_ * _continues(truncated).at[-1].set(0.0)
    scale = discount * _continues(terminated)
    return _backward(
        lambda later, now: now[0] + now[1] * ((1.0 - now[3]) * now[2] + now[3] * later),
        (reward, scale, next_value, weight),
    )


def _continues(ended: Bool[Array, " T"]) -> Float[Array, " T"]:
    return 1.0 - ended.astype(jnp.float32)


def _backward(recurse: Callable[[Array, tuple], Array], inputs: tuple[Array, ...]) -> Float[Array, " T"]:
    """Returns `G_t = recurse(G_{t+1}, inputs_t)` for every t, starting from 0 after the last."""

    def step(later: Array, now: tuple) -> tuple[Array, Array]:
        result = recurse(later, now)
        return result, result

    return jax.lax.scan(step, jnp.zeros((), jnp.float32), inputs, reverse=True)[1]
