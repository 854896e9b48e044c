"""Exact inference about bandits, against closed forms, quadrature and samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from envs.domain import posterior
from envs.domains import make_domain
from envs.linear_bandit import fixed_features

NUM_DRAWS = 40_000


def believed(domain, actions, rewards):
    """Returns the belief after these pulls."""
    belief = domain.belief.init()
    for action, reward in zip(actions, rewards, strict=True):
        belief = domain.belief.update(belief, None, jnp.int32(action), jnp.float32(reward), None)
    return belief


def probabilities(domain, belief):
    return np.asarray(domain.belief.probabilities(belief, None), np.float64)


def draws(domain, belief):
    """Returns means [n, A] of tasks drawn from a belief."""
    keys = jax.random.split(jax.random.key(5), NUM_DRAWS)
    draw = jax.jit(lambda belief: jax.lax.map(lambda key: domain.belief.draw(key, belief).means, keys, batch_size=2000))
    return np.asarray(draw(belief))


def winners(means):
    return np.bincount(np.argmax(means, axis=1), minlength=means.shape[1]) / len(means)


def assert_frequencies(found, expected, num_draws=NUM_DRAWS):
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-5) / num_draws)
    np.testing.assert_array_less(np.abs(found - expected), 4 * error)


@pytest.mark.parametrize("rewards", ["gaussian", "bernoulli"])
def test_before_any_pull_every_arm_is_as_good(rewards):
    domain = make_domain(f"bandit@rewards={rewards}")
    belief = domain.belief.init()
    np.testing.assert_allclose(probabilities(domain, belief), 0.2, atol=1e-6)
    np.testing.assert_allclose(domain.belief.mean_rewards(belief), 0.5, atol=1e-6)


def test_two_arms_far_from_the_ends_follow_the_normal_distribution_function():
    domain = make_domain("bandit@num_arms=2")
    # 36 and 64 pulls: deviations .05 and .0375, so that [0, 1] cuts off nothing.
    belief = believed(domain, [0] * 36 + [1] * 64, [0.52] * 36 + [0.48] * 64)
    first = stats.norm.cdf(0.04 / np.hypot(0.05, 0.0375))
    np.testing.assert_allclose(probabilities(domain, belief), [first, 1 - first], atol=1e-4)  # grid cells of 0.001


def cut_off(mean, count):
    """Returns the exact posterior of a Gaussian arm."""
    scale = 0.3 / np.sqrt(count)
    return stats.truncnorm(-mean / scale, (1 - mean) / scale, mean, scale)


ACTIONS, REWARDS = [0, 1, 1, 2, 3, 3, 3], [0.9, 0.7, 0.8, 1.3, 0.2, 0.9, 0.7]
ARM_LAWS = [cut_off(0.9, 1), cut_off(0.75, 2), cut_off(1.3, 1), cut_off(0.6, 3), stats.uniform()]
SUCCESSES = [1, 1, 0, 1, 0, 1, 1]
BETA_LAWS = [stats.beta(2, 1), stats.beta(2, 2), stats.beta(2, 1), stats.beta(3, 2), stats.beta(1, 1)]
BELIEFS = {"gaussian": (REWARDS, ARM_LAWS), "bernoulli": (SUCCESSES, BETA_LAWS)}


@pytest.fixture(params=BELIEFS)
def five_arms(request):
    """Returns (domain, belief after seven pulls, exact posteriors of the arms)."""
    rewards, laws = BELIEFS[request.param]
    domain = make_domain(f"bandit@rewards={request.param}")
    return domain, believed(domain, ACTIONS, rewards), laws


def test_the_best_arm_is_as_probable_as_adaptive_quadrature_finds(five_arms):
    domain, belief, laws = five_arms

    def best(arm):
        others = [law for j, law in enumerate(laws) if j != arm]
        return integrate.quad(lambda x: laws[arm].pdf(x) * np.prod([law.cdf(x) for law in others]), 0, 1)[0]

    found = probabilities(domain, belief)
    np.testing.assert_allclose(found, [best(arm) for arm in range(5)], atol=1e-4)  # grid cells of 0.001
    np.testing.assert_allclose(found.sum(), 1.0, atol=1e-6)


def test_the_best_arm_is_as_probable_as_samples_say(five_arms):
    domain, belief, laws = five_arms
    uniforms = np.random.default_rng(0).uniform(size=(1_000_000, 5))
    samples = np.stack([law.ppf(u) for law, u in zip(laws, uniforms.T, strict=True)], axis=1)
    assert_frequencies(winners(samples), probabilities(domain, belief), 1_000_000)


def test_expected_rewards_are_posterior_means(five_arms):
    domain, belief, laws = five_arms
    expected = [law.mean() for law in laws]
    np.testing.assert_allclose(domain.belief.mean_rewards(belief), expected, atol=1e-5)  # midpoint rule, 1000 cells


def test_drawn_tasks_follow_the_posterior(five_arms):
    domain, belief, laws = five_arms
    means = draws(domain, belief)
    for arm, law in enumerate(laws):
        assert stats.kstest(means[:4000, arm], law.cdf).pvalue > 1e-4
    assert np.abs(np.corrcoef(means.T) - np.eye(5)).max() < 4.5 / np.sqrt(NUM_DRAWS)  # ten pairs
    assert_frequencies(winners(means), probabilities(domain, belief))


def test_thousands_of_pulls_keep_probabilities_ordinary():
    domain = make_domain("bandit")
    belief = domain.belief.init()._replace(
        count=jnp.array([5000.0, 0.0, 1.0, 10.0, 5000.0]), total=jnp.array([4900.0, 0.0, -3.0, 25.0, 100.0])
    )
    found = probabilities(domain, belief)
    assert np.isfinite(found).all() and abs(found.sum() - 1) < 1e-6 and (found[[2, 4]] < 1e-6).all()


NUM_TASKS = 8000
BAYES = {1: (1.5190, 0.288), 10: (1.2126, 0.466), 100: (0.7246, 0.684)}  # cross-entropy, accuracy; 40,000 tasks


def tilted_contexts(generator, length):
    """Returns (means, actions, rewards) of bandits whose pulls follow `(1 - c) Dirichlet(1) + c e_k`."""
    means = generator.uniform(size=(NUM_TASKS, 5))
    tilt = generator.integers(11, size=(NUM_TASKS, 1)) / 10
    preferred = np.eye(5)[generator.integers(5, size=NUM_TASKS)]
    law = (1 - tilt) * generator.dirichlet(np.ones(5), size=NUM_TASKS) + tilt * preferred
    actions = np.minimum((generator.uniform(size=(NUM_TASKS, length, 1)) > law.cumsum(1)[:, None]).sum(2), 4)
    rewards = np.take_along_axis(means, actions, axis=1) + 0.3 * generator.normal(size=actions.shape)
    return means, actions.astype(np.int32), rewards.astype(np.float32)


def after_contexts(domain, actions, rewards):
    """Returns P(a*) [K, A] after contexts [K, H]."""
    ones, mask = jnp.ones((actions.shape[1], 1)), jnp.ones((actions.shape[1],), bool)
    one = lambda action, reward: posterior(domain.belief, ones, action, reward, ones, mask, ones[0])  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(one))(actions, rewards), np.float64)


def assert_calibrated(found, best):
    """The probability of the most probable arm is how often it is best."""
    right = np.argmax(found, axis=1) == best
    difference = found.max(axis=1) - right
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(found))
    return right


@pytest.mark.parametrize("length", BAYES)
def test_the_belief_is_calibrated_and_reaches_the_bayes_floor(length):
    means, actions, rewards = tilted_contexts(np.random.default_rng(length), length)
    found = after_contexts(make_domain("bandit@quadrature=201"), actions, rewards)
    best = np.argmax(means, axis=1)
    right = assert_calibrated(found, best)
    entropy = -np.sum(found * np.log(np.maximum(found, 1e-30)), axis=1)
    loss = -np.log(found[np.arange(NUM_TASKS), best])
    assert abs((entropy - loss).mean()) < 4 * (entropy - loss).std() / np.sqrt(NUM_TASKS)
    for sample, expected in zip((entropy, right), BAYES[length], strict=True):
        error = sample.std() * np.sqrt(1 / NUM_TASKS + 1 / 40_000)
        assert abs(sample.mean() - expected) < 4 * error + 0.0005  # three or four decimals are given


def test_six_arms_can_be_best_before_any_pull():
    domain = make_domain("linear-bandit")
    found = probabilities(domain, domain.belief.init())
    expected = np.zeros(10)
    expected[[1, 2, 4, 5, 6, 9]] = [0.048, 0.278, 0.250, 0.225, 0.108, 0.091]
    np.testing.assert_allclose(found, expected, atol=5e-4)
    assert abs(-np.sum(found[found > 0] * np.log(found[found > 0])) - 1.6426) < 2e-4  # sectors of 7200 angles


LINEAR_PULLS = {
    "one": ([3], [0.4]),
    "few": ([1, 2, 6, 1, 4], [0.3, 0.4, 0.5, 0.2, -0.3]),
    "lopsided": ([5] * 40 + [7] * 5, [0.02] * 40 + [0.1] * 5),
}


def gaussian(actions, rewards):
    """Returns mean and covariance of theta by inversion."""
    x = fixed_features()[actions].astype(np.float64)
    covariance = np.linalg.inv(2 * np.eye(2) + x.T @ x / 0.09)
    return covariance @ x.T @ np.array(rewards) / 0.09, covariance


@pytest.mark.parametrize("name", LINEAR_PULLS)
def test_the_sum_over_angles_is_what_samples_of_theta_say(name):
    domain = make_domain("linear-bandit")
    mean, covariance = gaussian(*LINEAR_PULLS[name])
    theta = np.random.default_rng(0).multivariate_normal(mean, covariance, size=1_000_000)
    found = probabilities(domain, believed(domain, *LINEAR_PULLS[name]))
    assert_frequencies(winners(theta @ fixed_features().T), found, 1_000_000)
    np.testing.assert_allclose(found.sum(), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", LINEAR_PULLS)
def test_drawn_linear_tasks_follow_the_gaussian_posterior(name):
    domain = make_domain("linear-bandit")
    belief = believed(domain, *LINEAR_PULLS[name])
    mean, covariance = gaussian(*LINEAR_PULLS[name])
    features = fixed_features().astype(np.float64)
    expected = features @ mean
    np.testing.assert_allclose(domain.belief.mean_rewards(belief), expected, atol=1e-4)  # 2 x 2 inverse in float32
    means = draws(domain, belief)
    deviation = np.sqrt(np.einsum("ad,de,ae->a", features, covariance, features))
    np.testing.assert_array_less(np.abs(means.mean(0) - expected), 4.5 * deviation / np.sqrt(NUM_DRAWS))  # ten arms
    np.testing.assert_allclose(means.std(0), deviation, rtol=4.5 / np.sqrt(2 * NUM_DRAWS))
    assert_frequencies(winners(means), probabilities(domain, belief))


def test_the_linear_belief_is_calibrated():
    generator = np.random.default_rng(0)
    theta = generator.normal(size=(NUM_TASKS, 2)) / np.sqrt(2)
    means = theta @ fixed_features().T
    actions = generator.integers(10, size=(NUM_TASKS, 6))
    rewards = np.take_along_axis(means, actions, axis=1) + 0.3 * generator.normal(size=actions.shape)
    found = after_contexts(
        make_domain("linear-bandit@num_angles=720"), actions.astype(np.int32), rewards.astype(np.float32)
    )
    assert_calibrated(found, np.argmax(means, axis=1))


def test_hundreds_of_pulls_of_one_arm_keep_the_linear_belief_ordinary():
    domain, arm = make_domain("linear-bandit"), fixed_features()[4].astype(np.float32)
    for reward in (-2.0, 0.0, 2.0):
        belief = domain.belief.init()
        belief = belief._replace(
            precision=belief.precision + 1000 * np.outer(arm, arm) / 0.09,
            shift=1000 * arm * reward / 0.09,
        )
        found = probabilities(domain, belief)
        assert np.isfinite(found).all() and abs(found.sum() - 1) < 1e-5
        mean, covariance = gaussian([4] * 1000, [reward] * 1000)
        theta = np.random.default_rng(1).multivariate_normal(mean, covariance, size=NUM_DRAWS)
        # The precision's condition number is 1e4: float32 shifts the angles' density by some 1e-3.
        np.testing.assert_allclose(found, winners(theta @ fixed_features().T), atol=4 / np.sqrt(4 * NUM_DRAWS) + 1e-3)
