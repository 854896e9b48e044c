"""The Dark Key-to-Door: its rules, tasks and encodings, and an expert that plans as well as value iteration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from envs.key_to_door import KeyToDoor
from metarl.incontext.agent import expert_agent
from metarl.incontext.deploy import deploy_many, make_deploy
from tests.envs.key_to_door_rooms import (
    DOWN,
    LEFT,
    RIGHT,
    ROUNDING,
    RULES,
    SMALL,
    STAY,
    UP,
    action_values,
    best_value,
    queries,
    room,
    rooms,
)


def play(env, params, actions):
    """Returns [(observation, reward, terminated)] after each action; nothing happens after the end."""
    _, state = env.reset_env(jax.random.key(0), params)
    seen = []
    for action in actions:
        observation, state, reward, terminated, _ = env.step_env(jax.random.key(0), state, jnp.int32(action), params)
        seen.append((observation.tolist(), float(reward), bool(terminated)))
        if terminated:
            break
    return seen


@pytest.mark.parametrize(
    ("key", "door", "options", "actions", "rewards", "keys"),
    [
        ((2, 1), (1, 1), {}, (RIGHT, LEFT, STAY, LEFT, RIGHT), (1, 1, 0, 0, 0), (1, 1, 1, 1, 1)),
        ((2, 1), (1, 1), {"door_pays": "every"}, (RIGHT, LEFT, STAY, LEFT, RIGHT), (1, 1, 1, 0, 1), (1, 1, 1, 1, 1)),
        ((2, 1), (1, 1), {"terminates": True}, (RIGHT, LEFT, STAY), (1, 1), (1, 1)),
        ((2, 1), (0, 1), {}, (LEFT, RIGHT, RIGHT, RIGHT, LEFT, LEFT), (0, 0, 1, 0, 0, 1), (0, 0, 1, 1, 1, 1)),
        ((1, 1), (1, 1), {}, (STAY, STAY, STAY), (1, 1, 0), (1, 1, 1)),
        ((1, 1), (1, 2), {}, (UP, DOWN, UP), (0, 1, 1), (0, 1, 1)),
    ],
    ids=["once", "every", "terminates", "door before key, key once", "key and door in one cell", "start on the key"],
)
def test_rewards_follow_the_rules(key, door, options, actions, rewards, keys):
    seen = play(KeyToDoor(3, **options), room(key, door), actions)
    assert tuple(reward for _, reward, _ in seen) == rewards
    assert tuple(observation[2] for observation, _, _ in seen) == keys
    assert [terminated for *_, terminated in seen] == [False] * (len(seen) - 1) + [options.get("terminates", False)]


def test_walls_stop_moves():
    seen = play(KeyToDoor(3, start="corner"), room((2, 2), (2, 2)), (LEFT, DOWN, UP, UP, UP, RIGHT, RIGHT, RIGHT))
    assert [tuple(o[:2]) for o, _, _ in seen] == [(0, 0), (0, 0), (0, 1), (0, 2), (0, 2), (1, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize(("start", "expected"), [("corner", {(0, 0)}), ("centre", {(4, 4)}), ("random", None)])
def test_episodes_begin_where_they_are_told_to(start, expected):
    env = KeyToDoor(9, start=start)
    params = env.default_params
    observations, states = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(0), 600), params)
    found = {tuple(o[:2]) for o in observations.tolist()}
    assert found == (expected or {(x, y) for x in range(9) for y in range(9)})
    assert not states.has_key.any() and not states.has_opened.any()


def test_domain_transitions_and_environment_steps_agree_before_the_door_is_opened():
    domain = make_domain(SMALL)
    params, _ = rooms(3)
    observation = jnp.array([(x, y, k) for x in range(3) for y in range(3) for k in range(2)], jnp.int32)

    def both(observation, action, params):
        _, state = domain.env.reset_from(jnp.zeros(2), params)
        state = state._replace(position=observation[:2], has_key=observation[2] > 0)
        after, _, reward, _, _ = domain.env.transition(jnp.zeros(0), state, action, params)
        return (reward, after), domain.transition(jnp.zeros(0), observation, action, params)

    every = jax.vmap(jax.vmap(jax.vmap(both, (None, None, 0)), (None, 0, None)), (0, None, None))
    step, transition = every(observation, jnp.arange(5), params)
    jax.tree.map(np.testing.assert_array_equal, step, transition)


@pytest.mark.parametrize("rule", RULES)
def test_the_expert_collects_what_value_iteration_promises(rule):
    domain = make_domain(SMALL + RULES[rule])
    params, count = rooms(3)
    keys, doors = np.asarray(params.key), np.asarray(params.door)
    expected = [best_value((1, 1), False, False, 8, tuple(keys[i]), tuple(doors[i]), rule) for i in range(count)]

    def deploy(params, key):
        return make_deploy(domain, expert_agent(domain, params))(params, key)

    found = deploy_many(deploy, params, jax.random.key(0)).reward.sum((1, 2))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(jax.vmap(domain.family.optimal_return)(params), expected)


def test_the_optimal_return_is_the_mean_over_random_starts_and_knows_the_end_of_the_episode():
    env, params = KeyToDoor(3, start="random"), room((0, 0), (0, 1), limit=2)
    starts = [(x, y) for x in range(3) for y in range(3)]
    expected = np.mean([best_value(s, False, False, 2, (0, 0), (0, 1), "once") for s in starts])
    np.testing.assert_allclose(env.optimal_return(params), expected, rtol=ROUNDING)
    assert 0 < expected < 2


def test_soft_labels_are_the_moves_that_value_iteration_calls_optimal():
    domain = make_domain(SMALL + ",labels=soft,door_pays=every")
    checked = 0
    for key, door in [((0, 0), (2, 1)), ((1, 1), (1, 1)), ((2, 0), (0, 2))]:
        for x, y, has_key in np.ndindex(3, 3, 2):
            soft = np.asarray(domain.expert(jnp.array([x, y, has_key], jnp.int32), room(key, door)))
            values = np.array(action_values((x, y), bool(has_key), False, 9, key, door, "every"))
            optimal = values == values.max()
            np.testing.assert_allclose(soft, optimal / optimal.sum(), rtol=ROUNDING)
            checked += 1
    assert checked == 54


def test_by_default_every_task_is_worth_two_and_the_expert_gets_it():
    domain = make_domain("key-to-door")
    params = jax.vmap(domain.held_out.sample)(jax.random.split(jax.random.key(0), 200)).params

    def deploy(params, key):
        return make_deploy(domain, expert_agent(domain, params))(params, key)

    assert (deploy_many(deploy, params, jax.random.key(1)).reward.sum((1, 2)) == 2).all()
    assert (jax.vmap(domain.family.optimal_return)(params) == 2).all()


def test_training_and_test_pairs_are_disjoint_and_together_all():
    domain = make_domain("key-to-door")

    def pairs(family, count):
        quantile = (jnp.arange(count, dtype=jnp.float32)[:, None] + 0.5) / count
        params = jax.vmap(family.decode)(quantile).params
        return {tuple(row) for row in np.concatenate([params.key, params.door], axis=1).tolist()}

    train, test = pairs(domain.family, 5248), pairs(domain.held_out, 1313)
    assert (len(train), len(test), len(train | test)) == (5248, 1313, 9**4)
    drawn = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 500)).params
    assert {tuple(row) for row in np.concatenate([drawn.key, drawn.door], axis=1).tolist()} <= train


@pytest.mark.parametrize("quantile", [-1.0, 0.0, 1.0, 2.0])
def test_the_bounds_of_the_task_space_and_beyond_are_tasks(quantile):
    family = make_domain("key-to-door").family
    found, inside = (family.decode(jnp.array([q])).params for q in (quantile, min(max(quantile, 1e-7), 1 - 1e-7)))
    jax.tree.map(np.testing.assert_array_equal, found, inside)
    assert ((found.key >= 0) & (found.key < 9) & (found.door >= 0) & (found.door < 9)).all()


def test_a_hidden_key_is_hidden_from_networks_alone():
    shown, hidden = make_domain("key-to-door"), make_domain("key-to-door@shows_key=false")
    observation, params = jnp.array([2, 3, 1], jnp.int32), room((2, 3), (0, 0))
    assert shown.encode(observation)[-1] == 1
    np.testing.assert_array_equal(hidden.encode(observation), hidden.encode(observation.at[2].set(0)))
    np.testing.assert_array_equal(hidden.encode(observation)[:-1], shown.encode(observation)[:-1])
    assert jnp.argmax(hidden.expert(observation, params)) == LEFT
    assert (hidden.behaviour, hidden.is_ordered, hidden.num_pairs) == ("walk", True, 0)
    assert (shown.behaviour, shown.is_ordered) == ("uniform", False)
    assert shown.shows_state and not hidden.shows_state


def test_pairs_of_observation_and_action_have_numbers_of_their_own():
    domain = make_domain(SMALL)
    index = jax.vmap(jax.vmap(domain.pair_index, (None, 0)), (0, None))(queries(), jnp.arange(5))
    assert sorted(index.reshape(-1).tolist()) == list(range(domain.num_pairs))


@pytest.mark.parametrize("encoding", ["one-hot", "raw", "index"])
def test_encodings_have_the_stated_size(encoding):
    domain = make_domain(f"key-to-door@encoding={encoding}")
    assert domain.encode(jnp.array([8, 0, 1], jnp.int32)).shape == (domain.observation_size,)


@pytest.mark.parametrize("option", ["size=1", "start=middle", "door_pays=never", "encoding=x", "labels=x", "prior=x"])
def test_options_out_of_range_are_named(option):
    with pytest.raises(ValueError, match=f"key-to-door was given .*{option.split('=')[0]}"):
        make_domain(f"key-to-door@{option}")
