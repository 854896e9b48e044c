"""From configurations to the values that experiments are made of. The core functions themselves never see a config."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from envs.family import TaskFamily
from envs.registry import make_family
from metarl.experiments.config import AgentConfig, FamilyConfig, LPGConfig, LPOConfig, PopulationConfig
from metarl.lifetime.agent import Agent, make_agent
from metarl.lifetime.optimiser import make_optimiser
from metarl.networks.network import make_network
from metarl.objectives.base import Objective
from metarl.objectives.lpg import lpg
from metarl.objectives.registry import OBJECTIVES, make_objective
from populations import fitness
from populations.openai_es import openai_es
from populations.strategy import Strategy

SHAPINGS = {
    "pair_signs": fitness.pair_signs,
    "centred_ranks": fitness.centred_ranks,
    "z_scores": fitness.z_scores,
}
"""Fitness shaping by name."""


INNER_SETTINGS = ("discount", "lambda_", "entropy_coefficient", "value_coefficient", "clips_value")
"""Settings of objectives that are not the rule's but the agent's: they fit an environment, and stand in `AgentConfig`.
"""


def build_families(config: FamilyConfig) -> list[TaskFamily]:
    """Returns the task families, with the configured law of lifetimes."""
    return [make_family(name, lifetime=config.lifetime) for name in config.env]


def build_rule(config: LPGConfig | LPOConfig, agent: AgentConfig, action_space: Any) -> Objective:
    """Returns the objective to be discovered, for this action space."""
    if isinstance(config, LPGConfig):
        return lpg(
            action_space,
            temporal=config.temporal,
            encoding=config.encoding if config.temporal else None,
            hidden_size=config.hidden_size,
            lifetime_law=config.lifetime_law,
            num_predictions=config.num_predictions,
            prediction_coefficient=config.prediction_coefficient,
        )
    rule = {
        "temporal": config.temporal,
        "log_horizon": config.log_horizon,
        "ppo_init": config.ppo_init,
        "hidden_size": config.hidden_size,
    }
    return build_objective("lpo", agent, action_space, **rule)


def build_objective(name: str, agent: AgentConfig, action_space: Any, **settings: Any) -> Objective:
    """Returns the named objective with the agent's inner settings, which come before those that a rule was saved with.

    Raises:
        ValueError: if the name is unknown or the objective does not take the settings.
    """
    taken = inspect.signature(OBJECTIVES[name]).parameters if name in OBJECTIVES else ()
    inner = {setting: getattr(agent, setting) for setting in INNER_SETTINGS if setting in taken}
    return make_objective(name, action_space, **{**settings, **inner})


def starting_point(objective: Objective, key: Array) -> Any:
    """Returns the meta-parameters that evolution starts from: zeros, or what the objective draws; consumes the key."""
    if not objective.starts_from_zeros:
        return objective.init(key)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(objective.init, key))


def build_agent(
    config: AgentConfig,
    family: TaskFamily,
    objective: Objective,
    default_params: Any,
    *,
    keeps: Callable[[Any], Any] | None = None,
) -> Agent:
    """Returns the agent that follows the objective in worlds like `default_params`, any EnvParams of the family.

    `keeps` is what its rollouts keep of the environments' states.
    """
    action_space = family.env.action_space(default_params)
    observation_space = family.env.observation_space(default_params)
    kind = _network_kind(observation_space) if config.network == "auto" else config.network
    network = make_network(
        kind, observation_space, objective.heads(action_space), hidden=config.hidden, activation=config.activation
    )
    optimiser = make_optimiser(
        config.optimiser,
        policy_learning_rate=config.policy_learning_rate,
        value_learning_rate=config.value_learning_rate,
        max_grad_norm=config.max_grad_norm,
        joint_clip=config.joint_clip,
        b1=config.adam_betas[0],
        b2=config.adam_betas[1],
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
        anneals=config.anneals,
        normalises_observation=config.normalises_observation,
        normalises_reward=config.normalises_reward,
        discount=config.discount,
        keeps=keeps,
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
