"""What a tabular agent sees: the index of the state, and the time."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int


class IndexObservation(NamedTuple):
    """A one-hot vector with a time feature appended, kept as the two numbers it is made of."""

    index: Int[Array, "*batch"]
    """Index of the discrete state, in [0, number of states)."""
    time: Float[Array, "*batch"]
    """Time feature, 0.001 x environment steps since the episode began."""
