"""Updates of an in-context model with all that belongs to them: fresh contexts, questions, gradient, optimiser."""

import jax
import jax.numpy as jnp
import optax

from metarl.incontext.collect import make_collect
from metarl.incontext.examples import expert_questions, fresh_examples


def make_updates(domain, model, optimiser, *, prefixes, length, batch, num_updates):
    """Returns `updates()`, compiled: `num_updates` in a row from one start, on contexts of `length` transitions."""
    ask = expert_questions(domain, model.codec, num_queries=16, prefixes=prefixes)
    sample = fresh_examples(domain, make_collect(domain, domain.behaviour, length), ask)

    def loss(params, key):
        examples = jax.vmap(sample)(jax.random.split(key, batch))
        return jnp.mean(jax.vmap(model.losses, (None, 0))(params, examples))

    def update(carry, key):
        params, state = carry
        updates, state = optimiser.update(jax.grad(loss)(params, key), state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda carry, keys: jax.lax.scan(update, carry, keys)[0])
    params = jax.jit(model.init)(jax.random.key(0))
    start, keys = (params, optimiser.init(params)), jax.random.split(jax.random.key(1), num_updates)
    return lambda: run(start, keys)
