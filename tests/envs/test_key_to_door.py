"""The Dark Key-to-Door: its rules, an expert that plans as well as value iteration, and inference by enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cells import MOVES, all_cells
from envs.domains import make_domain
from envs.finite_tasks import enumerated_belief, split_indices
from envs.key_to_door import KeyToDoor, KeyToDoorParams
from metarl.incontext.agent import belief_agent, expert_agent, posterior_sampling_agent
from metarl.incontext.deploy import deploy_many, make_deploy

RIGHT, LEFT, UP, DOWN, STAY = range(5)
ROUNDING = 1e-6  # float32, sums of at most 81 weights
SMALL = "key-to-door@size=3,horizon=8"


def room(key, door, limit=50):
    return KeyToDoorParams(
        max_steps_in_episode=jnp.int32(limit), key=jnp.array(key, jnp.int32), door=jnp.array(door, jnp.int32)
    )


def rooms(size):
    """Returns all rooms of a size, the door's cell running faster, and their number."""
    at, count = all_cells(size), size**4
    index = jnp.arange(count)
    limit = jnp.full((count,), 8, jnp.int32)
    return KeyToDoorParams(max_steps_in_episode=limit, key=at[index // size**2], door=at[index % size**2]), count


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


def step_by_hand(position, has_key, has_opened, action, key, door, pays_every):
    """Returns (position, has_key, has_opened, reward), written down a second time in plain Python."""
    position = tuple(int(np.clip(position[i] + MOVES[action][i], 0, 2)) for i in range(2))
    if not has_key:
        return position, position == key, False, float(position == key)
    if position != door:
        return position, True, has_opened, 0.0
    return position, True, True, float(pays_every or not has_opened)


@functools.cache
def best_value(position, has_key, has_opened, steps, key, door, rule):
    """Returns the optimal return of an episode with so many steps to go, by dynamic programming."""
    if steps == 0 or (rule == "terminates" and has_opened):
        return 0.0
    return max(action_values(position, has_key, has_opened, steps, key, door, rule))


def action_values(position, has_key, has_opened, steps, key, door, rule):
    values = []
    for action in range(5):
        *state, reward = step_by_hand(position, has_key, has_opened, action, key, door, rule == "every")
        values.append(reward + best_value(*state, steps - 1, key, door, rule))
    return values


RULES = {"once": "", "every": ",door_pays=every", "terminates": ",terminates=true"}


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


def test_labels_before_anything_is_seen_have_the_entropy_of_the_dark_room():
    domain = make_domain("key-to-door@size=5,prior=all")
    query = jnp.array([(x, y, k) for x in range(5) for y in range(5) for k in range(2)], jnp.int32)
    law = np.asarray(jax.vmap(domain.belief.probabilities, (None, 0))(domain.belief.init(), query), np.float64)
    entropy = -np.sum(law * np.log(np.maximum(law, 1e-30)), axis=1).reshape(25, 2)
    np.testing.assert_allclose(entropy[:, 0], entropy[:, 1], rtol=ROUNDING)
    assert abs(entropy.mean() - 0.950) < 5e-4  # the known value has three decimals


def queries():
    return jnp.array([(x, y, k) for x in range(3) for y in range(3) for k in range(2)], jnp.int32)


@pytest.mark.parametrize("prior", ["train", "all"])
def test_inference_from_single_transitions_equals_enumeration(prior):
    domain = make_domain(f"{SMALL},prior={prior}")
    possible = split_indices(81)[0] if prior == "train" else np.arange(81)
    hypotheses = jax.tree.map(lambda leaf: leaf[possible], rooms(3)[0])

    def consistent(observation, action, reward, after, params):
        return domain.transition(jnp.zeros(0), observation, action, params)[0] == reward

    reference = enumerated_belief(hypotheses, consistent, domain.expert)

    def both(key):
        key_task, key_queries, key_actions = jax.random.split(key, 3)
        params = domain.family.sample(key_task).params
        seen = jax.vmap(domain.sample_query, (0, None))(jax.random.split(key_queries, 10), params)
        actions = jax.random.randint(key_actions, (10,), 0, 5)

        def step(states, inputs):
            reward, after = domain.transition(jnp.zeros(0), *inputs, params)
            pair = zip((domain.belief, reference), states, strict=True)
            states = tuple(belief.update(state, *inputs, reward, after) for belief, state in pair)
            return states, tuple(
                jax.vmap(belief.probabilities, (None, 0))(state, queries())
                for belief, state in zip((domain.belief, reference), states, strict=True)
            )

        return jax.lax.scan(step, (domain.belief.init(), reference.init()), (seen, actions))[1]

    found, expected = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(0), 100))
    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    assert (np.max(expected, axis=-1) == 1.0).mean() > 0.2  # much was found out


