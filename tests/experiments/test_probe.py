"""The fixed-batch probe: it moves only what time moves."""

import jax
import numpy as np
import pytest

from envs.registry import make_family
from metarl.experiments.config import AgentConfig
from metarl.experiments.lives import Arm, agent_for, held_out
from metarl.experiments.probe import NUM_FRACTIONS, probe_rule
from metarl.objectives.lpg import lpg

FAMILY = make_family("probe/action_observation_reward")
CONFIG = AgentConfig(num_envs=2, unroll_length=5, hidden=())
LIFETIMES = (1, 3, 100)
QUANTITIES = {"pi_hat_mean", "pi_hat_abs", "pi_hat_change", "y_hat_entropy", "y_hat_change"}
K = 2


def probe(scale=1.0, **options):
    """Returns what the probe says about a freshly drawn rule, its parameters scaled."""
    objective = lpg(FAMILY.env.action_space(), hidden_size=4, **options)
    meta_params = jax.tree.map(lambda x: scale * x, objective.init(jax.random.key(1)))
    examinees = held_out(FAMILY, 0, K)
    agent = agent_for(objective, FAMILY, CONFIG)
    born = jax.jit(jax.vmap(lambda examinee: agent.init(examinee.key, examinee.task.params).params))(examinees)
    return probe_rule(Arm("discovered", objective, meta_params), FAMILY, CONFIG, born, examinees, lifetimes=LIFETIMES)


@pytest.fixture(scope="module")
def aware():
    return probe(temporal=True, encoding="paper")


@pytest.fixture(scope="module")
def blind():
    return probe()


def test_there_is_a_number_per_lifetime_and_fraction(aware):
    assert set(aware) == {f"probe/{name}" for name in QUANTITIES | {"lifetimes", "fractions"}}
    np.testing.assert_array_equal(aware["probe/lifetimes"], LIFETIMES)
    np.testing.assert_allclose(aware["probe/fractions"], np.arange(NUM_FRACTIONS) / (NUM_FRACTIONS - 1), atol=1e-12)
    for name in QUANTITIES:
        table = aware[f"probe/{name}"]
        assert table.shape == (len(LIFETIMES), NUM_FRACTIONS) and np.isfinite(table).all(), name


def test_time_alone_changes_nothing_that_a_blind_rule_says(blind):
    for name in ("pi_hat_change", "y_hat_change"):
        np.testing.assert_array_equal(blind[f"probe/{name}"], 0.0)
    for name in ("pi_hat_mean", "pi_hat_abs", "y_hat_entropy"):
        assert len(np.unique(blind[f"probe/{name}"])) == 1, name


def test_time_changes_what_an_aware_rule_says(aware):
    for name in ("pi_hat_change", "y_hat_change"):
        change = aware[f"probe/{name}"]
        np.testing.assert_array_equal(change[:, 0], 0.0)  # changes are against the start of the life
        assert np.all(change[2, 1:] > 0.0) and np.all(change >= 0.0), name
    assert aware["probe/pi_hat_mean"][0, 0] != aware["probe/pi_hat_mean"][2, 0]  # the rule is told the length too


def test_a_life_of_one_update_has_no_time_to_change(aware):
    np.testing.assert_array_equal(aware["probe/pi_hat_change"][0], 0.0)


def test_steps_are_rounded_down_and_stay_within_the_life(aware):
    """A life of three updates has the steps 0, 1 and 2, so its row has three levels."""
    levels = aware["probe/pi_hat_change"][1]
    step = np.minimum(np.floor(3 * np.linspace(0, 1, NUM_FRACTIONS)), 2).astype(int)
    assert len(set(levels.tolist())) == 3
    np.testing.assert_array_equal(levels, [levels[np.argmax(step == s)] for s in step])


def test_a_rule_of_zeros_says_nothing_at_any_time():
    silent = probe(scale=0.0, temporal=True, encoding="paper")
    assert not np.any(silent["probe/pi_hat_abs"]) and not np.any(silent["probe/y_hat_change"])
    np.testing.assert_allclose(silent["probe/y_hat_entropy"], np.log(8), rtol=1e-5)
