"""The neural process: evaluated points are a set that candidates read, and each candidate is judged by itself.

Source: Maraval et al. 2023 (NAP); embedding of spaces of any dimension after Müller et al. 2023 (PFNs4BO).
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.task import CATEGORICAL, MAX_CATEGORIES, ORDINAL, UNUSED
from metarl.metabo.bars import Bars, make_bars
from metarl.metabo.distances import NUM_KINDS, Distances
from metarl.networks.transformer import ContextTransformer


class Evaluations(NamedTuple):
    """Points that have been evaluated, a set in fixed-size arrays."""

    x: Float[Array, "L D"]
    """Where."""
    y: Float[Array, " L"]
    """Values, maximised, finite."""
    is_seen: Bool[Array, " L"]
    """Which places hold an evaluation; the others may hold any finite numbers."""


class Reading(NamedTuple):
    """What the network makes of candidates in the light of evaluations, all in standardised units."""

    hidden: Float[Array, "N W"]
    """What the acquisition sees of each candidate beside numbers: the output of the last layer, or an embedding."""
    bars: Float[Array, "N M"]
    """Logits of the predictive distribution of each candidate's value."""
    mean: Float[Array, " N"]
    """Its mean."""
    std: Float[Array, " N"]
    """Its standard deviation."""
    log_ei: Float[Array, " N"]
    """The log of its expected improvement over the incumbent."""
    summary: Float[Array, " W"]
    """The evaluations as a whole."""
    incumbent: Float[Array, ""]
    """Best value so far."""


