"""Tabular MDPs: steps, solutions by brute force over policies, and beliefs against explicit Bayes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.domains import make_domain
from envs.mdp_belief import cut_off_means, normal_means
from envs.tabular_mdp import TabularMDP, log_gamma_quantile, optimal_values
from metarl.incontext.agent import expert_agent
from metarl.incontext.deploy import deploy_many, make_deploy

TINY = "tabular-mdp@num_states=2,num_actions=2,horizon=2,noise=0.5,num_draws=4000"
ROUNDING = 1e-5  # float32, some tens of additions of numbers of order 1


def ring():
    """Three states in a ring: action 0 stays, action 1 goes on; leaving state 2 pays 1, without noise."""
    env = TabularMDP(3, 2, 4)
    transitions = jnp.stack([jnp.eye(3), jnp.roll(jnp.eye(3), 1, axis=1)], axis=1)
    return env, env.solved(transitions, jnp.zeros((3, 2)).at[2, 1].set(1.0), 0.0)


def observed(belief, transitions):
    """Returns the belief after transitions (state, action, reward, next state) at step 0."""
    state = belief.init()
    for s, a, r, t in transitions:
        state = belief.update(state, jnp.array([s, 0]), jnp.int32(a), jnp.float32(r), jnp.array([t, 1]))
    return state


def assert_within_four_errors(samples, expected):
    error = np.std(samples, axis=0) / np.sqrt(len(samples))
    np.testing.assert_array_less(np.abs(np.mean(samples, axis=0) - expected), 4 * error + 1e-6)


def test_steps_follow_the_table_and_show_the_step():
    env, params = ring()
    observation, state = env.reset_env(jax.random.key(0), params)
    seen = [observation.tolist()]
    rewards = []
    for action in (1, 0, 1, 1, 1):
        observation, state, reward, terminated, _ = env.step_env(jax.random.key(1), state, jnp.int32(action), params)
        seen.append(observation.tolist())
        rewards.append(float(reward))
        assert not terminated
    assert seen == [[0, 0], [1, 1], [1, 2], [2, 3], [0, 4], [1, 4]]  # what goes on after the horizon stays at step 4
    assert rewards == [0.0, 0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(("uniform", "after"), [(0.0, 0), (0.19, 0), (0.21, 1), (0.49, 1), (0.51, 3), (0.9999999, 3)])
def test_the_next_state_is_the_quantile_of_its_law(uniform, after):
    env = TabularMDP(4, 2)
    law = jnp.broadcast_to(jnp.array([0.2, 0.3, 0.0, 0.5]), (4, 2, 4))
    params = env.solved(law, jnp.zeros((4, 2)), 1.0)
    assert env.move(jnp.array([uniform, 0.5]), jnp.int32(1), jnp.int32(1), params)[1] == after


def test_domain_transitions_and_environment_steps_agree():
    domain = make_domain("tabular-mdp@start=random")
    params, key = domain.family.sample(jax.random.key(0)).params, jax.random.key(1)
    uniforms = jax.random.uniform(key, (2,))
    observation, state = domain.env.reset_env(jax.random.key(2), params)
    after, _, reward, _, _ = domain.env.step_env(key, state, jnp.int32(3), params)
    found = domain.transition(uniforms, observation, jnp.int32(3), params)
    np.testing.assert_array_equal(found[0], reward)
    np.testing.assert_array_equal(found[1], after)


def test_values_are_known_in_closed_form_in_the_ring():
    _, params = ring()
    best = np.max(params.values, axis=2)
    # From state 0 the third move pays; from state 2 the first, and the fourth again.
    np.testing.assert_array_equal(best, [[1, 1, 2], [1, 1, 1], [0, 1, 1], [0, 0, 1]])


def test_the_expert_is_the_best_of_all_policies():
    domain = make_domain(TINY)
    params = domain.family.sample(jax.random.key(3)).params
    transitions, rewards = np.asarray(params.transitions, np.float64), np.asarray(params.rewards, np.float64)

    def values(policy):  # policy[h][s]
        to_come = np.zeros(2)
        for rule in reversed(policy):
            to_come = np.array([rewards[s, a] + transitions[s, a] @ to_come for s, a in enumerate(rule)])
        return to_come

    rules = list(itertools.product(range(2), repeat=2))
    best = np.max([values(policy) for policy in itertools.product(rules, repeat=2)], axis=0)
    found = [[int(jnp.argmax(domain.expert(jnp.array([s, h], jnp.int32), params))) for s in range(2)] for h in range(2)]
    np.testing.assert_allclose(values(found), best, rtol=ROUNDING)
    np.testing.assert_allclose(domain.family.optimal_return(params), best[0], rtol=ROUNDING)


def test_playing_the_expert_collects_the_optimal_return():
    domain = make_domain("tabular-mdp@num_states=4,horizon=5,start=random")
    params = domain.family.sample(jax.random.key(0)).params
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4000, *leaf.shape)), params)
    play = lambda params, key: make_deploy(domain, expert_agent(domain, params))(params, key)  # noqa: E731
    rewards = deploy_many(play, many, jax.random.key(1)).reward
    assert_within_four_errors(np.sum(rewards, axis=(1, 2)), float(domain.family.optimal_return(params)))


@pytest.mark.parametrize("shape", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_gamma_quantiles_equal_those_of_scipy(shape):
    quantile = np.array([1e-6, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-4])
    found = log_gamma_quantile(jnp.asarray(quantile, jnp.float32), shape)
    # Smaller ones are below what float64 holds with shape 0.05; there the closed form of the tail holds.
    expected = np.log(np.maximum(stats.gamma.ppf(quantile, shape), 1e-300))
    held = expected > -600
    np.testing.assert_allclose(found[held], expected[held], rtol=1e-3, atol=1e-3)  # gammainc near 1 has 1e-7 / 1e-4
    assert held.sum() >= 4


@pytest.mark.parametrize("options", ["alpha=0.2", "alpha=1.0,rewards=uniform", "alpha=5.0"])
@pytest.mark.parametrize("bound", [0.0, 1.0, 0.5])
def test_the_corners_and_the_centre_of_the_task_space_are_mdps(options, bound):
    domain = make_domain("tabular-mdp@num_states=3,num_actions=2," + options)
    params = domain.family.decode(jnp.full((domain.family.num_dimensions,), bound)).params
    np.testing.assert_allclose(params.transitions, 1 / 3, rtol=1e-4)  # equal weights
    assert np.isfinite(params.rewards).all()
    np.testing.assert_array_equal(params.values, optimal_values(params.transitions, params.rewards, 10))


def test_sampled_and_decoded_tasks_follow_the_dirichlet_law():
    family = make_domain("tabular-mdp@num_states=3,num_actions=2,alpha=0.5,rewards=uniform").family
    keys = jax.random.split(jax.random.key(0), 2000)
    decode = lambda key: family.decode(jax.random.uniform(key, (family.num_dimensions,)))  # noqa: E731
    for make in (family.sample, decode):
        params = jax.jit(jax.vmap(make))(keys).params
        first = np.asarray(params.transitions[:, 0, 0, 0])
        assert_within_four_errors(first, 1 / 3)
        assert_within_four_errors(first**2, 0.5 * 1.5 / (1.5 * 2.5))
        assert_within_four_errors(np.asarray(params.rewards[:, 0, 0]), 1 / 2)
        assert_within_four_errors(np.asarray(params.rewards[:, 0, 0]) ** 2, 1 / 3)


def test_every_action_is_equally_probable_before_anything_is_seen():
    domain = make_domain("tabular-mdp@num_states=3,horizon=3")
    params = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 2000)).params
    query = jnp.array([1, 0], jnp.int32)
    labels = jax.vmap(domain.expert, (None, 0))(query, params)
    assert_within_four_errors(np.asarray(labels), 1 / 4)
    prior = make_domain("tabular-mdp@num_states=3,horizon=3,num_draws=2000").belief
    found = prior.probabilities(prior.init(), query)
    np.testing.assert_allclose(found, 1 / 4, atol=4 * np.sqrt(0.25 * 0.75 / 2000))


def test_draws_have_the_conjugate_moments():
    belief = make_domain(TINY).belief
    state = observed(belief, [(0, 1, 0.5, 1), (0, 1, 1.5, 1), (0, 1, 0.25, 0), (1, 0, -1.0, 0)])
    drawn = jax.vmap(belief.draw, (0, None))(jax.random.split(jax.random.key(0), 4000), state)
    assert_within_four_errors(np.asarray(drawn.transitions[:, 0, 1, 1]), (1 + 2) / (2 + 3))
    assert_within_four_errors(np.asarray(drawn.transitions[:, 0, 0, 1]), 1 / 2)
    # Precision 1 a priori and 1 / 0.25 from each reward.
    rewards = np.asarray(drawn.rewards)
    assert_within_four_errors(rewards[:, 0, 1], 4 * 2.25 / 13)
    assert_within_four_errors((rewards[:, 0, 1] - 4 * 2.25 / 13) ** 2, 1 / 13)
    assert_within_four_errors(rewards[:, 0, 0] ** 2, 1.0)


def test_at_the_last_step_two_actions_compare_as_two_gaussian_arms():
    belief = make_domain(TINY).belief
    state = observed(belief, [(0, 0, 0.2, 1), (0, 1, 0.9, 1), (0, 1, 0.4, 0)])
    means, variances = np.array([4 * 0.2 / 5, 4 * 1.3 / 9]), np.array([1 / 5, 1 / 9])
    expected = stats.norm.cdf((means[0] - means[1]) / np.sqrt(variances.sum()))
    found = belief.probabilities(state, jnp.array([0, 1], jnp.int32))
    assert abs(found[0] - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize("rewards", ["normal", "uniform"])
def test_action_probabilities_equal_explicit_bayes(rewards):
    """Explicit: tasks from the prior, weighted with the likelihood of the data."""
    domain = make_domain(f"{TINY},rewards={rewards}")
    data = [(0, 1, 0.8, 1), (1, 0, 0.9, 1), (0, 0, 0.3, 0), (1, 1, -0.4, 0), (0, 1, 0.6, 1)]
    params = jax.jit(jax.vmap(domain.family.sample))(jax.random.split(jax.random.key(5), 100_000)).params
    log_weight = 0.0
    for s, a, r, t in data:
        misfit = (r - np.asarray(params.rewards[:, s, a], np.float64)) / 0.5
        log_weight += np.log(np.asarray(params.transitions[:, s, a, t], np.float64)) - 0.5 * misfit**2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    effective = 1 / np.sum(weight**2)
    assert effective > 1000
    for query in ([0, 0], [1, 0], [1, 1]):
        query = jnp.array(query, jnp.int32)
        expected = weight @ np.asarray(jax.vmap(domain.expert, (None, 0))(query, params))
        found = domain.belief.probabilities(observed(domain.belief, data), query)
        error = np.sqrt(expected * (1 - expected) * (1 / 4000 + 1 / effective))
        np.testing.assert_array_less(np.abs(found - expected), 4 * error + 1e-6)


def test_the_true_task_agrees_with_a_draw_as_often_as_another_draw_does():
    """Given the data, the task and two draws are exchangeable."""
    domain = make_domain("tabular-mdp@num_states=3,num_actions=3,horizon=4,alpha=0.5,noise=0.5")
    belief = domain.belief

    def pull(params, key):
        key_seen, key_action, key_noise = jax.random.split(key, 3)
        seen, action = domain.sample_query(key_seen, params), jax.random.randint(key_action, (), 0, 3)
        reward, after = domain.transition(jax.random.uniform(key_noise, (2,)), seen, action, params)
        return seen, action, reward, after

    def agree(key):
        key_task, key_first, key_second, key_query, key_data = jax.random.split(key, 5)
        params = domain.family.sample(key_task).params
        data = jax.vmap(pull, (None, 0))(params, jax.random.split(key_data, 20))
        state, _ = jax.lax.scan(lambda state, one: (belief.update(state, *one), None), belief.init(), data)
        query = domain.sample_query(key_query, params)
        worlds = (params, belief.draw(key_first, state), belief.draw(key_second, state))
        true, first, second = (jnp.argmax(domain.expert(query, world)) for world in worlds)
        return (true == first).astype(jnp.float32), (first == second).astype(jnp.float32)

    true, drawn = jax.jit(jax.vmap(agree))(jax.random.split(jax.random.key(0), 3000))
    assert_within_four_errors(np.asarray(true - drawn), 0.0)
    assert true.mean() > 0.45  # the data tell something: 1 / 3 without


@pytest.mark.parametrize(("count", "total"), [(0.0, 0.0), (1.0, 1.2), (4.0, 0.4)])
def test_cut_off_means_follow_the_density_on_the_unit_interval(count, total):
    found = cut_off_means(jax.random.key(0), jnp.full((4000, 1), count), jnp.full((4000, 1), total), 0.3)
    grid = (np.arange(4000) + 0.5) / 4000
    density = np.exp(-0.5 * count * (grid - total / max(count, 1.0)) ** 2 / 0.3**2)
    for power in (1, 2):
        assert_within_four_errors(np.asarray(found)[:, 0] ** power, density @ grid**power / density.sum())


def test_unseen_normal_means_are_drawn_from_the_prior():
    found = np.asarray(normal_means(jax.random.key(0), jnp.zeros((4000, 1)), jnp.zeros((4000, 1)), 0.3))
    assert_within_four_errors(found, 0.0)
    assert_within_four_errors(found**2, 1.0)


def test_an_encoding_is_two_one_hot_vectors_and_none_for_the_step_after_the_last():
    domain = make_domain("tabular-mdp@num_states=3,horizon=2")
    assert domain.encode(jnp.array([1, 0], jnp.int32)).tolist() == [0, 1, 0, 1, 0]
    assert domain.encode(jnp.array([2, 2], jnp.int32)).tolist() == [0, 0, 1, 0, 0]
    assert domain.observation_size == 5


@pytest.mark.parametrize("option", ["num_states=1", "alpha=0.0", "noise=0.0", "rewards=beta", "start=middle"])
def test_options_out_of_range_are_named(option):
    with pytest.raises(ValueError, match=f"tabular-mdp was given .*{option.split('=')[0]}"):
        make_domain(f"tabular-mdp@{option}")
