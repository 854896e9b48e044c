"""Families of pools by name, to train on: none of them can reach a table of another split."""

from collections.abc import Callable
from typing import Any, Literal

from envs.blackbox.environment import BlackBox
from envs.blackbox.gp_laws import LAWS
from envs.blackbox.gp_prior import GPPrior, family_of, gp_prior
from envs.family import TaskFamily
from envs.naming import check_name, options_in


def make_source(spec: str, *, num_candidates: int = 110, horizon: int = 45) -> TaskFamily:
    """Returns the family of this name, with options such as `gp-prior@max_dimensions=4`.

    | name | pools |
    |---|---|
    | `xgb-bank` | rows of the 20 training tables of XGBoost, with a draw of the process fitted to their objective |
    | | (of the first few tables: `xgb-bank@num_tables=5`) |
    | `tables` | rows of the other training tables, with their measured objective |
    | `gp-prior` | functions of Gaussian processes over numbers, grids and categories |
    | `analytic` | one of Branin, Goldstein-Price, Hartmann and Ackley (`analytic@function=branin`), moved and scaled |

    Args:
        spec: name and options.
        num_candidates: N.
        horizon: T, evaluations after the initial ones.

    Raises:
        ValueError: if the name or an option is unknown.
    """
    name = spec.split("@")[0]
    check_name(name, SOURCES, "source of pools")
    factory = SOURCES[name]
    made = factory(BlackBox(num_candidates, max_horizon=horizon), **options_in(spec, factory))
    return family_of(made) if isinstance(made, GPPrior) else made


def _xgb_bank(env: BlackBox, num_draws: int = 49, num_tables: int = 20) -> TaskFamily:
    from envs.blackbox.bank import PoolBank, bank_family, posterior_bank

    bank = posterior_bank(num_draws)
    if not 1 <= num_tables <= len(bank.x):
        raise ValueError(f"xgb-bank was asked for {num_tables} tables; it has 1 to {len(bank.x)}")
    return bank_family(
        PoolBank(*(leaf[:num_tables] for leaf in bank)), env.num_candidates, horizon=env.max_horizon, env=env
    )


def _tables(env: BlackBox, num_rows: int = 2000) -> TaskFamily:
    from envs.blackbox.bank import bank_family, table_bank

    return bank_family(table_bank(num_rows=num_rows), env.num_candidates, horizon=env.max_horizon, env=env)


def make_prior(spec: str, *, num_candidates: int = 110, horizon: int = 45) -> GPPrior:
    """Returns the law behind a source `gp-prior`, which also tells the kernel of each task.

    Raises:
        ValueError: if the source is another, or an option is unknown.
    """
    check_name(spec.split("@")[0], ("gp-prior",), "law of functions")
    return _prior(BlackBox(num_candidates, max_horizon=horizon), **options_in(spec, _prior))


def _prior(
    env: BlackBox,
    min_dimensions: int = 1,
    max_dimensions: int = 8,
    kinds: str = "mixed",
    output_share: float = 0.2,
    law: Literal["log-uniform", "hebo", "known"] = "log-uniform",
) -> GPPrior:
    return gp_prior(
        num_candidates=env.num_candidates,
        dimensions=(min_dimensions, max_dimensions),
        kinds=kinds,
        law=LAWS[law](),
        output_share=output_share,
        horizon=env.max_horizon,
    )


def _analytic(env: BlackBox, function: str = "branin", shift: float = 0.1) -> TaskFamily:
    from envs.blackbox.analytic import analytic_family

    return analytic_family(function, num_candidates=env.num_candidates, shift=shift, horizon=env.max_horizon)


SOURCES: dict[str, Callable[..., Any]] = {
    "xgb-bank": _xgb_bank,
    "tables": _tables,
    "gp-prior": _prior,
    "analytic": _analytic,
}
"""Families by name."""
