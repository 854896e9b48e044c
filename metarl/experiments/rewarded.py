"""What is collected once a reward has been seen: whether a context is acted upon, apart from how it was come by."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.domain import Domain
from metarl.incontext.agent import expert_agent
from metarl.incontext.deploy import deploy_many, make_deploy


def once_rewarded(returns: Float[np.ndarray, "K E"], *, remembers_one: bool) -> Float[np.ndarray, " k"]:
    """Returns the mean return, by task, of the episodes that were begun with a reward in the context.

    Args:
        returns: of K tasks and E episodes in a row, none negative.
        remembers_one: whether the context is the previous episode alone, and not all before.

    Tasks without such an episode are left out.
    """
    is_rewarded = returns > 0.0
    knows = is_rewarded if remembers_one else np.logical_or.accumulate(is_rewarded, axis=1)
    knows = np.pad(knows[:, :-1], ((0, 0), (1, 0)))
    count = knows.sum(axis=1)
    return (np.where(knows, returns, 0.0).sum(axis=1) / np.maximum(count, 1))[count > 0]


def expert_returns(
    domain: Domain, params: Any, key: Array, *, horizon: int | None = None, batch_size: int | None = None
) -> Float[np.ndarray, " K"]:
    """Returns what one who knows each of K tasks collects in an episode; consumes the key."""

    def play(params: Any, key: Array) -> Array:
        return jnp.sum(make_deploy(domain, expert_agent(domain, params), horizon=horizon)(params, key).reward)

    return np.asarray(jax.jit(lambda params, key: deploy_many(play, params, key, batch_size=batch_size))(params, key))
