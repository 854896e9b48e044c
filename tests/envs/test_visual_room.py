"""The visual room: its rules, the official expert's returns, and what can be seen."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from envs.visual_room import (
    BOX_RADIUS,
    FORWARD,
    LEFT,
    PALETTE,
    RIGHT,
    STAY,
    VisualRoomState,
    corner_params,
    expert_action,
    facing,
    move,
    pose_of,
    random_pose,
    reward,
)
from envs.visual_room_domain import IMAGE_DEVIATION, IMAGE_MEAN
from metarl.incontext.agent import expert_agent, uniform_agent
from metarl.incontext.deploy import deploy_many, make_deploy
from tests.envs.visual_rooms import BLUE, CORNERS, GENERAL, GREEN, RED, ROUNDING, YELLOW, corner_tasks, pose_at, tasks


def image_of(domain, observation):
    return np.asarray(observation[:-5]).reshape(domain.image_shape)


@pytest.mark.parametrize(
    ("start", "action", "target", "end"),
    [
        ((3, 3, 0), LEFT, BLUE, (3, 3, 15)),
        ((3, 3, 0), RIGHT, BLUE, (3, 3, -15)),
        ((3, 3, 0), STAY, BLUE, (3, 3, 0)),
        ((3, 3, 0), FORWARD, BLUE, (3.7, 3, 0)),
        ((3, 3, 90), FORWARD, BLUE, (3, 2.3, 90)),
        ((3, 3, -90), FORWARD, BLUE, (3, 3.7, -90)),
        ((3, 3, 60), FORWARD, BLUE, (3.35, 3 - 0.7 * math.sqrt(0.75), 60)),
        ((3, 3, 170), LEFT, BLUE, (3, 3, -175)),
        ((3, 3, -175), RIGHT, BLUE, (3, 3, 170)),
        ((4.89, 3, 0), FORWARD, BLUE, (5.59, 3, 0)),
        ((4.91, 3, 0), FORWARD, BLUE, (4.91, 3, 0)),
        ((1.11, 3, -180), FORWARD, BLUE, (0.41, 3, -180)),
        ((1.09, 3, -180), FORWARD, BLUE, (1.09, 3, -180)),
        ((3, 1.09, 90), FORWARD, BLUE, (3, 1.09, 90)),
        ((3, 4.91, -90), FORWARD, BLUE, (3, 4.91, -90)),
        ((BOX_RADIUS, 2.24, 90), FORWARD, BLUE, (BOX_RADIUS, 1.54, 90)),  # 0.974 m from the box, whose disc ends at
        ((BOX_RADIUS, 2.22, 90), FORWARD, BLUE, (BOX_RADIUS, 2.22, 90)),  # 0.966 m
        ((BOX_RADIUS, 2.22, 90), FORWARD, RED, (BOX_RADIUS, 1.52, 90)),  # others are not in the way
    ],
)
def test_actions_do_what_the_rules_say(start, action, target, end):
    pose = move(pose_at(*start), jnp.int32(action), corner_params(jnp.int32(target), 50))
    np.testing.assert_allclose(pose.position, end[:2], atol=ROUNDING)
    assert math.degrees(pose.heading) == pytest.approx(end[2], abs=1e-4)


@pytest.mark.parametrize(
    ("distance", "bearing", "pays"),
    [(2.01, 0, 1), (2.02, 0, 0), (1.2, 29.9, 1), (1.2, 30.1, 0), (1.2, -29.9, 1), (1.2, -30.1, 0), (1.2, 180, 0)],
)
def test_being_near_the_target_and_facing_it_pays(distance, bearing, pays):
    """The limits are 0.8 / sqrt(2) + 0.4 + 1.05 = 2.0157 m and 30 degrees to either side."""
    pose = pose_at(BOX_RADIUS + distance, BOX_RADIUS, 180.0 - bearing)  # the blue box is in direction 180
    params = corner_params(jnp.int32(BLUE), 50)
    found, angle = facing(pose, params.positions[BLUE])
    assert float(found) == pytest.approx(distance, abs=ROUNDING)
    np.testing.assert_allclose(
        (jnp.cos(angle), jnp.sin(angle)), (math.cos(math.radians(bearing)), math.sin(math.radians(bearing))), atol=1e-5
    )
    assert float(reward(pose, params)) == pays
    assert float(reward(pose, corner_params(jnp.int32(YELLOW), 50))) == 0.0


@functools.cache
def expert_rewards(spec):
    """Returns `rewards(params [K], key) -> [K, T]` of the expert, compiled."""
    domain = make_domain(spec)

    def play(params, key):
        return make_deploy(domain, expert_agent(domain, params))(params, key)

    return jax.jit(lambda params, key: deploy_many(play, params, key).reward[:, 0])


def test_the_expert_earns_39_45_45_39_in_the_original_rooms():
    rewards = expert_rewards(CORNERS)(corner_tasks(), jax.random.key(0))
    assert rewards.sum(1).tolist() == [39.0, 45.0, 45.0, 39.0]


def test_random_actions_earn_about_two():
    domain, count = make_domain(CORNERS), 400
    deploy = make_deploy(domain, uniform_agent(domain))
    params = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), corner_tasks())
    returns = np.asarray(jax.jit(lambda p, k: deploy_many(deploy, p, k).reward)(params, jax.random.key(0))).sum((1, 2))
    error = math.hypot(returns.std() / math.sqrt(len(returns)), 0.1)  # the reference's own standard error is 0.1
    assert abs(returns.mean() - 2.0) < 4 * error


@pytest.mark.parametrize("part", ["family", "held_out"])
def test_the_expert_reaches_every_target_and_stays(part):
    """At most 10 turns of 15 degrees, 3 steps and a few corrections lie between the start and the first reward."""
    domain = make_domain(GENERAL)
    rewards = np.asarray(expert_rewards(GENERAL)(tasks(getattr(domain, part), 200), jax.random.key(0)))
    assert (np.diff(rewards, axis=1) >= 0).all()
    assert rewards.sum(1).min() >= 35


@pytest.mark.parametrize(
    ("start", "target", "action"),
    [
        ((3, 3, 0), RED, LEFT),
        ((3, 3, 0), GREEN, RIGHT),
        ((3, 3, 100), YELLOW, LEFT),
        ((3, 3, 20), RED, FORWARD),
        ((3, 3, 14), RED, LEFT),
        ((4.5, 1.5, 45), RED, STAY),
        ((4.5, 1.5, -45), RED, LEFT),
    ],
)
def test_the_expert_turns_then_goes_then_stays(start, target, action):
    assert int(expert_action(pose_at(*start), corner_params(jnp.int32(target), 50))) == action
    domain = make_domain(CORNERS)
    params = corner_params(jnp.int32(target), 50)
    probabilities = domain.expert(domain.env.look(pose_at(*start), params), params)
    np.testing.assert_array_equal(probabilities, np.eye(4)[action])


@pytest.mark.parametrize("spec", [CORNERS, GENERAL])
def test_transitions_from_observations_agree_with_steps_of_the_environment(spec):
    domain, count = make_domain(spec), 64
    key_pose, key_action = jax.random.split(jax.random.key(1))
    params = tasks(domain.family, count)

    def both(key, action, params):
        pose = random_pose(key)
        state = VisualRoomState(jnp.int32(3), pose)
        observation, after, paid, _, _ = domain.env.step_env(key, state, action, params)
        found = domain.transition(jnp.zeros((0,)), domain.env.look(pose, params), action, params)
        return (paid, observation), found, after.pose

    actions = jax.random.randint(key_action, (count,), 0, 4)
    stepped, found, poses = jax.jit(jax.vmap(both))(jax.random.split(key_pose, count), actions, params)
    # The compiler contracts multiplications and additions differently in the two.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=ROUNDING), found, stepped)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=ROUNDING), jax.vmap(pose_of)(found[1]), poses)


@pytest.mark.parametrize("colour", range(4))
def test_every_box_shows_its_colour_to_who_faces_it(colour):
    """All faces have the hue of the palette: what differs is their brightness."""
    domain, params = make_domain("visual-room@layout=corners"), corner_params(jnp.int32(BLUE), 50)
    image = image_of(domain, domain.env.look(pose_at(3, 3, (135, 45, -45, -135)[colour]), params))
    hues = image / image.max(axis=-1, keepdims=True)
    shown = [(np.abs(hues - hue) < 1e-5).all(-1).sum() for hue in PALETTE / PALETTE.max(1, keepdims=True)]
    assert shown[colour] >= 25
    assert sum(shown) == shown[colour]


def test_headings_differ_in_what_they_see_and_targets_do_not():
    domain = make_domain("visual-room@layout=corners")
    look = jax.jit(domain.env.look)
    images = [look(pose_at(3, 3, 15 * turn), corner_params(jnp.int32(BLUE), 50))[:-5] for turn in range(24)]
    assert all((images[i] != images[j]).any() for i in range(24) for j in range(i))
    for target in (RED, GREEN, YELLOW):
        np.testing.assert_array_equal(look(pose_at(3, 3, 0), corner_params(jnp.int32(target), 50))[:-5], images[0])


def test_networks_are_shown_a_normalised_image_and_the_heading_alone():
    domain, params = make_domain(CORNERS), corner_params(jnp.int32(BLUE), 50)
    observation = domain.env.look(pose_at(2, 4, 30), params)
    shown = domain.encode(observation)
    assert shown.shape == (domain.observation_size,) == (8 * 8 * 3 + 2,)
    image = (image_of(domain, observation) - IMAGE_MEAN) / IMAGE_DEVIATION
    np.testing.assert_allclose(shown[:-2].reshape(8, 8, 3), image, atol=ROUNDING)
    np.testing.assert_allclose(shown[-2:], (math.sqrt(0.75), 0.5), atol=ROUNDING)
    np.testing.assert_allclose(observation[-3:], (2, 4, math.radians(30)), atol=ROUNDING)
    np.testing.assert_array_equal(domain.encode(observation.at[-3:].set(9.0)), shown)


def test_queries_come_from_everywhere():
    poses = jax.vmap(random_pose)(jax.random.split(jax.random.key(0), 4000))
    for values, low, high in (
        (poses.position[:, 0], 0, 6),
        (poses.position[:, 1], 0, 6),
        (poses.heading, -np.pi, np.pi),
    ):
        assert (values >= low).all() and (values < high).all()
        counts = np.histogram(values, bins=8, range=(low, high))[0]
        assert np.abs(counts - 500).max() < 4 * math.sqrt(500 * 7 / 8)
    domain, params = make_domain(CORNERS), corner_params(jnp.int32(BLUE), 50)
    observation = domain.sample_query(jax.random.key(5), params)
    jax.tree.map(np.testing.assert_array_equal, pose_of(observation), random_pose(jax.random.key(5)))
