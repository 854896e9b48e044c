"""Functions drawn from Gaussian processes over spaces that are drawn too: numeric, on grids, categorical, mixed.

Everything about a task is traced, its number of dimensions included: one compiled program draws them all.

Source: Maraval et al. 2023 (NAP), training on draws of Gaussian processes; Müller et al. 2023 (PFNs4BO), priors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.designs import key_of
from envs.blackbox.environment import BlackBox
from envs.blackbox.gp_kernel import Kernel, draw_values
from envs.blackbox.gp_laws import JITTER, MAX_NOISE, Law, log_uniform_law
from envs.blackbox.task import (
    CATEGORICAL,
    MAX_CATEGORIES,
    MAX_DIMENSIONS,
    NUM_INIT,
    NUMERIC,
    ORDINAL,
    UNUSED,
    as_task,
    pool_params,
)
from envs.family import Task, TaskFamily

KINDS = ("mixed", "numeric", "categorical")
MAX_LEVELS = 10
"""Most places of an ordinal dimension."""
FEW_DIMENSIONS = 4
"""Mixed spaces of fewer dimensions have a number among those that matter; else few candidates differ."""
NUM_GLOBAL = 5
"""Entries of a task vector before the lengthscales: dimensions, shape, noise, output, draw."""


class GPPrior(NamedTuple):
    """A law over spaces, kernels and functions; use `gp_prior` to make one."""

    num_candidates: int
    """N, candidates of a task."""
    dimensions: tuple[int, int]
    """Fewest and most dimensions, each number equally likely."""
    kinds: str
    """`mixed`: half of the spaces numeric, a tenth categorical, else every dimension any of three kinds."""
    law: Law
    """Of the hyper-parameters."""
    output_share: float
    """Share of the tasks whose values are warped."""
    horizon: int
    """Evaluations after the initial ones."""
    num_init: int
    """Initial evaluations."""

    @property
    def num_quantiles(self) -> int:
        """Length of a task vector."""
        return NUM_GLOBAL + self.dimensions[1]

    def sample_with_kernel(self, key: Array) -> tuple[Task, Kernel]:
        """Returns a task and the law its values were drawn from; consumes the key."""
        key_vector, key_draw = jax.random.split(key)
        return self._task(jax.random.uniform(key_vector, (self.num_quantiles,)), key_draw)

    def decode_with_kernel(self, vector: Float[Array, " V"]) -> tuple[Task, Kernel]:
        """Returns the task of a vector of quantiles, and its law.

        The entries are: number of dimensions; shape of the covariance; noise; output (below `1 - output_share` as it
        is, above ever heavier tails); draw; lengthscale of each dimension. All else (kinds, candidates, warps, which
        dimensions matter, the normals that become values) follows from a key made of the draw's 32 bits, so that tasks
        with the same draw change with their quantiles alone.
        """
        inside = jnp.clip(vector, 0.0, 1.0).astype(jnp.float32)
        return self._task(inside, key_of(inside[4]))

    def _task(self, vector: Float[Array, " V"], key: Array) -> tuple[Task, Kernel]:
        key_space, key_x, key_y = jax.random.split(key, 3)
        kind, num_values, kernel = self._space(vector, jax.random.uniform(key_space, (8, MAX_DIMENSIONS)))
        x = _candidates(jax.random.uniform(key_x, (self.num_candidates, MAX_DIMENSIONS)), kind, num_values)
        y = draw_values(kernel, x, jax.random.normal(key_y, (self.num_candidates,)))
        return as_task(pool_params(x, kind, y, horizon=self.horizon, num_init=self.num_init)), kernel

    def _space(
        self, vector: Float[Array, " V"], uniforms: Float[Array, "8 D"]
    ) -> tuple[Int[Array, " D"], Int[Array, " D"], Kernel]:
        """Returns `(kind, number of values, kernel)`; row 0 of the uniforms serves the task, the others dimensions."""
        low, high = self.dimensions
        num_dims = jnp.minimum(low + jnp.floor(vector[0] * (high - low + 1)).astype(jnp.int32), high)
        place = jnp.arange(MAX_DIMENSIONS)
        anchor = place == jnp.floor(uniforms[0, 0] * num_dims.astype(jnp.float32)).astype(jnp.int32)
        kind = _kinds(self.kinds, uniforms[0, 1], uniforms[1])
        if self.kinds == "mixed":
            kind = jnp.where(anchor & (num_dims < FEW_DIMENSIONS), NUMERIC, kind)
        kind = jnp.where(place < num_dims, kind, UNUSED)
        most = jnp.where(kind == CATEGORICAL, MAX_CATEGORIES, MAX_LEVELS)
        num_values = 2 + jnp.floor(uniforms[2] * (most - 1).astype(jnp.float32)).astype(jnp.int32)
        matters = (kind != UNUSED) & ((uniforms[3] >= self.law.irrelevant_share) | anchor)
        return kind, num_values, self._kernel(vector, uniforms, jnp.where(matters, kind, UNUSED))

    def _kernel(self, vector: Float[Array, " V"], uniforms: Float[Array, "8 D"], kind: Int[Array, " D"]) -> Kernel:
        quantiles = jnp.pad(vector[NUM_GLOBAL:], (0, MAX_DIMENSIONS - self.dimensions[1]), constant_values=0.5)
        count = jnp.sum(kind != UNUSED).astype(jnp.float32)
        exponents = jnp.exp(self.law.max_log_warp * (2.0 * uniforms[4:6] - 1.0))
        strength = (vector[3] - (1.0 - self.output_share)) / max(self.output_share, 1e-6)
        is_warped = strength > 0.0
        return Kernel(
            kind=kind,
            lengthscale=self.law.lengthscale(quantiles, count),
            shape=self.law.shape(vector[1]),
            noise=jnp.clip(self.law.noise(vector[2], uniforms[0, 2]), JITTER, MAX_NOISE),
            warp=jnp.where(uniforms[6:8] < 0.5, exponents, 1.0).T,  # neither, a power, its mirror image, or both
            skew=jnp.where(is_warped, 2.0 * uniforms[0, 3] - 1.0, 0.0),
            tail=jnp.where(is_warped, jnp.exp(0.7 * (2.0 * strength - 1.0)), 1.0),
        )


def gp_prior(
    *,
    num_candidates: int = 100,
    dimensions: tuple[int, int] = (1, 8),
    kinds: str = "mixed",
    law: Law | None = None,
    output_share: float = 0.0,
    horizon: int = 45,
    num_init: int = NUM_INIT,
) -> GPPrior:
    """Returns a prior over tasks; `law` is `log_uniform_law()` unless given.

    Raises:
        ValueError: if there are fewer than 2 candidates, the dimensions do not ascend within 1..20, the kinds are
            unknown, or the share is outside [0, 1].
    """
    low, high = dimensions
    if num_candidates < 2 or not 1 <= low <= high <= MAX_DIMENSIONS:
        raise ValueError(
            f"a prior was given {num_candidates} candidates and {low} to {high} dimensions; it needs 2 or more, and "
            f"dimensions that ascend within 1 to {MAX_DIMENSIONS}"
        )
    if kinds not in KINDS or not 0.0 <= output_share <= 1.0:
        raise ValueError(
            f"a prior was given kinds={kinds!r} and output_share={output_share}; use one of {', '.join(KINDS)}, and a "
            "share in [0, 1]"
        )
    law = log_uniform_law() if law is None else law
    return GPPrior(num_candidates, dimensions, kinds, law, output_share, horizon, num_init)


def gp_prior_family(**settings: object) -> TaskFamily:
    """Returns the family of a prior's tasks; settings and errors are those of `gp_prior`."""
    return family_of(gp_prior(**settings))


