import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from envs.bandits import Bandit, BanditParams, BanditState, bandit, fixed_features, linear_bandit
from envs.domain import posterior
from envs.domains import make_domain
from envs.uniform_noise import standard_normal

ARMS = [
    (0.3334, -0.8421),
    (1.0131, -0.2211),
    (-0.5095, 0.6273),
    (0.6078, -0.4501),
    (0.0111, -1.5858),
    (0.8132, 0.7014),
    (0.6741, -1.4292),
    (-0.2362, 0.0015),
    (0.2867, 0.2044),
    (0.9342, -1.0938),
]
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


# Rewards


def test_quantiles_are_normal_and_finite_at_the_ends():
    uniforms = jnp.linspace(0.01, 0.99, 99, dtype=jnp.float32)
    # erfinv in float32 has relative error 1e-6; near the ends the quantile's slope adds to that.
    np.testing.assert_allclose(standard_normal(uniforms), stats.norm.ppf(uniforms), atol=1e-5)
    assert np.isfinite(standard_normal(jnp.array([0.0, 1.0], jnp.float32))).all()


def test_a_gaussian_reward_is_the_mean_plus_the_scaled_quantile():
    env, params = Bandit(3), BanditParams(means=jnp.array([0.1, 0.5, 0.9]), noise=jnp.float32(0.2))
    assert env.reward(jnp.array([0.5]), jnp.int32(2), params) == np.float32(0.9)
    reward = env.reward(jnp.array([0.975]), jnp.int32(1), params)
    np.testing.assert_allclose(reward, 0.5 + 0.2 * 1.959964, rtol=1e-5)  # erfinv in float32


def test_a_bernoulli_reward_is_one_below_the_mean():
    env, params = Bandit(2, is_bernoulli=True), BanditParams(means=jnp.array([0.25, 0.75]))
    found = [float(env.reward(jnp.array([u]), jnp.int32(a), params)) for a in (0, 1) for u in (0.2, 0.3, 0.8)]
    assert found == [1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("spec", ["bandit", "bandit@rewards=bernoulli", "linear-bandit@arms=resampled"])
def test_pulls_with_and_without_an_episode_are_the_same(spec):
    domain = make_domain(spec)
    params = domain.family.sample(jax.random.key(0)).params
    observation, state = domain.env.reset_from(jnp.zeros((0,)), params)
    for action, uniform in ((0, 0.2), (3, 0.9)):
        uniforms = jnp.array([uniform])
        reward, after = domain.transition(uniforms, observation, jnp.int32(action), params)
        _, new, expected, terminated, _ = domain.env.transition(uniforms, state, jnp.int32(action), params)
        assert reward == expected and new == BanditState(jnp.int32(1)) and not terminated
        np.testing.assert_array_equal(after, observation)
        np.testing.assert_array_equal(domain.sample_query(jax.random.key(1), params), observation)


# Tasks


def test_means_of_independent_arms_are_uniform():
    domain = make_domain("bandit@num_arms=2")
    tasks = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 4000)).params
    assert stats.kstest(np.asarray(tasks.means).ravel(), "uniform").pvalue > 1e-4  # four standard errors
    assert np.abs(np.corrcoef(tasks.means.T)[0, 1]) < 4 / np.sqrt(4000)
    assert (tasks.noise == np.float32(0.3)).all()


def test_the_vector_of_a_task_is_its_means_clipped():
    params = make_domain("bandit@num_arms=3,noise=0.5").family.decode(jnp.array([-0.1, 0.4, 1.2])).params
    np.testing.assert_array_equal(params.means, np.array([0, 0.4, 1], np.float32))
    assert params.noise == 0.5


@pytest.mark.parametrize("spec", ["linear-bandit", "linear-bandit@arms=resampled,num_arms=4,dim=3"])
def test_the_ends_of_a_linear_task_vector_are_tasks(spec):
    family = make_domain(spec).family
    for value in (0.0, 1.0):
        params = family.decode(jnp.full((family.num_dimensions,), value)).params
        assert np.isfinite(params.means).all()
    middle = family.decode(jnp.full((family.num_dimensions,), 0.5)).params
    np.testing.assert_allclose(middle.means, 0.0, atol=1e-6)  # the median of theta is 0


