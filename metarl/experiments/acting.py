"""The examination of what acts in context: models and their rivals in held-out tasks, as rows of the one schema."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.domain import Domain
from metarl.experiments.evaluate import row_of
from metarl.experiments.pretrain_config import ActingConfig
from metarl.experiments.rewarded import expert_returns, once_rewarded
from metarl.incontext.agent import InContextAgent, Transition
from metarl.incontext.collect import make_collect
from metarl.incontext.deploy import FROZEN, OFFICIAL, STEPWISE, Protocol, deploy_many, make_deploy
from metarl.incontext.offline import make_offline, make_offline_episode
from metarl.incontext.scratch import ppo_from_scratch

PROTOCOLS: dict[str, Protocol] = {"official": OFFICIAL, "frozen": FROZEN, "stepwise": STEPWISE}
"""When the context grows, by name."""
PULLS = (10, 20, 50, 100, 200, 500, 1000)
"""Numbers of pulls after which cumulative regret is written down, and the last."""
EPISODES = (1, 2, 3, 5, 10, 20, 40)
"""Episodes whose return is written down, and the last."""
ONCE_REWARDED = "return_once_rewarded"
"""Metric: mean return, by task, of episodes that were begun with a reward in the context; of an expert, of any."""
OFFLINE_LENGTHS = (0, 1, 2, 5, 10, 25, 50, 100, 200, 300, 500)
"""Sizes of the data sets that bandit agents decide after."""
OFFLINE_EPISODE_LENGTHS = (0, 50, 100)
"""Sizes of the data sets before an episode."""

Agents = Mapping[str, Callable[[Any], InContextAgent]]
"""`{arm: make}`; `make(weights) -> InContextAgent`, so that weights are an argument of the compiled program."""


class Curve(NamedTuple):
    """A mean over tasks, along pulls or episodes."""

    mean: Float[np.ndarray, " n"]
    """Mean."""
    error: Float[np.ndarray, " n"]
    """Standard error of the mean over tasks."""


class Findings(NamedTuple):
    """What an examination found."""

    rows: list[dict[str, Any]]
    """Rows of an evaluation file."""
    curves: dict[str, Curve]
    """By `mode/protocol/arm`: regret by pull, return by episode, suboptimality by size of the data set."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the curves as float32 arrays `mode/protocol/arm/mean` and `.../error`."""
        parts = (
            (f"{name}/{part}", getattr(curve, part)) for name, curve in self.curves.items() for part in Curve._fields
        )
        return {name: np.asarray(values, np.float32) for name, values in parts}


