"""The meta-network of LPG: an embedding of predictions, a GRU that reads a rollout backwards, and two heads.

Parameters are a plain dict, so that an exported rule is readable with numpy alone. Matrices act on the right of row
vectors.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Params = dict[str, Any]

NUM_TRANSITION_INPUTS = 5
"""reward, done, action probability, embedded prediction, embedded next prediction."""
EMBEDDING_SIZE = 16


def init_params(key: Array, *, hidden_size: int, num_predictions: int, num_time_features: int) -> Params:
    """Returns freshly drawn parameters: lecun-normal kernels, orthogonal recurrent kernel, zero biases; consumes `key`.

    Discovery starts from zeros instead (as the reference does); this start is for meta-gradients and for tests.
    """
    num_inputs = NUM_TRANSITION_INPUTS + num_time_features
    keys = jax.random.split(key, 6)
    lecun = jax.nn.initializers.lecun_normal()
    orthogonal = jax.nn.initializers.orthogonal()
    recurrent = [orthogonal(k, (hidden_size, hidden_size)) for k in jax.random.split(keys[3], 3)]
    return {
        "embed_hidden": _dense(lecun, keys[0], num_predictions, EMBEDDING_SIZE),
        "embed_output": _dense(lecun, keys[1], EMBEDDING_SIZE, 1),
        "gru": {
            "input_kernel": lecun(keys[2], (num_inputs, 3 * hidden_size)),
            "input_bias": jnp.zeros((3 * hidden_size,)),
            "hidden_kernel": jnp.concatenate(recurrent, axis=1),
            "candidate_bias": jnp.zeros((hidden_size,)),
        },
        "pi_hat": _dense(lecun, keys[4], hidden_size, 1),
        "y_hat": _dense(lecun, keys[5], hidden_size, num_predictions),
    }


def _dense(initializer: Any, key: Array, num_inputs: int, num_outputs: int) -> Params:
    return {"kernel": initializer(key, (num_inputs, num_outputs)), "bias": jnp.zeros((num_outputs,))}


def _affine(params: Params, inputs: Float[Array, "... I"]) -> Float[Array, "... O"]:
    outputs = inputs @ params["kernel"]
    return outputs + jnp.broadcast_to(params["bias"], outputs.shape)


def embed(params: Params, prediction: Float[Array, "*batch m"]) -> Float[Array, "*batch"]:
    """Returns e(y), the scalar embedding of a categorical prediction: m -> 16 -> ReLU -> 1."""
    hidden = jax.nn.relu(_affine(params["embed_hidden"], prediction))
    return _affine(params["embed_output"], hidden)[..., 0]


def backward_gru(params: Params, inputs: Float[Array, "T B I"], done: Bool[Array, "T B"]) -> Float[Array, "T B H"]:
    """Returns the hidden states of a GRU run from the last transition to the first.

    Where an episode ended, memory is cleared before the transition is read, so that nothing flows from one episode into
    the one before it. Gate order in the kernels is reset, update, candidate; the reset and update gates have one bias,
    on the input side.
    """
    hidden_size = params["candidate_bias"].shape[0]
    keep = 1.0 - done.astype(inputs.dtype)

    def cell(hidden: Array, step_inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        inputs, keep = step_inputs
        hidden = hidden * keep[:, None]
        # Projecting the inputs here and not once for the whole sequence is four times faster on a CPU: a slice of a
        # hoisted projection would be fused into the gates element by element.
        from_input = inputs @ params["input_kernel"] + params["input_bias"][None]
        from_hidden = hidden @ params["hidden_kernel"]
        gates = jax.nn.sigmoid(from_input[:, : 2 * hidden_size] + from_hidden[:, : 2 * hidden_size])
        reset, update = gates[:, :hidden_size], gates[:, hidden_size:]
        recurrent = from_hidden[:, 2 * hidden_size :] + params["candidate_bias"][None]
        candidate = jnp.tanh(from_input[:, 2 * hidden_size :] + reset * recurrent)
        hidden = (1.0 - update) * candidate + update * hidden
        return hidden, hidden

    start = jnp.zeros((inputs.shape[1], hidden_size), inputs.dtype)
    _, hidden = jax.lax.scan(cell, start, (inputs, keep), reverse=True)
    return hidden


def read_heads(params: Params, hidden: Float[Array, "T B H"]) -> tuple[Float[Array, "T B"], Float[Array, "T B m"]]:
    """Returns `(pi_hat, y_hat)`: the direction for the policy, and the target distribution for the prediction."""
    activated = jax.nn.relu(hidden)
    return _affine(params["pi_hat"], activated)[..., 0], jax.nn.softmax(_affine(params["y_hat"], activated))
