from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from envs.domains import make_domain
from envs.linear_bandit import fixed_features
from metarl.incontext.agent import Transition, absorb
from metarl.incontext.arm_rules import empirical_mean, gaussian_thompson, lcb, source_thompson, ucb
from metarl.incontext.baselines import BASELINES, baselines_for
from metarl.incontext.linear_rules import cholesky, lin_thompson, lin_ucb

BANDIT = "bandit@quadrature=201"  # a cell is 0.005, and no posterior here is narrower than 0.02
LINEAR = "linear-bandit@num_angles=720"
RESAMPLED = "linear-bandit@arms=resampled"
NUM_GAMES, LENGTH = 8, 60


def play(agent, rewards, observations, key):
    """Returns the actions [K, T] of an agent in K games with given rewards [K, T, A]."""

    def game(rewards, observation, key):
        key_init, key_run = jax.random.split(key)

        def step(memory, inputs):
            rewards, index = inputs
            action = agent.act(memory, observation, jax.random.fold_in(key_run, index))
            transition = Transition(observation, action, rewards[action], observation)
            return agent.observe(memory, transition, jnp.bool_(True)), action

        return jax.lax.scan(step, agent.init(key_init, LENGTH), (rewards, jnp.arange(rewards.shape[0])))[1]

    return np.asarray(jax.jit(jax.vmap(game))(rewards, observations, jax.random.split(key, rewards.shape[0])))


@cache
def games(num_arms):
    """Returns rewards [K, T, A] of games in which nobody knows the arms."""
    generator = np.random.default_rng(num_arms)
    means = generator.uniform(size=(NUM_GAMES, 1, num_arms))
    return (means + 0.3 * generator.normal(size=(NUM_GAMES, LENGTH, num_arms))).astype(np.float32)


def statistics(actions, rewards, num_arms):
    """Returns the pulls and the mean reward of every arm in float32; 0 for an unseen arm."""
    count, total = np.zeros(num_arms, np.float32), np.zeros(num_arms, np.float32)
    for action, reward in zip(actions, rewards, strict=True):
        count[action] += 1
        total[action] += reward
    return count, total / np.maximum(count, np.float32(1))


def bonus(count, c):
    return np.float32(c) / np.sqrt(np.maximum(count, np.float32(1)))


RULES = {  # name: (agent, index of every arm from its pulls and mean, whether every arm is pulled once before)
    "emp": (lambda domain: empirical_mean(domain, explores=True), lambda count, mean: mean, True),
    "emp offline": (lambda domain: empirical_mean(domain, explores=False), lambda count, mean: mean, False),
    "ucb 1.0": (ucb, lambda count, mean: mean + bonus(count, 1.0), True),
    "ucb 0.3": (lambda domain: ucb(domain, c=0.3), lambda count, mean: mean + bonus(count, 0.3), True),
    "lcb": (lcb, lambda count, mean: mean - bonus(count, 0.8), False),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_about_arms_pulls_what_a_plain_loop_pulls(name):
    make, index, explores = RULES[name]
    rewards = games(5)
    actions = play(make(make_domain(BANDIT)), rewards, jnp.ones((NUM_GAMES, 1)), jax.random.key(0))
    for game in range(NUM_GAMES):
        received = rewards[game, np.arange(LENGTH), actions[game]]
        for t in range(LENGTH):
            count, mean = statistics(actions[game, :t], received[:t], 5)
            expected = np.argmin(count) if explores and t < 5 else np.argmax(index(count, mean))
            assert actions[game, t] == expected


@pytest.mark.parametrize("spec", [LINEAR, RESAMPLED])
@pytest.mark.parametrize("c", [1.0, 0.0])
def test_lin_ucb_pulls_what_ridge_regression_by_inversion_pulls(spec, c):
    rewards = games(10)
    features = np.broadcast_to(fixed_features(), (NUM_GAMES, 10, 2))
    observations = np.ones((NUM_GAMES, 1), np.float32)
    if spec == RESAMPLED:
        features = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
        observations = features.reshape(NUM_GAMES, -1)
    actions = play(lin_ucb(make_domain(spec), c=c), rewards, observations, jax.random.key(0))
    for game in range(NUM_GAMES):
        x = features[game][actions[game]].astype(np.float64)
        received = rewards[game, np.arange(LENGTH), actions[game]]
        for t in range(1, LENGTH):
            inverse = np.linalg.inv(np.eye(2) + x[:t].T @ x[:t])
            theta = inverse @ x[:t].T @ received[:t]
            spread = np.einsum("ad,de,ae->a", features[game], inverse, features[game])
            index = features[game] @ theta + c * np.sqrt(spread)
            # Sixty float32 updates of rank one: the index is right to 1e-5, so only arms that close may be exchanged.
            assert index[actions[game, t]] >= index.max() - 1e-5


def test_the_first_arm_of_lin_ucb_is_uniform():
    agent = lin_ucb(make_domain(LINEAR))
    memory = agent.init(jax.random.key(0), 1)
    found = frequencies(agent, memory, jnp.ones((1,)), 10)
    np.testing.assert_allclose(found, 0.1, atol=4 * np.sqrt(0.09 / NUM_DRAWS))


NUM_DRAWS = 40_000


def frequencies(agent, memory, observation, num_arms):
    """Returns how often the agent, asked again and again, pulls every arm."""
    keys = jax.random.split(jax.random.key(9), NUM_DRAWS)
    actions = jax.jit(jax.vmap(agent.act, (None, None, 0)))(memory, observation, keys)
    return np.bincount(actions, minlength=num_arms) / NUM_DRAWS


def remember(agent, actions, rewards, observation=(1.0,)):
    """Returns the memory after these pulls."""
    actions = jnp.asarray(actions, jnp.int32)
    observations = jnp.broadcast_to(jnp.asarray(observation, jnp.float32), (len(actions), len(observation)))
    transitions = Transition(observations, actions, jnp.asarray(rewards, jnp.float32), observations)
    return absorb(agent, agent.init(jax.random.key(0), len(actions)), transitions, jnp.ones(len(actions), bool))


def assert_frequencies(found, expected):
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-4) / NUM_DRAWS)
    np.testing.assert_array_less(np.abs(found - expected), 4 * error)


