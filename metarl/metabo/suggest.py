"""What to evaluate next, given what is known: the model's scores on arrays of fixed sizes, and a search by them.

Source: Maraval et al. 2023 (NAP); pending points hold their predicted mean as in Ginsbourger et al. 2010 (kriging
believer).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int

from metarl.metabo.acquisitions import score_of
from metarl.metabo.candidates import keys_of, perturb, sobol
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import NAP, among
from metarl.metabo.network import Evaluations
from metarl.metabo.space import MAX_DIMENSIONS, Space
from metarl.metabo.transforms import transform_of

NUM_CANDIDATES, NUM_REFINED = 512, 128
"""Candidates of the first round, and of each round of refinement."""
NUM_ROUNDS = 2
"""Rounds of refinement."""
NUM_BEST, NUM_LATEST = 50, 50
"""Where more is known, the model is shown this many of the best results and of the latest of the others."""
SMALLEST_BUCKET = 16


class Known(NamedTuple):
    """What is known of an objective, in rows of a space."""

    x: Float64[np.ndarray, "n D"]
    """Where it was evaluated."""
    y: Float64[np.ndarray, " n"]
    """Values, maximised, in the order in which they came; not finite where the evaluation failed."""
    pending: Float64[np.ndarray, "m D"]
    """Where it is being evaluated."""


class Context(NamedTuple):
    """What the model is shown, L rows of which some are filled."""

    x: Float32[np.ndarray, "L D"]
    """Where."""
    y: Float32[np.ndarray, " L"]
    """Values with mean 0 and standard deviation 1."""
    is_seen: Bool[np.ndarray, " L"]
    """Which rows have been evaluated."""
    is_pending: Bool[np.ndarray, " L"]
    """Which rows are being evaluated."""


def context_of(known: Known, transform: str = "none") -> Context:
    """Returns what the model is shown of what is known, after one of `TRANSFORMS`; L is a power of two.

    Failures count as the worst value there is. The values are standardised here, in float64, so that a large offset
    does not swallow differences.

    Raises:
        ValueError: if the values do not allow the transform.
    """
    shown = _shown(known.y)
    y = imputed(known.y)[shown]
    y = transform_of(transform)(y) if np.isfinite(known.y).any() else y
    std = np.std(y) if len(y) else 0.0
    y = (y - np.mean(y)) / std if std > 0.0 else np.zeros_like(y)
    count, total = len(shown), len(shown) + len(known.pending)
    size = max(SMALLEST_BUCKET, 1 << max(total - 1, 0).bit_length())
    x = np.zeros((size, MAX_DIMENSIONS), np.float32)
    x[:count], x[count:total] = known.x[shown], known.pending
    values = np.zeros((size,), np.float32)
    values[:count] = y
    place = np.arange(size)
    return Context(x, values, place < count, (place >= count) & (place < total))


def imputed(y: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Returns values with the worst of the finite ones, or 0, in place of those that are not finite."""
    is_finite = np.isfinite(y)
    return np.where(is_finite, y, np.min(y, where=is_finite, initial=np.inf) if is_finite.any() else 0.0)


def _shown(y: Float64[np.ndarray, " n"]) -> np.ndarray:
    """Returns which results the model is shown, in their order."""
    if len(y) <= NUM_BEST + NUM_LATEST:
        return np.arange(len(y))
    best = np.argsort(-imputed(y), kind="stable")[:NUM_BEST]
    others = np.setdiff1d(np.arange(len(y)), best)
    return np.sort(np.concatenate([best, others[-NUM_LATEST:]]))


@functools.lru_cache(maxsize=8)
def make_score(nap: NAP, head: str) -> Callable[..., Float[Array, " N"]]:
    """Returns the compiled `score(params, kind, context, candidates [N, D], is_allowed [N], progress) -> scores [N]`.

    It compiles once for every pair of sizes L and N.

    Raises:
        ValueError: if the head is unknown.
    """
    score_by = score_of(head)

    def believed(params: Any, kind: Int[Array, " D"], context: Any) -> Float[Array, " L"]:
        belief = nap.believe(params, kind, Evaluations(context.x, context.y, context.is_seen), context.x)
        mean = belief.scale.mean + belief.scale.std * belief.reading.mean
        return jnp.where(context.is_pending, mean, context.y)

    @jax.jit
    def score(
        params: Any,
        kind: Int[Array, " D"],
        context: Any,
        candidates: Float[Array, "N D"],
        is_allowed: Bool[Array, " N"],
        progress: Float[Array, ""],
        seed: Int[Array, ""],
    ) -> Float[Array, " N"]:
        y = jax.lax.cond(
            jnp.any(context.is_pending), lambda: believed(params, kind, context), lambda: jnp.asarray(context.y)
        )
        evaluations = Evaluations(context.x, y, context.is_seen | context.is_pending)
        belief = nap.believe(params, kind, evaluations, candidates)
        return among(score_by(nap, params, belief, progress, jax.random.key(seed)), is_allowed)

    return score


