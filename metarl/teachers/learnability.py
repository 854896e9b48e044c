"""Sampling for learnability: tasks that succeed neither always nor never, found by trying candidates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.teachers.base import TaskBox, Teacher, find, is_present


class SFLState(NamedTuple):
    """Candidates that are being tried, and the most learnable of those before."""

    candidates: Float[Array, "M D"]
    num_success: Int[Array, " M"]
    num_visits: Int[Array, " M"]
    chosen: Float[Array, "S D"]
    """Tasks that are trained on."""
    learnability: Float[Array, " S"]
    """Their p (1 - p) when they were chosen."""
    has_chosen: Bool[Array, ""]


def sfl(
    box: TaskBox, *, num_candidates: int = 250, num_chosen: int = 50, num_trials: int = 4, chosen_share: float = 0.5
) -> Teacher:
    """Returns sampling for learnability: half the tasks are from the set with the largest p (1 - p).

    The paper rolls the student out for this; a teacher that only proposes spends the other half of its proposals on
    candidates, each tried several times, and chooses anew when that many episodes have passed.

    Source: Rutherford et al. 2024.

    Args:
        box: where tasks live; success is a return above its `success_return`.
        num_candidates: uniform tasks that are tried.
        num_chosen: of which so many are kept.
        num_trials: episodes in each candidate.
        chosen_share: of the tasks that are from the chosen set.

    Raises:
        ValueError: if a setting is out of range.
    """
    if not 1 <= num_chosen <= num_candidates or num_trials < 2 or not 0.0 <= chosen_share < 1.0:
        raise ValueError(
            f"sfl was given num_candidates={num_candidates}, num_chosen={num_chosen}, num_trials={num_trials} and "
            f"chosen_share={chosen_share}; give 1 <= num_chosen <= num_candidates, at least 2 trials and a share in "
            "[0, 1)"
        )
    refit_every = round(num_candidates * num_trials / (1.0 - chosen_share))

    def init(key: Array) -> SFLState:
        nothing = jnp.zeros((num_candidates,), jnp.int32)
        chosen = jnp.zeros((num_chosen, box.num_dimensions), jnp.float32)
        scores = jnp.zeros((num_chosen,), jnp.float32)
        return SFLState(box.uniform(key, num_candidates), nothing, nothing, chosen, scores, jnp.bool_(False))

    def sample(key: Array, state: SFLState, num: int) -> Float[Array, "n D"]:
        key_share, key_chosen, key_tie = jax.random.split(key, 3)
        ties = jax.random.uniform(key_tie, (num_candidates,))
        least_tried = jnp.argsort(state.num_visits.astype(jnp.float32) + ties)
        candidates = state.candidates[least_tried[jnp.arange(num) % num_candidates]]
        chosen = state.chosen[jax.random.randint(key_chosen, (num,), 0, num_chosen)]
        is_chosen = (jax.random.uniform(key_share, (num, 1)) < chosen_share) & state.has_chosen
        return jnp.where(is_chosen, chosen, candidates)

    def observe(state: SFLState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> SFLState:
        slot, is_known = find(state.candidates, jnp.ones((num_candidates,), bool), vectors)
        slot = jnp.where(is_known & is_present(returns), slot, num_candidates)
        success = (returns > box.success_return).astype(jnp.int32)
        return state._replace(
            num_success=state.num_success.at[slot].add(success, mode="drop"),
            num_visits=state.num_visits.at[slot].add(1, mode="drop"),
        )

    def refit(key: Array, state: SFLState) -> SFLState:
        p = state.num_success / jnp.maximum(state.num_visits, 1)
        score = jnp.where(state.num_visits > 0, p * (1.0 - p), -1.0)
        learnability, best = jax.lax.top_k(score, num_chosen)
        chosen = state.candidates[best]
        return init(key)._replace(chosen=chosen, learnability=learnability, has_chosen=jnp.bool_(True))

    return Teacher(init, sample, observe, refit, refit_every)
