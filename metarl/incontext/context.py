"""Data sets that learners read: a set of transitions, or a sequence whose order tells something.

The two are different types, so that it is known whose order means something. A context has a fixed number H of places,
of which the first `length` hold transitions; the rest is never looked at.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.incontext.agent import Transition


class UnorderedContext(NamedTuple):
    """Transitions gathered independently of each other: any order is as good as any other."""

    transitions: Transition
    """Leading axis H."""
    length: Int[Array, ""]
    """How many are meant, from 0 to H."""

    @property
    def is_valid(self) -> Bool[Array, " H"]:
        """Which places hold a transition."""
        return jnp.arange(self.transitions.reward.shape[-1]) < self.length


class OrderedContext(NamedTuple):
    """Transitions of one who learned or walked while gathering them: their order carries information."""

    transitions: Transition
    """Leading axis H, in the order in which they happened."""
    length: Int[Array, ""]
    """How many are meant, from 0 to H."""

    @property
    def is_valid(self) -> Bool[Array, " H"]:
        """Which places hold a transition."""
        return jnp.arange(self.transitions.reward.shape[-1]) < self.length


Context = UnorderedContext | OrderedContext


class Answered(NamedTuple):
    """A context from elsewhere, and M observations at which it is known what to do in its task."""

    context: Context
    """What was gathered."""
    observation: Array
    """Observations that may be asked about, leading axis M."""
    answer: Float[Array, "M a"]
    """The answers: probabilities of all discrete actions, or a continuous action."""


def keep_valid(transitions: Transition, is_valid: Bool[Array, " n"], length: int) -> OrderedContext:
    """Returns the first `length` valid transitions, in their order."""
    order = jnp.argsort(~is_valid, stable=True)[:length]
    kept = jax.tree.map(lambda leaf: leaf[order], transitions)
    missing = max(length - is_valid.shape[0], 0)
    kept = jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, missing), *((0, 0),) * (leaf.ndim - 1))), kept)
    return OrderedContext(kept, jnp.minimum(jnp.sum(is_valid.astype(jnp.int32)), length))


def is_first(values: Int[Array, " n"], is_valid: Bool[Array, " n"], num_values: int) -> Bool[Array, " n"]:
    """Returns whether no valid entry before this one has its value, a number below `num_values`."""
    order = jnp.arange(values.shape[0])
    earliest = jnp.full((num_values,), values.shape[0], jnp.int32)
    earliest = earliest.at[jnp.where(is_valid, values, num_values)].min(order, mode="drop")
    return earliest[values] >= order
