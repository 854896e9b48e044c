"""Dark navigation: its steps by hand, the expert against the closed form, the law of platforms, the belief."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from envs.navigation import NavigationParams

ARENA = "navigation@horizon=20"
ROUNDING = 1e-6  # positions below 1, rounded to 6e-8 in every step


def platform(x, y, steps=20):
    return NavigationParams(max_steps_in_episode=jnp.int32(steps), goal=jnp.array([x, y], jnp.float32))


def tasks(domain, count, seed=0):
    return jax.jit(jax.vmap(domain.family.sample))(jax.random.split(jax.random.key(seed), count)).params


@pytest.mark.parametrize(
    ("position", "action", "expected"),
    [
        ((0.5, 0.5), (0.6, -0.3), (0.56, 0.47)),  # a tenth of the action
        ((0.5, 0.5), (0.6, 0.8), (0.56, 0.58)),  # a unit vector
        ((0.5, 0.5), (1.0, -1.0), (0.5 + 0.1 / np.sqrt(2), 0.5 - 0.1 / np.sqrt(2))),  # longer than that
        ((0.5, 0.5), (9.0, 0.0), (0.6, 0.5)),
        ((0.5, 0.5), (0.0, 0.0), (0.5, 0.5)),
        ((0.97, 0.02), (1.0, 0.0), (1.0, 0.02)),  # a wall
        ((0.04, 0.02), (-0.6, -0.8), (0.0, 0.0)),  # a corner
    ],
)
def test_a_step_is_as_long_as_the_action_and_at_most_the_speed(position, action, expected):
    env = make_domain(ARENA).env
    np.testing.assert_allclose(env.move(jnp.array(position), jnp.array(action)), expected, atol=ROUNDING)


@pytest.mark.parametrize(("x", "expected"), [(0.8, 1.0), (0.899, 1.0), (0.901, 0.0), (0.5, 0.0)])
def test_a_step_that_ends_on_the_platform_pays(x, expected):
    domain = make_domain(ARENA)
    before, still = jnp.array([x, 0.6]), jnp.zeros(2)
    reward, after = domain.transition(jnp.zeros(0), before, still, platform(0.8, 0.6))
    assert (float(reward), after.tolist()) == (expected, before.tolist())


def test_a_transition_is_a_step_of_the_environment():
    domain = make_domain("navigation@start=random")
    for i in range(20):
        key_task, key_reset, key_act = jax.random.split(jax.random.key(i), 3)
        params = domain.family.sample(key_task).params
        observation, state = domain.env.reset_env(key_reset, params)
        action = jax.random.uniform(key_act, (2,), minval=-1.0, maxval=1.0)
        after, _, reward, terminated, _ = domain.env.step_env(jax.random.key(0), state, action, params)
        found = domain.transition(jnp.zeros(0), observation, action, params)
        assert float(found[0]) == float(reward) and not terminated
        np.testing.assert_array_equal(found[1], after)


@pytest.mark.parametrize("options", ["start=corner", "start=centre", "start=corner,radius=0.05,speed=0.2", "horizon=5"])
def test_the_expert_reaches_the_platform_in_the_fewest_steps(options):
    """Straight on, the gap between start and platform is closed in ceil(gap / speed) steps; every later one pays."""
    domain = make_domain(f"navigation@{options}")
    params = tasks(domain, 500)

    @jax.jit
    @jax.vmap
    def play(params):
        def step(state, _):
            action = domain.expert(state.position, params)
            _, state, reward, _, _ = domain.env.transition(jnp.zeros(0), state, action, params)
            return state, (reward, jnp.abs(action).max())

        return jax.lax.scan(step, domain.env.reset_from(jnp.zeros(2), params)[1], length=domain.horizon)[1]

    rewards, largest = (np.asarray(leaf) for leaf in play(params))
    start = 0.0 if domain.env.start == "corner" else 0.5
    gap = np.linalg.norm(np.asarray(params.goal, np.float64) - start, axis=1) - domain.env.radius
    steps = np.maximum(np.ceil(gap / domain.env.speed), 1)
    expected = np.maximum(domain.horizon - steps + 1, 0)
    np.testing.assert_array_equal(rewards.sum(1), expected)
    np.testing.assert_array_equal(jax.vmap(domain.family.optimal_return)(params), expected)
    assert largest.max() <= 1.0 + ROUNDING and len(np.unique(expected)) > (1 if "horizon" not in options else 0)


def test_no_step_brings_anyone_nearer_than_the_expert_comes():
    domain = make_domain("navigation@start=random")
    params = tasks(domain, 2000)
    keys = jax.random.split(jax.random.key(1), 2000)
    positions = jax.vmap(domain.sample_query)(keys, params)
    actions = jax.random.uniform(jax.random.key(2), (2000, 2), minval=-1.0, maxval=1.0)

    def distance(actions):
        return jnp.linalg.norm(jax.vmap(domain.env.move)(positions, actions) - params.goal, axis=1)

    assert (distance(jax.vmap(domain.expert)(positions, params)) <= distance(actions) + ROUNDING).all()


def test_the_best_return_from_a_random_start_has_no_closed_form():
    assert make_domain("navigation@start=random").family.optimal_return is None


def test_platforms_are_uniform_where_all_of_them_is_inside():
    domain = make_domain("navigation@radius=0.2")
    goals = np.asarray(tasks(domain, 4000).goal)
    counts = np.histogram2d(*goals.T, bins=4, range=[[0.2, 0.8]] * 2)[0]
    assert counts.sum() == 4000
    np.testing.assert_allclose(counts / 4000, 1 / 16, atol=4 * np.sqrt(1 / 16 * 15 / 16 / 4000))


def test_task_vectors_are_quantiles_and_clipped():
    family = make_domain("navigation@radius=0.2").family
    for vector, expected in (((0.0, 1.0), (0.2, 0.8)), ((0.5, 0.25), (0.5, 0.35)), ((-1.0, 2.0), (0.2, 0.8))):
        np.testing.assert_allclose(family.decode(jnp.array(vector)).params.goal, expected, atol=ROUNDING)


def test_held_out_platforms_are_fresh():
    domain = make_domain(ARENA)
    seen = tasks(domain, 2000).goal
    fresh = jax.vmap(domain.held_out.sample)(jax.random.split(jax.random.key(1), 2000)).params.goal
    assert (np.asarray(seen)[:, None] != np.asarray(fresh)[None]).any(axis=-1).all()


# The belief


def test_possible_are_the_platforms_that_no_transition_speaks_against():
    domain = make_domain("navigation@grid=10,radius=0.1")
    belief, still = domain.belief, jnp.zeros(2)
    truth = platform(0.1 + 0.8 * 0.25, 0.1 + 0.8 * 0.45)  # a cell's centre: the third and the fifth of ten
    draw = jax.jit(jax.vmap(lambda key, state: belief.draw(key, state).goal, (0, None)))
    state = belief.init()
    grid = np.unique(np.asarray(draw(jax.random.split(jax.random.key(0), 4000), state)), axis=0)
    assert len(grid) == 100
    possible = np.ones(100, bool)
    for place in ((0.9, 0.9), (0.2, 0.2), (0.35, 0.5)):
        reward, after = domain.transition(jnp.zeros(0), jnp.array(place), still, truth)
        state = belief.update(state, jnp.array(place), still, reward, after)
        possible &= (np.linalg.norm(grid - place, axis=1) <= 0.1) == bool(reward)
        found = np.unique(np.asarray(draw(jax.random.split(jax.random.key(1), 4000), state)), axis=0)
        np.testing.assert_array_equal(found, grid[possible])
    assert 1 <= possible.sum() < 5


def test_when_all_are_contradicted_the_least_contradicted_count():
    domain = make_domain("navigation@grid=1")  # one platform, in the middle
    state = domain.belief.init()
    for reward in (0.0, 1.0, 0.0):
        state = domain.belief.update(state, None, None, jnp.float32(reward), jnp.full((2,), 0.5))
    np.testing.assert_allclose(domain.belief.draw(jax.random.key(0), state).goal, 0.5, atol=ROUNDING)


def test_continuous_actions_have_no_probabilities():
    belief = make_domain(ARENA).belief
    with pytest.raises(ValueError, match="draw a task from the belief"):
        belief.probabilities(belief.init(), jnp.zeros(2))


@pytest.mark.parametrize(
    "options", ["horizon=0", "radius=0.0", "radius=0.5", "speed=0.0", "grid=0", "start=middle", "radius=nan"]
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=f"navigation was given .*{options.partition('=')[0]}="):
        make_domain(f"navigation@{options}")