PRIORS = {"gaussian": (lambda d: gaussian_thompson(d, explores=True), 0.5, 1 / 12), "source": (source_thompson, 0, 1)}


@pytest.mark.parametrize("name", PRIORS)
def test_thompson_sampling_of_two_arms_follows_the_normal_distribution_function(name):
    make, prior_mean, prior_variance = PRIORS[name]
    agent = make(make_domain("bandit@num_arms=2,noise=0.5"))
    actions, rewards = [0, 1, 0, 0], [0.9, 0.2, 0.1, 0.6]
    found = frequencies(agent, remember(agent, actions, rewards), jnp.ones((1,)), 2)
    count, total = np.array([3, 1]), np.array([1.6, 0.2])
    variance = 1 / (1 / prior_variance + count / 0.25)
    mean = variance * (prior_mean / prior_variance + total / 0.25)
    first = norm.cdf((mean[0] - mean[1]) / np.sqrt(variance.sum()))
    assert_frequencies(found, np.array([first, 1 - first]))


@pytest.mark.parametrize("name", PRIORS)
def test_thompson_sampling_of_five_arms_follows_a_plain_loop(name):
    make, prior_mean, prior_variance = PRIORS[name]
    agent = make(make_domain(BANDIT))
    actions, rewards = [0, 1, 2, 3, 0, 2, 2], [0.9, 0.2, 0.8, 0.5, 0.4, 0.7, 0.9]
    count, mean = statistics(actions, rewards, 5)
    generator, wins = np.random.default_rng(0), np.zeros(5)
    for _ in range(NUM_DRAWS):
        draw = np.empty(5)
        for arm in range(5):
            precision = 1 / prior_variance + count[arm] / 0.09
            centre = (prior_mean / prior_variance + count[arm] * mean[arm] / 0.09) / precision
            draw[arm] = generator.normal(centre, precision**-0.5)
        wins[np.argmax(draw)] += 1
    expected = wins / NUM_DRAWS
    found = frequencies(agent, remember(agent, actions, rewards), jnp.ones((1,)), 5)
    error = np.sqrt(2 * expected * (1 - expected) / NUM_DRAWS)  # both sides are counts
    np.testing.assert_array_less(np.abs(found - expected), 4 * error)


def test_thompson_sampling_on_given_data_pulls_the_probable_winner():
    agent = gaussian_thompson(make_domain("bandit@num_arms=2"), explores=False)
    # The better of two arms wins a posterior sample with probability 0.79; half of 100 samples are 7 s.e. away.
    found = frequencies(agent, remember(agent, [0, 1], [0.75, 0.25]), jnp.ones((1,)), 2)
    assert found[0] == 1.0


def test_lin_thompson_follows_the_exact_probabilities_of_the_best_arm():
    domain = make_domain("linear-bandit")
    agent = lin_thompson(domain)
    actions, rewards = [1, 2, 6, 1, 4], [0.3, 0.4, 0.5, 0.2, -0.3]
    belief = domain.belief.init()
    for action, reward in zip(actions, rewards, strict=True):
        belief = domain.belief.update(belief, None, jnp.int32(action), jnp.float32(reward), None)
    expected = np.asarray(domain.belief.probabilities(belief, None))
    assert_frequencies(frequencies(agent, remember(agent, actions, rewards), jnp.ones((1,)), 10), expected)


