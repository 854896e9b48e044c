"""A gated recurrent unit over transitions, with a policy and a value behind it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.networks.orthogonal import orthogonal

UPDATE_BIAS = 1.0
"""Added to what the update gate is opened by: a new network keeps most of its hidden state from step to step."""


class Recurrent(nn.Module):
    """A GRU over transitions, and a policy and a value read off its hidden state and the current observation.

    Source: Cho et al. 2014; the reset gate acts on what the recurrent product yields, so that one product is enough.
    """

    hidden_size: int
    """Units of the GRU and of the layers before and behind it."""
    num_actions: int
    """A."""

    def setup(self) -> None:
        """Makes the layers."""
        self.embed = nn.Dense(self.hidden_size, kernel_init=orthogonal(2.0**0.5))
        self.read = nn.Dense(3 * self.hidden_size)
        self.recur = nn.Dense(3 * self.hidden_size, use_bias=False, kernel_init=_orthogonal_blocks)
        self.mix = nn.Dense(self.hidden_size, kernel_init=orthogonal(2.0**0.5))
        self.policy = nn.Dense(self.num_actions, kernel_init=orthogonal(0.01))
        self.value = nn.Dense(1, kernel_init=orthogonal(1.0))

    def gates(self, transition: Float[Array, "*batch F"]) -> Float[Array, "*batch G"]:
        """Returns what encoded transitions say to the three gates, whatever came before them."""
        return self.read(nn.relu(self.embed(transition)))

    def advance(self, hidden: Float[Array, " n"], gates: Float[Array, " G"]) -> Float[Array, " n"]:
        """Returns the hidden state after one more transition."""
        reset, update, candidate = jnp.split(gates, 3, axis=-1)
        reset_by, update_by, candidate_by = jnp.split(self.recur(hidden), 3, axis=-1)
        kept = nn.sigmoid(update + update_by + UPDATE_BIAS)
        return kept * hidden + (1.0 - kept) * nn.tanh(candidate + nn.sigmoid(reset + reset_by) * candidate_by)

    def replay(self, transitions: Float[Array, "N F"]) -> Float[Array, "N n"]:
        """Returns the hidden state before every one of these transitions."""

        def step(module, hidden, gates):
            return module.advance(hidden, gates), hidden

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, jnp.zeros((self.hidden_size,), jnp.float32), self.gates(transitions))[1]

    def decide(self, hidden: Float[Array, "*batch n"], query: Float[Array, "*batch Q"]) -> tuple[Array, Array]:
        """Returns `(logits [*batch, A], value [*batch])`."""
        x = nn.relu(self.mix(jnp.concatenate([hidden, query], axis=-1)))
        return self.policy(x), self.value(x)[..., 0]

    def __call__(self, hidden: Array, transition: Array, query: Array) -> tuple[Array, Array]:
        """Touches every parameter; for initialisation."""
        return self.decide(self.advance(hidden, self.gates(transition)), query)


def _orthogonal_blocks(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """Returns an orthogonal matrix for each gate, side by side."""
    make, size = orthogonal(1.0), shape[0]
    return jnp.concatenate([make(key, (size, size), dtype) for key in jax.random.split(key, 3)], axis=1)
