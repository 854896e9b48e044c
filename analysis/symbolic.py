"""A learned drift as a formula: symbolic regression on its values, with the error of what is printed.

The search needs `pyoperon` (`pip install metarl[symbolic]`), which is imported when a formula is asked for.
"""

import ast
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from analysis.drift import MAX_ADVANTAGE, WINDOW, RuleDrift, check_life
from metarl.progress import Progress

FIT_POINTS = 21
"""Points of the grid that is fitted along log r and A; the held-out grid lies half-way between them."""
FIT_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
SYMBOLS = "add,sub,mul,abs,tanh,square,fmin,fmax,constant,variable"
"""What a formula may be made of. A drift is bounded below by 0, which takes a maximum; division only makes poles."""
ARITHMETIC = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant),
    *(ast.operator, ast.unaryop),
)
"""Parts of Python that a formula may have."""
FUNCTIONS = {"min": np.minimum, "max": np.maximum, "abs": np.abs, "tanh": np.tanh}


class Distillation(NamedTuple):
    """A formula that was fitted to a drift, and how far off it is."""

    expression: str
    """Python's notation, in `r`, `log_r`, `A`, and `t` = n/N if the drift was fitted over whole lives."""
    rmse: float
    """Root-mean-square error on the held-out grid divided by the standard deviation of the drift there."""
    r2: float
    """Coefficient of determination on the held-out grid; 1 is perfect, 0 no better than a constant."""
    seconds: float
    """How long the search took."""

    def __str__(self) -> str:
        """The formula with its error, and never without."""
        return f"f = {self.expression}   (held-out normalised RMSE {self.rmse:.3g}, R^2 {self.r2:.4f})"


def distil(
    drift: RuleDrift,
    *,
    fraction: float | None = None,
    lifetime: float = 100.0,
    max_length: int = 40,
    population_size: int = 2000,
    generations: int = 150,
    seed: int = 0,
) -> Distillation:
    """Returns a formula for f over log r in [-1, 1] and A in [-4, 4], found by genetic programming.

    Its constants are fitted by least squares. The error is that of the formula as printed, constants rounded, on a grid
    that was not fitted. Equal input gives an equal formula.

    The default search takes a minute or two.

    Args:
        drift: whose.
        fraction: the only n/N; with None, n/N is the input `t` of a drift that sees time.
        lifetime: N; only a drift that sees it looks at it.
        max_length: operations, constants and variables that the formula may have, 2 or more.
        population_size: formulas at a time.
        generations: how often the worse are replaced; population times generations formulas are tried.
        seed: of the search.

    Raises:
        ValueError: if pyoperon is not installed, a number is out of range, or f is the same everywhere.
    """
    if max_length < 2 or population_size < 2 or generations < 1:
        given = f"max_length = {max_length}, population_size = {population_size} and generations = {generations}"
        raise ValueError(f"a formula was asked for with {given}; they must be at least 2, 2 and 1")
    regressor = _regressor_class()
    fit, held_out = (_samples(drift, fraction, lifetime, is_held_out=flag) for flag in (False, True))
    start = time.perf_counter()
    model = regressor(
        allowed_symbols=SYMBOLS,
        max_length=max_length,
        population_size=population_size,
        pool_size=population_size,
        generations=generations,
        max_evaluations=2 * population_size * (generations + 1),
        optimizer_iterations=5,
        n_threads=1,  # more would make the result depend on their timing
        random_state=seed,
    )
    names = [name for name in fit if name != "f"]
    model.fit(np.stack([fit[name] for name in names], axis=-1), fit["f"])
    expression = _in_python(model.get_model_string(model.model_, 12, names=names))
    seconds = time.perf_counter() - start
    return Distillation(expression, *fit_error(expression, held_out), seconds)


def fit_error(expression: str, samples: Mapping[str, Float[np.ndarray, " K"]]) -> tuple[float, float]:
    """Returns the normalised root-mean-square error and R^2 of a formula for `f` in the other variables.

    Both are infinite if the formula is not finite somewhere.
    """
    variables = {name: values for name, values in samples.items() if name != "f"}
    with np.errstate(all="ignore"):
        error = evaluate_expression(expression, variables) - samples["f"]
    if not np.all(np.isfinite(error)):
        return np.inf, -np.inf
    share = float(np.mean(error**2) / np.var(samples["f"]))
    return share**0.5, 1.0 - share


def evaluate_expression(
    expression: str, variables: Mapping[str, Float[np.ndarray, " K"]]
) -> Float[np.ndarray, "*shape"]:
    """Returns the value of a formula as `distil` writes it.

    Raises:
        ValueError: if there is anything else in it than numbers, arithmetic, the variables and FUNCTIONS.
    """
    known = {*variables, *FUNCTIONS}
    nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    if not all(isinstance(node, ARITHMETIC) and getattr(node, "id", min(known)) in known for node in nodes):
        raise ValueError(f"the formula {expression!r} has more in it than arithmetic with {sorted(known)}")
    return np.asarray(eval(expression, {"__builtins__": {}, **FUNCTIONS, **variables}), np.float64)


def _in_python(expression: str) -> str:
    """Returns the library's notation in Python's, its numbers rounded to five digits."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.5g}", expression).replace("^", "**")


def _regressor_class() -> type:
    try:
        from pyoperon.sklearn import SymbolicRegressor  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("a formula needs pyoperon, which is missing; run: pip install 'metarl[symbolic]'") from error
    return SymbolicRegressor


def _samples(
    drift: RuleDrift, fraction: float | None, lifetime: float, *, is_held_out: bool
) -> dict[str, Float[np.ndarray, " K"]]:
    """Returns the points of a grid by variable, and `f` there."""
    fractions, _ = check_life(drift, FIT_FRACTIONS if fraction is None else (fraction,), (lifetime,))
    axes = [np.linspace(-end, end, FIT_POINTS) for end in (WINDOW, MAX_ADVANTAGE)] + [fractions]
    axes = [_between(axis) for axis in axes] if is_held_out else axes
    log_ratio, advantage, point = np.meshgrid(*axes, indexing="ij")
    plane = log_ratio[..., 0], advantage[..., 0]
    values = np.stack([_values(drift, *plane, at, lifetime) for at in axes[-1]], axis=-1)
    samples = {"r": np.exp(log_ratio), "log_r": log_ratio, "A": advantage, "t": point, "f": values}
    if np.var(values) == 0.0:
        raise ValueError(f"the drift is {values.flat[0]:g} everywhere that was looked at; there is nothing to distil")
    return {name: column.ravel() for name, column in samples.items() if name != "t" or len(fractions) > 1}


def _between(points: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Returns the middles between points; a single point stays."""
    return points if len(points) == 1 else 0.5 * (points[1:] + points[:-1])


def _values(
    drift: RuleDrift, log_ratio: np.ndarray, advantage: np.ndarray, fraction: float, lifetime: float
) -> np.ndarray:
    progress = Progress(jnp.float32(fraction * lifetime), jnp.float32(lifetime))
    u, a = (jnp.asarray(grid, jnp.float32) for grid in (log_ratio, advantage))
    return np.asarray(drift.function(jnp.exp(u), u, a, progress), np.float64)
