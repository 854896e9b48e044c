"""Policies that were trained elsewhere and are asked what to do: experts where the best one has no closed form."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

STEM = "policy"
"""The two files of a policy are `policy.npz` and `policy.json`."""


class TrainedPolicy(NamedTuple):
    """A perceptron whose outputs are squashed by tanh, as a soft actor-critic's acts without noise."""

    env: str
    """Family of tasks that it was trained in, with options."""
    layers: tuple[tuple[Float[np.ndarray, "n m"], Float[np.ndarray, " m"]], ...]
    """Kernel and bias of every layer, with ReLU between them; the last one's are those of the actions alone."""

    @property
    def num_inputs(self) -> int:
        """Length of an observation."""
        return self.layers[0][0].shape[0]

    @property
    def num_actions(self) -> int:
        """Length of an action."""
        return self.layers[-1][1].shape[0]

    def __call__(self, observation: Float[Array, " D"]) -> Float[Array, " A"]:
        """Returns an action within [-1, 1]."""
        *hidden, (kernel, bias) = self.layers
        x = observation
        for inner, shift in hidden:
            x = jnp.maximum(x @ inner + shift, 0.0)
        return jnp.tanh(x @ kernel + bias)


def load_policy(directory: str | os.PathLike) -> TrainedPolicy:
    """Returns the policy that `metarl teach` left in a directory. Nothing in it is executed.

    Raises:
        ValueError: if a file is missing or damaged, or the two do not belong together.
    """
    numbers, words = (Path(directory) / f"{STEM}.{ending}" for ending in ("npz", "json"))
    try:
        description, content = json.loads(words.read_text()), numbers.read_bytes()
        if description["sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError(f"{numbers.name} is not the one that {words.name} describes")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            layers = [(arrays[f"{i}/kernel"], arrays[f"{i}/bias"]) for i in range(len(arrays.files) // 2)]
        return TrainedPolicy(str(description["env"]), tuple(layers))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{directory} holds no policy ({error}); give export/ of a finished run of metarl teach whose student is a "
            "soft actor-critic"
        ) from error
