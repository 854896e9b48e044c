"""Tuning a solver of mixed-integer programs: how SCIP should search, so that generated set covers cost it little work.

Work is counted in iterations of the simplex algorithm, which are the same in every run; seconds are not.

Source: Maraval et al. 2023 (NAP) tune such a solver; instances after Balas and Ho 1980, random set covers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from envs.blackbox.built import BuiltTable, without_failures
from envs.blackbox.configuration import category, category_counts, decode, draw, kinds, ordinal, real
from envs.blackbox.evaluation_cache import Configuration, EvaluationFailed, Problem, content_hash, evaluate_all

SPACE = (
    real("branching/scorefac", 0.0, 1.0),
    category("branching/preferbinary", False, True),
    ordinal("separating/maxrounds", 0, 1, 2, 5, 10, 20, -1),
    ordinal("separating/maxroundsroot", 0, 1, 2, 5, 10, 20, 50, -1),
    ordinal("presolving/maxrounds", 0, 1, 2, 5, 10, -1),
    category("nodeselection/childsel", "d", "u", "p", "i", "l", "r", "h"),
    ordinal("heuristics/rens/freq", -1, 0, 50, 20, 10, 5, 1),
    category("lp/pricing", "l", "a", "f", "p", "s", "q", "d"),
)
"""The parameters by SCIP's names; -1 means no limit, but for RENS, where it means never and 0 at the root only."""
NODE_LIMIT = 2000
"""Nodes after which SCIP gives up."""
UNSOLVED_FACTOR = 10.0
"""By how much the work is multiplied where it gave up, as penalised average run times (PAR10) do."""
MISSING = "tuning SCIP needs the package pyscipopt: pip install 'metarl[metabo-real]'"


class SetCover(NamedTuple):
    """Choose sets, as cheaply as possible, so that every element is in one that was chosen."""

    cost: Int64[np.ndarray, " V"]
    """Of each set: the objective, minimised."""
    is_member: Bool[np.ndarray, "C V"]
    """Which elements each set holds: one constraint per element."""


def set_cover(
    seed: int, *, num_variables: int = 400, num_constraints: int = 200, density: float = 0.03, max_cost: int = 99
) -> SetCover:
    """Returns a random instance with costs in 1..max_cost; every element is in at least two sets.

    Raises:
        ValueError: if there are fewer than two variables, no constraint, or the density is outside (0, 1].
    """
    if num_variables < 2 or num_constraints < 1 or not 0 < density <= 1:
        raise ValueError(
            f"a set cover was given {num_variables} variables, {num_constraints} constraints and density {density}; "
            "it needs at least 2, at least 1, and one in (0, 1]"
        )
    rng = np.random.default_rng(seed)
    cost = rng.integers(1, max_cost + 1, num_variables)
    is_member = rng.random((num_constraints, num_variables)) < density
    for row in is_member:
        while row.sum() < 2:
            row[rng.integers(num_variables)] = True
    return SetCover(cost, is_member)


def instance_hash(instance: SetCover) -> str:
    """Returns a hash of the instance's numbers."""
    return content_hash(
        str(instance.is_member.shape),
        instance.cost.astype("<i8").tobytes(),
        np.packbits(instance.is_member).tobytes(),
    )


def solver_version() -> str:
    """Returns the versions of pyscipopt and of the SCIP inside it.

    Raises:
        ValueError: if pyscipopt is missing.
    """
    scip = _pyscipopt()
    return f"{scip.__version__} {scip.Model().version()}"


def solve(
    instance: SetCover, configuration: Configuration, *, node_limit: int = NODE_LIMIT
) -> tuple[int, int, bool, float]:
    """Returns `(iterations, nodes, is_solved, bound)` of SCIP's search under these parameters.

    Iterations count those of strong branching too; the bound is the cheapest cover found, and the best one if solved.

    Raises:
        EvaluationFailed: if SCIP ends in any other way than solved or at the limit of nodes.
        ValueError: if pyscipopt is missing.
    """
    model = _model(instance)
    model.setParams({**configuration, "limits/nodes": node_limit, "timing/enabled": False})
    model.optimize()
    status = model.getStatus()
    if status not in ("optimal", "nodelimit", "totalnodelimit"):
        raise EvaluationFailed(f"SCIP ended with the status {status}")
    iterations = model.getNLPIterations() + model.getNStrongbranchLPIterations()
    return iterations, model.getNTotalNodes(), status == "optimal", model.getPrimalbound()


def build(
    instance: SetCover,
    *,
    num_configs: int,
    seed: int,
    node_limit: int = NODE_LIMIT,
    track: Callable[[Sequence[Configuration]], Iterable[Configuration]] = iter,
) -> BuiltTable:
    """Returns the table of random configurations, solved where the cache does not know them.

    The objective is minus the natural logarithm of the iterations, times `UNSOLVED_FACTOR` where SCIP gave up.

    Args:
        instance: what is solved.
        num_configs: N, different configurations.
        seed: of the draw.
        node_limit: nodes after which SCIP gives up.
        track: shows progress, see `evaluate_all`.

    Raises:
        ValueError: if pyscipopt is missing.
    """
    problem = Problem("mip", "scip", solver_version(), f"{instance_hash(instance)} nodes<={node_limit}")
    x = draw(SPACE, num_configs, seed)
    results = evaluate_all(
        problem,
        [decode(SPACE, row) for row in x],
        lambda configuration: solve(instance, configuration, node_limit=node_limit),
        track=track,
    )
    values = np.array([_objective(result.numbers) for result in results])
    y, num_failed = without_failures(values, [result.reason for result in results])
    return BuiltTable(x, kinds(SPACE), category_counts(SPACE), y, tuple(p.name for p in SPACE), num_failed)


def _objective(numbers: Sequence[float]) -> float:
    if len(numbers) == 1:  # failed
        return math.nan
    iterations, _, is_solved, _ = numbers
    return -math.log(max(iterations, 1.0) * (1.0 if is_solved else UNSOLVED_FACTOR))


def _pyscipopt():
    try:
        import pyscipopt
    except ImportError as error:
        raise ValueError(MISSING) from error
    return pyscipopt


def _model(instance: SetCover):
    scip = _pyscipopt()
    model = scip.Model()
    model.hideOutput()
    chosen = [model.addVar(vtype="B", obj=float(cost)) for cost in instance.cost]
    for row in instance.is_member:
        model.addCons(scip.quicksum(chosen[index] for index in np.flatnonzero(row)) >= 1)
    return model
