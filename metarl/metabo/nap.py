"""The neural acquisition process as pure functions: evaluations in their own units in, beliefs and preferences out.

Source: Maraval et al. 2023 (NAP). What is standardised, and by what, differs from the public code, which divides by the
range of the whole table; here only what has been evaluated is used.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.task import MAX_DIMENSIONS, NUMERIC, by_range
from metarl.metabo.bars import Bars
from metarl.metabo.network import Evaluations, NAPNetwork, Reading
from metarl.metabo.paper_network import PaperNetwork

CLIP = 5.0
"""Standardised values are shown to the network within plus and minus this."""
NEVER = -1e9
"""Logit of a candidate that may not be chosen."""
ORACLE = "-oracle-normalised"
"""Behind the names of results of models that see values by the range of the whole pool."""
BLOCK = 4096
"""Most candidates at once where a pool may be of any size."""
ARCHITECTURES: dict[str, type[NAPNetwork] | type[PaperNetwork]] = {"default": NAPNetwork, "paper": PaperNetwork}
"""Networks by name."""
VALUES = ("standardised", "raw", "range")
"""How a model sees values: by the mean and the spread of those evaluated; as they are, for tasks whose units are
known; or as shares of the range of their whole pool, as in the public code, which no optimiser can know."""


class Scale(NamedTuple):
    """Units of one task: `y = mean + std z`."""

    mean: Float[Array, ""]
    """Mean of the values seen."""
    std: Float[Array, ""]
    """Their standard deviation; 1 where there are none or they are all the same."""

    def standardise(self, y: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Returns values in standardised units."""
        return (y - self.mean) / self.std


class Belief(NamedTuple):
    """What is believed of candidates after some evaluations."""

    reading: Reading
    """What the network made of them."""
    scale: Scale
    """Units in which that is."""


class NAP(NamedTuple):
    """Functions of one model; all but `init` take its parameters first and are about one task."""

    network: NAPNetwork | PaperNetwork
    """Its layers."""
    init: Callable[[Array], Any]
    """`init(key) -> params`; consumes the key."""
    believe: Callable[[Any, Array, Evaluations, Array], Belief]
    """`believe(params, kind [D], evaluations, candidates [N, D]) -> Belief`."""
    prefer: Callable[[Any, Belief, Array], Array]
    """`prefer(params, belief, progress) -> logits [N]` of the learned acquisition."""
    value: Callable[[Any, Belief, Array], Array]
    """`value(params, belief, progress)`: the critic's estimate of the return from here on."""
    values: str = "standardised"
    """One of `VALUES`."""

    @property
    def bars(self) -> Bars:
        """The predictive distribution."""
        return self.network.bars

    @property
    def standardises(self) -> bool:
        """Whether its units are those of what has been evaluated, so that any objective will do."""
        return self.values == "standardised"


def scale_of(y: Float[Array, " L"], is_seen: Bool[Array, " L"]) -> Scale:
    """Returns the units that the values seen define."""
    count = jnp.maximum(jnp.sum(is_seen.astype(jnp.float32)), 1.0)
    mean = jnp.sum(jnp.where(is_seen, y, 0.0)) / count
    variance = jnp.sum(jnp.where(is_seen, (y - mean) ** 2, 0.0)) / count
    floor = 1e-6 * jnp.max(jnp.where(is_seen, jnp.abs(y), 0.0))  # below it, differences are roundings
    std = jnp.sqrt(variance)
    return Scale(mean, jnp.where(std > floor, std, 1.0))


def named(nap: NAP, name: str) -> str:
    """Returns a name of something that a model did, with `ORACLE` behind it if the model was told ranges of pools."""
    return name + ORACLE if nap.values == "range" else name


def shown_to(nap: NAP, params: Any) -> Any:
    """Returns a pool, or pools, as a model expects them: by their range if that is how it sees values."""
    return by_range(params) if nap.values == "range" else params


