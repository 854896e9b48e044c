"""Teachers that propose where a Gaussian mixture over recent episodes sees learning progress.

Source: Portelas et al. 2019 (ALP-GMM and Covar-GMM) and flowersteam/teachDeepRL.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from metarl.ring import Ring, nearest, put, ring
from metarl.teachers.base import TaskBox, Teacher, is_present, proportional
from metarl.teachers.mixture import Criterion, Mixture, empty_mixture, fit_mixture

FEW_EPISODES = 5
"""Learning progress is 0 while no more episodes than this are remembered."""


class GMMState(NamedTuple):
    """What a mixture teacher remembers."""

    history: Ring
    """Rows [task, reward] of earlier episodes; of those teachers that look for neighbours."""
    window: Ring
    """Rows that the next mixture is fitted to."""
    mixture: Mixture
    """Over rows of the window."""
    utility: Float[Array, " K"]
    """How much each Gaussian is to be preferred, at least 0."""
    has_fit: Bool[Array, ""]
    """Whether there is a mixture; without, tasks are uniform."""


def alp_gmm(
    box: TaskBox,
    *,
    window: int = 250,
    refit_every: int = 250,
    random_share: float = 0.2,
    capacity: int = 500,
    k_min: int = 2,
    k_max: int = 10,
    criterion: Criterion = "aic",
    num_steps: int = 20,
    faithful: bool = False,
) -> Teacher:
    """Returns ALP-GMM: a mixture over (task, absolute learning progress), Gaussians chosen by their mean progress.

    The absolute learning progress of an episode is how much its reward differs from that of the nearest task before;
    of equally near ones, which the edges of the box collect, the newest counts.

    Args:
        box: where tasks live.
        window: last episodes to which a mixture is fitted.
        refit_every: episodes between two fits; until the first, tasks are uniform.
        random_share: of uniform tasks afterwards.
        capacity: earlier episodes among which the nearest is looked for. The papers' is unbounded, which a capacity of
            all episodes is; old neighbours make what was learned long ago look like progress.
        k_min: fewest Gaussians.
        k_max: most, inclusive.
        criterion: by which their number is chosen.
        num_steps: of expectation maximisation.
        faithful: the correction of aicc counts the parameters of D dimensions instead of D + 1, as the original code.

    Raises:
        ValueError: if a setting is out of range.
    """
    dimensions = box.num_dimensions
    check_mixture_settings(window, refit_every, random_share, capacity)

    def note(state: GMMState, vectors: Float[Array, "n D"], rewards: Float[Array, " n"]) -> tuple[Ring, Array]:
        before = state.history.rows[nearest(state.history, vectors), dimensions]
        progress = jnp.where(state.history.count > FEW_EPISODES, jnp.abs(rewards - before), 0.0)
        episodes = jnp.concatenate([vectors, rewards[:, None]], axis=1)
        history = put(state.history, episodes, is_present(rewards))
        return history, jnp.concatenate([vectors, progress[:, None]], axis=1)

    return _mixture_teacher(
        box,
        note,
        lambda mixture: mixture.mean[:, -1],
        row_size=dimensions + 1,
        window=window,
        refit_every=refit_every,
        random_share=random_share,
        capacity=capacity,
        fit={
            "k_min": k_min,
            "k_max": k_max,
            "criterion": criterion,
            "num_steps": num_steps,
            "penalised_dimension": dimensions if faithful and criterion == "aicc" else None,
        },
    )


def covar_gmm(
    box: TaskBox,
    *,
    window: int = 250,
    random_share: float = 0.2,
    k_min: int = 2,
    k_max: int = 10,
    criterion: Criterion = "aic",
    num_steps: int = 20,
    absolute: bool = False,
) -> Teacher:
    """Returns Covar-GMM: a mixture over (task, time, reward), Gaussians chosen by the covariance of time and reward.

    Time is the position in a batch of `window` episodes, from 0 to 1; the mixture is fitted to every such batch.

    Args:
        box: where tasks live.
        window: episodes between two fits, and to which each is fitted.
        random_share: of uniform tasks after the first fit.
        k_min: fewest Gaussians.
        k_max: most, inclusive.
        criterion: by which their number is chosen.
        num_steps: of expectation maximisation.
        absolute: whether a falling reward counts as progress too.

    Raises:
        ValueError: if a setting is out of range.
    """
    check_mixture_settings(window, window, random_share, 1)

    def note(state: GMMState, vectors: Float[Array, "n D"], rewards: Float[Array, " n"]) -> tuple[Ring, Array]:
        order = jnp.cumsum(is_present(rewards).astype(jnp.int32)) - 1
        time = jnp.mod(state.window.count + order, window).astype(jnp.float32) / window
        return state.history, jnp.concatenate([vectors, time[:, None], rewards[:, None]], axis=1)

    def utility(mixture: Mixture) -> Float[Array, " K"]:
        # Entry (time, reward) of the covariance is the product of two rows of its factor.
        covariance = jnp.sum(mixture.cholesky[:, -2] * mixture.cholesky[:, -1], axis=1)
        return jnp.abs(covariance) if absolute else jnp.maximum(covariance, 0.0)

    return _mixture_teacher(
        box,
        note,
        utility,
        row_size=box.num_dimensions + 2,
        window=window,
        refit_every=window,
        random_share=random_share,
        capacity=1,
        fit={"k_min": k_min, "k_max": k_max, "criterion": criterion, "num_steps": num_steps},
    )


def check_mixture_settings(window: int, refit_every: int, random_share: float, capacity: int) -> None:
    """Raises a ValueError if a setting of a mixture teacher is out of range."""
    for name, value in (("window", window), ("refit_every", refit_every), ("capacity", capacity)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if not 0.0 <= random_share <= 1.0:
        raise ValueError(f"random_share is {random_share}; it must lie in [0, 1]")


def _mixture_teacher(
    box: TaskBox,
    note: Callable[[GMMState, Array, Array], tuple[Ring, Array]],
    utility: Callable[[Mixture], Float[Array, " K"]],
    *,
    row_size: int,
    window: int,
    refit_every: int,
    random_share: float,
    capacity: int,
    fit: dict[str, Any],
) -> Teacher:
    """Returns the teacher whose mixture is over rows that `note(state, vectors, rewards) -> (history, rows)` makes."""

    def init(key: Array) -> GMMState:
        mixture = empty_mixture(fit["k_max"], row_size)
        history = ring(capacity, box.num_dimensions + 1)
        return GMMState(history, ring(window, row_size), mixture, mixture.weight, jnp.bool_(False))

    def sample(key: Array, state: GMMState, num: int) -> Float[Array, "n D"]:
        key_uniform, key_choice, key_gauss, key_share = jax.random.split(key, 4)
        mixture = state.mixture
        chosen = jax.random.categorical(key_choice, proportional(state.utility, mixture.is_used), shape=(num,))
        normals = jax.random.normal(key_gauss, (num, row_size))
        rows = mixture.mean[chosen] + jnp.einsum("nij,nj->ni", mixture.cholesky[chosen], normals)
        is_uniform = (jax.random.uniform(key_share, (num,)) < random_share) | ~state.has_fit
        proposed = box.clip(rows[:, : box.num_dimensions])
        return jnp.where(is_uniform[:, None], box.uniform(key_uniform, num), proposed)

    def observe(state: GMMState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> GMMState:
        rewards = box.reward(returns)
        history, rows = note(state, vectors, rewards)
        return state._replace(history=history, window=put(state.window, rows, is_present(returns)))

    def refit(key: Array, state: GMMState) -> GMMState:
        mixture, is_there = fit_mixture(key, state.window.rows, state.window.is_filled, **fit)
        fitted = state._replace(mixture=mixture, utility=utility(mixture), has_fit=jnp.bool_(True))
        return jax.tree.map(lambda new, old: jnp.where(is_there, new, old), fitted, state)

    def portrait(state: GMMState) -> dict[str, Array]:
        return state.mixture._asdict() | {"utility": state.utility}

    return Teacher(init, sample, observe, refit, refit_every, portrait)