def test_lin_thompson_remembers_the_regression_of_features_that_are_shown():
    agent = lin_thompson(make_domain("linear-bandit@arms=resampled,num_arms=6,dim=3,noise=0.2"))
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, 3)).astype(np.float32)
    actions, rewards = generator.integers(6, size=30), generator.normal(size=30).astype(np.float32)
    memory = remember(agent, actions, rewards, features.reshape(-1))
    x = features[actions].astype(np.float64)
    covariance = np.linalg.inv(3 * np.eye(3) + x.T @ x / 0.04)
    # Thirty float32 updates of rank one from a prior a hundred times wider.
    np.testing.assert_allclose(memory.covariance, covariance, atol=1e-6)
    np.testing.assert_allclose(memory.mean, covariance @ x.T @ rewards / 0.04, atol=1e-4)
    draws = jax.vmap(lambda key: agent.act(memory, jnp.asarray(features.reshape(-1)), key))(
        jax.random.split(jax.random.key(1), NUM_DRAWS)
    )
    theta = generator.multivariate_normal(memory.mean, covariance, size=NUM_DRAWS)
    expected = np.bincount(np.argmax(theta @ features.T, axis=1), minlength=6) / NUM_DRAWS
    error = np.sqrt(2 * np.maximum(expected * (1 - expected), 1e-4) / NUM_DRAWS)
    np.testing.assert_array_less(np.abs(np.bincount(draws, minlength=6) / NUM_DRAWS - expected), 4 * error)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_written_out_factor_is_that_of_cholesky(dim):
    root = np.random.default_rng(dim).normal(size=(dim, dim + 2))
    matrix = (root @ root.T).astype(np.float32)
    # Condition numbers below 1e3 leave float32 four digits.
    np.testing.assert_allclose(cholesky(jnp.asarray(matrix)), np.linalg.cholesky(matrix), atol=1e-4)


def test_a_transition_that_does_not_count_changes_no_memory():
    for spec in (BANDIT, LINEAR, RESAMPLED):
        domain = make_domain(spec)
        observation = jnp.ones((domain.observation_size,))
        transition = Transition(observation, jnp.int32(1), jnp.float32(0.7), observation)
        for name, agent in baselines_for(domain, "online").items():
            memory = agent.init(jax.random.key(0), 4)
            same = agent.observe(memory, transition, jnp.bool_(False))
            jax.tree.map(np.testing.assert_array_equal, same, memory)
            changed = agent.observe(memory, transition, jnp.bool_(True))
            differs = any(
                (a != b).any() for a, b in zip(jax.tree.leaves(memory), jax.tree.leaves(changed), strict=True)
            )
            assert differs == (name != "uniform")


LINEAR_ONLINE = {"uniform", "emp", "ucb1.0", "ucb0.6", "ucb0.3", "source", "linucb", "linreg", "lints"}
EXACT = {"posterior", "mean", "sampled", "argmax"}
OFFERED = {  # (domain, mode): names
    (BANDIT, "online"): {"uniform", "emp", "ucb1.0", "ucb0.6", "ucb0.3", "thompson"} | EXACT,
    (BANDIT, "offline"): {"uniform", "emp", "lcb", "thompson"} | EXACT,
    ("bandit@rewards=bernoulli", "online"): {"uniform", "emp", "ucb1.0", "ucb0.6", "ucb0.3"} | EXACT,
    (LINEAR, "online"): LINEAR_ONLINE | EXACT,
    (LINEAR, "offline"): {"uniform", "emp", "lcb", "linreg"} | EXACT,
    (RESAMPLED, "online"): LINEAR_ONLINE,
    ("darkroom", "online"): {"uniform", "psrl", "sampled", "argmax"},
    ("darkroom-permuted", "offline"): {"uniform", "psrl", "sampled", "argmax"},
    ("navigation", "online"): {"uniform", "psrl", "sampled"},
    ("navigation", "offline"): {"uniform", "psrl", "sampled"},
    ("visual-room", "online"): {"uniform", "stranger"},
    ("visual-room", "offline"): {"uniform"},
}


@pytest.mark.parametrize(("spec", "mode"), OFFERED)
def test_a_domain_is_offered_the_baselines_that_make_sense_there(spec, mode):
    assert set(baselines_for(make_domain(spec), mode)) == OFFERED[spec, mode]


def test_every_baseline_is_offered_somewhere():
    assert set(BASELINES) == set().union(*OFFERED.values())


def test_refusals_say_what_to_do():
    with pytest.raises(ValueError, match="darkroom is no bandit .* baselines_for"):
        ucb(make_domain("darkroom"))
    with pytest.raises(ValueError, match="no Gaussian rewards; .* posterior_sampling_agent"):
        gaussian_thompson(make_domain("bandit@rewards=bernoulli"), explores=True)
    with pytest.raises(ValueError, match="knows no features of arms; .* linear-bandit"):
        lin_ucb(make_domain("bandit"))
    with pytest.raises(ValueError, match="mode='both'; choose online or offline"):
        baselines_for(make_domain("bandit"), "both")
