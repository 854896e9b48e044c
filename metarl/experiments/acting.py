"""The examination of what acts in context: models and their rivals in held-out tasks, as rows of the one schema."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.domain import Domain
from metarl.experiments.acting_offline import Gatherer, act_offline, gathering
from metarl.experiments.findings import Findings, curve_over_tasks, points_upto, row_over_tasks
from metarl.experiments.pretrain_config import ActingConfig
from metarl.experiments.rewarded import expert_returns, once_rewarded
from metarl.incontext.agent import InContextAgent
from metarl.incontext.deploy import FROZEN, OFFICIAL, STEPWISE, Protocol, deploy_many, make_deploy
from metarl.incontext.scratch import ppo_from_scratch

PROTOCOLS: dict[str, Protocol] = {"official": OFFICIAL, "frozen": FROZEN, "stepwise": STEPWISE}
"""When the context grows, by name."""
PULLS = (10, 20, 50, 100, 200, 500, 1000)
"""Numbers of pulls after which cumulative regret is written down, and the last."""
EPISODES = (1, 2, 3, 5, 10, 20, 40)
"""Episodes whose return is written down, and the last."""
ONCE_REWARDED = "return_once_rewarded"
"""Metric: mean return, by task, of episodes that were begun with a reward in the context; of an expert, of any."""

Agents = Mapping[str, Callable[[Any], InContextAgent]]
"""`{arm: make}`; `make(weights) -> InContextAgent`, so that weights are an argument of the compiled program."""


def act(
    agents: Agents,
    domain: Domain,
    config: ActingConfig,
    *,
    seed: int,
    weights: Any = (),
    offline_agents: Agents | None = None,
    contexts: Sequence[Gatherer] = ("behaviour",),
    report: Callable[[str], None] = lambda message: None,
) -> Findings:
    """Returns how agents do in held-out tasks, all in the same ones with the same randomness.

    Args:
        agents: who acts online, by the name of their arm.
        domain: where.
        config: modes, numbers of tasks and episodes.
        seed: of tasks and actions.
        weights: given to every maker of an agent.
        offline_agents: who decides offline, after given data sets; None: the same.
        contexts: who gathered these, each in turn.
        report: told what is examined next.

    Raises:
        ValueError: if nobody gathers data sets that are to be given, or the domain has none of this kind.
    """
    data = gathering(domain, contexts) if "offline" in config.modes else {}  # refuses before any work
    key_tasks, key_act, key_data = jax.random.split(jax.random.key(seed), 3)
    params = jax.jit(jax.vmap(domain.held_out.sample))(jax.random.split(key_tasks, config.num_tasks)).params
    found = Findings([], {})
    for mode, arms in (("online", agents), ("offline", agents if offline_agents is None else offline_agents)):
        if mode not in config.modes:
            continue
        for arm, make in arms.items():
            report(f"{domain.name}, {mode}: {arm}")
            if mode == "online":
                part = _online(domain, config, arm, make, params, weights, key_act)
            else:
                part = act_offline(domain, config, arm, make, data, params=params, weights=weights, key=key_data)
            found.rows.extend(part.rows)
            found.curves.update(part.curves)
    rewarded = {row["setting"]["protocol"] for row in found.rows if row["metric"] == ONCE_REWARDED}
    # Where there is no exact inference, the expert is what is left to compare with.
    is_yardstick = "online" in config.modes and domain.belief is None and not domain.is_bandit
    if rewarded or is_yardstick:
        report(f"{domain.name}, online: expert")
        values = expert_returns(domain, params, key_act, horizon=config.horizon, batch_size=config.batch_size)
        for name in config.protocols:
            if name in rewarded:
                found.rows.append(_rewarded_row("expert", domain, name, values))
            if is_yardstick:
                part = _episode_findings(domain, "expert", name, np.repeat(values[:, None], config.num_episodes, 1))
                found.rows.extend(part.rows)
                found.curves.update(part.curves)
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
    points = points_upto(EPISODES, returns.shape[1])
    rows = [row_over_tasks(arm, domain, {**setting, "episode": n}, "return", returns[:, n - 1]) for n in points]
    rows.append(row_over_tasks(arm, domain, {**setting, "episode": "all"}, "return", returns.mean(axis=1)))
    return Findings(rows, {f"online/{protocol}/{arm}": curve_over_tasks(returns)})


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
            if np.min(values) >= 0.0 and len(known):
                found.rows.append(_rewarded_row(arm, domain, name, known))
            found.rows.extend(part.rows)
            found.curves.update(part.curves)
            continue
        settings = [{"mode": "online", "horizon": n} for n in points_upto(PULLS, values.shape[1])]
        found.rows.extend(row_over_tasks(arm, domain, s, "regret", values[:, s["horizon"] - 1]) for s in settings)
        found.curves[f"online/{name}/{arm}"] = curve_over_tasks(values)
    return found


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


def _rewarded_row(arm: str, domain: Domain, protocol: str, values: np.ndarray) -> dict[str, Any]:
    setting = {"mode": "online", "protocol": protocol, "episode": "all"}
    return row_over_tasks(arm, domain, setting, ONCE_REWARDED, values)