def test_fixed_arms_are_those_of_the_public_code():
    np.testing.assert_allclose(fixed_features(), ARMS, atol=5e-5)  # four decimals are given


def test_linear_means_are_products_of_features_and_a_normal_vector():
    domain = make_domain("linear-bandit")
    means = np.asarray(jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 8000)).params.means)
    features = fixed_features().astype(np.float64)
    theta = np.linalg.lstsq(features, means.T, rcond=None)[0]
    np.testing.assert_allclose(features @ theta, means.T, atol=1e-5)  # products of numbers below 5 in float32
    for row in theta:
        assert stats.kstest(row, stats.norm(scale=np.sqrt(0.5)).cdf).pvalue > 1e-4
    np.testing.assert_array_equal(domain.features(jnp.ones((1,))), fixed_features())


def test_resampled_arms_are_shown_and_new_in_every_task():
    domain = make_domain("linear-bandit@arms=resampled,num_arms=4,dim=3")
    params = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 4000)).params
    query = jax.vmap(domain.sample_query)(jax.random.split(jax.random.key(0), 4000), params)
    np.testing.assert_array_equal(jax.vmap(domain.features)(query), params.features)
    assert query.shape == (4000, domain.observation_size) == (4000, 12)
    assert stats.kstest(np.asarray(params.features).ravel(), stats.norm(scale=3**-0.5).cdf).pvalue > 1e-4
    # E[mean²] = Σ_i E[x_i²] E[theta_i²] = 3 / 9; a product of normals has fourth moments, hence the sampled error.
    squares = np.asarray(params.means, np.float64)[:, 0] ** 2
    assert abs(squares.mean() - 1 / 3) < 4 * squares.std() / np.sqrt(4000)
    assert domain.belief is None


@pytest.mark.parametrize("spec", ["bandit", "linear-bandit", "linear-bandit@arms=resampled"])
def test_the_expert_pulls_the_best_arm(spec):
    domain = make_domain(spec)
    params = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 50)).params
    labels = jax.vmap(domain.expert, (None, 0))(jnp.ones((domain.observation_size,)), params)
    np.testing.assert_array_equal(labels, np.eye(domain.num_actions)[np.argmax(params.means, axis=1)])


# Beliefs of independent arms


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


# Beliefs of the linear bandit


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
    domain = make_domain("linear-bandit")
    for reward in (-2.0, 0.0, 2.0):
        belief = domain.belief.init()
        belief = belief._replace(
            precision=belief.precision + 1000 * np.outer(ARMS[4], ARMS[4]).astype(np.float32) / 0.09,
            shift=1000 * jnp.array(ARMS[4], jnp.float32) * reward / 0.09,
        )
        found = probabilities(domain, belief)
        assert np.isfinite(found).all() and abs(found.sum() - 1) < 1e-5
        mean, covariance = gaussian([4] * 1000, [reward] * 1000)
        theta = np.random.default_rng(1).multivariate_normal(mean, covariance, size=NUM_DRAWS)
        # The precision's condition number is 1e4: float32 shifts the angles' density by some 1e-3.
        np.testing.assert_allclose(found, winners(theta @ fixed_features().T), atol=4 / np.sqrt(4 * NUM_DRAWS) + 1e-3)


@pytest.mark.parametrize(
    ("make", "given", "sentence"),
    [
        (bandit, {"num_arms": 1}, "bandit was given num_arms=1, .* at least 2 arms"),
        (bandit, {"noise": 0.0}, "bandit was given .*noise=0.0, .* positive noise"),
        (bandit, {"horizon": 0}, "bandit was given .*horizon=0, .* a horizon of at least 1"),
        (bandit, {"quadrature": 2}, "bandit was given .*quadrature=2; .* at least 3 points"),
        (bandit, {"rewards": "beta"}, "bandit was given rewards='beta'; choose gaussian or bernoulli"),
        (linear_bandit, {"dim": 0}, "linear-bandit was given .*dim=0, .* 1 dimension"),
        (linear_bandit, {"num_angles": 7}, "linear-bandit was given .*num_angles=7; .* at least 8 angles"),
        (linear_bandit, {"arms": "new"}, "linear-bandit was given arms='new'; choose fixed or resampled"),
    ],
)
def test_refusals_say_what_is_allowed(make, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**given)
