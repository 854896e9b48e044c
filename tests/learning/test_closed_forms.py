"""Closed-form rules on environments whose values are known: the first probe that fails says which part is broken."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.probes import PROBES
from envs.registry import make_family
from metarl.experiments.agents import default_agent
from metarl.experiments.build import build_objective
from metarl.experiments.config import AgentConfig
from metarl.experiments.horizons import parse_horizon
from metarl.experiments.lives import held_out, make_lives
from metarl.networks.network import make_network
from metarl.objectives.a2c import a2c
from metarl.objectives.dpo import dpo
from metarl.objectives.lpo import lpo
from metarl.objectives.ppo import ppo

pytestmark = pytest.mark.learning

DISCOUNT, UPDATES, K = 0.8, 400, 2
CONFIG = AgentConfig(
    hidden=(16,), num_envs=16, unroll_length=10, optimiser="adam", policy_learning_rate=0.01, value_learning_rate=0.01
)
RULES = {"a2c": a2c, "ppo": ppo, "dpo": dpo, "ta-lpo as it starts": partial(lpo, temporal=True)}


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.mark.parametrize("probe", PROBES)
def test_a_rule_learns_the_best_return_and_its_values(rule, probe):
    family = make_family(f"probe/{probe}")
    objective = rule(family.env.action_space(), discount=DISCOUNT)
    lives = make_lives(objective, family, CONFIG, max_lifetime=UPDATES)
    result = lives(objective.init(jax.random.key(1)), held_out(family, 0, K), jnp.int32(UPDATES))
    optimum = float(PROBES[probe].optimal_return(family.env.default_params))
    if probe == "observation_reward":  # the return of an episode is a coin toss
        assert np.all(np.abs(result.fitness) <= 1.0)
    else:
        # A policy under a bonus on its entropy keeps a chance of the wrong action.
        np.testing.assert_allclose(result.fitness, optimum, atol=0.3)
    space = family.env.observation_space(family.env.default_params)
    network = make_network("mlp", space, objective.heads(family.env.action_space()), hidden=CONFIG.hidden)
    for seen, value in PROBES[probe].values(DISCOUNT).items():
        said = jax.vmap(network.apply, (0, None))(result.params, jnp.array([seen], jnp.float32))["value"][:, 0]
        np.testing.assert_allclose(said, value, atol=0.1 * max(1.0, abs(value)), err_msg=f"value of {seen}")


@pytest.mark.parametrize("rule", ["ppo", "dpo"])
@pytest.mark.parametrize(("env", "steps", "least"), [("Catch-bsuite", "2e5", 0.95), ("CartPole-v1", "5e5", 490.0)])
def test_a_proximal_rule_with_the_published_settings_masters_the_environment(rule, env, steps, least):
    """Every one of four seeds: Catch pays at most 1, CartPole 500."""
    family, agent = make_family(env), default_agent(env, rule, None)
    objective = build_objective(rule, agent, family.env.action_space(family.env.default_params))
    updates = parse_horizon(steps, agent.num_envs * agent.unroll_length)
    lives = make_lives(objective, family, agent, max_lifetime=updates)
    result = lives((), held_out(family, 0, 4), jnp.int32(updates))
    assert np.all(result.fitness >= least), result.fitness