class BarsHead(nn.Module):
    """From a candidate to the distribution of its value."""

    width: int
    """Hidden units."""
    num_bars: int
    """M."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "N W"]) -> Float[Array, "N M"]:
        """Returns logits."""
        return nn.Dense(self.num_bars)(nn.gelu(nn.Dense(self.width)(hidden)))


class AcquisitionHead(nn.Module):
    """From a candidate to how much it is preferred; an untrained head prefers nothing."""

    width: int
    """Hidden units of both layers."""

    @nn.compact
    def __call__(self, features: Float[Array, "N F"]) -> Float[Array, " N"]:
        """Returns one number per candidate, 0 before training."""
        x = nn.gelu(nn.Dense(self.width)(features))
        x = nn.gelu(nn.Dense(self.width)(x))
        return nn.Dense(1, kernel_init=nn.initializers.zeros)(x)[:, 0]


class PointEmbedding(nn.Module):
    """Points of spaces of any number and kind of dimensions as tokens.

    Numbers and grid places enter as [-1, 1], scaled by sqrt(D / d) so that what d dimensions make is as long as what D
    make; categories as one-hot blocks; what the dimensions are is told to every token.
    """

    width: int
    """W."""
    dtype: Any
    """Type of activations."""

    @nn.compact
    def __call__(self, x: Float[Array, "n D"], kind: Int[Array, " D"]) -> Float[Array, "n W"]:
        """Returns tokens."""
        num_dimensions = x.shape[1]
        is_number, is_category = (kind > UNUSED) & (kind <= ORDINAL), kind == CATEGORICAL
        num_used = jnp.maximum(jnp.sum((kind != UNUSED).astype(jnp.float32)), 1.0)
        scale = jnp.sqrt(num_dimensions / num_used)
        numbers = jnp.where(is_number[None], 2.0 * x - 1.0, 0.0) * scale
        one_hot = jax.nn.one_hot(x.astype(jnp.int32), MAX_CATEGORIES, dtype=jnp.float32)
        categories = jnp.where(is_category[None, :, None], one_hot, 0.0) * scale
        kinds = jax.nn.one_hot(kind, NUM_KINDS, dtype=jnp.float32)
        dense = lambda inputs: nn.Dense(self.width, dtype=self.dtype)(inputs)  # noqa: E731
        hidden = dense(jnp.concatenate([numbers, categories.reshape(x.shape[0], -1)], axis=1))
        hidden = hidden + dense(kinds.reshape(1, -1))
        return dense(nn.gelu(hidden))


class NAPNetwork(nn.Module):
    """Transformer, bars, acquisition and value of one task, unbatched."""

    width: int = 64
    """W, the size of a token."""
    num_layers: int = 3
    """Layers."""
    num_heads: int = 4
    """Attention heads."""
    mlp_ratio: int = 2
    """Hidden units of the perceptrons as a multiple of the width."""
    num_bars: int = 128
    """M, bars of the predictive distribution."""
    bar_limit: float = 10.0
    """Where its tails begin."""
    activation: str = "gelu"
    """Of the perceptrons in the transformer."""
    distances: str = "none"
    """Whether attention is told distances: `none`, or with lengthscales that evaluations suggest, `ard`."""
    residual: bool = True
    """Whether the acquisition is added to the log of the expected improvement, so that it starts as that."""
    stop_gradient: bool = True
    """Whether what the acquisition learns leaves the transformer and the bars alone."""
    precision: str = "float32"
    """Type of activations in the transformer, or `bfloat16`; parameters, softmaxes, bars and heads are float32."""

    @property
    def dtype(self) -> Any:
        """The precision as a type."""
        return jnp.dtype(self.precision)

    @property
    def bars(self) -> Bars:
        """The predictive distribution."""
        return make_bars(self.num_bars, self.bar_limit)

    def setup(self) -> None:
        """Makes the layers."""
        self.layers = ContextTransformer(
            self.width,
            self.num_layers,
            self.num_heads,
            attention="set",
            mlp_ratio=self.mlp_ratio,
            activation=self.activation,
            dtype=self.dtype,
        )
        if self.distances != "none":
            self.apart = Distances(self.num_layers, self.num_heads)
        self.embed_point = PointEmbedding(self.width, self.dtype)
        self.embed_value = nn.Dense(self.width, dtype=self.dtype)
        self.question = self.param("question", nn.initializers.normal(1.0), (self.width,))
        self.bars_head = BarsHead(2 * self.width, self.num_bars)
        self.acquisition_head = AcquisitionHead(self.width)
        self.value_hidden, self.value_out = nn.Dense(self.width), nn.Dense(1, kernel_init=nn.initializers.zeros)

    def read(self, kind: Int[Array, " D"], evaluations: Evaluations, candidates: Float[Array, "N D"]) -> Reading:
        """Returns the reading of candidates; values of the evaluations are standardised already.

        The order of evaluations, other candidates and places not seen change nothing.
        """
        seen = evaluations.is_seen
        values = jnp.where(seen, evaluations.y, 0.0)[:, None]
        tokens = self.embed_point(evaluations.x, kind) + self.embed_value(
            jnp.concatenate([values, jnp.tanh(values)], 1)
        )
        among, towards = self._biases(kind, evaluations, candidates)
        cache, outputs = self.layers.encode(tokens, seen, among)
        count = candidates.shape[0]
        is_visible = jnp.broadcast_to(jnp.concatenate([jnp.ones((1,), bool), seen])[None], (count, seen.shape[0] + 1))
        questions = self.embed_point(candidates, kind) + self.question[None].astype(self.dtype)
        hidden = self.layers.read(questions, cache, jnp.zeros((count,), jnp.int32), is_visible, towards).astype(
            jnp.float32
        )
        rows, bars = self.bars_head(hidden), self.bars
        incumbent = jnp.max(evaluations.y, where=seen, initial=float(bars.edges[0]))
        return Reading(
            hidden=hidden,
            bars=rows,
            mean=bars.mean(rows),
            std=bars.std(rows),
            log_ei=bars.log_ei(rows, jnp.broadcast_to(incumbent, (count,))),
            summary=jnp.mean(outputs.astype(jnp.float32), axis=0, where=is_visible[0][:, None]),
            incumbent=incumbent,
        )

    def _biases(
        self, kind: Int[Array, " D"], evaluations: Evaluations, candidates: Float[Array, "N D"]
    ) -> tuple[Array | None, Array | None]:
        """Returns the biases [layers, heads, n, 1 + L] of the prior token and evaluations, and of candidates."""
        if self.distances == "none":
            return None, None
        weights = self.apart.weigh(kind, *evaluations)
        among, towards = (self.apart(weights, kind, x, evaluations.x) for x in (evaluations.x, candidates))
        return jnp.pad(among, ((0, 0), (0, 0), (1, 0), (0, 0))), towards

    def acquire(self, reading: Reading, progress: Float[Array, ""]) -> Float[Array, " N"]:
        """Returns how much each candidate is preferred, as logits; the bars themselves are not looked at.

        Args:
            reading: what the candidates are like.
            progress: share of the budget that is spent.
        """
        reading = jax.lax.stop_gradient(reading) if self.stop_gradient else reading
        task = jnp.broadcast_to(jnp.stack([reading.incumbent, progress])[None], (reading.mean.shape[0], 2))
        log_ei = jnp.clip(reading.log_ei, -20.0, 5.0) / 5.0
        numbers = jnp.stack([reading.mean, jnp.log(reading.std), log_ei], axis=1)
        learned = self.acquisition_head(jnp.concatenate([reading.hidden, numbers, task], axis=1))
        return learned + reading.log_ei if self.residual else learned

    def value(self, reading: Reading, progress: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the expected return from here on, as a critic learns it; 0 before training."""
        summary = jax.lax.stop_gradient(reading.summary)
        features = jnp.concatenate([summary, jnp.stack([reading.incumbent, progress])])
        return self.value_out(nn.gelu(self.value_hidden(features)))[0]

    def __call__(self, kind: Array, evaluations: Evaluations, candidates: Array) -> tuple[Array, Array, Array]:
        """Returns bars, acquisition and value; touches every parameter, for initialisation."""
        reading = self.read(kind, evaluations, candidates)
        start = jnp.zeros((), jnp.float32)
        return reading.bars, self.acquire(reading, start), self.value(reading, start)
