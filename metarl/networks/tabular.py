"""Tables of outputs per state: a bias-free linear layer on one-hot states that never builds the one-hot vector."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.index_observation import IndexObservation
from metarl.networks.network import Network, Params


def tabular(num_states: int, heads: Mapping[str, int]) -> Network:
    """Returns the network `table[index] + time w` for every head.

    It equals a bias-free linear layer on the one-hot state (S entries) with the time feature appended. Observations are
    an `IndexObservation`, or bare integers, which are read as time 0; an index outside [0, S) gives NaN. Each head's
    parameters are `{"table": [S, size], "time": [size]}`, drawn with variance 1 / (S + 1) from a normal truncated at
    two deviations.

    Args:
        num_states: S, at least 1.
        heads: output size by head name.

    Raises:
        ValueError: if `num_states` is below 1.
    """
    if num_states < 1:
        raise ValueError(f"a tabular network was asked for {num_states} states; it needs at least 1")
    initialise = jax.nn.initializers.lecun_normal()

    def init(key: Array) -> Params:
        keys = jax.random.split(key, len(heads))
        kernels = {
            head: initialise(key_head, (num_states + 1, size), jnp.float32)
            for key_head, (head, size) in zip(keys, heads.items(), strict=True)
        }
        return {head: {"table": kernel[:-1], "time": kernel[-1]} for head, kernel in kernels.items()}

    def apply(params: Params, observation: Any) -> dict[str, Array]:
        if not isinstance(observation, IndexObservation):
            observation = IndexObservation(observation, jnp.zeros(jnp.shape(observation), jnp.float32))
        return {head: _look_up(params[head], observation) for head in heads}

    return Network(init, apply)


def _look_up(params: dict[str, Array], observation: IndexObservation) -> Float[Array, "*batch size"]:
    # Plain indexing on purpose: XLA's CPU scatter-add, the gradient of this gather, was faster than a one-hot product
    # (10 x at S = 288, more for larger tables), sorted segments and a factored one-hot. NaN marks indices out of range
    # at no cost.
    rows = params["table"].at[observation.index].get(mode="fill", wrap_negative_indices=False)
    weights = params["time"].reshape((1,) * observation.time.ndim + (-1,))
    return rows + observation.time[..., None] * weights
