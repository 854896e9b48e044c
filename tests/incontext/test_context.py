import jax.numpy as jnp

from metarl.incontext.agent import Transition
from metarl.incontext.context import is_first, keep_valid


def transitions(length):
    index = jnp.arange(length)
    return Transition(index[:, None], index, index.astype(jnp.float32), index[:, None] + 1)


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