def act(
    agents: Agents,
    domain: Domain,
    config: ActingConfig,
    *,
    seed: int,
    weights: Any = (),
    offline_agents: Agents | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> Findings:
    """Returns how agents do in held-out tasks, all in the same ones with the same randomness.

    Args:
        agents: who acts online, by the name of their arm.
        domain: where.
        config: modes, numbers of tasks and episodes.
        seed: of tasks and actions.
        weights: given to every maker of an agent.
        offline_agents: who decides offline, after data sets gathered as for training; None: the same.
        report: told what is examined next.
    """
    key_tasks, key_act, key_data = jax.random.split(jax.random.key(seed), 3)
    params = jax.jit(jax.vmap(domain.held_out.sample))(jax.random.split(key_tasks, config.num_tasks)).params
    found = Findings([], {})
    for mode, arms in (("online", agents), ("offline", agents if offline_agents is None else offline_agents)):
        if mode not in config.modes:
            continue
        for arm, make in arms.items():
            report(f"{domain.name}, {mode}: {arm}")
            examine = _online if mode == "online" else _offline
            part = examine(domain, config, arm, make, params, weights, key_act if mode == "online" else key_data)
            found.rows.extend(part.rows)
            found.curves.update(part.curves)
    protocols = {row["setting"]["protocol"] for row in found.rows if row["metric"] == ONCE_REWARDED}
    if protocols:
        report(f"{domain.name}, online: expert")
        values = expert_returns(domain, params, key_act, horizon=config.horizon, batch_size=config.batch_size)
        found.rows.extend(
            _rewarded_row("expert", domain, name, values) for name in config.protocols if name in protocols
        )
    return found


def act_from_scratch(
    domain: Domain, config: ActingConfig, *, seed: int, num_tasks: int = 256, arm: str = "ppo"
) -> Findings:
    """Returns how PPO agents do that start anew in each of the first held-out tasks of `act` with this seed."""
    key_tasks, key_act, _ = jax.random.split(jax.random.key(seed), 3)
    keys = jax.random.split(key_tasks, config.num_tasks)[:num_tasks]
    params = jax.jit(jax.vmap(domain.held_out.sample))(keys).params
    learn = ppo_from_scratch(domain, num_episodes=config.num_episodes, horizon=config.horizon)
    run = jax.jit(lambda params, key: deploy_many(learn, params, key, batch_size=config.batch_size))
    return _episode_findings(domain, arm, "scratch", np.asarray(run(params, key_act)))


def _episode_findings(domain: Domain, arm: str, protocol: str, returns: Float[np.ndarray, "K E"]) -> Findings:
    """Returns rows and curve of returns by task and episode."""
    setting = {"mode": "online", "protocol": protocol}
    points = _points(EPISODES, returns.shape[1])
    rows = [_row(arm, domain, {**setting, "episode": n}, "return", returns[:, n - 1]) for n in points]
    rows.append(_row(arm, domain, {**setting, "episode": "all"}, "return", returns.mean(axis=1)))
    return Findings(rows, {f"online/{protocol}/{arm}": _curve(returns)})


def _online(
    domain: Domain, config: ActingConfig, arm: str, make: Callable, params: Any, weights: Any, key: Array
) -> Findings:
    protocols = {"stepwise": STEPWISE} if domain.is_bandit else {name: PROTOCOLS[name] for name in config.protocols}
    num_episodes = 1 if domain.is_bandit else config.num_episodes
    found = Findings([], {})
    for name, protocol in protocols.items():

        def run(weights: Any, params: Any, key: Array, protocol: Protocol = protocol) -> Array:
            deploy = make_deploy(
                domain,
                make(weights),
                num_episodes=num_episodes,
                horizon=config.horizon,
                protocol=protocol,
                capacity=_capacity(domain, config),
            )

            def score(params: Any, key: Array) -> Array:
                result = deploy(params, key)
                return jnp.cumsum(result.regret[0]) if domain.is_bandit else jnp.sum(result.reward, axis=1)

            return deploy_many(score, params, key, batch_size=config.batch_size)

        values = np.asarray(jax.jit(run)(weights, params, key))
        if not domain.is_bandit:
            part = _episode_findings(domain, arm, name, values)
            known = once_rewarded(values, remembers_one=protocol.context_episodes == 1)
            if np.min(values) >= 0.0 and len(known) and not domain.is_continuous:
                found.rows.append(_rewarded_row(arm, domain, name, known))
            found.rows.extend(part.rows)
            found.curves.update(part.curves)
            continue
        settings = [{"mode": "online", "horizon": n} for n in _points(PULLS, values.shape[1])]
        found.rows.extend(_row(arm, domain, s, "regret", values[:, s["horizon"] - 1]) for s in settings)
        found.curves[f"online/{name}/{arm}"] = _curve(values)
    return found


def _offline(
    domain: Domain, config: ActingConfig, arm: str, make: Callable, params: Any, weights: Any, key: Array
) -> Findings:
    if domain.is_bandit:
        return _offline_bandit(domain, config, arm, make, params, weights, key)
    found = Findings([], {})
    collect = make_collect(domain, domain.behaviour, max(OFFLINE_EPISODE_LENGTHS))
    for name, updates in (("frozen", "episode"), ("stepwise", "step")):
        columns = []
        for length in OFFLINE_EPISODE_LENGTHS:

            def run(weights: Any, params: Any, key: Array, length: int = length, updates: Any = updates) -> Array:
                offline = make_offline_episode(domain, make(weights), horizon=config.horizon, updates=updates)

                def value(params: Any, key: Array) -> Array:
                    key_data, key_act = jax.random.split(key)
                    data = collect(params, key_data).transitions
                    is_valid = jnp.arange(max(OFFLINE_EPISODE_LENGTHS)) < length
                    return offline(params, data, is_valid, key_act)

                return deploy_many(value, params, key, batch_size=config.batch_size)

            columns.append(np.asarray(jax.jit(run)(weights, params, key)))
            setting = {"mode": "offline", "protocol": name, "context": length}
            found.rows.append(_row(arm, domain, setting, "return", columns[-1]))
        found.curves[f"offline/{name}/{arm}"] = _curve(np.stack(columns, axis=1))
    return found


def _offline_bandit(
    domain: Domain, config: ActingConfig, arm: str, make: Callable, params: Any, weights: Any, key: Array
) -> Findings:
    lengths = _points(OFFLINE_LENGTHS, domain.context_length)
    collect = make_collect(domain, domain.behaviour, lengths[-1])

    def run(weights: Any, params: Any, key: Array) -> Array:
        offline = make_offline(domain, make(weights), lengths=lengths)

        def values(params: Any, key: Array) -> Array:
            key_data, key_act = jax.random.split(key)
            data: Transition = collect(params, key_data).transitions
            return offline(params, data, key_act)

        return deploy_many(values, params, key, batch_size=config.batch_size)

    values = np.asarray(jax.jit(run)(weights, params, key))
    settings = ({"mode": "offline", "context": n} for n in lengths)
    rows = [_row(arm, domain, setting, "suboptimality", values[:, i]) for i, setting in enumerate(settings)]
    return Findings(rows, {f"offline/frozen/{arm}": _curve(values)})


def longest_context(domain: Domain, config: ActingConfig) -> int:
    """Returns how many transitions the longest context will have that an agent acts on."""
    horizon = domain.horizon if config.horizon is None else config.horizon
    remembers_one = domain.is_bandit or tuple(config.protocols) == ("official",)
    online = horizon * (1 if remembers_one else config.num_episodes) if "online" in config.modes else 0
    offline = domain.context_length if "offline" in config.modes else 0
    return min(max(online, offline), _capacity(domain, config) or max(online, offline))


def _capacity(domain: Domain, config: ActingConfig) -> int | None:
    """Returns the transitions to have room for: what is configured or, where repeats are skipped, all that differ."""
    if config.capacity is None and config.skips_seen and domain.pair_index is not None:
        return domain.num_pairs
    return config.capacity


def _points(known: tuple[int, ...], last: int) -> tuple[int, ...]:
    return tuple(sorted({n for n in known if n < last} | {last}))


NUM_KEPT = 256
"""Values of single tasks that a row keeps; mean, interval and error are over all."""


def _row(arm: str, domain: Domain, setting: dict[str, Any], metric: str, values: np.ndarray) -> dict[str, Any]:
    """Returns one row over tasks, with the standard error of the mean beside it."""
    error = float(np.std(values, dtype=np.float64) / np.sqrt(len(values)))
    extra = {"error": error, "num_tasks": len(values)}
    row = row_of(arm, domain.name, setting, metric, values, extra, num_resamples=500)
    return {**row, "values": [float(f"{value:.5g}") for value in values[:NUM_KEPT]]}


def _rewarded_row(arm: str, domain: Domain, protocol: str, values: np.ndarray) -> dict[str, Any]:
    setting = {"mode": "online", "protocol": protocol, "episode": "all"}
    return _row(arm, domain, setting, ONCE_REWARDED, values)


def _curve(values: Float[np.ndarray, "K n"]) -> Curve:
    return Curve(values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values)))
