"""From configurations to values: every field arrives where it belongs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import families, make_family
from metarl.experiments import build
from metarl.experiments.build import SHAPINGS, build_agent, build_families, build_rule, build_strategy
from metarl.experiments.config import AgentConfig, FamilyConfig, LPGConfig, PopulationConfig
from metarl.objectives.a2c import a2c
from populations import evosax_strategy

PARAMS = {"w": jnp.zeros(3)}
NEEDS_INTERNET = "MNISTBandit-bsuite"
STRATEGIES = ("openai_es", "open_es", "pgpe", "snes", "cma_es", "sep_cma_es")


def make_agent(env, **fields):
    family = make_family(env)
    objective = a2c(family.env.action_space(family.env.default_params))
    return family, build_agent(AgentConfig(**fields), family, objective, family.env.default_params)


def born(env, **fields):
    """Returns shapes of the parameters of a newborn agent."""
    family, agent = make_agent(env, **fields)
    state = jax.eval_shape(agent.init, jax.random.key(0), jax.eval_shape(family.sample, jax.random.key(0)).params)
    return jax.tree.map(lambda x: x.shape, state.params)


def test_the_law_of_lifetimes_is_the_configured_one_or_the_familys_own():
    assert build_families(FamilyConfig(("gridworld/small",), (3, 7)))[0].max_lifetime == 7
    (own,) = build_families(FamilyConfig(("gridworld/small",), None))
    assert own.max_lifetime == make_family("gridworld/small").max_lifetime


def test_every_field_of_the_rule_reaches_it():
    config = LPGConfig(
        encoding="centred", lifetime_law=(3, 30), hidden_size=5, num_predictions=6, prediction_coefficient=0.25
    )
    assert build_rule(config, AgentConfig(), make_family("gridworld/small").env.action_space()).settings == {
        "temporal": True, "encoding": "centred", "lifetime_law": [3, 30], "hidden_size": 5, "num_predictions": 6,
        "prediction_coefficient": 0.25,
    }  # fmt: skip


def test_a_rule_without_time_ignores_the_encoding():
    space = make_family("gridworld/small").env.action_space()
    assert build_rule(LPGConfig(temporal=False, encoding="raw"), AgentConfig(), space).settings["encoding"] == "none"


@pytest.mark.parametrize(
    ("env", "branch"),
    [("gridworld/small", "table"), ("CartPole-v1", "Dense_0"), ("Breakout-MinAtar", "Conv_0")],
)
def test_the_kind_of_network_follows_the_observations(env, branch):
    assert branch in str(born(env))


def test_widths_reach_the_network():
    first = born("CartPole-v1", hidden=(7, 5))["policy"]
    assert {(4, 7), (7, 5), (5, 2)} <= set(jax.tree.leaves(first, is_leaf=lambda x: isinstance(x, tuple)))


def test_sizes_of_the_rollout_reach_the_agent():
    _, agent = make_agent("probe/action_reward", num_envs=3, unroll_length=4)
    assert agent.steps_per_update == 12


@pytest.mark.parametrize(
    "env",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("brax/") else [])
        for name in families()
        if name != NEEDS_INTERNET
    ],
)
def test_an_agent_can_be_built_for_every_registered_environment(env):
    heads = born(env)
    assert {"policy", "value"} <= set(heads)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_the_configured_size_and_starts_where_it_is_told(name):
    strategy = build_strategy(PopulationConfig(strategy=name, size=4), PARAMS)
    assert strategy.population_size == 4
    mean = strategy.mean(strategy.init(jax.random.key(0), PARAMS))
    np.testing.assert_array_equal(mean["w"], PARAMS["w"])


@pytest.fixture
def calls(monkeypatch):
    """What the factories of strategies are called with from now on."""
    calls = []
    for module, name in ((build, "openai_es"), (evosax_strategy, "make_evosax")):
        real = getattr(module, name)
        spy = lambda *args, real=real, **fields: (calls.append((args, fields)), real(*args, **fields))[1]  # noqa: E731
        monkeypatch.setattr(module, name, spy)
    return calls


def test_every_field_of_the_population_reaches_our_strategy(calls):
    fields = {
        "sigma": 0.5, "sigma_decay": 0.6, "sigma_floor": 0.1, "learning_rate": 0.3, "learning_rate_decay": 0.7,
        "learning_rate_floor": 0.02, "b1": 0.4,
    }  # fmt: skip
    build_strategy(PopulationConfig(size=6, shaping="z_scores", **fields), PARAMS)
    assert calls == [((6,), {**fields, "shaping": SHAPINGS["z_scores"]})]


@pytest.mark.parametrize(("name", "rate"), [("pgpe", 0.3), ("snes", 0.3), ("cma_es", None), ("sep_cma_es", None)])
def test_strategies_that_set_their_own_step_are_given_no_learning_rate(calls, name, rate):
    build_strategy(PopulationConfig(strategy=name, size=6, sigma=0.5, learning_rate=0.3), PARAMS)
    assert calls == [((name, 6, PARAMS), {"sigma": 0.5, "learning_rate": rate})]


@pytest.mark.parametrize("name", SHAPINGS)
def test_shaping_by_name_rewards_the_better_partner(name):
    strategy = build_strategy(PopulationConfig(size=2, shaping=name), PARAMS)
    state = strategy.init(jax.random.key(0), PARAMS)
    population = strategy.ask(jax.random.key(1), state)
    better = strategy.expand(state, jax.tree.map(lambda x: x[0], population))["w"]
    mean = strategy.mean(strategy.tell(state, population, jnp.array([1.0, 0.0])))["w"]
    np.testing.assert_array_equal(jnp.sign(mean), jnp.sign(better))
