"""What can be known of a Dark Key-to-Door: inference equals enumeration, and agents that infer end up optimal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from envs.finite_tasks import enumerated_belief, split_indices
from metarl.incontext.agent import belief_agent, posterior_sampling_agent
from metarl.incontext.deploy import deploy_many, make_deploy
from tests.envs.key_to_door_rooms import DOWN, ROUNDING, RULES, SMALL, STAY, queries, rooms, step_by_hand


def test_labels_before_anything_is_seen_have_the_entropy_of_the_dark_room():
    domain = make_domain("key-to-door@size=5,prior=all")
    query = jnp.array([(x, y, k) for x in range(5) for y in range(5) for k in range(2)], jnp.int32)
    law = np.asarray(jax.vmap(domain.belief.probabilities, (None, 0))(domain.belief.init(), query), np.float64)
    entropy = -np.sum(law * np.log(np.maximum(law, 1e-30)), axis=1).reshape(25, 2)
    np.testing.assert_allclose(entropy[:, 0], entropy[:, 1], rtol=ROUNDING)
    assert abs(entropy.mean() - 0.950) < 5e-4  # the known value has three decimals


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
