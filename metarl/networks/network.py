"""What an agent's network is: parameters and outputs by head, chosen by the name of its kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Array

Params = dict[str, Any]
"""Parameters by head name (and `torso` where heads share one), so that every head can have its own optimiser."""


class Network(NamedTuple):
    """A network with named heads as pure functions."""

    init: Callable[[Array], Params]
    """`init(key) -> {head: parameters of that head's own network}`, float32; consumes the key."""
    apply: Callable[[Params, Any], dict[str, Array]]
    """`apply(params, observation) -> {head: [..., size]}`, float32; the observation may have any leading batch axes."""


KINDS = ("tabular", "mlp", "conv")
"""Kinds of network that `make_network` knows."""


def make_network(
    kind: str,
    observation_space: Any,
    heads: Mapping[str, int],
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    features: Sequence[int] = (16,),
    shares_torso: bool = False,
) -> Network:
    """Returns the network of this kind for observations from `observation_space`.

    Args:
        kind: `tabular` (index observations or integers; no other option applies), `mlp` (arrays, flattened) or `conv`
            (images, height x width x channels).
        observation_space: gymnax space of the observations.
        heads: output size by head name, as in `Objective.heads`.
        hidden: widths of the dense layers.
        activation: `relu` or `tanh`.
        features: channels of the convolutions, `conv` only.
        shares_torso: whether all heads read one body instead of each having its own.

    Raises:
        ValueError: if the kind is unknown or cannot read these observations.
    """
    # Imported here because both modules build `Network`s.
    from metarl.networks.actor_critic import conv, mlp
    from metarl.networks.tabular import tabular

    if kind == "tabular":
        return tabular(_num_states(observation_space), heads)
    if kind == "mlp":
        shape = _array_shape(kind, observation_space)
        return mlp(shape, heads, hidden=hidden, activation=activation, shares_torso=shares_torso)
    if kind == "conv":
        shape = _array_shape(kind, observation_space)
        return conv(shape, heads, features=features, hidden=hidden, activation=activation, shares_torso=shares_torso)
    raise ValueError(f"network kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")


def _num_states(observation_space: Any) -> int:
    space = observation_space
    spaces = getattr(space, "spaces", None)
    if isinstance(spaces, Mapping) and set(spaces) == {"index", "time"}:
        space = spaces["index"]
    if not hasattr(space, "n"):
        raise ValueError(
            f"a tabular network needs observations that are a state index, but the observation space is "
            f"{observation_space!r}; choose mlp or conv"
        )
    return int(space.n)


def _array_shape(kind: str, observation_space: Any) -> tuple[int, ...]:
    if not hasattr(observation_space, "low"):
        raise ValueError(
            f"a network of kind {kind} needs observations that are arrays, but the observation space is "
            f"{observation_space!r}; choose tabular"
        )
    return tuple(observation_space.shape)
