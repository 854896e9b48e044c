"""The supervised half: how probable the model finds values it has not seen, given some that it has.

Source: Müller et al. 2022 (PFNs); as the inductive bias of NAP, Maraval et al. 2023, section 3.3.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.metabo.distances import squared_differences
from metarl.metabo.nap import NAP
from metarl.metabo.network import Evaluations

MIN_CONTEXT = 2
"""Fewest points of a context without repetitions; one has no spread to measure values by."""


COUNTS = ("uniform", "log-uniform")
"""Laws of the number of evaluations in a context."""


FIRST_SHARES, STAGES, PULLS = (0.1, 0.5), 3, (1.0, 30.0)
"""Of gathered contexts: between which shares are random, in how many stages the rest is added, and how strongly it is
pulled, in nats at the mean squared distance from the best."""


class Question(NamedTuple):
    """What is shown and what is asked of one pool, by place."""

    context: Int[Array, " C"]
    """Candidates of the context, some of which are shown."""
    is_seen: Bool[Array, " C"]
    """Which."""
    targets: Int[Array, " M"]
    """Candidates whose values are asked for; padding is not counted."""


def context_loss(
    nap: NAP,
    params: Any,
    task: Any,
    key: Array,
    *,
    max_context: int,
    counts: str = "uniform",
    with_replacement: bool = False,
    gathered: float = 0.0,
) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of a pool's values given some of them, in the units of the model.

    The context is the first n of `max_context` candidates in random order, 2 <= n <= max_context; what is predicted
    are the candidates behind, so that no value is both. With replacement, 1 <= n <= max_context draws are the context
    and all candidates are predicted, those of the context included, as in huawei-noah/HEBO. Consumes the key.

    Args:
        nap: the model.
        params: its parameters.
        task: a pool of N > `max_context` candidates.
        key: randomness.
        max_context: most points of a context.
        counts: law of n, one of `COUNTS`; log-uniform numbers below `max_context + 1` are rounded down.
        with_replacement: whether a candidate may be drawn again.
        gathered: share of contexts that lie around the best of their first points, as an optimiser leaves them; without
            replacement only.
    """
    if with_replacement:
        asked = _repeated(task, key, max_context, counts)
    else:
        asked = _apart(task, key, max_context, counts, gathered)
    context, rest = asked.context, asked.targets
    seen = Evaluations(task.x[context], task.y[context], asked.is_seen)
    belief = nap.believe(params, task.kind, seen, task.x[rest])
    # Far out the density of a tail is a matter of its shape alone: values there count as at the last edge.
    z = jnp.clip(belief.scale.standardise(task.y[rest]), nap.bars.edges[0], nap.bars.edges[-1])
    losses = -nap.bars.log_prob(belief.reading.bars, z)
    weight = task.is_valid[rest].astype(jnp.float32)
    if nap.standardises:  # a context of equal values has no units: what it says of the others cannot be scored
        weight = weight * (belief.scale.std != 1.0).astype(jnp.float32)
    return jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def _apart(task: Any, key: Array, max_context: int, counts: str, gathered: float) -> Question:
    """Returns a context without repetitions and everything behind it; consumes the key."""
    key_order, key_count, key_gather = jax.random.split(key, 3)
    order = jnp.argsort(jnp.where(task.is_valid, jax.random.uniform(key_order, task.y.shape), 2.0))
    count = _count(key_count, MIN_CONTEXT, max_context, counts)
    if gathered > 0.0:
        order = gather(task, order, count, gathered, key_gather)
    context = order[:max_context]
    return Question(context, (jnp.arange(max_context) < count) & task.is_valid[context], order[max_context:])


def gather(task: Any, order: Int[Array, " N"], count: Int[Array, ""], share: float, key: Array) -> Int[Array, " N"]:
    """Returns the candidates in another order, of which the first `count` may be gathered around good ones.

    Some are random; the others follow in stages, near the best of those before. Which they are depends on values that
    are in the context already and on no other, so that what is left is as likely as it would be had they been drawn
    blindly: there is nothing to learn from having been left out.

    Args:
        task: a pool.
        order: its candidates in random order, valid ones first.
        count: how many are in the context.
        share: probability of gathering; otherwise the order stays random.
        key: randomness.
    """
    key_share, key_first, key_pull, key_noise = jax.random.split(key, 4)
    pull = jnp.exp(jax.random.uniform(key_pull, (), minval=jnp.log(PULLS[0]), maxval=jnp.log(PULLS[1])))
    pull = jnp.where(jax.random.bernoulli(key_share, share), pull, 0.0)
    low, high = FIRST_SHARES
    part = jax.random.uniform(key_first, (), minval=low, maxval=high) * count.astype(jnp.float32)
    first = jnp.clip(jnp.ceil(part).astype(jnp.int32), MIN_CONTEXT, count)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.shape[0], dtype=jnp.int32))
    is_taken, taken = (rank < first) & task.is_valid, first
    for stage in range(STAGES):
        best = jnp.argmax(jnp.where(is_taken, task.y, -jnp.inf))
        apart = jnp.sum(squared_differences(task.x[best][None], task.x, task.kind)[:, 0], axis=0)
        apart = apart / jnp.maximum(jnp.mean(apart, where=task.is_valid), 1e-6)
        noise = jax.random.gumbel(jax.random.fold_in(key_noise, stage), apart.shape)
        score = jnp.where(task.is_valid & ~is_taken, noise - pull * apart, -jnp.inf)
        until = first + (count - first) * (stage + 1) // STAGES
        is_new = jnp.argsort(jnp.argsort(-score)) < until - taken
        is_taken, taken = is_taken | (is_new & task.is_valid), until
    return jnp.argsort(jnp.where(is_taken, rank, rank + order.shape[0]))


def _repeated(task: Any, key: Array, max_context: int, counts: str) -> Question:
    """Returns a context drawn with replacement and the whole pool; consumes the key."""
    key_places, key_count = jax.random.split(key)
    valid_first = jnp.argsort(~task.is_valid, stable=True)
    num_valid = jnp.sum(task.is_valid.astype(jnp.int32))
    context = valid_first[jax.random.randint(key_places, (max_context,), 0, num_valid)]
    count = _count(key_count, 1, max_context, counts)
    return Question(context, jnp.arange(max_context) < count, jnp.arange(task.y.shape[0]))


def _count(key: Array, least: int, most: int, law: str) -> Int[Array, ""]:
    """Returns how many evaluations a context has; consumes the key."""
    if law == "uniform":
        return jax.random.randint(key, (), least, most + 1)
    ends = jnp.log(jnp.array([least, most + 1], jnp.float32))
    drawn = jnp.exp(jax.random.uniform(key, (), minval=ends[0], maxval=ends[1]))
    return jnp.clip(drawn.astype(jnp.int32), least, most)
