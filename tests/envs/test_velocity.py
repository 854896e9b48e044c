"""Goal velocities: the reward in closed form on brax's toy, the split, and what cannot be asked."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.brax_env import BraxEnvironment
from envs.domains import make_domain
from envs.velocity import VelocityEnvironment, VelocityParams
from envs.velocity_domain import velocity
from metarl.exported import save_arrays
from tests.envs.velocity_toy import TOY, toy_in_brax

ROUNDING = 1e-5  # metres a second: positions of order 0.1 are rounded to 1e-8 and divided by a step of 0.02 s


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toy_in_brax():
        yield


def goal(speed):
    return VelocityParams(max_steps_in_episode=jnp.int32(20), velocity=jnp.float32(speed))


@pytest.mark.parametrize("speed", [0.0, 0.05, 3.0])
def test_the_reward_is_the_distance_to_the_goal_velocity_and_the_cost_of_the_action(speed):
    env, params = make_domain(TOY).env, goal(speed)
    _, state = env.reset_env(jax.random.key(0), params)
    expected = 0.0
    for action, applied in ((0.5, 0.5), (1.0, 1.0), (-0.25, -0.25), (4.0, 1.0), (-3.0, -1.0)):
        expected += 0.02 * (action > 0)
        observation, state, reward, terminated, info = env.step_env(None, state, jnp.array([action]), params)
        np.testing.assert_allclose(info["velocity"], expected, atol=ROUNDING)
        np.testing.assert_allclose(reward, -abs(expected - speed) - 0.05 * applied**2, atol=ROUNDING)
        np.testing.assert_allclose(observation[1], expected, atol=ROUNDING)
        assert not terminated


def test_one_compilation_serves_every_goal():
    env = make_domain(TOY).env
    step = jax.jit(lambda state, params: env.step_env(None, state, jnp.ones(1), params)[2])
    _, state = env.reset_env(jax.random.key(0), goal(1.0))
    rewards = [float(step(state, goal(speed))) for speed in (0.0, 1.0, 2.0)]
    np.testing.assert_allclose(rewards, [-0.07, -1.03, -2.03], atol=ROUNDING)
    assert step._cache_size() == 1


def velocities(family, count=4000):
    quantile = (jnp.arange(count, dtype=jnp.float32)[:, None] + 0.5) / count
    return np.asarray(jax.vmap(family.decode)(quantile).params.velocity)


def test_training_and_test_velocities_are_disjoint_bins_of_the_whole_range():
    domain = make_domain(TOY + ",max_velocity=2.0")
    train, test = (np.unique(np.floor(velocities(f) / 0.1)) for f in (domain.family, domain.held_out))
    assert (len(train), len(test)) == (16, 4)
    assert sorted([*train, *test]) == list(range(20))


def test_sampled_velocities_are_uniform_on_the_training_bins():
    domain = make_domain(TOY)
    drawn = np.asarray(jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 4000)).params.velocity)
    counts = np.bincount(np.floor(drawn / 0.15).astype(int), minlength=20)
    assert set(np.flatnonzero(counts)) == set(np.floor(velocities(domain.family) / 0.15).astype(int))
    np.testing.assert_allclose(counts[counts > 0] / 4000, 1 / 16, atol=4 * np.sqrt(1 / 16 * 15 / 16 / 4000))


def test_task_vectors_are_quantiles_and_clipped():
    family = make_domain(TOY).family
    found = velocities(family)
    assert (np.diff(found) > 0).all()
    outside = [float(family.decode(jnp.array([q])).params.velocity) for q in (-1.0, 0.0, 1.0, 2.0)]
    assert outside[0] == outside[1] <= found[0] and outside[3] == outside[2] >= found[-1]
    assert outside[0] >= 0 and outside[3] <= 3.0


def test_queries_are_observations_of_a_start():
    domain = make_domain(TOY)
    query = domain.sample_query(jax.random.key(0), goal(1.0))
    np.testing.assert_array_equal(query, domain.env.reset_env(jax.random.key(0), goal(1.0))[0])
    assert domain.encode(query).shape == (domain.observation_size,)


def test_what_has_no_closed_form_says_so():
    domain = make_domain(TOY)
    observation = domain.sample_query(jax.random.key(0), goal(1.0))
    with pytest.raises(ValueError, match="timed,backend=spring has no expert: one ships for halfcheetah on spring"):
        domain.expert(observation, goal(1.0))
    with pytest.raises(ValueError, match="cannot go on from an observation"):
        domain.transition(jnp.zeros(0), observation, jnp.zeros(1), goal(1.0))
    assert domain.belief is None and domain.is_continuous and domain.num_actions == 1


def test_a_given_expert_is_asked():
    domain = velocity(system="timed", expert=lambda observation, params: params.velocity[None] - observation[1:])
    np.testing.assert_allclose(domain.expert(jnp.array([0.0, 0.5]), goal(2.0)), [1.5])


def test_who_is_told_the_goal_sees_it_behind_everything_else_and_is_paid_alike():
    told, untold = make_domain(TOY + ",told=true"), make_domain(TOY)
    assert (told.observation_size, untold.observation_size) == (3, 2)
    params, key = goal(1.5).replace(max_steps_in_episode=jnp.int32(1)), jax.random.key(0)
    observation, state = told.env.reset_env(key, params)
    plain, other = untold.env.reset_env(key, params)
    np.testing.assert_array_equal(observation, [*np.asarray(plain), 1.5])
    np.testing.assert_array_equal(told.env.observe(key, state, None, params), observation)
    first, *_, reward, _, truncated, info = told.env.step(key, state, jnp.ones(1), params)
    final = untold.env.step(key, other, jnp.ones(1), params)
    assert truncated and reward == final[2]
    np.testing.assert_array_equal(info["final_observation"], [*np.asarray(final[-1]["final_observation"]), 1.5])
    np.testing.assert_array_equal(first, [*np.asarray(final[0]), 1.5])


def test_who_is_told_the_goal_is_trained_on_goals_of_the_whole_range():
    domain = make_domain(TOY + ",told=true")
    assert len(np.unique(np.floor(velocities(domain.family) / 0.15))) == 20
    held_out, other = (velocities(make_domain(spec).held_out) for spec in (TOY, TOY + ",told=true"))
    np.testing.assert_array_equal(held_out, other)


def write_policy(directory, env, sizes=(3, 4, 1)):
    """A policy with these layers, as `metarl teach` leaves it."""
    random = np.random.RandomState(0)
    layers = {
        str(i): {"kernel": random.normal(size=pair).astype(np.float32), "bias": np.ones(pair[1], np.float32)}
        for i, pair in enumerate(pairwise(sizes))
    }
    return layers, save_arrays(directory, "policy", {"env": env, "record": {}}, layers)


def test_a_policy_from_a_directory_is_the_expert_and_is_told_the_goal(tmp_path):
    layers, _ = write_policy(tmp_path, TOY + ",told=true,max_velocity=5.0")
    domain, told = (make_domain(f"{TOY},expert={tmp_path}{more}") for more in ("", ",told=true"))
    shown = np.array([0.3, -0.2, 2.0], np.float32)
    hidden = np.maximum(shown @ layers["0"]["kernel"] + 1.0, 0.0)
    expected = np.tanh(hidden @ layers["1"]["kernel"] + 1.0)
    np.testing.assert_allclose(domain.expert(jnp.array(shown[:2]), goal(2.0)), expected, atol=1e-6)
    np.testing.assert_allclose(told.expert(jnp.array(shown), goal(9.0)), expected, atol=1e-6)  # the goal it sees


@pytest.mark.parametrize(
    "trained_in",
    [
        "Pendulum-v1@g=2..20",
        "velocity@told=true",
        "velocity@system=timed,backend=positional",
        "velocity@system=timed,max_velocity=1.0",
    ],
)
def test_an_expert_from_other_tasks_is_refused(tmp_path, trained_in):
    write_policy(tmp_path, trained_in)
    with pytest.raises(ValueError, match="knows nothing of timed on spring with goals up to 3.0 m/s"):
        velocity(system="timed", expert=str(tmp_path))


def test_an_expert_of_other_sizes_is_refused(tmp_path):
    write_policy(tmp_path, TOY, sizes=(2, 1))
    with pytest.raises(ValueError, match="takes 2 numbers and gives 1; here are 3 and 1"):
        velocity(system="timed", expert=str(tmp_path))


def test_no_expert_ships_for_goals_beyond_its_own():
    assert velocity(max_velocity=2.0).expert(jnp.zeros(17), goal(1.0)).shape == (6,)
    with pytest.raises(ValueError, match="has no expert"):
        velocity(max_velocity=4.0).expert(jnp.zeros(17), goal(4.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("horizon=0", "horizon=0"),
        ("max_velocity=-1.0", "max_velocity=-1.0"),
        ("system=nothing", "brax has no system"),
        ("system=fast", "'fast' has no bodies with positions, or no time step"),
        ("system=fast,backend=slow", "brax has no backend"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_domain(f"velocity@{options}")


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0.5, 1.5, 2.5])
def test_the_expert_that_ships_runs_as_fast_as_it_is_told(speed):
    domain = make_domain("velocity")
    params = VelocityParams(max_steps_in_episode=jnp.int32(201), velocity=jnp.float32(speed))

    def run(key):
        def step(carry, _):
            observation, state = carry
            action = domain.expert(observation, params)
            observation, state, reward, _, info = domain.env.step_env(None, state, action, params)
            return (observation, state), (info["velocity"], reward)

        return jax.lax.scan(step, domain.env.reset_env(key, params), length=200)[1]

    speeds, rewards = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 8))
    assert abs(float(jnp.mean(speeds[:, 50:])) - speed) < 0.25 + 0.1 * speed
    assert float(jnp.mean(rewards)) > -0.6 * speed  # one who stands still gets -speed


@pytest.mark.slow
def test_the_cheetah_moves_as_brax_rewards_it():
    """Brax pays v - 0.1 |a|² and we, for a goal out of reach, v - goal - 0.05 |a|²."""
    ours, plain = VelocityEnvironment("halfcheetah"), BraxEnvironment("halfcheetah")
    _, state = plain.reset_env(jax.random.key(0), plain.default_params)
    actions = jax.random.uniform(jax.random.key(1), (10, 6), minval=-1.0, maxval=1.0)

    @jax.jit
    def both(state, action):
        _, after, reward, _, _ = plain.step_env(None, state, action, plain.default_params)
        return after, reward, ours.step_env(None, state, action, goal(100.0))[2]

    speeds = []
    for action in actions:
        state, expected, found = both(state, action)
        cost = float(jnp.sum(action**2))
        # Near 100 a float32 is known to 4e-6; the two programs round the physics differently.
        np.testing.assert_allclose(found + 100.0 + 0.05 * cost, expected + 0.1 * cost, atol=1e-3)
        speeds.append(float(expected) + 0.1 * cost)
    assert np.ptp(speeds) > 0.1  # it moved
