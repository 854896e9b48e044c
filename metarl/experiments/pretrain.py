"""Pretraining: a model that is asked about fresh tasks until it acts in them as one who has inferred the task would."""

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.domains import make_domain
from metarl.experiments.base import Experiment, Metrics
from metarl.experiments.bayes_gap import make_probe
from metarl.experiments.optimiser import build_optimiser
from metarl.experiments.pretrain_batches import context_length, make_batches, make_self_play, steps_drawn
from metarl.experiments.pretrain_config import PretrainConfig
from metarl.experiments.pretrain_learners import RL2Config
from metarl.experiments.pretrain_rl2 import make_rl2_pretraining
from metarl.experiments.pretrain_state import Pretraining, PretrainState
from metarl.incontext.build import make_model
from populations.mesh import split


def make_pretraining(config: PretrainConfig, *, mesh: Any = None) -> Pretraining:
    """Returns the experiment that this config describes; `mesh` spreads its batches over devices.

    Raises:
        ValueError: if sizes do not fit together or something is unknown.
    """
    domains = tuple(make_domain(spec) for spec in config.env)
    if isinstance(config.learner, RL2Config):
        return make_rl2_pretraining(config, domains[0], mesh=mesh)
    model = make_model(domains, **asdict(config.model))
    optimiser = build_optimiser(config.training, config.updates)
    sample = make_batches(config, model)
    prepare = make_self_play(config, model)
    probe = make_probe(model, config, context_length(config))
    drawn = config.updates_per_step * steps_drawn(config, domains)

    def init(key: Array) -> PretrainState:
        key_params, key_run = jax.random.split(key)
        params = model.init(key_params)
        return PretrainState(key_run, jnp.int32(0), params, optimiser.init(params))

    def loss(params: Any, key: Array, pool: Any) -> Float[Array, ""]:
        examples = jax.tree.map(lambda leaf: split(leaf, mesh), sample(key, pool))
        totals = [
            (jnp.sum(jax.vmap(model.losses, (None, 0))(params, part) * part.weight), jnp.sum(part.weight))
            for part in examples
        ]
        total, weight = (jnp.sum(jnp.stack(column)) for column in zip(*totals, strict=True))
        return total / weight

    def update(carry: tuple[Any, Any, Any], key: Array) -> tuple[tuple, tuple[Array, Array]]:
        params, state, pool = carry
        value, gradient = jax.value_and_grad(loss)(params, key, pool)
        updates, state = optimiser.update(gradient, state, params)
        norm = optax.tree.norm(gradient)
        return (optax.apply_updates(params, updates), state, pool), (value, norm)

    def step(state: PretrainState) -> tuple[PretrainState, Metrics]:
        key_pool, key_updates, key_probe = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
        pool, played = prepare(state.params, key_pool)
        keys = jax.random.split(key_updates, config.updates_per_step)
        (params, optimiser_state, _), (losses, norms) = jax.lax.scan(
            update, (state.params, state.optimiser, pool), keys
        )
        metrics = {
            "loss": jnp.mean(losses),
            "gradient_norm": jnp.mean(norms),
            "num_nonfinite": jnp.sum((~jnp.isfinite(losses)).astype(jnp.int32)),
            "num_evaluated": jnp.int32(config.updates_per_step),
            "env_steps": jnp.int32(drawn) + played,
            **probe(params, key_probe),
        }
        return PretrainState(state.key, state.step + 1, params, optimiser_state), metrics

    experiment = Experiment(init, step, lambda state: state.params)
    return Pretraining(experiment, model, domains, asdict(config.model))
