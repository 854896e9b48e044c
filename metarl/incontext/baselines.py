"""The references that every learner in context is compared with, by the names of result rows."""

from collections.abc import Callable
from functools import partial

from envs.domain import Domain
from metarl.incontext.agent import (
    InContextAgent,
    belief_agent,
    posterior_mean_agent,
    posterior_sampling_agent,
    stranger_agent,
    uniform_agent,
)
from metarl.incontext.arm_rules import (
    empirical_mean,
    gaussian_thompson,
    has_gaussian_arms,
    lcb,
    source_thompson,
    ucb,
)
from metarl.incontext.linear_rules import lin_thompson, lin_ucb

BASELINES: dict[str, Callable[[Domain], InContextAgent]] = {
    "uniform": uniform_agent,
    "emp": partial(empirical_mean, explores=True),
    "ucb1.0": partial(ucb, c=1.0),
    "ucb0.6": partial(ucb, c=0.6),
    "ucb0.3": partial(ucb, c=0.3),
    "lcb": lcb,
    "thompson": partial(gaussian_thompson, explores=True),
    "source": source_thompson,
    "linucb": lin_ucb,
    "linreg": partial(lin_ucb, c=0.0),
    "lints": lin_thompson,
    "posterior": posterior_sampling_agent,
    "sampled": partial(belief_agent, greedy=False),
    "argmax": partial(belief_agent, greedy=True),
    "mean": posterior_mean_agent,
    "psrl": posterior_sampling_agent,
    "stranger": stranger_agent,
}
"""Baselines by the names of result rows, as they act online."""
OFFLINE: dict[str, Callable[[Domain], InContextAgent]] = {
    "emp": partial(empirical_mean, explores=False),
    "thompson": partial(gaussian_thompson, explores=False),
}
"""Those that act otherwise on given data, where nothing can be explored any more."""


def baselines_for(domain: Domain, mode: str) -> dict[str, InContextAgent]:
    """Returns the baselines that make sense in the domain, by name; the mode is `online` or `offline`.

    | name | domains | mode |
    |---|---|---|
    | `uniform` | all | both |
    | `emp` | bandits | both |
    | `ucb1.0`, `ucb0.6`, `ucb0.3` | bandits | online |
    | `lcb` | bandits | offline |
    | `thompson` | bandits without features, Gaussian rewards | both |
    | `source`, `linucb`, `lints` | bandits with features | online |
    | `linreg` | bandits with features | both |
    | `posterior`, `mean` | bandits with an exact belief | both |
    | `stranger` | without an exact belief, no bandits | online |
    | `psrl` | other domains with an exact belief | both |
    | `sampled` | domains with an exact belief | both |
    | `argmax` | domains with an exact belief, discrete actions | both |

    Raises:
        ValueError: if the mode is neither `online` nor `offline`.
    """
    if mode not in ("online", "offline"):
        raise ValueError(f"baselines were asked for with mode={mode!r}; choose online or offline")
    online, linear = mode == "online", domain.features is not None
    names = ["uniform"]
    if domain.is_bandit:
        names += ["emp"] + (["ucb1.0", "ucb0.6", "ucb0.3"] if online else ["lcb"])
        if linear:
            names += ["source", "linucb", "linreg", "lints"] if online else ["linreg"]
        elif has_gaussian_arms(domain):
            names += ["thompson"]
    if domain.belief is not None:
        names += ["posterior", "mean"] if domain.is_bandit else ["psrl"]
        names += ["sampled"] if domain.is_continuous else ["sampled", "argmax"]
    elif online and not domain.is_bandit:
        names += ["stranger"]
    chosen = BASELINES if online else BASELINES | OFFLINE
    return {name: chosen[name](domain) for name in names}
