"""Discovery: evolution moves a learning rule towards those under which agents end their lives better."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from envs.family import TaskFamily
from envs.registry import make_family
from metarl.experiments.base import Experiment, Metrics
from metarl.experiments.build import build_agent, build_families, build_rule, build_strategy, starting_point
from metarl.experiments.config import DiscoverConfig
from metarl.experiments.curriculum import Curriculum, Proposed, drawn, taught
from metarl.lifetime.lifetime import make_lifetime
from metarl.objectives.base import Objective
from populations.fitness import count_nonfinite
from populations.generation import GenerationResult, Measure, TrialResults, generation_from, joint_measure, make_measure
from populations.mesh import replicate
from populations.strategy import Strategy


class DiscoverState(NamedTuple):
    """Everything the next generation depends on."""

    key: Key[Array, ""]
    """Root of all randomness; never changes."""
    step: Int[Array, ""]
    """Generations done."""
    strategy: Any
    """State of the evolution strategy."""
    curricula: dict[str, Any]
    """State of the curriculum of each family."""


class Discovery(NamedTuple):
    """A discovery experiment and what surrounds it."""

    experiment: Experiment
    """What the host loop runs."""
    objective: Objective
    """The rule that is discovered."""
    initial: Any
    """Meta-parameters that evolution starts from."""
    strategy: Strategy
    """How the population is made and moved."""


Evaluate = Callable[[Any, Proposed, Array, Array], tuple[Float[Array, ""], dict[str, Array]]]
"""`evaluate(meta_params, proposed, key, bound) -> (fitness, info)`."""

TEACHING = 0x7EAC
"""Folded into keys for what teachers draw."""
START = 0x57A7
"""Folded into the seed's key where evolution starts from a drawn point, so that it differs from every other key."""


