"""The rooms of the visual family: which are held out, where boxes stand, and what can be inferred of the target."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domain import posterior
from envs.domains import make_domain
from envs.visual_room import BOX_RADIUS, FORWARD, STAY, boxes_of, corner_params, expert_action
from envs.visual_room_domain import PLACES, place_sets
from metarl.incontext.agent import belief_agent
from metarl.incontext.deploy import FROZEN, deploy_many, make_deploy
from tests.envs.visual_rooms import BLUE, CORNERS, GENERAL, GREEN, RED, ROUNDING, YELLOW, corner_tasks, pose_at, tasks


def occupied(params):
    """Returns the sets of squares in which the boxes stand, one row of squares per task."""
    distance = np.abs(np.asarray(params.positions)[:, :, None] - PLACES[None, None]).max(-1)
    return {tuple(row) for row in distance.argmin(-1).tolist()}


@pytest.mark.parametrize(("num_boxes", "expected"), [(2, 28), (4, 70), (7, 8)])
def test_training_and_held_out_rooms_are_disjoint(num_boxes, expected):
    domain = make_domain(f"visual-room@image_size=8,num_boxes={num_boxes}")
    train, test = (occupied(tasks(family, 2000)) for family in (domain.family, domain.held_out))
    assert not train & test
    assert len(train | test) == expected == len(place_sets(num_boxes))  # 2000 draws of at most 56 miss none
    assert len(train) == int(0.8 * expected)


@pytest.mark.parametrize("part", ["family", "held_out"])
def test_rooms_hold_distinct_boxes_apart_from_each_other_and_equally_probable_targets(part):
    params = tasks(getattr(make_domain(GENERAL), part), 2000)
    positions, colours = np.asarray(params.positions), np.asarray(params.colours)
    assert (positions >= BOX_RADIUS - ROUNDING).all() and (positions <= 6 - BOX_RADIUS + ROUNDING).all()
    for i in range(4):
        for j in range(i):
            apart = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
            assert apart.min() > 2 * BOX_RADIUS - ROUNDING
    assert (np.linalg.norm(positions - 3.0, axis=-1) > BOX_RADIUS + 0.4).all()  # none on the start
    assert all(len(set(row)) == 4 for row in colours.tolist())
    assert np.abs(np.bincount(params.target, minlength=4) - 500).max() < 4 * math.sqrt(500 * 3 / 4)
    assert np.abs(np.bincount(colours.ravel(), minlength=8) - 1000).max() < 4 * math.sqrt(1000 / 2)
    assert len({row.tobytes() for row in positions}) == 2000


def test_task_vectors_are_quantiles_and_are_clipped():
    family = make_domain(GENERAL).family
    low, high = (family.decode(jnp.full((family.num_dimensions,), value, jnp.float32)).params for value in (-1.0, 2.0))
    edges = [family.decode(jnp.full((family.num_dimensions,), value, jnp.float32)).params for value in (0.0, 1.0)]
    jax.tree.map(np.testing.assert_array_equal, [low, high], edges)
    assert (int(low.target), int(high.target)) == (0, 3)
    corner = make_domain(CORNERS).family
    assert [int(corner.decode(jnp.array([q], jnp.float32)).params.target) for q in (0.0, 0.3, 0.6, 1.0)] == [0, 1, 2, 3]


def test_boxes_stand_on_the_floor_around_their_middles():
    boxes = boxes_of(corner_params(jnp.int32(BLUE), 50))
    np.testing.assert_allclose(boxes.high - boxes.low, np.full((4, 3), 0.8), atol=ROUNDING)
    middles = [[0.566, 0.4, 0.566], [5.434, 0.4, 0.566], [5.434, 0.4, 5.434], [0.566, 0.4, 5.434]]
    np.testing.assert_allclose((boxes.high + boxes.low) / 2, middles, atol=1e-3)  # given to three decimals


@functools.cache
def believed():
    """Returns `P(a* | transitions)` from poses [2], actions [2], their mask, a query and the true target, compiled."""
    domain = make_domain(CORNERS)

    def probabilities(poses, actions, mask, query, target):
        params = corner_params(target, 50)
        look = jax.vmap(domain.env.look, (0, None))
        observations = look(poses, params)
        transition = jax.vmap(domain.transition, (None, 0, 0, None))
        rewards, after = transition(jnp.zeros((0,)), observations, actions, params)
        return posterior(domain.belief, observations, actions, rewards, after, mask, domain.env.look(query, params))

    return jax.jit(probabilities)


NEAR_BLUE, NEAR_RED = ((1.9, 1.9, 135), STAY), ((4.1, 1.9, 45), STAY)


@pytest.mark.parametrize(
    ("steps", "target", "possible"),
    [
        ([((3, 3, 0), FORWARD)], GREEN, [BLUE, RED, GREEN, YELLOW]),
        ([NEAR_BLUE], GREEN, [RED, GREEN, YELLOW]),
        ([NEAR_BLUE, NEAR_RED], GREEN, [GREEN, YELLOW]),
        ([NEAR_BLUE], BLUE, [BLUE]),
        ([NEAR_RED, NEAR_BLUE], BLUE, [BLUE]),
    ],
)
def test_the_belief_keeps_the_colours_that_would_have_paid_as_seen(steps, target, possible):
    poses = [pose_at(*start) for start, _ in steps * 2][:2]
    actions, mask = jnp.array([action for _, action in steps * 2][:2], jnp.int32), jnp.arange(2) < len(steps)
    query = pose_at(3, 3, 80)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *poses)
    found = believed()(stacked, actions, mask, query, jnp.int32(target))
    expected = np.mean([np.eye(4)[expert_action(query, corner_params(jnp.int32(one), 50))] for one in possible], axis=0)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_the_ideal_learner_finds_the_target_and_then_acts_as_the_expert():
    """Until it has been paid it wavers between corners; after an episode with a reward it knows which."""
    domain = make_domain(CORNERS)
    deploy = make_deploy(domain, belief_agent(domain), num_episodes=4, protocol=FROZEN)
    params = jax.tree.map(lambda leaf: jnp.repeat(leaf, 8, axis=0), corner_tasks())
    rewards = jax.jit(lambda p, k: deploy_many(deploy, p, k).reward)(params, jax.random.key(0))
    returns = np.asarray(rewards.sum(-1))
    found = returns[:, :-1].max(axis=1) > 0
    assert found.mean() > 0.5
    expert = np.repeat([39.0, 45.0, 45.0, 39.0], 8)
    np.testing.assert_array_equal(returns[found, -1], expert[found])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("layout=ring", "general, corners"),
        ("layout=corners,num_boxes=3", "corners hold 4"),
        ("num_boxes=8", "2 to 7"),
        ("num_boxes=1", "2 to 7"),
        ("image_size=4", "at least 8"),
        ("horizon=0", "a step"),
        ("samples=0", "a sample"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_domain(f"visual-room@{options}")
