"""Goal velocities: the reward in closed form on brax's toy, the split, and what cannot be asked."""

import brax.envs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.fast import Fast

from envs.brax_env import BraxEnvironment
from envs.domains import make_domain
from envs.velocity import VelocityEnvironment, VelocityParams, velocity

TOY = "velocity@system=timed,horizon=20"
ROUNDING = 1e-5  # metres a second: positions of order 0.1 are rounded to 1e-8 and divided by a step of 0.02 s


class Timed(Fast):
    """Brax's toy, which is 0.02 m/s faster after every step with a positive action, and its time step."""

    dt = 0.02


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Registers the toy of this module with brax for its tests."""
    brax.envs.register_environment("timed", Timed)
    yield
    del brax.envs._envs["timed"]


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
    with pytest.raises(
        ValueError,
        match=r"no command can pretrain in it; in Python, make it with `envs.velocity.velocity\(expert=...\)`",
    ):
        domain.expert(observation, goal(1.0))
    with pytest.raises(ValueError, match="cannot go on from an observation"):
        domain.transition(jnp.zeros(0), observation, jnp.zeros(1), goal(1.0))
    assert domain.belief is None and domain.is_continuous and domain.num_actions == 1


def test_a_given_expert_is_asked():
    domain = velocity(system="timed", expert=lambda observation, params: params.velocity[None] - observation[1:])
    np.testing.assert_allclose(domain.expert(jnp.array([0.0, 0.5]), goal(2.0)), [1.5])


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
