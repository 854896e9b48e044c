import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.walker.body import BUILDS, make_body
from envs.walker.contacts import hull_touches
from envs.walker.families import hexagon_tracks, stump_tracks, walker
from envs.walker.terrain import STUMPS, Stumps
from envs.walker.walker_env import FINISH, Walker, walker_params
from envs.walker.world import GROUND, SKIN, STRIDE, Vector

NUM_ENVS = 16


@pytest.fixture(scope="module")
def step():
    """Returns the compiled step of two-legged walkers, `step(state, action, params)` without auto-reset, batched."""
    env = walker(2, STUMPS)
    nothing = jnp.zeros((0,), jnp.float32)
    return jax.jit(jax.vmap(lambda state, action, params: env.transition(nothing, state, action, params)))


@pytest.fixture(scope="module")
def reset():
    """Returns the compiled reset of two-legged walkers, `reset(keys, params)`."""
    return jax.jit(jax.vmap(walker(2, STUMPS).reset_env))


def batch(*params):
    """Returns the parameters, repeated in turn, as a batch."""
    return jax.tree.map(lambda *leaves: jnp.stack([leaves[i % len(leaves)] for i in range(NUM_ENVS)]), *params)


def keys(seed=0):
    return jax.random.split(jax.random.key(seed), NUM_ENVS)


def easy(**changes):
    return walker_params("default", (0.0, 6.0)).replace(**changes)


def test_rewards_add_up_to_progress_less_tilt_and_cost(step, reset):
    params = batch(easy())
    _, state = reset(keys(), params)
    first, total, cost = state.motion.position, np.zeros(NUM_ENVS), np.zeros(NUM_ENVS)
    for t in range(12):
        action = jax.random.uniform(jax.random.key(t), (NUM_ENVS, 4), minval=-1.5, maxval=1.5)
        _, state, reward, terminated, _ = step(state, action, params)
        assert not terminated.any()
        total += np.asarray(reward, float)
        cost += 0.028 * np.minimum(np.abs(np.asarray(action, float)), 1.0).sum(1)
    change = np.asarray(state.motion.position, float) - np.asarray(first, float)
    tilt = np.abs(state.motion.position[:, 2]) - np.abs(first[:, 2])
    np.testing.assert_allclose(total, 130.0 / 30.0 * change[:, 0] - 5.0 * tilt - cost, atol=2e-4)


def test_a_fallen_hull_ends_the_episode_with_minus_100(step, reset):
    params = batch(easy())
    _, state = reset(keys(), params)
    fallen = state.motion._replace(position=state.motion.position.at[:, 1].set(GROUND - 0.5))
    _, after, reward, terminated, info = step(state.replace(motion=fallen), jnp.zeros((NUM_ENVS, 4)), params)
    assert terminated.all() and after.fails.all()
    np.testing.assert_array_equal(reward, -100.0)
    np.testing.assert_array_equal(info["discount"], 0.0)


@pytest.mark.parametrize(("x", "reward_is_a_fall"), [(-0.1, True), (FINISH + 0.1, False)])
def test_both_ends_of_the_track_end_the_episode(step, reset, x, reward_is_a_fall):
    params = batch(easy())
    _, state = reset(keys(), params)
    moved = state.motion._replace(position=state.motion.position.at[:, 0].set(x))
    _, _, reward, terminated, _ = step(state.replace(motion=moved), jnp.zeros((NUM_ENVS, 4)), params)
    assert terminated.all()
    assert ((np.asarray(reward) == -100.0) == reward_is_a_fall).all()


def test_legs_come_to_rest_a_skin_above_the_ground(step, reset):
    # Motors that hold the legs straight: the hips at their upper limit would fall over, so the hull is held by both.
    params = batch(easy(torque=jnp.float32(0.0)))
    _, state = reset(keys(), params)
    for _ in range(4):
        observation, state, _, _, _ = step(state, jnp.zeros((NUM_ENVS, 4)), params)
    from envs.walker.contacts import lower_corners
    from envs.walker.dynamics import pose

    body = make_body(BUILDS["default"])
    heights = [float(lower_corners(body, pose(body, q)).y.min() + q[1]) - GROUND for q in state.motion.position[:4]]
    # Two roundings of Box2D's skin less its slop: 15 mm, up to what the legs sink in while they give way.
    np.testing.assert_allclose(heights, SKIN - 0.005, atol=4e-3)
    assert (np.asarray(observation)[:, [8, 13]].max(1) == 1.0).all()


def test_the_observation_is_what_it_says(step, reset):
    params = batch(easy())
    _, state = reset(keys(), params)
    action = jnp.tile(jnp.array([1.0, -0.5, -1.0, 0.5]), (NUM_ENVS, 1))
    observation, state, _, _, _ = step(state, action, params)
    q, v = np.asarray(state.motion.position, float), np.asarray(state.motion.velocity, float)
    centre = np.array([-0.020036, -0.005647])
    turn = np.stack([np.cos(q[:, 2]), np.sin(q[:, 2])])
    arm = np.stack([turn[0] * centre[0] - turn[1] * centre[1], turn[1] * centre[0] + turn[0] * centre[1]])
    vx, vy = v[:, 0] - v[:, 2] * arm[1], v[:, 1] + v[:, 2] * arm[0]
    expected = [q[:, 2], 2.0 * v[:, 2] / 50.0, 0.3 * vx * 20.0 / 50.0, 0.3 * vy * (400.0 / 30.0) / 50.0]
    np.testing.assert_allclose(np.asarray(observation)[:, :4].T, expected, atol=1e-5)
    legs = np.stack([q[:, 3], v[:, 3] / 4.0, q[:, 4] + 1.0, v[:, 4] / 6.0], 1)
    np.testing.assert_allclose(np.asarray(observation)[:, 4:8], legs, atol=1e-5)
    assert observation.shape == (NUM_ENVS, 24)


