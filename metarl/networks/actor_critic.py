"""Dense and convolutional networks with one body per head, or one body that all heads share.

Source: initialisation and sizes as common for PPO (Huang et al. 2022, "The 37 implementation details of PPO");
convolutions as in Young and Tian 2019 (MinAtar).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from metarl.networks.network import Network, Params
from metarl.networks.orthogonal import orthogonal

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}
"""Activations by name."""
POLICY_SCALE = 0.01
"""Scale of the policy head's orthogonal initialisation; every other head has scale 1, hidden layers sqrt(2)."""
MIN_STACKED_ROWS = 512
"""Inputs from which on the bodies of all heads are computed as one, whose first layers are then a single product: a PPO
update costs 4 % less on CPU. On fewer, copying parameters together costs more than that, above all in a population."""


class Body(nn.Module):
    """Hidden layers: convolutions (3 x 3, no padding) if any, then dense layers."""

    hidden: tuple[int, ...]
    """Widths of the dense layers."""
    activation: str
    """Name in `ACTIVATIONS`."""
    features: tuple[int, ...] = ()
    """Channels of the convolutions."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns `[..., last width]` from `[..., D]`, or from `[..., height, width, channels]` with convolutions."""
        activate, initialise = ACTIVATIONS[self.activation], orthogonal(math.sqrt(2.0))
        for channels in self.features:
            x = activate(nn.Conv(channels, (3, 3), padding="VALID", kernel_init=initialise)(x))
        if self.features:
            x = x.reshape(*x.shape[:-3], -1)
        for width in self.hidden:
            x = activate(nn.Dense(width, kernel_init=initialise)(x))
        return x


class Head(nn.Module):
    """A linear output, behind a body of its own if it has one."""

    size: int
    """Outputs."""
    scale: float
    """Scale of the orthogonal initialisation."""
    body: Body | None
    """The head's own hidden layers."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns `[..., size]`."""
        x = x if self.body is None else self.body(x)
        return nn.Dense(self.size, kernel_init=orthogonal(self.scale))(x)


def mlp(
    observation_shape: Sequence[int],
    heads: Mapping[str, int],
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    shares_torso: bool = False,
) -> Network:
    """Returns dense layers on the flattened observation.

    Observations are arrays of any type, cast to float32, `[..., *observation_shape]`. Parameters are `{head: ...}`,
    each with its own hidden layers, or `{"torso": ..., head: ...}` if the torso is shared.

    Raises:
        ValueError: for an unknown activation or a shared torso beside a head called `torso`.
    """
    body = _body(hidden, activation, ())
    return _network(tuple(observation_shape), (math.prod(observation_shape),), heads, body, shares_torso)


def conv(
    observation_shape: Sequence[int],
    heads: Mapping[str, int],
    *,
    features: Sequence[int] = (16,),
    hidden: Sequence[int] = (128,),
    activation: str = "relu",
    shares_torso: bool = False,
) -> Network:
    """Returns 3 x 3 convolutions without padding, then dense layers, for images `[..., height, width, channels]`.

    Raises:
        ValueError: if the shape is not an image that the convolutions fit in, and as `mlp`.
    """
    shape = tuple(observation_shape)
    if len(shape) != 3 or min(shape[:2]) <= 2 * len(features) or not features:
        raise ValueError(
            f"observations have shape {shape}; {len(features)} convolutions of 3 x 3 need at least one convolution and "
            f"(height, width, channels) with sides above {2 * len(features)}, so choose mlp or other features"
        )
    return _network(shape, shape, heads, _body(hidden, activation, features), shares_torso)


def _body(hidden: Sequence[int], activation: str, features: Sequence[int]) -> Body:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
    return Body(tuple(hidden), activation, tuple(features))


def _network(
    shape: tuple[int, ...], input_shape: tuple[int, ...], heads: Mapping[str, int], body: Body, shares_torso: bool
) -> Network:
    if shares_torso and "torso" in heads:
        raise ValueError("a head is called 'torso', the name of the shared layers; rename the head")
    own = None if shares_torso else body
    modules = {head: Head(size, POLICY_SCALE if head == "policy" else 1.0, own) for head, size in heads.items()}
    outputs = {head: module.clone(body=None) for head, module in modules.items()}

    def init(key: Array) -> Params:
        key_torso, *keys = jax.random.split(key, 1 + len(modules))
        x = jnp.zeros(input_shape, jnp.float32)
        params = {}
        if shares_torso:
            params["torso"] = body.init(key_torso, x).get("params", {})
            x = _forward(body, params["torso"], x)
        for key_head, (head, module) in zip(keys, modules.items(), strict=True):
            params[head] = module.init(key_head, x)["params"]
        return params

    def apply(params: Params, observation: Any) -> dict[str, Array]:
        x = _as_input(observation, shape, input_shape)
        if shares_torso:
            features = dict.fromkeys(outputs, _forward(body, params["torso"], x))
        else:
            bodies = {head: params[head].get("body", {}) for head in outputs}
            features = _forward_all(body, bodies, x, x.size // math.prod(input_shape))
        return {head: _forward(module, params[head], features[head]) for head, module in outputs.items()}

    return Network(init, apply)


def _forward(module: nn.Module, params: Params, x: Array) -> Array:
    return jnp.asarray(module.apply({"params": params}, x))


def _forward_all(body: nn.Module, params: Mapping[str, Params], x: Array, num_rows: int) -> dict[str, Array]:
    """Returns what the body makes of the same `num_rows` inputs with the parameters of every head."""
    if num_rows < MIN_STACKED_ROWS or not jax.tree.leaves(params):
        return {head: _forward(body, own, x) for head, own in params.items()}
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params.values())
    features = jax.vmap(lambda own: _forward(body, own, x))(stacked)
    return {head: features[index] for index, head in enumerate(params)}


def _as_input(observation: Any, shape: tuple[int, ...], input_shape: tuple[int, ...]) -> Array:
    observation = jnp.asarray(observation)
    num_batch_axes = observation.ndim - len(shape)
    if num_batch_axes < 0 or observation.shape[num_batch_axes:] != shape:
        raise ValueError(f"an observation has shape {observation.shape}; its last axes must be {shape}")
    return observation.reshape(*observation.shape[:num_batch_axes], *input_shape).astype(jnp.float32)