def make_discovery(config: DiscoverConfig, *, mesh: Any = None) -> Discovery:
    """Returns the experiment that this config describes; `mesh` spreads its population over devices.

    Evolution starts from meta-parameters under which agents learn nothing (LPG) or learn as under PPO (LPO).

    Raises:
        ValueError: if sizes do not fit together or something is unknown.
    """
    families = build_families(config.family)
    # Rules for different action spaces differ in the agents' heads alone, never in their own parameters.
    objective = build_rule(config.objective, config.agent, families[0].env.action_space(families[0].env.default_params))
    initial = starting_point(objective, jax.random.fold_in(jax.random.key(config.seed), START))
    strategy = build_strategy(config.population, initial)
    curricula = build_curricula(config, families)
    lives = {family.name: _make_life(config, family) for family in families}

    def measure_in(states: dict[str, Any]) -> Measure:
        """Returns the measure in tasks of curricula in these states."""
        measures = {
            name: _make_measure(config, lives[name], partial(curriculum.sample, states[name]), strategy, mesh)
            for name, curriculum in curricula.items()
        }
        return next(iter(measures.values())) if len(measures) == 1 else joint_measure(measures)

    measure_in(dict.fromkeys(curricula))  # so that sizes that do not fit are refused before anything is compiled

    def init(key: Array) -> DiscoverState:
        key_strategy, key_run = jax.random.split(key)
        key_teachers = jax.random.fold_in(key_run, TEACHING)
        starts = {name: curriculum.init(key_teachers) for name, curriculum in curricula.items()}
        return DiscoverState(key_run, jnp.int32(0), strategy.init(key_strategy, initial), starts)

    def step(state: DiscoverState) -> tuple[DiscoverState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        generation = generation_from(strategy, measure_in(state.curricula), mesh=mesh)
        strategy_state, result = generation(key, state.strategy)
        metrics = generation_metrics(strategy, state.strategy, strategy_state, result)
        steps = [jnp.mean(x) for name, x in result.info.items() if name.endswith("env_steps")]
        metrics["env_steps"] = (sum(steps[1:], steps[0]) * config.population.num_lives).astype(jnp.int32)
        trials: Any = result.trials if len(curricula) > 1 else dict.fromkeys(curricula, result.trials)
        count = state.step * (config.population.num_lives // 2)
        after, told = _tell(curricula, key, state.curricula, trials=trials, count=count)
        return DiscoverState(state.key, state.step + 1, strategy_state, replicate(after, mesh)), metrics | told

    experiment = Experiment(init, step, lambda state: strategy.mean(state.strategy))
    return Discovery(experiment, objective, initial, strategy)


def build_curricula(config: DiscoverConfig, families: list[TaskFamily]) -> dict[str, Curriculum]:
    """Returns where the tasks of each family come from.

    Raises:
        ValueError: if the teacher is unknown, or cannot teach one of the families.
    """
    if config.teacher is None:
        return {family.name: drawn(family) for family in families}
    return {
        family.name: taught(config.teacher, make_family(name), family, return_range=config.teacher_return_range)
        for name, family in zip(config.family.env, families, strict=True)
    }


def _tell(
    curricula: dict[str, Curriculum],
    key: Array,
    states: dict[str, Any],
    *,
    trials: dict[str, TrialResults],
    count: Int[Array, ""],
) -> tuple[dict[str, Any], Metrics]:
    """Returns the states of curricula that know how lives went, and their metrics as `<metric>/<family>`.

    Args:
        curricula: of each family.
        key: of the generation; not consumed.
        states: what the curricula knew before.
        trials: what came of the tasks of each family; a task's return is the mean over both partners.
        count: tasks that each curriculum was told of before.
    """
    key_tell = jax.random.fold_in(key, TEACHING)
    after, metrics = {}, {}
    for name, curriculum in curricula.items():
        tasks, fitness = trials[name]
        after[name], told = curriculum.tell(key_tell, states[name], tasks, jnp.mean(fitness, axis=1), count)
        metrics |= {f"{metric}/{name}": value for metric, value in told.items()}
    return after, metrics


def _make_life(config: DiscoverConfig, family: TaskFamily) -> Evaluate:
    """Returns how good a rule is in one task."""
    env_params = family.env.default_params  # real numbers: gymnax computes the bounds of some spaces from them
    objective = build_rule(config.objective, config.agent, family.env.action_space(env_params))
    agent = build_agent(config.agent, family, objective, env_params)
    lifetime = make_lifetime(family, agent, num_envs=config.agent.num_envs)
    examination_steps = config.agent.num_envs * family.max_episode_steps

    def evaluate(
        meta_params: Any, proposed: Proposed, key: Array, bound: Array
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        fitness = lifetime(meta_params, proposed.task, key, bound).fitness
        return fitness, {"env_steps": proposed.task.lifetime * agent.steps_per_update + examination_steps}

    return evaluate


def _make_measure(
    config: DiscoverConfig, life: Evaluate, sample: Callable[[Array], Proposed], strategy: Strategy, mesh: Any
) -> Measure:
    """Returns how good rules are in one family."""
    return make_measure(
        strategy,
        life,
        sample,
        mesh=mesh,
        microbatch=config.population.microbatch,
        cost=lambda proposed: proposed.task.lifetime,
        tasks_per_pair=config.population.tasks_per_pair,
        shares_keys=config.population.shares_keys,
    )


def generation_metrics(strategy: Strategy, before: Any, after: Any, result: GenerationResult) -> Metrics:
    """Returns what a generation is remembered by, over members with finite fitness.

    In several worlds `fitness` is the mean over worlds of the members' mean fitness, each in its own units; there is
    one `fitness/<world>` besides. The standard deviation, the best and ties are those of what evolution was told.
    """
    fitness = result.fitness
    is_finite = jnp.isfinite(fitness)
    plus, minus = jnp.split(fitness, 2)
    worlds = {
        f"fitness/{name.removesuffix('/fitness')}": jnp.mean(x, where=jnp.isfinite(x))
        for name, x in result.info.items()
        if name.endswith("/fitness")
    }
    move = jax.tree.map(jnp.subtract, strategy.mean(after), strategy.mean(before))
    return {
        "fitness": jnp.mean(jnp.stack(list(worlds.values()))) if worlds else jnp.mean(fitness, where=is_finite),
        "fitness_std": jnp.std(fitness, where=is_finite),
        "fitness_best": jnp.max(fitness, where=is_finite, initial=-jnp.inf),
        "tied_pairs": jnp.mean((plus == minus).astype(jnp.float32)),
        "mean_norm": _norm(strategy.mean(after)),
        "move_norm": _norm(move),
        "num_nonfinite": count_nonfinite(fitness),
        "num_evaluated": jnp.int32(fitness.shape[0]),
        **worlds,
    }


def _norm(tree: Any) -> Float[Array, ""]:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