def test_one_program_serves_all_tracks_bodies_and_torques(step, reset):
    default, short = easy(), walker_params("short", (1.0, 2.0))
    worlds = [batch(default), batch(short), batch(default, short), batch(easy(torque=jnp.float32(40.0)))]
    for params in worlds:
        _, state = reset(keys(), params)
        found = step(state, jnp.ones((NUM_ENVS, 4)), params)
        assert np.isfinite(found[0]).all()
    assert step._cache_size() == 1
    assert reset._cache_size() == 1


def test_bodies_in_one_batch_do_as_they_do_alone(step, reset):
    default, short = easy(), walker_params("short", (1.0, 2.0))
    action = jax.random.uniform(jax.random.key(5), (NUM_ENVS, 4), minval=-1.0)

    def observe(params):
        _, state = reset(keys(), params)
        return np.asarray(step(state, action, params)[0])

    both, alone = observe(batch(default, short)), (observe(batch(default)), observe(batch(short)))
    np.testing.assert_array_equal(both[0::2], alone[0][0::2])
    np.testing.assert_array_equal(both[1::2], alone[1][1::2])


def test_2000_steps_truncate():
    env = walker(2, STUMPS)
    assert int(env.default_params.max_steps_in_episode) == 2000
    state = jax.eval_shape(env.reset, jax.random.key(0), env.default_params)[1]
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    assert not env.is_truncated(state.replace(time=jnp.int32(1999)), env.default_params)
    assert env.is_truncated(state.replace(time=jnp.int32(2000)), env.default_params)


@pytest.mark.parametrize(
    ("height", "x", "angle", "touches"),
    [
        (1.0, 0.0, 0.0, False),
        (0.25, 0.0, 0.0, True),  # its lower side is 8 pixels below the origin
        (8.0 / 30.0 + SKIN + 0.001, 0.0, 0.0, False),
        (8.0 / 30.0 + SKIN - 0.001, 0.0, 0.0, True),
        (0.9, 0.0, 1.2, True),  # nose up, tail down
        (0.9, 3.0, 0.0, True),  # on a stump of one metre
        (1.3, 3.0, 0.0, False),
        (0.7, 1.5, 0.0, True),  # the nose in its left face
    ],
)
def test_the_hull_touches_ground_and_stumps(height, x, angle, touches):
    tops = jnp.array([GROUND + 1.0], jnp.float32)
    place = Stumps(jnp.float32(2.6), jnp.float32(STRIDE + 1.0), jnp.float32(0.0), jnp.zeros(2, jnp.uint32), tops)
    root = Vector(jnp.float32(x), jnp.float32(GROUND + height))
    found = hull_touches(
        make_body(BUILDS["default"]), root, jnp.cos(jnp.float32(angle)), jnp.sin(jnp.float32(angle)), STUMPS, place
    )
    assert bool(found) == touches


def test_impossible_walkers_are_refused():
    with pytest.raises(ValueError, match="3 legs was asked for"):
        Walker(3)
    with pytest.raises(ValueError, match="given 0 sweeps"):
        Walker(num_sweeps=0)


def random_walk(family, num_envs, num_steps, seed=0):
    """Returns whether everything was finite, the largest speed, and the number of finished episodes."""
    env = family.env

    def live(key):
        key_task, key_reset, key_walk = jax.random.split(key, 3)
        params = jax.vmap(lambda key: family.sample(key).params)(jax.random.split(key_task, num_envs))
        _, state = jax.vmap(env.reset)(jax.random.split(key_reset, num_envs), params)

        def step(carry, key):
            state, is_finite, fastest, ends = carry
            key_action, key_step = jax.random.split(key)
            action = jax.random.uniform(key_action, (num_envs, env.num_actions), minval=-1.0)
            step_keys = jax.random.split(key_step, num_envs)
            seen, state, reward, terminated, truncated, info = jax.vmap(env.step)(step_keys, state, action, params)
            for leaf in (seen, reward, info["final_observation"], state.motion.velocity):
                is_finite &= jnp.isfinite(leaf).all()
            fastest = jnp.maximum(fastest, jnp.abs(state.motion.velocity).max())
            return (state, is_finite, fastest, ends + (terminated | truncated).sum(dtype=jnp.int32)), None

        carry = (state, jnp.bool_(True), jnp.float32(0.0), jnp.int32(0))
        return jax.lax.scan(step, carry, jax.random.split(key_walk, num_steps))[0][1:]

    return jax.jit(live)(jax.random.key(seed))


def test_random_steps_on_all_tracks_stay_finite(step, reset):
    tracks = jax.random.uniform(jax.random.key(1), (NUM_ENVS, 2)) * jnp.array([[3.0, 6.0]])
    params = batch(easy(), walker_params("short", (0.0, 0.0))).replace(terrain=tracks)
    _, state = reset(keys(), params)
    for t in range(150):
        action = jax.random.uniform(jax.random.key(t), (NUM_ENVS, 4), minval=-1.0)
        observation, state, reward, _, _ = step(state, action, params)
        assert np.isfinite(observation).all() and np.isfinite(reward).all()
        assert np.abs(state.motion.velocity).max() < 200.0  # legs whip, but nothing blows up


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "body"),
    [
        (stump_tracks, "default"),
        (stump_tracks, "short"),
        (stump_tracks, "quadru"),
        (hexagon_tracks, "default"),
        (hexagon_tracks, "short"),
        (hexagon_tracks, "quadru"),
    ],
)
def test_ten_million_random_steps_stay_finite(make, body):
    is_finite, fastest, ends = random_walk(make(body=body), 512, 3300)
    assert is_finite and ends > 0
    assert fastest < 500.0