def make_nap(
    *,
    num_dimensions: int = MAX_DIMENSIONS,
    architecture: str = "default",
    values: str = "standardised",
    **settings: Any,
) -> NAP:
    """Returns the functions of a model.

    Args:
        num_dimensions: D, columns of every pool.
        architecture: one of `ARCHITECTURES`.
        values: one of `VALUES`; the pools that the model meets must be those of `shown_to`.
        settings: fields of the network.

    Raises:
        ValueError: if the architecture, or the way values are seen, is unknown.
    """
    if values not in VALUES:
        raise ValueError(f"values can not be seen as {values!r}; choose one of {', '.join(VALUES)}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"there is no architecture {architecture!r}; choose one of {', '.join(ARCHITECTURES)}")
    network = ARCHITECTURES[architecture](**settings)

    def init(key: Array) -> Any:
        x = jnp.zeros((2, num_dimensions), jnp.float32)
        kind = jnp.full((num_dimensions,), NUMERIC, jnp.int32)
        return network.init(key, kind, Evaluations(x, x[:, 0], jnp.ones((2,), bool)), x)["params"]

    def believe(
        params: Any, kind: Int[Array, " D"], evaluations: Evaluations, candidates: Float[Array, "N D"]
    ) -> Belief:
        one = jnp.ones((), jnp.float32)
        scale = (
            scale_of(evaluations.y, evaluations.is_seen)
            if values == "standardised"
            else Scale(jnp.zeros_like(one), one)
        )
        z = jnp.clip(scale.standardise(evaluations.y), -CLIP, CLIP)
        seen = Evaluations(evaluations.x, z, evaluations.is_seen)
        return Belief(network.apply({"params": params}, kind, seen, candidates, method="read"), scale)

    def call(method: str, params: Any, belief: Belief, progress: Float[Array, ""]) -> Any:
        return network.apply({"params": params}, belief.reading, progress, method=method)

    return NAP(network, init, believe, partial(call, "acquire"), partial(call, "value"), values)


def believe_in_blocks(
    nap: NAP,
    params: Any,
    kind: Int[Array, " D"],
    evaluations: Evaluations,
    candidates: Float[Array, "N D"],
    *,
    block: int = BLOCK,
) -> Belief:
    """Returns what `nap.believe` does, for some candidates after others: what lies between is never as long as N.

    The evaluations are read anew for every block, which costs little where there are far fewer of them. Candidates that
    fit into one block are not padded.

    Args:
        nap: the model.
        params: its parameters.
        kind: what each dimension holds.
        evaluations: what has been evaluated.
        candidates: what is believed something of.
        block: candidates at once, >= 1; changes no result but by rounding.

    Raises:
        ValueError: if a block holds nothing.
    """
    if block < 1:
        raise ValueError(f"blocks of {block} candidates were asked for; they must hold at least 1")
    count = candidates.shape[0]
    if count <= block:
        return nap.believe(params, kind, evaluations, candidates)
    parts = jnp.pad(candidates, ((0, -count % block), (0, 0))).reshape(-1, block, candidates.shape[1])
    believed: Belief = jax.lax.map(lambda part: nap.believe(params, kind, evaluations, part), parts)
    shared: Belief = jax.tree.map(lambda leaf: leaf[0], believed)
    of_candidates = {
        name: getattr(believed.reading, name).reshape(-1, *getattr(shared.reading, name).shape[1:])[:count]
        for name in ("hidden", "bars", "mean", "std", "log_ei")
    }
    return shared._replace(reading=shared.reading._replace(**of_candidates))


def upper_confidence(nap: NAP, belief: Belief, *, probability: float = 0.9) -> Float[Array, " N"]:
    """Returns the upper quantile of the bars."""
    rows = belief.reading.bars
    return nap.bars.quantile(rows, jnp.full(rows.shape[:1], probability, jnp.float32))


def thompson(nap: NAP, belief: Belief, key: Array) -> Float[Array, " N"]:
    """Returns one draw for each candidate, independent of the others; consumes the key."""
    return nap.bars.sample(key, belief.reading.bars)


def among(logits: Float[Array, " N"], is_allowed: Bool[Array, " N"]) -> Float[Array, " N"]:
    """Returns the logits with everything else out of reach."""
    return jnp.where(is_allowed, logits, NEVER)


def negative_log_likelihood(nap: NAP, belief: Belief, y: Float[Array, " N"]) -> Float[Array, " N"]:
    """Returns minus the log density of each candidate's value in the units of the belief."""
    return -nap.bars.log_prob(belief.reading.bars, belief.scale.standardise(y))
