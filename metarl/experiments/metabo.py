"""Meta-Bayesian optimisation: a neural process learns to predict, then by reinforcement what to evaluate next."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from metarl.experiments.base import Experiment, Metrics
from metarl.experiments.metabo_build import build_optimisers, build_sources, load_start, make_validation
from metarl.experiments.metabo_config import MetaboConfig
from metarl.experiments.metabo_phases import LikelihoodConfig
from metarl.experiments.metabo_policy import POLICY_METRICS, make_policy_step
from metarl.metabo.batches import make_batches
from metarl.metabo.likelihood import context_loss
from metarl.metabo.nap import NAP, make_nap
from populations.mesh import split


class MetaboState(NamedTuple):
    """Everything the next step depends on."""

    key: Key[Array, ""]
    """Root of all randomness; never changes."""
    step: Int[Array, ""]
    """Steps done: of several updates in the first phase, one iteration in the second."""
    params: Any
    """Parameters of the model."""
    likelihood_optimiser: Any
    """State of the first phase's optimiser."""
    policy_optimiser: Any
    """State of the second phase's optimisers."""
    pretrained: Any
    """Parameters at the end of the first phase."""
    best: Any
    """Parameters at the validation with the smallest regret."""
    best_score: Float[Array, ""]
    """That regret; 1, the worst there is, before the first validation."""


class Metabo(NamedTuple):
    """An experiment and what surrounds it."""

    experiment: Experiment
    """What the host loop runs. It exports `best` and `pretrained`."""
    nap: NAP
    """The model that is trained."""
    settings: dict[str, Any]
    """What rebuilds the model, as JSON values."""


def make_metabo(config: MetaboConfig, *, mesh: Any = None) -> Metabo:
    """Returns the experiment that this config describes; `mesh` spreads its batches over devices.

    Raises:
        ValueError: if sizes do not fit together or something is unknown.
    """
    settings = config.model.settings
    nap = make_nap(**settings)
    families = build_sources(config)
    likelihood_optimiser, policy_optimiser = build_optimisers(config)
    batches = partial(make_batches, families, config.tasks.shares, permuted=config.tasks.permuted)
    predict = _make_likelihood_step(config.likelihood, nap, batches(config.likelihood.batch_size), likelihood_optimiser)
    improve = make_policy_step(config, nap, batches, policy_optimiser, mesh=mesh)
    validate = make_validation(config, nap)
    start = load_start(config.start, nap) if config.start is not None else None

    def init(key: Array) -> MetaboState:
        key_params, key_run = jax.random.split(key)
        params = nap.init(key_params) if start is None else jax.tree.map(jnp.asarray, start)
        optimisers = likelihood_optimiser.init(params), policy_optimiser.init(params)
        return MetaboState(key_run, jnp.int32(0), params, *optimisers, params, params, jnp.float32(1.0))

    def step(state: MetaboState) -> tuple[MetaboState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        is_first = state.step < config.num_likelihood_steps
        state, metrics = jax.lax.cond(is_first, partial(predict, mesh=mesh), improve, state, key)
        pretrained = jax.tree.map(partial(jnp.where, is_first), state.params, state.pretrained)
        state = state._replace(step=state.step + 1, pretrained=pretrained)
        return _keep_best(config, validate, state, metrics)

    export = lambda state: {"best": state.best, "pretrained": state.pretrained}  # noqa: E731
    return Metabo(Experiment(init, step, export), nap, settings)


def _make_likelihood_step(
    config: LikelihoodConfig, nap: NAP, sample: Callable[[Array], Any], optimiser: optax.GradientTransformation
) -> Callable[..., tuple[MetaboState, Metrics]]:
    """Returns some updates of the likelihood alone."""

    def loss(params: Any, key: Array, mesh: Any) -> Float[Array, ""]:
        key_tasks, key_contexts = jax.random.split(key)
        tasks = jax.tree.map(lambda leaf: split(leaf, mesh), sample(key_tasks))
        keys = jax.random.split(key_contexts, config.batch_size)
        one = partial(context_loss, nap, params, **config.context)
        return jnp.mean(jax.vmap(one)(tasks, keys))

    def predict(state: MetaboState, key: Array, mesh: Any = None) -> tuple[MetaboState, Metrics]:
        def update(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
            params, moments = carry
            value, gradient = jax.value_and_grad(loss)(params, key, mesh)
            updates, moments = optimiser.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), moments), (value, optax.tree.norm(gradient))

        keys = jax.random.split(key, config.updates_per_step)
        (params, moments), (losses, norms) = jax.lax.scan(update, (state.params, state.likelihood_optimiser), keys)
        metrics = {
            "loss": jnp.mean(losses),
            "likelihood_norm": jnp.mean(norms),
            "num_nonfinite": jnp.sum((~jnp.isfinite(losses)).astype(jnp.int32)),
            "num_evaluated": jnp.int32(config.updates_per_step),
            "env_steps": jnp.int32(0),
            **dict.fromkeys(POLICY_METRICS, jnp.float32(0.0)),
        }
        return state._replace(params=params, likelihood_optimiser=moments), metrics

    return predict


def _keep_best(
    config: MetaboConfig, validate: Callable[[Any], Array], state: MetaboState, metrics: Metrics
) -> tuple[MetaboState, Metrics]:
    """Returns (state, metrics) after a validation, where one is due; otherwise its metric is that of the best."""
    first, last = max(config.num_likelihood_steps, 1), config.num_steps
    since = state.step - first
    is_due = (since == 0) | (state.step == last) | ((since > 0) & (since % config.validation.every == 0))
    score = jax.lax.cond(is_due, validate, lambda params: state.best_score, state.params)
    is_better = is_due & (score <= state.best_score)
    best = jax.tree.map(partial(jnp.where, is_better), state.params, state.best)
    state = state._replace(best=best, best_score=jnp.where(is_better, score, state.best_score))
    return state, {**metrics, "validation_regret": score}