class Search:
    """A search for the candidate with the highest score, given what is known."""

    def __init__(
        self,
        trained: TrainedNAP,
        space: Space,
        known: Known,
        progress: float,
        transform: str = "none",
        head: str | None = None,
    ) -> None:
        """Prepares what all rounds share.

        Args:
            trained: the model.
            space: where.
            known: what is known.
            progress: share of the budget that is spent, in [0, 1].
            transform: what is done to the values first, one of `TRANSFORMS`.
            head: what candidates are scored by, one of `HEADS`; None: the one that the model's record names.

        Raises:
            ValueError: if the values do not allow the transform, or the head is unknown.
        """
        self.space, self.known = space, known
        self.taken = {*keys_of(known.x), *keys_of(known.pending)}
        self._score = functools.partial(
            make_score(trained.nap, trained.head if head is None else head),
            on_device(trained),
            space.kind,
            context_of(known, transform),
        )
        self._progress, self._seed = np.float32(progress), np.int32(len(self.taken))

    def is_new(self, x: Float64[np.ndarray, "n D"]) -> Bool[np.ndarray, " n"]:
        """Returns which rows have neither been evaluated nor are being so."""
        return np.asarray([key not in self.taken for key in keys_of(x)], bool)

    def scores(self, x: Float64[np.ndarray, "n D"], block: int = NUM_CANDIDATES) -> Float32[np.ndarray, " n"]:
        """Returns the score of every row, minus infinity for those that are not new."""
        is_new, parts = self.is_new(x), []
        for start in range(0, len(x), block):
            part, allowed = np.zeros((block, MAX_DIMENSIONS), np.float32), np.zeros((block,), bool)
            rows = x[start : start + block]
            part[: len(rows)], allowed[: len(rows)] = rows, is_new[start : start + block]
            parts.append(np.asarray(self._score(part, allowed, self._progress, self._seed))[: len(rows)])
        return np.where(is_new, np.concatenate(parts), -np.inf).astype(np.float32)

    def among(self, x: Float64[np.ndarray, "n D"]) -> Float64[np.ndarray, " D"]:
        """Returns the best new row of those given.

        Raises:
            ValueError: if none of them is new.
        """
        scores = self.scores(x)
        if not np.isfinite(scores).any():
            raise ValueError(f"all {len(x)} candidates have been asked for; tell other ones or stop")
        return x[int(np.argmax(scores))]

    def anywhere(self, rng: np.random.Generator) -> Float64[np.ndarray, " D"]:
        """Returns the best new row found in the space; a small finite space is searched exhaustively.

        Raises:
            ValueError: if the space is used up.
        """
        if self.space.size <= NUM_CANDIDATES:
            return self.among(self.space.grid())
        x = self._first_round(rng)
        scores = self.scores(x)
        for shrink in 0.1 ** np.arange(1, NUM_ROUNDS + 1):
            parents = np.argsort(-scores, kind="stable")[:8]
            near = perturb(self.space, x[np.tile(parents, NUM_REFINED // 8)], rng, scale=float(shrink))
            x = np.concatenate([x, near])
            scores = np.concatenate([scores, self.scores(near, NUM_REFINED)])
        if not np.isfinite(scores).any():
            raise ValueError("no configuration was found that has not been asked for; the space is used up")
        return x[int(np.argmax(scores))]

    def _first_round(self, rng: np.random.Generator) -> Float64[np.ndarray, "N D"]:
        """Returns candidates, half of them near the five best results if there are any."""
        if not len(self.known.x):
            return sobol(self.space, NUM_CANDIDATES, rng)
        best = np.argsort(-imputed(self.known.y), kind="stable")[:5]
        spread = sobol(self.space, NUM_CANDIDATES // 2, rng)
        parents = self.known.x[best[np.arange(NUM_CANDIDATES // 2) % len(best)]]
        return np.concatenate([spread, perturb(self.space, parents, rng, scale=0.3)])


@functools.lru_cache(maxsize=8)
def on_device(trained: TrainedNAP) -> Any:
    """Returns the weights as jax arrays, put in place once."""
    return jax.tree.map(jnp.asarray, trained.params)
