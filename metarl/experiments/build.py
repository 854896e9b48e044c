"""From configurations to the values that experiments are made of. The core functions themselves never see a config."""

from envs.family import TaskFamily
from envs.registry import make_family
from metarl.experiments.config import AgentConfig, FamilyConfig, LPGConfig, PopulationConfig
from metarl.lifetime.agent import Agent, make_agent
from metarl.lifetime.optimiser import make_optimiser
from metarl.networks.network import make_network
from metarl.objectives.base import Objective
from metarl.objectives.lpg import lpg
from populations import fitness
from populations.openai_es import openai_es
from populations.strategy import Strategy

SHAPINGS = {
    "pair_signs": fitness.pair_signs,
    "centred_ranks": fitness.centred_ranks,
    "z_scores": fitness.z_scores,
}
"""Fitness shaping by name."""


def build_family(config: FamilyConfig) -> TaskFamily:
    """Returns the task family, with the configured law of lifetimes."""
    return make_family(config.env, lifetime=config.lifetime)


def build_lpg(config: LPGConfig, action_space) -> Objective:
    """Returns the LPG objective for this action space."""
    return lpg(
        action_space,
        temporal=config.temporal,
        encoding=config.encoding if config.temporal else None,
        hidden_size=config.hidden_size,
        lifetime_law=config.lifetime_law,
        num_predictions=config.num_predictions,
        prediction_coefficient=config.prediction_coefficient,
    )


def build_agent(config: AgentConfig, family: TaskFamily, objective: Objective, default_params) -> Agent:
    """Returns the agent that follows the objective in worlds like `default_params`, any EnvParams of the family."""
    action_space = family.env.action_space(default_params)
    observation_space = family.env.observation_space(default_params)
    kind = _network_kind(observation_space) if config.network == "auto" else config.network
    network = make_network(kind, observation_space, objective.heads(action_space), hidden=config.hidden)
    optimiser = make_optimiser(
        config.optimiser,
        policy_learning_rate=config.policy_learning_rate,
        value_learning_rate=config.value_learning_rate,
        max_grad_norm=config.max_grad_norm,
    )
    return make_agent(
        family.env,
        objective,
        network,
        optimiser,
        action_space=action_space,
        num_envs=config.num_envs,
        unroll_length=config.unroll_length,
        num_epochs=config.num_epochs,
        num_minibatches=config.num_minibatches,
    )


def build_strategy(config: PopulationConfig, params) -> Strategy:
    """Returns the strategy for rules whose parameters have the structure of `params`."""
    if config.strategy != "openai_es":
        from populations.evosax_strategy import make_evosax  # evosax is slow to import and most runs do without it

        rate = None if config.strategy in ("cma_es", "sep_cma_es") else config.learning_rate
        return make_evosax(config.strategy, config.size, params, sigma=config.sigma, learning_rate=rate)
    return openai_es(
        config.size,
        sigma=config.sigma,
        sigma_decay=config.sigma_decay,
        sigma_floor=config.sigma_floor,
        learning_rate=config.learning_rate,
        learning_rate_decay=config.learning_rate_decay,
        learning_rate_floor=config.learning_rate_floor,
        b1=config.b1,
        shaping=SHAPINGS[config.shaping],
    )


def _network_kind(observation_space) -> str:
    if hasattr(observation_space, "spaces") or hasattr(observation_space, "n"):
        return "tabular"
    return "conv" if len(observation_space.shape) == 3 else "mlp"
