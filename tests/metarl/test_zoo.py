"""The zoo: every rule is complete, small, callable, and does what its stored evaluation says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl import zoo
from metarl.cli.rules import find_rule
from metarl.experiments.build import build_families
from metarl.experiments.config import CONFIG_TYPES
from metarl.experiments.evaluate import evaluate_arms
from metarl.experiments.lives import Arm
from metarl.objectives.base import Rollout
from metarl.progress import Progress
from metarl.run.config_codec import decode

NAMES = ("lpg", "lpo", "ta-lpg", "ta-lpo")


def rows_of(name, arm="discovered"):
    return [row for row in zoo.evaluation_of(name)["rows"] if row["arm"] == arm]


def test_the_best_rule_of_every_kind_is_there():
    assert zoo.names() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_says_where_it_comes_from(name):
    record = zoo.load(name).loaded.record
    config = decode(record["config"], CONFIG_TYPES)
    assert config.objective.temporal == name.startswith("ta-") and config.seed >= 0
    assert record["git"]["commit"] and len(record["curve"]["step"]) == len(record["curve"]["fitness"]) > 10
    assert record["curve"]["step"][-1] == config.generations
    assert {row["setting"]["horizon"] for row in rows_of(name)} == set(config.evaluation.horizons)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_small(name):
    assert sum(file.stat().st_size for file in zoo.directory_of(name).iterdir()) < 250_000


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_not_the_one_that_evolution_began_with(name):
    leaves = jax.tree.leaves(zoo.load(name).loaded.meta_params)
    assert all(np.isfinite(leaf).all() and np.any(leaf != 0.0) for leaf in leaves)


@pytest.mark.parametrize("name", ["lpo", "ta-lpo"])
def test_a_drift_rule_is_a_valid_mirror_step_that_hears_the_time_if_it_is_aware_of_it(name):
    rule = zoo.load(name)
    ratio, advantage = jnp.meshgrid(jnp.exp(jnp.linspace(-1.0, 1.0, 21)), jnp.linspace(-3.0, 3.0, 7))
    early, late = (rule(ratio, advantage, step=n, lifetime=50) for n in (0, 49))
    assert early.shape == ratio.shape and (early >= 0.0).all() and early.max() > 0.1
    assert jax.grad(lambda r: rule(r, jnp.float32(1.0), step=5, lifetime=50))(jnp.float32(1.0)) == 0.0
    assert np.any(early != late) == name.startswith("ta-")


@pytest.mark.parametrize("name", ["lpg", "ta-lpg"])
def test_a_target_rule_gives_targets_for_a_rollout(name, key):
    rule, (T, B, A, m) = zoo.load(name), (5, 2, 3, 8)
    outputs = {"policy": jax.random.normal(key, (T, B, A)), "prediction": jax.random.normal(key, (T, B, m))}
    none = jnp.zeros((T, B), bool)
    rollout = Rollout(None, jnp.zeros((T, B), jnp.int32), jnp.ones((T, B)), none, none, outputs, outputs)
    early, late = (rule(rollout, step=n, lifetime=50) for n in (0, 49))
    assert early.pi_hat.shape == (T, B) and early.y_hat.shape == (T, B, m)
    assert np.any(early.pi_hat != late.pi_hat) == name.startswith("ta-")
    objective = rule.objective(type("Space", (), {"n": A})())
    again = objective.targets(rule.loaded.meta_params, rollout, Progress(jnp.int32(0), jnp.int32(50)))
    np.testing.assert_array_equal(early.pi_hat, again.pi_hat)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_reproduces_its_stored_evaluation(name):
    """The first 48 of the stored tasks live again, as long as the longest trained life.

    Lives are chaotic in the last bit of a product, so that single ones differ between machines; their mean may differ
    by four standard errors.
    """
    loaded, agent = find_rule(zoo.directory_of(name))
    config = decode(loaded.record["config"], CONFIG_TYPES)
    horizon = config.family.lifetime[1]
    (family,) = build_families(config.family)
    objective = zoo.load(name).objective(family.env.action_space())
    arm, options = Arm("discovered", objective, loaded.meta_params), {"num_tasks": 48, "seed": config.seed}
    found = evaluate_arms([arm], family, agent, horizons=(horizon,), **options)
    (found,) = [row for row in found if row["metric"] == "normalised_return"]
    (stored,) = [row for row in rows_of(name) if row["setting"]["horizon"] == horizon]
    values = np.array(stored["values"][: len(found["values"])])
    difference = np.array(found["values"]) - values
    error = np.std(difference) / np.sqrt(len(values))
    assert error < 0.06 and abs(np.mean(difference)) <= 4.0 * error + 1e-3
    assert stored["low"] <= stored["iqm"] <= stored["high"]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="has nothing called 'ta-lpx'; did you mean ta-lpo"):
        zoo.load("ta-lpx")
