"""The examination of agents on data that others gathered: one decision in a bandit, or an episode elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.domain import Domain
from metarl.experiments.findings import Findings, curve_over_tasks, points_upto, row_over_tasks
from metarl.experiments.pretrain_config import ActingConfig
from metarl.incontext.agent import InContextAgent, Transition
from metarl.incontext.collect import Collect, make_collect
from metarl.incontext.deploy import deploy_many
from metarl.incontext.offline import make_offline, make_offline_episode

OFFLINE_LENGTHS = (0, 1, 2, 5, 10, 25, 50, 100, 200, 300, 500)
"""Sizes of the data sets that bandit agents decide after."""
OFFLINE_EPISODE_LENGTHS = (0, 50, 100)
"""Sizes of the data sets before an episode."""
OFFLINE_PROTOCOLS: dict[str, Literal["episode", "step"]] = {"frozen": "episode", "stepwise": "step"}
"""Whether an episode's own steps join the data set, by name."""

Gatherer = Literal["behaviour", "expert"]
"""Who gathered data sets. behaviour: as for training; expert: the optimal policy."""


def gathering(domain: Domain, contexts: Sequence[Gatherer]) -> dict[str, Collect]:
    """Returns `{gatherer: collect}`, each for data sets as long as the longest that are examined.

    Raises:
        ValueError: if none is given, or the domain has no such data.
    """
    if not contexts:
        raise ValueError("contexts is empty; give behaviour, expert or both")
    length = domain.context_length if domain.is_bandit else max(OFFLINE_EPISODE_LENGTHS)
    laws = {"behaviour": domain.behaviour, "expert": "optimal"}
    return {name: make_collect(domain, laws[name], length) for name in contexts}


def act_offline(
    domain: Domain,
    config: ActingConfig,
    arm: str,
    make: Callable[[Any], InContextAgent],
    data: Mapping[str, Collect],
    *,
    params: Any,
    weights: Any,
    key: Array,
) -> Findings:
    """Returns how an agent does after data sets of different sizes, gathered by each in `data`; consumes the key.

    The protocol of an expert's data ends with `-expert`. Other arguments are as in `metarl.experiments.acting.act`.
    """
    found, examine = Findings([], {}), _decisions if domain.is_bandit else _episodes
    for gatherer, collect in data.items():
        for protocol, sizes in examine(domain, config, make, collect, params, weights, key).items():
            name = protocol if gatherer == "behaviour" else f"{protocol}-{gatherer}"
            # One decision leaves no choice of protocol, so that rows need name it only where it says who gathered.
            named = {} if name == "frozen" and domain.is_bandit else {"protocol": name}
            metric = "suboptimality" if domain.is_bandit else "return"
            found.rows.extend(
                row_over_tasks(arm, domain, {"mode": "offline", **named, "context": size}, metric, values)
                for size, values in sizes.items()
            )
            found.curves[f"offline/{name}/{arm}"] = curve_over_tasks(np.stack(list(sizes.values()), axis=1))
    return found


Sizes = dict[int, Float[np.ndarray, " K"]]
"""Values of all tasks by the size of the data set."""


def _episodes(
    domain: Domain, config: ActingConfig, make: Callable, collect: Collect, params: Any, weights: Any, key: Array
) -> dict[str, Sizes]:
    """Returns the returns of an episode after data sets, by protocol."""

    def returns(updates: Literal["episode", "step"], length: int) -> Float[np.ndarray, " K"]:
        def run(weights: Any, params: Any, key: Array) -> Array:
            offline = make_offline_episode(domain, make(weights), horizon=config.horizon, updates=updates)

            def value(params: Any, key: Array) -> Array:
                key_data, key_act = jax.random.split(key)
                data = collect(params, key_data).transitions
                is_valid = jnp.arange(max(OFFLINE_EPISODE_LENGTHS)) < length
                return offline(params, data, is_valid, key_act)

            return deploy_many(value, params, key, batch_size=config.batch_size)

        return np.asarray(jax.jit(run)(weights, params, key))

    return {
        name: {length: returns(updates, length) for length in OFFLINE_EPISODE_LENGTHS}
        for name, updates in OFFLINE_PROTOCOLS.items()
    }


def _decisions(
    domain: Domain, config: ActingConfig, make: Callable, collect: Collect, params: Any, weights: Any, key: Array
) -> dict[str, Sizes]:
    """Returns how much worse than the best arm the chosen one is after data sets, which stay as they are."""
    lengths = points_upto(OFFLINE_LENGTHS, domain.context_length)

    def run(weights: Any, params: Any, key: Array) -> Array:
        offline = make_offline(domain, make(weights), lengths=lengths)

        def values(params: Any, key: Array) -> Array:
            key_data, key_act = jax.random.split(key)
            data: Transition = collect(params, key_data).transitions
            return offline(params, data, key_act)

        return deploy_many(values, params, key, batch_size=config.batch_size)

    values = np.asarray(jax.jit(run)(weights, params, key))
    return {"frozen": {length: values[:, index] for index, length in enumerate(lengths)}}
