"""The interface of an evolution strategy: a distribution over parameters that moves towards fitter candidates."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float


class Strategy(NamedTuple):
    """An evolution strategy. It always maximises, and a fitness that is not finite counts as the worst of all.

    A population has leading axis P on every leaf. It holds candidates, or short descriptions of candidates that
    `expand` turns into parameters where they are evaluated. Partners in an antithetic pair are i and i + P/2.
    """

    name: str
    """What the strategy is called in tables and error messages."""
    population_size: int
    """P, the number of candidates per generation."""
    init: Callable[[Array, Any], Any]
    """`init(key, params) -> state` with the pytree `params` as the initial mean; consumes the key."""
    ask: Callable[[Array, Any], Any]
    """`ask(key, state) -> population`, leading axis P; consumes the key."""
    expand: Callable[[Any, Any], Any]
    """`expand(state, member) -> params` for one member, without leading axis, of what `ask` returned for this state."""
    tell: Callable[[Any, Any, Float[Array, " P"]], Any]
    """`tell(state, population, fitness) -> state`, with the population asked from that same state."""
    mean: Callable[[Any], Any]
    """`mean(state) -> params`, the centre of the distribution: what is evaluated and exported."""
