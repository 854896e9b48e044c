"""Meta-testing: fresh agents on held-out tasks under each rule, as rows of one schema."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.family import TaskFamily
from metarl.experiments.config import AgentConfig
from metarl.experiments.lives import Arm, Examinees, Lives, held_out, make_lives
from metarl.statistics import iqm_interval

SCHEMA = 1
"""Version of the layout of evaluation files."""
MIN_OPTIMUM = 1e-3
"""Tasks whose optimal return is below this have nothing to normalise by; they are left out and counted."""
CONFIDENCE = 0.95


def evaluate_arms(
    arms: Iterable[Arm],
    family: TaskFamily,
    config: AgentConfig,
    *,
    horizons: tuple[int, ...],
    num_tasks: int,
    seed: int,
    mesh: Any = None,
    report: Callable[[str], None] = lambda message: None,
    keep: Callable[[Arm, int, Lives], None] = lambda arm, horizon, lives: None,
    recall: Callable[[Arm, int], Lives | None] = lambda arm, horizon: None,
) -> list[dict[str, Any]]:
    """Returns evaluation rows: for every arm and horizon, the returns of K fresh agents at the end of their lives.

    All arms meet the same held-out tasks with the same randomness. Where the optimum is known there are further rows
    with the return divided by it, over the tasks whose optimum is at least 0.001. Intervals are 95 % bootstrap
    intervals of the interquartile mean over tasks (over seeds, for a family of one task).

    Args:
        horizons: lengths of the lives, in agent updates.
        num_tasks: K.
        seed: of tasks and lives.
        mesh: spreads the lives over devices.
        report: told what is evaluated next.
        keep: given the lives of each arm and horizon, for whoever wants more of them than returns.
        recall: returns lives that are already known, which are then not lived again, or None.
    """
    examinees = held_out(family, seed, num_tasks)
    optimum = optimal_returns(family, examinees)
    rows = []
    for group in _by_program(arms):
        lives = make_lives(group[0].objective, family, config, max_lifetime=max(horizons), mesh=mesh)
        for arm in group:
            for horizon in horizons:
                result = recall(arm, horizon)
                if result is None:
                    report(f"{arm.name}, {family.name}, horizon {horizon}")
                    result = lives(arm.meta_params, examinees, jnp.int32(horizon))
                found = arm_rows(arm.name, family.name, horizon, np.asarray(result.fitness), optimum)
                steps = horizon * config.num_envs * config.unroll_length
                rows += [{**row, "env_steps": steps} for row in found]
                keep(arm, horizon, result)
    return rows


def optimal_returns(family: TaskFamily, examinees: Examinees) -> np.ndarray | None:
    """Returns the optimal return of each held-out task, `[K]`, or None where it is not known."""
    if family.optimal_return is None:
        return None
    solve = jax.jit(lambda params: jax.lax.map(family.optimal_return, params, batch_size=32))
    return np.asarray(solve(examinees.task.params))


def arm_rows(arm: str, env: str, horizon: int, returns: np.ndarray, optimum: np.ndarray | None) -> list[dict[str, Any]]:
    """Returns the rows of one arm at one horizon: `return`, and `normalised_return` where the optimum `[K]` is known.

    A return that is not finite counts as the lowest finite one and is counted in the row's `num_nonfinite`.
    """
    setting = {"horizon": int(horizon)}
    num_nonfinite = int(np.sum(~np.isfinite(returns)))
    if num_nonfinite:
        if num_nonfinite == returns.size:
            raise ValueError(f"every life of {arm} on {env} at horizon {horizon} ended with a non-finite return")
        returns = np.where(np.isfinite(returns), returns, np.min(returns[np.isfinite(returns)]))
    extra = {"num_nonfinite": num_nonfinite} if num_nonfinite else {}
    rows = [row_of(arm, env, setting, "return", returns, extra)]
    if optimum is not None:
        has_scale = optimum >= MIN_OPTIMUM
        extra = {**extra, "num_excluded": int(np.sum(~has_scale))}
        if has_scale.any():
            normalised = returns[has_scale] / optimum[has_scale]
            rows.append(row_of(arm, env, setting, "normalised_return", normalised, extra))
    return rows


def row_of(
    arm: str,
    env: str,
    setting: dict[str, Any],
    metric: str,
    values: np.ndarray,
    extra: dict[str, Any],
    *,
    num_resamples: int = 2000,
) -> dict[str, Any]:
    """Returns one row of an evaluation file: interquartile mean of the values, its interval, their mean, and them."""
    interval = iqm_interval(values, confidence=CONFIDENCE, num_resamples=num_resamples)
    return {
        "arm": arm,
        "env": env,
        "setting": setting,
        "metric": metric,
        "iqm": interval.iqm,
        "low": interval.low,
        "high": interval.high,
        "confidence": interval.confidence,
        "mean": float(np.mean(values, dtype=np.float64)),
        **extra,
        "values": [float(value) for value in values],
    }


def _by_program(arms: Iterable[Arm]) -> list[list[Arm]]:
    """Groups arms that share an objective, and therefore a compiled program."""
    groups: dict[int, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(id(arm.objective), []).append(arm)
    return list(groups.values())


def evaluation_file(rows: list[dict[str, Any]], *, command: str, commit: str | None) -> dict[str, Any]:
    """Returns the content of an evaluation file around its rows."""
    device = jax.devices()[0]
    return {
        "schema": SCHEMA,
        "command": command,
        "device": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "commit": commit,
        "rows": rows,
    }