def family_of(prior: GPPrior) -> TaskFamily:
    """Returns the family of a prior's tasks."""
    return TaskFamily(
        name=f"blackbox/gp-{prior.kinds}",
        env=BlackBox(prior.num_candidates, max_horizon=prior.horizon, max_init=prior.num_init),
        sample=lambda key: prior.sample_with_kernel(key)[0],
        decode=lambda vector: prior.decode_with_kernel(vector)[0],
        num_dimensions=prior.num_quantiles,
        max_lifetime=1,
        max_episode_steps=prior.horizon,
    )


def _kinds(kinds: str, of_task: Float[Array, ""], of_dimensions: Float[Array, " D"]) -> Int[Array, " D"]:
    """Returns a kind for each dimension."""
    everywhere = jnp.ones(of_dimensions.shape, jnp.int32)
    if kinds != "mixed":
        return everywhere * {"numeric": NUMERIC, "categorical": CATEGORICAL}[kinds]
    any_kind = jnp.floor(of_dimensions * 3.0).astype(jnp.int32)
    mixed = jnp.array([NUMERIC, ORDINAL, CATEGORICAL], jnp.int32)[jnp.minimum(any_kind, 2)]
    is_numeric, is_categorical = of_task < 0.5, of_task >= 0.9
    return jnp.where(is_numeric, NUMERIC, jnp.where(is_categorical, CATEGORICAL, mixed))


def _candidates(
    uniforms: Float[Array, "N D"], kind: Int[Array, " D"], num_values: Int[Array, " D"]
) -> Float[Array, "N D"]:
    """Returns uniform candidates of a space."""
    count = num_values.astype(jnp.float32)[None]
    index = jnp.minimum(jnp.floor(uniforms * count), count - 1.0)
    is_kind: dict[int, Bool[Array, "1 D"]] = {k: (kind == k)[None] for k in (NUMERIC, ORDINAL, CATEGORICAL)}
    x = jnp.where(is_kind[NUMERIC], uniforms, 0.0)
    x = jnp.where(is_kind[ORDINAL], index / (count - 1.0), x)
    return jnp.where(is_kind[CATEGORICAL], index, x)
