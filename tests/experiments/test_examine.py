"""The examination: its arms, and arrays under the names that the report reads."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from analysis.load import load_run
from metarl.experiments.agents import default_agent
from metarl.experiments.config import AgentConfig, DiscoverConfig, EvaluationConfig, FamilyConfig, LPGConfig
from metarl.experiments.discover import make_discovery
from metarl.experiments.examine import examine

CONFIG = DiscoverConfig(
    family=FamilyConfig(("probe/action_observation_reward",), (2, 4)),
    objective=LPGConfig(hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=5, hidden=()),
    evaluation=EvaluationConfig(num_tasks=3, horizons=(2, 4), num_recorded=2, recorded_horizons=(4, 200)),
)


def examined(config):
    discovery, told = make_discovery(config), []
    meta_params = discovery.objective.init(jax.random.key(1))
    rows, arrays = examine(config, discovery, meta_params, report=told.append)
    return rows, arrays, told


@pytest.fixture(scope="module")
def examination():
    return examined(CONFIG)


def test_initial_and_discovered_rule_and_baselines_meet_the_same_tasks(examination):
    rows, _, told = examination
    expected = {(arm, horizon) for arm in ("initial", "discovered", "a2c") for horizon in (2, 4)}
    assert {(row["arm"], row["setting"]["horizon"]) for row in rows} == expected
    assert {row["metric"] for row in rows} == {"return", "normalised_return"}
    assert all(len(row["values"]) == 3 for row in rows)
    assert len(told) == len(expected) + 1 and "prob" in told[-1]


def test_a_rule_of_zeros_ends_every_life_as_it_began(examination):
    """Its policy never moves, and the luck of the examination does not depend on the horizon."""
    values = [row["values"] for row in examination[0] if row["arm"] == "initial" and row["metric"] == "return"]
    assert values[0] == values[1]


def test_recorded_lives_are_whole_and_those_of_the_recorded_horizons_that_were_examined(examination):
    arrays = {name: values for name, values in examination[1].items() if not name.startswith("probe/")}
    assert {name.split("/")[1] for name in arrays} == {"4"}
    assert {name.split("/")[0] for name in arrays} == {"initial", "discovered", "a2c"}
    for name, values in arrays.items():
        assert re.fullmatch(r"[a-z0-9]+/\d+/[a-z_]+", name)
        assert values.shape == (2, 4) and np.isfinite(values).all(), name
    assert {"return", "policy_entropy", "pi_hat_abs", "y_hat_entropy"} <= {name.split("/")[2] for name in arrays}


def test_the_report_reads_the_arrays(examination, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "config.json").write_text("{}")
    np.savez(tmp_path / "export" / "lives.npz", **examination[1])
    run = load_run(tmp_path)
    assert set(run.lives) == {"initial", "discovered", "a2c"} and set(run.lives["discovered"]) == {4}
    np.testing.assert_array_equal(run.probe["lifetimes"], [2, 4])
    assert np.any(run.probe["pi_hat_change"] > 0.0)


def test_fewer_tasks_than_lives_to_record_are_all_recorded():
    few = replace(CONFIG, evaluation=replace(CONFIG.evaluation, num_recorded=32, baselines=()))
    _, arrays, _ = examined(few)
    assert arrays["discovered/4/return"].shape == (3, 4)


def test_agents_on_grid_worlds_are_built_as_in_the_run_of_the_rule_and_elsewhere_for_networks():
    recorded = AgentConfig(num_envs=3)
    assert default_agent("gridworld/small", "lpg", recorded) == recorded
    assert default_agent("gridworld/small", "lpg", None) == AgentConfig()
    for env in ("gridworld/rand_all", "CartPole-v1"):
        elsewhere = default_agent(env, "lpg", recorded)
        assert (elsewhere.optimiser, elsewhere.policy_learning_rate, elsewhere.num_envs) == ("adam", 5e-4, 64)
