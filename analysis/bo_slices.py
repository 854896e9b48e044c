"""What a neural process thinks of functions in one and two dimensions while it optimises them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from envs.blackbox.analytic import FUNCTIONS, objective
from envs.blackbox.task import MAX_DIMENSIONS, NUMERIC, UNUSED
from metarl.metabo.export import TrainedNAP
from metarl.metabo.network import Evaluations

LEVELS = (0.05, 0.25, 0.75, 0.95)
"""Quantiles that end the central intervals of 90 and 50 %."""
LINE_STAGES, PLANE_STAGES = (3, 6, 10), (5, 15)
"""Evaluations after which the model is asked."""
LINE_POINTS, PLANE_SIDE = 201, 41
"""Candidates: on the line, and along each side of the square."""
LINE_STARTS = (30, 100, 180)
"""Candidates of the line that are given."""
PLANE_STARTS = ((6, 33), (12, 10), (20, 22), (31, 35), (35, 8))
"""Places (column, row) of the grid that are given."""
NUM_WAVES, LENGTH_SCALE = 200, 0.12


class View(NamedTuple):
    """What is believed of N candidates after some evaluations, in the function's units unless said otherwise."""

    seen: Int[np.ndarray, " n"]
    """Candidates evaluated, in this order."""
    mean: Float[np.ndarray, " N"]
    """Predictive mean."""
    std: Float[np.ndarray, " N"]
    """Predictive standard deviation."""
    quantiles: Float[np.ndarray, "4 N"]
    """At `LEVELS`."""
    log_ei: Float[np.ndarray, " N"]
    """Log of the expected improvement, in nats, of standardised values."""
    preference: Float[np.ndarray, " N"] | None
    """Logits of the learned acquisition, in nats; None if there is none."""


class Exploration(NamedTuple):
    """A function, and what is believed of it at several stages."""

    name: str
    """In words."""
    x: Float[np.ndarray, "N d"]
    """Candidates in [0, 1]^d."""
    y: Float[np.ndarray, " N"]
    """The function there, to be maximised."""
    views: list[View]
    """By stage."""


def two_hills(x: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Returns a function with a broad hill on the left and a higher and narrower one on the right, at 0.72."""
    return np.exp(-0.5 * ((x - 0.72) / 0.07) ** 2) + 0.7 * np.exp(-0.5 * ((x - 0.28) / 0.13) ** 2)


def gaussian_draw(x: Float[np.ndarray, " N"], *, seed: int = 5) -> Float[np.ndarray, " N"]:
    """Returns about a draw from a Gaussian process of squared-exponential kernel: many random waves.

    Source: Rahimi and Recht 2007 (random Fourier features).
    """
    generator = np.random.default_rng(seed)
    frequency = generator.normal(size=NUM_WAVES) / LENGTH_SCALE
    phase = generator.uniform(0.0, 2.0 * np.pi, NUM_WAVES)
    return np.sqrt(2.0 / NUM_WAVES) * np.cos(x[:, None] * frequency + phase).sum(axis=1)


def explore(
    model: TrainedNAP,
    name: str,
    x: Float[np.ndarray, "N d"],
    y: Float[np.ndarray, " N"],
    *,
    start: Sequence[int],
    stages: Sequence[int],
    horizon: int,
) -> Exploration:
    """Returns what the model believes at each stage; from the start on it chooses by its own head.

    Args:
        model: a trained model.
        name: of the function.
        x: candidates.
        y: values, to be maximised.
        start: candidates evaluated before the model chooses.
        stages: numbers of evaluations at which to look, ascending, the start included.
        horizon: choices that the model is told it has.
    """
    look, seen, views = _looker(model, x, y, stages[-1]), list(start), []
    while True:
        view = look(seen, (len(seen) - len(start)) / horizon)
        views += [view] if len(seen) in stages else []
        if len(seen) >= stages[-1]:
            return Exploration(name, x, y, views)
        seen.append(choice(view))


def choice(view: View) -> int:
    """Returns the candidate that the acquisition ranks first among those not evaluated; without one, log EI does."""
    scores = np.array(view.log_ei if view.preference is None else view.preference)
    scores[view.seen] = -np.inf
    return int(np.argmax(scores))


def _looker(
    model: TrainedNAP, x: Float[np.ndarray, "N d"], y: Float[np.ndarray, " N"], most: int
) -> Callable[[Sequence[int], float], View]:
    """Returns `look(seen, progress) -> View`, compiled once for up to `most` evaluations."""
    num_dimensions = int(model.settings.get("num_dimensions", MAX_DIMENSIONS))
    kind = jnp.array([NUMERIC] * x.shape[1] + [UNUSED] * (num_dimensions - x.shape[1]), jnp.int32)
    candidates = jnp.pad(jnp.asarray(x, jnp.float32), ((0, 0), (0, num_dimensions - x.shape[1])))
    low, size = (np.min(y), np.ptp(y)) if model.nap.values == "range" else (0.0, 1.0)
    values, learned = jnp.asarray((y - low) / size, jnp.float32), model.head == "acquisition"

    @jax.jit
    def read(params: Any, places: Int[jax.Array, " L"], is_seen: Bool[jax.Array, " L"], progress: jax.Array) -> Any:
        belief = model.nap.believe(params, kind, Evaluations(candidates[places], values[places], is_seen), candidates)
        reading, scale = belief.reading, belief.scale
        at = lambda level: model.nap.bars.quantile(reading.bars, jnp.full(x.shape[0], level, jnp.float32))  # noqa: E731
        quantiles = scale.mean + scale.std * jnp.stack([at(level) for level in LEVELS])
        preference = model.nap.prefer(params, belief, progress)
        return scale.mean + scale.std * reading.mean, scale.std * reading.std, quantiles, reading.log_ei, preference

    def look(seen: Sequence[int], progress: float) -> View:
        places = np.array([*seen, *([0] * (most - len(seen)))], np.int32)
        arrays = read(model.params, places, np.arange(most) < len(seen), np.float32(progress))
        mean, std, quantiles, log_ei, preference = (np.asarray(array, np.float64) for array in arrays)
        mean, std, quantiles = low + size * mean, size * std, low + size * quantiles
        return View(np.array(seen, np.int64), mean, std, quantiles, log_ei, preference if learned else None)

    return look


def explore_lines(model: TrainedNAP, horizon: int) -> list[Exploration]:
    """Returns explorations of two functions on the line."""
    x = np.linspace(0.0, 1.0, LINE_POINTS)
    functions = {"two hills": two_hills, "GP draw": gaussian_draw}
    options = {"start": LINE_STARTS, "stages": LINE_STAGES, "horizon": horizon}
    return [explore(model, name, x[:, None], function(x), **options) for name, function in functions.items()]


def explore_plane(model: TrainedNAP, horizon: int) -> Exploration:
    """Returns an exploration of Branin's function, negated, on a square grid with the first coordinate fastest."""
    side = np.linspace(0.0, 1.0, PLANE_SIDE)
    second, first = np.meshgrid(side, side, indexing="ij")
    x = np.stack([first.ravel(), second.ravel()], axis=1)
    at = jnp.asarray(x, jnp.float32)
    y = np.asarray(objective(FUNCTIONS["branin"], at, jnp.zeros(2, jnp.float32), jnp.float32(1.0)), np.float64)
    start = [row * PLANE_SIDE + column for column, row in PLANE_STARTS]
    return explore(model, "Branin, negated", x, y, start=start, stages=PLANE_STAGES, horizon=horizon)
