"""The network of the public code of the neural acquisition process, kept to compare ours with.

Source: Maraval et al. 2023 (NAP), with the sizes and the initialisation of huawei-noah/HEBO. The sequence of history
and candidates that it attends over with a mask is split here, because candidates are read by themselves alone.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.task import CATEGORICAL, MAX_CATEGORIES, ORDINAL, UNUSED
from metarl.metabo.bars import Bars, bounded_bars
from metarl.metabo.network import Evaluations, Reading

HIDDEN = -1e9
"""Score of what may not be looked at."""
LOWEST, HIGHEST = -0.1, 1.1
"""Ends of the bars; values lie in [0, 1]."""
dense = partial(nn.Dense, kernel_init=nn.initializers.normal(0.01))
"""A layer as it is initialised there, attention apart; biases are 0."""


class Heads(NamedTuple):
    """Projections of tokens."""

    query: Float[Array, "n H d"]
    """What tokens look for."""
    key: Float[Array, "n H d"]
    """What they are found by."""
    value: Float[Array, "n H d"]
    """What is found."""


def attend(own: Heads, history: Heads, is_visible: Bool[Array, "n L"]) -> Float[Array, "n W"]:
    """Returns what tokens find in the visible part of a history and in themselves, which each always sees."""
    count, _, size = own.query.shape
    scores = jnp.einsum("nhd,lhd->hnl", own.query, history.key)
    alone = jnp.einsum("nhd,nhd->hn", own.query, own.key)[..., None]
    scores = jnp.concatenate([jnp.where(is_visible[None], scores, HIDDEN), alone], axis=-1)
    weight = jax.nn.softmax(scores / size**0.5)
    found = jnp.einsum("hnl,lhd->nhd", weight[..., :-1], history.value)
    return (found + weight[..., -1].T[..., None] * own.value).reshape(count, -1)


class PostNormLayer(nn.Module):
    """Attention and a perceptron, each behind which the sum is normalised."""

    num_heads: int
    """Attention heads."""
    mlp_ratio: int
    """Hidden units of the perceptron as a multiple of the width."""

    @nn.compact
    def __call__(
        self, history: Float[Array, "L W"], candidates: Float[Array, "N W"], is_seen: Bool[Array, " L"]
    ) -> tuple[Float[Array, "L W"], Float[Array, "N W"]]:
        """Returns both, each token having seen the filled part of the history and itself."""
        room, width = history.shape
        project = nn.Dense(3 * width, kernel_init=nn.initializers.xavier_uniform(), name="project")
        merge = nn.Dense(width, kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), name="merge")
        norms = [nn.LayerNorm(epsilon=1e-5, name=name) for name in ("norm_attention", "norm_mlp")]
        expand, contract = dense(self.mlp_ratio * width, name="expand"), dense(width, name="contract")

        def heads(tokens: Array) -> Heads:
            parts = jnp.split(project(tokens), 3, axis=-1)
            return Heads(*(part.reshape(part.shape[0], self.num_heads, -1) for part in parts))

        def finish(tokens: Array, found: Array) -> Array:
            tokens = norms[0](tokens + merge(found))
            return norms[1](tokens + contract(nn.gelu(expand(tokens), approximate=False)))

        past, own = heads(history), heads(candidates)
        others = is_seen[None] & ~jnp.eye(room, dtype=bool)
        seen = jnp.broadcast_to(is_seen[None], (candidates.shape[0], room))
        return finish(history, attend(past, past, others)), finish(candidates, attend(own, past, seen))


class PaperEmbedding(nn.Module):
    """Points as tokens, linearly: a map of numbers and grid places, plus one of the one-hot of each category."""

    width: int
    """W."""

    @nn.compact
    def __call__(self, x: Float[Array, "n D"], kind: Int[Array, " D"]) -> Float[Array, "n W"]:
        """Returns tokens."""
        is_number = (kind > UNUSED) & (kind <= ORDINAL)
        numbers = dense(self.width, name="numbers")(jnp.where(is_number[None], x, 0.0))
        one_hot = jax.nn.one_hot(x.astype(jnp.int32), MAX_CATEGORIES, dtype=jnp.float32)
        one_hot = jnp.where((kind == CATEGORICAL)[None, :, None], one_hot, 0.0).reshape(x.shape[0], -1)
        return numbers + dense(self.width, use_bias=False, name="categories")(one_hot)


class PaperBars(nn.Module):
    """From a candidate to the distribution of its value."""

    width: int
    """Hidden units."""
    num_bars: int
    """M."""

    @nn.compact
    def __call__(self, hidden: Float[Array, "N W"]) -> Float[Array, "N M"]:
        """Returns logits."""
        hidden = nn.gelu(dense(self.width, name="hidden")(hidden), approximate=False)
        return dense(self.num_bars, name="logits")(hidden)


class PaperAcquisition(nn.Module):
    """From a candidate to how much it is preferred."""

    width: int
    """Hidden units of the three layers."""

    @nn.compact
    def __call__(self, features: Float[Array, "N F"]) -> Float[Array, " N"]:
        """Returns one number per candidate."""
        for _ in range(3):
            features = nn.relu(dense(self.width)(features))
        return dense(1)(features)[:, 0]


class PaperNetwork(nn.Module):
    """Transformer, bars, acquisition and value of one task, unbatched; values are shares of the pool's range.

    What the acquisition sees of a candidate is its embedding and its predictive probabilities, through both of which
    reinforcement learning reaches the network; the critic sees the best value and the time alone.
    """

    width: int = 512
    """W, the size of a token."""
    num_layers: int = 6
    """Layers."""
    num_heads: int = 4
    """Attention heads."""
    mlp_ratio: int = 2
    """Hidden units of the perceptrons, and of the head of the bars, as a multiple of the width."""
    num_bars: int = 1000
    """M, bars of the predictive distribution."""
    acquisition_width: int = 200
    """Hidden units of the acquisition."""

    @property
    def bars(self) -> Bars:
        """The predictive distribution."""
        return bounded_bars(self.num_bars, LOWEST, HIGHEST)

    def setup(self) -> None:
        """Makes the layers."""
        self.embed_point = PaperEmbedding(self.width)
        self.embed_value = dense(self.width)
        self.layers = [PostNormLayer(self.num_heads, self.mlp_ratio) for _ in range(self.num_layers)]
        self.bars_head = PaperBars(self.mlp_ratio * self.width, self.num_bars)
        self.acquisition_head = PaperAcquisition(self.acquisition_width)
        self.value_hidden, self.value_out = dense(self.width), dense(1)

    def read(self, kind: Int[Array, " D"], evaluations: Evaluations, candidates: Float[Array, "N D"]) -> Reading:
        """Returns the reading of candidates; without evaluations each candidate sees itself alone.

        The order of evaluations, other candidates and places not seen change nothing. Without evaluations the best
        value so far is 0, the worst of the pool.
        """
        seen, rows = evaluations.is_seen, self.embed_point(candidates, kind)
        values = jnp.where(seen, evaluations.y, 0.0)
        history, hidden = self.embed_point(evaluations.x, kind) + self.embed_value(values[:, None]), rows
        for layer in self.layers:
            history, hidden = layer(history, hidden, seen)
        logits, bars, incumbent = self.bars_head(hidden), self.bars, jnp.max(values)
        num_seen = jnp.maximum(jnp.sum(seen.astype(jnp.float32)), 1.0)
        return Reading(
            hidden=rows,
            bars=logits,
            mean=bars.mean(logits),
            std=bars.std(logits),
            log_ei=bars.log_ei(logits, jnp.broadcast_to(incumbent, rows.shape[:1])),
            summary=jnp.sum(jnp.where(seen[:, None], history, 0.0), axis=0) / num_seen,
            incumbent=incumbent,
        )

    def acquire(self, reading: Reading, progress: Float[Array, ""]) -> Float[Array, " N"]:
        """Returns how much each candidate is preferred, as logits before the temperature.

        Args:
            reading: what the candidates are like, with its bars.
            progress: share of the budget that is spent.
        """
        probabilities = jax.nn.softmax(reading.bars)
        task = jnp.broadcast_to(jnp.stack([reading.incumbent, progress])[None], (reading.hidden.shape[0], 2))
        return self.acquisition_head(jnp.concatenate([probabilities, reading.hidden, task], axis=1))

    def value(self, reading: Reading, progress: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the expected return from here on, as a critic learns it that cannot tell tasks apart."""
        return self.value_out(jnp.tanh(self.value_hidden(jnp.stack([reading.incumbent, progress]))))[0]

    def __call__(self, kind: Array, evaluations: Evaluations, candidates: Array) -> tuple[Array, Array, Array]:
        """Returns bars, acquisition and value; touches every parameter, for initialisation."""
        reading = self.read(kind, evaluations, candidates)
        start = jnp.zeros((), jnp.float32)
        return reading.bars, self.acquire(reading, start), self.value(reading, start)
