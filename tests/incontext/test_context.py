import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.incontext.agent import Transition
from metarl.incontext.context import OrderedContext, UnorderedContext, is_first, keep_valid, shuffle


def transitions(length):
    index = jnp.arange(length)
    return Transition(index[:, None], index, index.astype(jnp.float32), index[:, None] + 1)


def test_shuffling_keeps_every_transition_whole_and_padding_last():
    context = UnorderedContext(transitions(10), jnp.int32(7))
    shuffled = shuffle(context, jax.random.key(0))
    action = np.asarray(shuffled.transitions.action)
    assert sorted(action[:7]) == list(range(7)) and list(action[:7]) != list(range(7))
    assert sorted(action[7:]) == [7, 8, 9] and int(shuffled.length) == 7
    np.testing.assert_array_equal(shuffled.transitions.reward, action.astype(np.float32))
    np.testing.assert_array_equal(shuffled.transitions.next_observation[:, 0], action + 1)


def test_every_order_comes_up():
    context = UnorderedContext(transitions(3), jnp.int32(3))
    keys = jax.random.split(jax.random.key(1), 600)
    orders = jax.vmap(lambda key: shuffle(context, key).transitions.action)(keys)
    _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert len(counts) == 6 and counts.min() > 60  # 100 expected, standard deviation 9


def test_an_ordered_context_is_not_shuffled():
    with pytest.raises(ValueError, match="order carries information"):
        shuffle(OrderedContext(transitions(3), jnp.int32(3)), jax.random.key(0))


def test_valid_transitions_are_kept_in_their_order_up_to_the_places_there_are():
    is_valid = jnp.array([False, True, True, False, True, True])
    kept = keep_valid(transitions(6), is_valid, 3)
    assert kept.transitions.action.tolist() == [1, 2, 4] and int(kept.length) == 3
    longer = keep_valid(transitions(6), is_valid, 8)
    assert longer.transitions.action[:4].tolist() == [1, 2, 4, 5] and int(longer.length) == 4
    assert longer.transitions.reward.shape == (8,) and longer.is_valid.tolist() == [True] * 4 + [False] * 4


def test_the_first_of_equals_is_found_among_the_valid():
    values = jnp.array([3, 1, 3, 1, 2, 3])
    is_valid = jnp.array([False, True, True, True, True, True])
    assert is_first(values, is_valid, 5)[1:].tolist() == [True, True, False, True, False]
