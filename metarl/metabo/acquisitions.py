"""Optimisers that read the neural process: by what it learned to prefer, or by a rule on its predictions.

Sources: expected improvement, Jones et al. 1998; upper confidence bounds, Srinivas et al. 2010; Thompson sampling,
Thompson 1933, here with independent draws for candidates.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from metarl.metabo.episode import evaluations_of
from metarl.metabo.nap import BLOCK, NAP, Belief, believe_in_blocks, thompson, upper_confidence
from metarl.metabo.network import Evaluations
from metarl.metabo.optimiser import Observation, Optimiser, best_unvisited

Score = Callable[[NAP, Any, Belief, Array, Array], Float[Array, " N"]]
"""`score(nap, params, belief, progress, key)`: what of candidates is maximised."""


def _learned(nap: NAP, params: Any, belief: Belief, progress: Array, key: Array) -> Float[Array, " N"]:
    return nap.prefer(params, belief, progress)


def _improvement(nap: NAP, params: Any, belief: Belief, progress: Array, key: Array) -> Float[Array, " N"]:
    return belief.reading.log_ei


def _upper_bound(nap: NAP, params: Any, belief: Belief, progress: Array, key: Array) -> Float[Array, " N"]:
    return upper_confidence(nap, belief)


def _draw(nap: NAP, params: Any, belief: Belief, progress: Array, key: Array) -> Float[Array, " N"]:
    return thompson(nap, belief, key)


HEADS: dict[str, Score] = {"acquisition": _learned, "ei": _improvement, "ucb": _upper_bound, "thompson": _draw}
"""What candidates are scored by: the learned acquisition, or a rule on the bars."""


def score_of(head: str) -> Score:
    """Returns what a head of this name scores candidates by.

    Raises:
        ValueError: if there is none.
    """
    if head not in HEADS:
        raise ValueError(f"there is no head {head!r}; choose one of {', '.join(HEADS)}")
    return HEADS[head]


def nap_optimiser(nap: NAP, params: Any, head: str = "acquisition", *, block: int = BLOCK) -> Optimiser:
    """Returns the optimiser that evaluates the candidate of the largest score.

    Args:
        nap: the model.
        params: its parameters.
        head: one of `HEADS`.
        block: candidates that are read at once, >= 1; bounds memory and changes no result but by rounding.

    Raises:
        ValueError: if the head is unknown.
    """
    score = score_of(head)

    def choose(key: Array, memory: Any, observation: Observation, task: Any) -> tuple[Any, Array]:
        seen: Evaluations = evaluations_of(observation, task)
        belief = believe_in_blocks(nap, params, task.kind, seen, task.x, block=block)
        return memory, best_unvisited(score(nap, params, belief, observation["progress"], key), observation, task)

    return Optimiser(lambda task: (), choose)
