"""Baselines against the reference tables: regret as they act, and suboptimality on given data."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import BanditParams
from envs.domains import make_domain
from metarl.incontext.agent import Transition
from metarl.incontext.baselines import BASELINES, baselines_for
from metarl.incontext.deploy import deploy_many, make_deploy
from metarl.incontext.linear_rules import lin_ucb
from metarl.incontext.offline import make_offline

BANDIT = "bandit@quadrature=201"  # a cell is 0.005, and no posterior here is narrower than 0.02
LINEAR = "linear-bandit@num_angles=720"


def regret(domain, agent, horizon, num_tasks):
    """Returns the cumulative regret [K, T] of an agent in tasks of its domain."""
    deploy = make_deploy(domain, agent, horizon=horizon)

    @jax.jit
    def run(key):
        key_tasks, key_run = jax.random.split(key)
        keys = jax.random.split(key_tasks, num_tasks)
        return deploy_many(deploy, jax.vmap(domain.family.sample)(keys).params, key_run).regret

    return np.cumsum(np.asarray(run(jax.random.key(1))[:, 0], np.float64), axis=1)


@cache
def curves(spec, name, horizon, num_tasks):
    domain = make_domain(spec)
    return regret(domain, BASELINES[name](domain), horizon, num_tasks)


# Reference values by Monte Carlo under the task law, and the number of tasks they were found with.
BANDIT_MARKS = (10, 50, 100, 200, 500)
BANDIT_REGRET = {
    "uniform": (3.33, 16.65, 33.32, 66.59, 166.4),
    "emp": (2.06, 3.62, 5.24, 8.35, 17.54),
    "ucb1.0": (2.34, 5.31, 6.82, 8.41, 10.55),
    "ucb0.6": (2.19, 3.90, 4.69, 5.53, 6.91),
    "ucb0.3": (2.10, 3.38, 4.21, 5.54, 8.95),
    "thompson": (2.23, 4.72, 5.96, 7.36, 9.49),
}

LINEAR_MARKS = (10, 50, 100, 200)
LINEAR_REGRET = {
    "source": (6.92, 12.36, 14.33, 16.31),
    "linucb": (2.15, 2.91, 3.36, 3.90),
    "lints": (2.17, 2.96, 3.42, 3.97),
}


def assert_regret(curve, marks, expected, num_reference):
    for mark, value in zip(marks, expected, strict=True):
        error = curve[:, mark - 1].std() * np.sqrt(1 / len(curve) + 1 / num_reference)
        assert abs(curve[:, mark - 1].mean() - value) < 4 * error + 0.005, mark  # two printed decimals


@pytest.mark.parametrize("name", BANDIT_REGRET)
def test_regret_in_the_bandit_is_the_reference(name):
    assert_regret(curves(BANDIT, name, 100, 2000), BANDIT_MARKS[:3], BANDIT_REGRET[name][:3], 8000)


@pytest.mark.slow
@pytest.mark.parametrize("name", BANDIT_REGRET)
def test_regret_in_the_long_bandit_is_the_reference(name):
    curve = curves(BANDIT, name, 500, 2000)
    assert_regret(curve, BANDIT_MARKS[:4], BANDIT_REGRET[name][:4], 8000)
    assert_regret(curve, BANDIT_MARKS[4:], BANDIT_REGRET[name][4:], 2000)


@pytest.mark.parametrize("name", LINEAR_REGRET)
def test_regret_in_the_linear_bandit_is_the_reference(name):
    assert_regret(curves(LINEAR, name, 200, 2000), LINEAR_MARKS, LINEAR_REGRET[name], 4000)


def test_a_timid_bonus_costs_the_linear_bandit_dear():
    domain = make_domain(LINEAR)
    assert_regret(regret(domain, lin_ucb(domain, c=0.3), 200, 2000), LINEAR_MARKS, (2.01, 3.43, 4.79, 7.23), 4000)


def assert_below(lower, higher):
    """Means of paired tasks, four standard errors apart."""
    difference = higher - lower
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(difference))


@pytest.mark.slow
def test_the_order_of_the_rules_flips_between_100_and_500_pulls():
    emp, thompson, bounds = (curves(BANDIT, name, 500, 4000) for name in ("emp", "thompson", "ucb1.0"))
    assert_below(emp[:, 99], thompson[:, 99])
    assert_below(thompson[:, 99], bounds[:, 99])
    assert_below(thompson[:, 499], bounds[:, 499])
    assert_below(bounds[:, 499], emp[:, 499])


LENGTHS = (0, 1, 2, 5, 10, 25, 50, 100, 200, 300, 500)
SUBOPTIMALITY = {  # after so many transitions of the public code's contexts, by Monte Carlo with 40,000 tasks
    "emp": (0.331, 0.293, 0.259, 0.204, 0.161, 0.114, 0.088, 0.069, 0.055, 0.049, 0.043),
    "lcb": (0.331, 0.293, 0.272, 0.223, 0.186, 0.141, 0.112, 0.088, 0.069, 0.061, 0.053),
    "thompson": (0.334, 0.258, 0.221, 0.172, 0.135, 0.094, 0.070, 0.054, 0.040, 0.035, 0.031),
    "argmax": (0.331, 0.248, 0.213, 0.167, 0.133, 0.093, 0.070, 0.053, 0.041, 0.035, 0.031),
    "mean": (0.331, 0.246, 0.210, 0.162, 0.128, 0.090, 0.067, 0.051, 0.039, 0.034, 0.029),
}


@cache
def contexts(num_tasks, length):
    """Returns (means [K, 5], actions [K, H], rewards [K, H]): pulls from `(1 - c) Dirichlet(1) + c e_k`."""
    generator = np.random.default_rng(0)
    means = generator.uniform(size=(num_tasks, 5))
    tilt = generator.integers(11, size=(num_tasks, 1)) / 10
    preferred = np.eye(5)[generator.integers(5, size=num_tasks)]
    law = (1 - tilt) * generator.dirichlet(np.ones(5), size=num_tasks) + tilt * preferred
    actions = np.minimum((generator.uniform(size=(num_tasks, length, 1)) > law.cumsum(1)[:, None]).sum(2), 4)
    rewards = np.take_along_axis(means, actions, axis=1) + 0.3 * generator.normal(size=actions.shape)
    return means.astype(np.float32), actions.astype(np.int32), rewards.astype(np.float32)


def assert_suboptimality(name, num_tasks, first, last):
    """Checks what a rule lacks after each of `LENGTHS[first:last]`."""
    lengths, expected = LENGTHS[first:last], np.array(SUBOPTIMALITY[name][first:last])
    domain = make_domain(BANDIT)
    offline = make_offline(domain, baselines_for(domain, "offline")[name], lengths=lengths)
    means, actions, rewards = contexts(num_tasks, lengths[-1])
    ones = np.ones((num_tasks, lengths[-1], 1), np.float32)
    params = jax.vmap(lambda means: BanditParams(jnp.int32(500), means, jnp.float32(0.3)))(means)
    keys = jax.random.split(jax.random.key(3), num_tasks)
    found = np.asarray(jax.jit(jax.vmap(offline))(params, Transition(ones, actions, rewards, ones), keys))
    error = found.std(axis=0) * np.sqrt(1 / num_tasks + 1 / 40_000)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected), 4 * error + 0.0005)


@pytest.mark.parametrize("name", SUBOPTIMALITY)
def test_suboptimality_on_given_data_is_the_reference(name):
    assert_suboptimality(name, 4000, 0, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBOPTIMALITY)
def test_suboptimality_on_long_given_data_is_the_reference(name):
    assert_suboptimality(name, 4000, 8, 11)