@pytest.mark.parametrize("rule", RULES)
def test_inference_from_episodes_equals_replaying_them_in_every_room(rule):
    domain = make_domain(f"{SMALL},prior=all{RULES[rule]}")
    params, count = rooms(3)
    keys, doors = (list(map(tuple, np.asarray(leaf).tolist())) for leaf in (params.key, params.door))
    labels = np.asarray(jax.vmap(jax.vmap(domain.expert, (0, None)), (None, 0))(queries(), params))
    generator = np.random.default_rng(0)
    update, probabilities = jax.jit(domain.belief.update), jax.jit(jax.vmap(domain.belief.probabilities, (None, 0)))

    def record(actions, room_index):
        """Returns the transitions of an episode in a room."""
        state, seen = ((1, 1), False, False), []
        for action in actions:
            *after, reward = step_by_hand(*state, action, keys[room_index], doors[room_index], rule == "every")
            seen.append(((*state[0], int(state[1])), action, reward, (*after[0], int(after[1]))))
            state = tuple(after)
            if rule == "terminates" and state[2]:
                break
        return seen

    num_possible = []
    for true in generator.integers(0, count, 12):
        possible, state = np.ones(count, bool), domain.belief.init()
        for _ in range(3):
            actions = generator.integers(0, 5, 12)
            seen = record(actions, true)
            possible &= [record(actions, other) == seen for other in range(count)]
            for one, action, reward, after in seen:
                state = update(state, jnp.array(one), jnp.int32(action), jnp.float32(reward), jnp.array(after))
            expected = possible.astype(float) @ labels.reshape(count, -1) / possible.sum()
            np.testing.assert_allclose(probabilities(state, queries()).reshape(-1), expected, atol=ROUNDING)
            num_possible.append(possible.sum())
    assert min(num_possible) == 1 and max(num_possible) > 20


def test_draws_are_uniform_over_the_possible_training_pairs():
    domain = make_domain(SMALL)
    belief = domain.belief
    state = belief.init()
    for x, has_key in (
        (0, 0),
        (2, 0),
        (1, 1),
    ):  # neither key on the way along the lower wall, nor the door in its middle
        seen, after = jnp.array([x, 1, has_key], jnp.int32), jnp.array([x, 0, has_key], jnp.int32)
        state = belief.update(state, seen, jnp.int32(DOWN), jnp.float32(0.0), after)
    drawn = jax.vmap(belief.draw, (0, None))(jax.random.split(jax.random.key(0), 8000), state)
    cell = lambda position: position[:, 0] * 3 + position[:, 1]  # noqa: E731
    counts = np.bincount(np.asarray(cell(drawn.key) * 9 + cell(drawn.door)), minlength=81)
    possible = [i for i in split_indices(81)[0] if i // 9 not in (0, 6) and i % 9 != 3]
    assert set(np.flatnonzero(counts)) == set(possible)
    share = 1 / len(possible)
    np.testing.assert_allclose(counts[possible] / 8000, share, atol=4 * np.sqrt(share / 8000))


def test_a_held_out_pair_is_recognised_once_it_was_seen():
    domain = make_domain("key-to-door")
    params = domain.held_out.decode(jnp.array([0.3])).params
    state = domain.belief.init()
    for target, has_key in ((params.key, 0), (params.door, 1)):
        seen, after = jnp.append(target, has_key), jnp.append(target, 1)
        state = domain.belief.update(state, seen, jnp.int32(STAY), jnp.float32(1.0), after)
    for query in ([0, 0, 0], [8, 3, 1]):
        query = jnp.array(query, jnp.int32)
        expected = domain.expert(query, params)
        np.testing.assert_allclose(domain.belief.probabilities(state, query), expected, atol=ROUNDING)
    drawn = domain.belief.draw(jax.random.key(0), state)
    np.testing.assert_array_equal([drawn.key, drawn.door], [params.key, params.door])


@pytest.mark.slow
@pytest.mark.parametrize("make_agent", [belief_agent, posterior_sampling_agent])
def test_agents_with_the_exact_belief_end_up_optimal(make_agent):
    domain = make_domain("key-to-door@size=3,horizon=12,prior=all")
    params = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 50)).params
    deploy = make_deploy(domain, make_agent(domain), num_episodes=40)
    returns = np.asarray(deploy_many(deploy, params, jax.random.key(1)).reward.sum(2))
    assert returns[:, 0].mean() < 1.8
    # Who commits to a pair needs at most eight episodes to rule out wrong keys, and eight more for wrong doors.
    assert (returns[:, -20:] == 2).all()


def test_a_hidden_key_is_hidden_from_networks_alone():
    shown, hidden = make_domain("key-to-door"), make_domain("key-to-door@shows_key=false")
    observation, params = jnp.array([2, 3, 1], jnp.int32), room((2, 3), (0, 0))
    assert shown.encode(observation)[-1] == 1
    np.testing.assert_array_equal(hidden.encode(observation), hidden.encode(observation.at[2].set(0)))
    np.testing.assert_array_equal(hidden.encode(observation)[:-1], shown.encode(observation)[:-1])
    assert jnp.argmax(hidden.expert(observation, params)) == LEFT
    assert (hidden.behaviour, hidden.is_ordered, hidden.num_pairs) == ("walk", True, 0)
    assert (shown.behaviour, shown.is_ordered) == ("uniform", False)


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
