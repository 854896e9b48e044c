"""The supervised half: how probable the model finds values it has not seen, given some that it has.

Source: Müller et al. 2022 (PFNs); as the inductive bias of NAP, Maraval et al. 2023, section 3.3.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.metabo.nap import NAP
from metarl.metabo.network import Evaluations

MIN_CONTEXT = 2
"""Fewest points of a context; one has no spread to measure values by."""


def context_loss(nap: NAP, params: Any, task: Any, key: Array, *, max_context: int) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of a pool's values given some of them, in standardised units.

    The context is the first n of `max_context` candidates in random order, n ~ U{2, …, max_context}; what is predicted
    are the candidates behind, so that no value is both. Consumes the key.

    Args:
        nap: the model.
        params: its parameters.
        task: a pool of N > `max_context` candidates.
        key: randomness.
        max_context: most points of a context.
    """
    key_order, key_count = jax.random.split(key)
    order = jnp.argsort(jnp.where(task.is_valid, jax.random.uniform(key_order, task.y.shape), 2.0))
    x, y, is_valid = task.x[order], task.y[order], task.is_valid[order]
    count = jax.random.randint(key_count, (), MIN_CONTEXT, max_context + 1)
    is_seen = (jnp.arange(max_context) < count) & is_valid[:max_context]
    belief = nap.believe(params, task.kind, Evaluations(x[:max_context], y[:max_context], is_seen), x[max_context:])
    # Far out the density of a tail is a matter of its shape alone: values there count as at the last edge.
    z = jnp.clip(belief.scale.standardise(y[max_context:]), nap.bars.edges[0], nap.bars.edges[-1])
    losses = -nap.bars.log_prob(belief.reading.bars, z)
    # A context of equal values has no units: what it says of the others cannot be scored.
    weight = is_valid[max_context:].astype(jnp.float32) * (belief.scale.std != 1.0).astype(jnp.float32)
    return jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1.0)
