"""Candidates in the unit box: uniform, Sobol or on a grid; and keys for designs that a task vector asks for."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import qmc

DESIGNS = ("uniform", "sobol", "grid")


def make_design(name: str, num_candidates: int, num_dims: int) -> Callable[[Array], Float[Array, "N d"]]:
    """Returns `design(key) -> candidates` in [0, 1]^d; consumes the key.

    `sobol` is one scrambled sequence, turned by a random vector modulo 1 (Cranley and Patterson 1976); `grid` has
    `N^(1/d)` places along every dimension, ends included, and uses no randomness.

    Raises:
        ValueError: if the name is unknown, a number is below 1 (2 for candidates), or a grid cannot have N points.
    """
    if name not in DESIGNS or num_candidates < 2 or num_dims < 1:
        raise ValueError(
            f"a design {name!r} of {num_candidates} candidates in {num_dims} dimensions was asked for; use one of "
            f"{', '.join(DESIGNS)}, with 2 or more candidates and 1 or more dimensions"
        )
    if name == "uniform":
        return lambda key: jax.random.uniform(key, (num_candidates, num_dims))
    points = _sobol(num_candidates, num_dims) if name == "sobol" else _grid(num_candidates, num_dims)
    fixed = jnp.asarray(points, jnp.float32)
    if name == "grid":
        return lambda key: fixed
    return lambda key: jnp.mod(fixed + jax.random.uniform(key, (1, num_dims)), 1.0)


def key_of(quantile: Float[Array, ""]) -> Array:
    """Returns the key that an entry of a task vector stands for, made of its 32 bits; values are cut to [0, 1]."""
    inside = jnp.clip(quantile, 0.0, 1.0).astype(jnp.float32)
    return jax.random.fold_in(jax.random.key(0), jax.lax.bitcast_convert_type(inside, jnp.uint32))


def _sobol(num_candidates: int, num_dims: int) -> Float[np.ndarray, "N d"]:
    exponent = int(np.ceil(np.log2(num_candidates)))
    sequence = qmc.Sobol(num_dims, scramble=True, rng=np.random.default_rng(0))
    return sequence.random_base2(exponent)[:num_candidates]


def _grid(num_candidates: int, num_dims: int) -> Float[np.ndarray, "N d"]:
    places = round(num_candidates ** (1.0 / num_dims))
    if places < 2 or places**num_dims != num_candidates:
        raise ValueError(
            f"a grid of {num_candidates} points in {num_dims} dimensions was asked for; give a whole number of places, "
            f"2 or more, to the power {num_dims}"
        )
    axes = np.meshgrid(*[np.linspace(0.0, 1.0, places)] * num_dims, indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=-1)
