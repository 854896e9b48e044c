"""Who is examined beside a model: itself sampled and greedy, classical algorithms, exact references, other models."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from envs.domain import Domain
from envs.domains import make_domain
from metarl.experiments.acting import Agents, act, act_from_scratch, longest_context
from metarl.experiments.acting_offline import Gatherer
from metarl.experiments.findings import Findings
from metarl.experiments.pretrain_config import ActingConfig, PretrainConfig
from metarl.incontext.agent import InContextAgent
from metarl.incontext.baselines import baselines_for
from metarl.incontext.export import TrainedModel, load_model


class Contestant(NamedTuple):
    """A trained model under the name that its arms get."""

    name: str
    """`dpt`, `ad`, `rl2` or what a user calls it; the greedy arm is `<name>-greedy`."""
    agent: Callable[..., InContextAgent]
    """`agent(weights, domain, greedy=..., skips_seen=...)`."""
    weights: Any
    """Its parameters."""
    context_length: int | None = None
    """Transitions of the longest contexts that it was trained on; None: not known, or it keeps none."""


def examine_models(
    contestants: Sequence[Contestant],
    domain: Domain,
    config: ActingConfig,
    *,
    seed: int,
    baselines: Sequence[str] | None = None,
    acts_greedily: bool = False,
    contexts: Sequence[Gatherer] = ("behaviour",),
    report: Callable[[str], None] = lambda message: None,
) -> Findings:
    """Returns how models and their rivals do in the same held-out tasks.

    Args:
        contestants: models, by the names of their arms; no two alike.
        domain: where they act; it must fit all of them.
        config: modes, protocols, numbers of tasks and episodes.
        seed: of tasks and actions.
        baselines: names of classical algorithms and exact references, see `baselines_for`; None: all that fit.
        acts_greedily: whether models act by their most probable action online in worlds of many states, too, beside
            drawing actions; in bandits and offline they always do both.
        contexts: who gathered the data sets that are given offline.
        report: told who acts next.

    Raises:
        ValueError: if two contestants share a name, a baseline is unknown here, a model does not fit the domain,
            or the domain has no data sets of the kind that is to be given.
    """
    names = [contestant.name for contestant in contestants]
    if len(set(names)) != len(names):
        raise ValueError(f"two models are called alike in {', '.join(names)}; give them different names")
    own = _own_agents(contestants, domain, config)
    for one in contestants:
        trained, longest = one.context_length, longest_context(domain, config)
        if trained is not None and trained < longest:
            report(f"{one.name} was trained on contexts of up to {trained} transitions and will see {longest}")
    # In rooms the most probable action never explores: unless asked to, greedy models then decide offline only.
    is_greedy_online = domain.is_bandit or acts_greedily
    acting = {name: make for name, make in own.items() if is_greedy_online or not name.endswith("-greedy")}
    online, offline = (_rivals(domain, mode, baselines) for mode in ("online", "offline"))
    learns_anew = "online" in config.modes and not (domain.is_bandit or domain.is_continuous)
    known = {*online, *offline} | ({"ppo"} if learns_anew else set())
    if unknown := [name for name in baselines or () if name not in known]:
        raise ValueError(f"there is no baseline {unknown[0]!r} in {domain.name}; choose of {', '.join(sorted(known))}")
    findings = act(
        {**acting, **online},
        domain,
        config,
        seed=seed,
        weights=tuple(contestant.weights for contestant in contestants),
        offline_agents={**own, **offline},
        contexts=contexts,
        report=report,
    )
    if learns_anew and (baselines is None or "ppo" in baselines):
        report(f"{domain.name}, online: ppo from scratch")
        scratch = act_from_scratch(domain, config, seed=seed)
        findings.rows.extend(scratch.rows)
        findings.curves.update(scratch.curves)
    return findings


def _own_agents(contestants: Sequence[Contestant], domain: Domain, config: ActingConfig) -> Agents:
    """Returns every model, sampled and greedy, as a function of the weights of all; refuses what does not fit."""
    made: dict[str, Callable[[Any], InContextAgent]] = {}
    skips_seen = config.skips_seen and domain.pair_index is not None
    for index, one in enumerate(contestants):
        one.agent(one.weights, domain, skips_seen=skips_seen)  # before any work
        for suffix, greedy in (("", False), ("-greedy", True)):

            def make(weights: Any, index: int = index, one: Contestant = one, greedy: bool = greedy) -> InContextAgent:
                return one.agent(weights[index], domain, greedy=greedy, skips_seen=skips_seen)

            made[one.name + suffix] = make
    return made


def contestant(model: TrainedModel, name: str | None = None) -> Contestant:
    """Returns a trained model as one who is examined, under this name or that of its kind."""
    return Contestant(name or model.kind, model.model.agent, model.params, _trained_length(model))


def _trained_length(model: TrainedModel) -> int | None:
    """Returns how many transitions the longest contexts had that a model was trained on; None if it keeps none."""
    config = model.record.get("config", {})
    if model.kind == "rl2" or config.get("context_length") is not None:
        return config.get("context_length")
    domains = [make_domain(spec) for spec in model.env]
    if model.kind == "ad":
        return domains[0].horizon * int(config["learner"]["kept_episodes"])
    return max(domain.context_length for domain in domains)


def examine_run(
    exported: Path, config: PretrainConfig, *, report: Callable[[str], None] = lambda message: None
) -> Findings:
    """Returns how the exported model of a run does in each of its domains, as the run is configured."""
    model, rows, curves = load_model(exported), [], {}
    specs = config.acting.env or config.env
    for spec in specs:
        findings = examine_models(
            [contestant(model)], make_domain(spec), config.acting, seed=config.seed, report=report
        )
        rows += findings.rows
        prefix = f"{spec}/" if len(specs) > 1 else ""
        curves |= {prefix + name: curve for name, curve in findings.curves.items()}
    return Findings(rows, curves)


def _rivals(domain: Domain, mode: Any, wanted: Sequence[str] | None) -> Agents:
    found = baselines_for(domain, mode)
    return {
        name: (lambda weights, agent=agent: agent) for name, agent in found.items() if wanted is None or name in wanted
    }
