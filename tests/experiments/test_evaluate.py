"""Evaluation: rows of one schema, numbers that do not depend on what else is evaluated, the normalisation."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_family
from metarl.experiments.config import AgentConfig
from metarl.experiments.evaluate import MIN_OPTIMUM, arm_rows, evaluate_arms, evaluation_file, optimal_returns
from metarl.experiments.lives import Arm, held_out
from metarl.objectives.a2c import a2c
from metarl.objectives.lpg import lpg
from metarl.statistics import iqm_interval

FAMILY = make_family("probe/action_observation_reward")
CONFIG = AgentConfig(num_envs=2, unroll_length=5, hidden=())
SPACE = FAMILY.env.action_space()
K = 3
FIELDS = {"arm", "env", "setting", "metric", "iqm", "low", "high", "confidence", "mean", "env_steps", "values"}


@pytest.fixture(scope="module")
def rule():
    return lpg(SPACE, hidden_size=4)


@pytest.fixture(scope="module")
def arms(rule):
    drawn = rule.init(jax.random.key(1))
    return [Arm("initial", rule, jax.tree.map(jnp.zeros_like, drawn)), Arm("discovered", rule, drawn)]


@pytest.fixture(scope="module")
def evaluated(arms):
    """The rows of two arms at two horizons, what was reported meanwhile, and the lives that were shown."""
    told, shown = [], {}
    options = {"report": told.append, "keep": lambda arm, horizon, lives: shown.update({(arm.name, horizon): lives})}
    rows = evaluate_arms(arms, FAMILY, CONFIG, horizons=(1, 2), num_tasks=K, seed=0, **options)
    return rows, told, shown


def numbers(rows):
    return {(row["arm"], row["setting"]["horizon"], row["metric"]): row["values"] for row in rows}


def test_there_is_a_row_per_arm_horizon_and_metric(evaluated):
    rows, told, shown = evaluated
    expected = {(a, h, m) for a in ("initial", "discovered") for h in (1, 2) for m in ("return", "normalised_return")}
    assert set(numbers(rows)) == expected and len(rows) == len(expected)
    assert [words.split(", ")[0] for words in told] == ["initial", "initial", "discovered", "discovered"]
    assert set(shown) == {(arm, horizon) for arm, horizon, _ in expected}


def test_rows_obey_the_schema(evaluated):
    for row in evaluated[0]:
        assert FIELDS <= set(row) <= FIELDS | {"num_excluded", "num_nonfinite"}
        assert row["env"] == FAMILY.name and row["setting"].keys() == {"horizon"} and row["confidence"] == 0.95
        interval = iqm_interval(row["values"])
        assert (row["iqm"], row["low"], row["high"]) == (interval.iqm, interval.low, interval.high)
        assert row["low"] <= row["iqm"] <= row["high"] and row["mean"] == np.mean(row["values"])
        assert all(type(value) is float for value in row["values"])


def test_returns_are_those_of_the_lives_that_are_shown(evaluated):
    rows, _, shown = evaluated
    for (arm, horizon), lives in shown.items():
        assert numbers(rows)[arm, horizon, "return"] == np.asarray(lives.fitness).tolist()


def test_an_evaluation_file_is_the_schema_around_the_rows(evaluated):
    content = evaluation_file(evaluated[0], command="metarl evaluate x", commit=None)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["schema"] == 1 and content["command"] == "metarl evaluate x" and content["commit"] is None
    assert content["device"].startswith(f"{jax.device_count()} x ")
    assert set(content) == {"schema", "command", "device", "commit", "rows"}


def test_numbers_stay_when_arms_and_horizons_are_added_or_taken_away(arms, evaluated):
    expected = numbers(evaluated[0])
    fewer = evaluate_arms(arms[1:], FAMILY, CONFIG, horizons=(2,), num_tasks=K, seed=0)
    assert numbers(fewer) == {key: expected[key] for key in expected if key[:2] == ("discovered", 2)}
    more_arms = [Arm("a2c", a2c(SPACE), ()), *reversed(arms)]
    more = numbers(evaluate_arms(more_arms, FAMILY, CONFIG, horizons=(4, 2, 1), num_tasks=K, seed=0))
    assert set(more) > set(expected)
    for key, values in expected.items():
        np.testing.assert_allclose(more[key], values, rtol=1e-6, err_msg=str(key))


def test_numbers_of_the_first_tasks_stay_when_tasks_are_added(arms, evaluated):
    more = numbers(evaluate_arms(arms[1:], FAMILY, CONFIG, horizons=(1, 2), num_tasks=K + 2, seed=0))
    for key, values in more.items():
        np.testing.assert_allclose(values[:K], numbers(evaluated[0])[key], rtol=1e-6, err_msg=str(key))


def test_normalised_returns_are_returns_over_the_optimum():
    returns, optimum = np.array([0.5, -1.0, 3.0]), np.array([1.0, 2.0, 4.0])
    plain, normalised = arm_rows("a", "e", 7, returns, optimum)
    assert (plain["metric"], plain["values"]) == ("return", returns.tolist())
    assert "num_excluded" not in plain and "num_nonfinite" not in plain
    assert (normalised["metric"], normalised["values"]) == ("normalised_return", [0.5, -0.5, 0.75])
    assert normalised["setting"] == {"horizon": 7} and normalised["num_excluded"] == 0


def test_tasks_without_anything_to_earn_are_left_out_and_counted():
    optimum = np.array([0.0, MIN_OPTIMUM, 2.0, 0.99 * MIN_OPTIMUM, -1.0])
    plain, normalised = arm_rows("a", "e", 7, np.ones(5), optimum)
    assert len(plain["values"]) == 5
    assert normalised["num_excluded"] == 3
    np.testing.assert_allclose(normalised["values"], [1.0 / MIN_OPTIMUM, 0.5])


def test_without_any_optimum_to_divide_by_there_are_returns_only():
    assert [row["metric"] for row in arm_rows("a", "e", 7, np.ones(2), None)] == ["return"]
    assert [row["metric"] for row in arm_rows("a", "e", 7, np.ones(2), np.zeros(2))] == ["return"]


def test_a_return_that_is_not_finite_counts_as_the_lowest_finite_one():
    returns = np.array([2.0, np.nan, 1.0, np.inf])
    plain, normalised = arm_rows("a", "e", 7, returns, np.full(4, 2.0))
    assert plain["values"] == [2.0, 1.0, 1.0, 1.0] and normalised["values"] == [1.0, 0.5, 0.5, 0.5]
    assert plain["num_nonfinite"] == normalised["num_nonfinite"] == 2


def test_an_arm_without_any_finite_return_is_refused():
    with pytest.raises(ValueError, match="every life of a2c on e at horizon 7 ended with a non-finite return"):
        arm_rows("a2c", "e", 7, np.full(3, np.nan), None)


def test_optimal_returns_are_those_of_each_task_or_unknown():
    np.testing.assert_array_equal(optimal_returns(FAMILY, held_out(FAMILY, 0, 2)), [1.0, 1.0])
    cartpole = make_family("CartPole-v1")
    assert optimal_returns(cartpole, held_out(cartpole, 0, 2)) is None
