import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.bandits import Bandit, BanditParams, BanditState, bandit
from envs.domains import make_domain
from envs.linear_bandit import fixed_features, linear_bandit
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
