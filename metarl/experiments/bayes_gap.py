"""How far a model is from the best that can be known: its predictions against the exact posterior."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.domain import Belief, Domain
from metarl.experiments.base import Metrics
from metarl.experiments.pretrain_config import PretrainConfig
from metarl.experiments.pretrain_learners import DPTConfig
from metarl.incontext.agent import Transition
from metarl.incontext.collect import make_collect
from metarl.incontext.context import Context
from metarl.incontext.dpt import DPT, Example

LENGTHS = (0, 1, 2, 5, 10, 25, 50, 100, 200, 300, 500)
"""Context lengths at which a model is examined."""
NUM_PROBES = 256
"""Fresh tasks on which metrics are measured in every step."""


def probe_lengths(length: int) -> tuple[int, ...]:
    """Returns the lengths that contexts of this length have, the full one included."""
    return tuple(sorted({n for n in LENGTHS if n < length} | {length}))


def make_probe(
    model: DPT, config: PretrainConfig, length: int, *, num_tasks: int = NUM_PROBES
) -> Callable[[Any, Array], Metrics]:
    """Returns `probe(params, key) -> metrics` on fresh tasks of the first domain.

    There are none without an exact posterior, nor for continuous actions, whose posterior is known by draws alone.

    `cross_entropy/<n>`: of the expert's answer after n transitions, in nats, averaged over the exact posterior.
    `bayes_gap/<n>`: how much that is above the least possible, the posterior's entropy. Contexts are the paper's.
    """
    domain = model.codec.domains[0]
    is_known = domain.belief is not None and not domain.is_continuous
    if not is_known or not isinstance(config.learner, DPTConfig) or config.model.attention == "set":
        return lambda params, key: {}
    measure = make_gap(model, domain, length)

    def probe(params: Any, key: Array) -> Metrics:
        entropy, gap = jax.vmap(measure, (None, 0))(params, jax.random.split(key, num_tasks))
        means = {"cross_entropy": jnp.mean(entropy + gap, axis=0), "bayes_gap": jnp.mean(gap, axis=0)}
        lengths = probe_lengths(length)
        return {f"{name}/{n}": mean[i] for name, mean in means.items() for i, n in enumerate(lengths)}

    return probe


def make_gap(
    model: DPT, domain: Domain, length: int, behaviour: str | None = None
) -> Callable[[Any, Array], tuple[Float[Array, " n"], Float[Array, " n"]]]:
    """Returns `measure(params, key) -> (entropy, gap)` in one fresh training task, for each of `probe_lengths(length)`.

    The entropy is that of the exact `P(a* | data)` at a random query, the gap the Kullback-Leibler divergence of the
    model from it, both in nats; their sum is the model's cross-entropy.
    """
    belief = domain.belief
    assert belief is not None, domain.name
    lengths = probe_lengths(length)
    collect = make_collect(domain, behaviour or domain.behaviour, length)

    def measure(params: Any, key: Array) -> tuple[Array, Array]:
        key_task, key_context, key_queries = jax.random.split(key, 3)
        task = domain.family.sample(key_task).params
        context = collect(task, key_context)
        queries = jax.vmap(domain.sample_query, (0, None))(jax.random.split(key_queries, len(lengths)), task)
        exact = jnp.maximum(posteriors(belief, context.transitions, queries, lengths), 1e-30)
        outputs = model.outputs(params, _questions(model, domain, context, queries, lengths))
        predicted = jnp.maximum(jax.nn.log_softmax(outputs)[:, : domain.num_actions], jnp.log(1e-30))
        entropy = -jnp.sum(exact * jnp.log(exact), axis=1)
        return entropy, jnp.sum(exact * (jnp.log(exact) - predicted), axis=1)

    return measure


def posteriors(belief: Belief, transitions: Transition, queries: Any, lengths: tuple[int, ...]) -> Float[Array, "n A"]:
    """Returns `P(a* | data)` at each query, after as many transitions as stand in the ascending `lengths`."""
    state, done, found = belief.init(), 0, []
    for index, length in enumerate(lengths):
        piece = jax.tree.map(lambda leaf, a=done, b=length: leaf[a:b], transitions)
        state, _ = jax.lax.scan(lambda state, one: (belief.update(state, *one), None), state, piece)
        found.append(belief.probabilities(state, jax.tree.map(lambda leaf, i=index: leaf[i], queries)))
        done = length
    return jnp.stack(found)


def _questions(model: DPT, domain: Domain, context: Context, queries: Any, lengths: tuple[int, ...]) -> Example:
    codec, count = model.codec, len(lengths)
    return Example(
        transitions=jax.vmap(lambda one: codec.transition(domain, one))(context.transitions),
        is_valid=context.is_valid,
        queries=jax.vmap(lambda one: codec.query(domain, one))(queries),
        prefix=jnp.asarray(lengths, jnp.int32),
        labels=jnp.zeros((count, codec.num_actions)),
        weight=jnp.ones((count,)),
        allowed=codec.allowed_actions(domain),
    )
