"""Pretraining: a model that is asked about fresh tasks until it acts in them as one who has inferred the task would."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.domain import Domain
from envs.domains import make_domain
from metarl.experiments.base import Experiment, Metrics
from metarl.experiments.bayes_gap import make_probe
from metarl.experiments.optimiser import build_optimiser
from metarl.experiments.pretrain_config import ADConfig, DPTConfig, PretrainConfig, RL2Config
from metarl.experiments.pretrain_rl2 import make_rl2_pretraining
from metarl.experiments.pretrain_state import Pretraining, PretrainState
from metarl.incontext.build import make_model
from metarl.incontext.collect import Collect, make_collect
from metarl.incontext.context import OrderedContext
from metarl.incontext.dpt import DPT, Example
from metarl.incontext.examples import Ask, expert_questions, fresh_examples, history_questions
from metarl.incontext.histories import noisy_expert_history, q_learning_history, subsample
from metarl.incontext.on_policy import make_self_contexts
from populations.mesh import split


def context_length(config: PretrainConfig) -> int:
    """Returns H, the places of a context: as configured, or as long as the longest that its domains ask for."""
    if config.context_length is not None:
        return config.context_length
    domains = [make_domain(spec) for spec in config.env]
    if isinstance(config.learner, ADConfig):
        return domains[0].horizon * config.learner.kept_episodes
    return max(domain.context_length for domain in domains)


def make_pretraining(config: PretrainConfig, *, mesh: Any = None) -> Pretraining:
    """Returns the experiment that this config describes; `mesh` spreads its batches over devices.

    Raises:
        ValueError: if sizes do not fit together or something is unknown.
    """
    domains = tuple(make_domain(spec) for spec in config.env)
    if isinstance(config.learner, RL2Config):
        return make_rl2_pretraining(config, domains[0])
    model = make_model(domains, **asdict(config.model))
    optimiser = build_optimiser(config.training, config.updates)
    sample = _make_batches(config, model)
    prepare = _make_self_play(config, model)
    probe = make_probe(model, config, context_length(config))
    length = context_length(config)

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
        pool = prepare(state.params, key_pool)
        keys = jax.random.split(key_updates, config.updates_per_step)
        (params, optimiser_state, _), (losses, norms) = jax.lax.scan(
            update, (state.params, state.optimiser, pool), keys
        )
        metrics = {
            "loss": jnp.mean(losses),
            "gradient_norm": jnp.mean(norms),
            "num_nonfinite": jnp.sum((~jnp.isfinite(losses)).astype(jnp.int32)),
            "num_evaluated": jnp.int32(config.updates_per_step),
            "env_steps": jnp.int32(config.updates_per_step * config.training.batch_size * length),
            **probe(params, key_probe),
        }
        return PretrainState(state.key, state.step + 1, params, optimiser_state), metrics

    experiment = Experiment(init, step, lambda state: state.params)
    return Pretraining(experiment, model, domains, asdict(config.model))


def _make_batches(config: PretrainConfig, model: DPT) -> Callable[[Array, Any], list[Example]]:
    """Returns `sample(key, pool) -> [examples]`, the parts of a batch, each with a leading axis of its own length."""
    makers, length = [], context_length(config)
    for domain in model.codec.domains:
        if isinstance(config.learner, ADConfig):
            collect = _history_collect(config.learner, domain, length)
            ask = history_questions(domain, model.codec, num_queries=config.learner.num_queries)
            makers.append(fresh_examples(domain, collect, ask))
            continue
        assert isinstance(config.learner, DPTConfig)
        for behaviour in config.learner.behaviours:
            behaviour = domain.behaviour if behaviour == "default" else behaviour
            ask = _ask(config, domain, model)
            makers.append(fresh_examples(domain, make_collect(domain, behaviour, length), ask))
    size = config.training.batch_size
    share = config.learner.on_policy if isinstance(config.learner, DPTConfig) else 0.0
    num_own = round(share * size)
    if num_own and len(model.codec.domains) > 1:
        raise ValueError("learner.on_policy is for one domain; leave it at 0 with several")
    if (size - num_own) % len(makers):
        raise ValueError(
            f"training.batch_size is {size}, of which {size - num_own} are fresh; that must be a multiple of the "
            f"{len(makers)} kinds of context"
        )
    each = (size - num_own) // len(makers)

    def sample(key: Array, pool: Any) -> list[Example]:
        key_fresh, key_own = jax.random.split(key)
        # Folded in one by one, so that an example depends on its place in the batch and not on devices.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_fresh, jnp.arange(each * len(makers)))
        parts = [jax.vmap(maker)(keys[i * each : (i + 1) * each]) for i, maker in enumerate(makers) if each]
        if num_own:
            parts.append(_own_examples(_ask(config, model.codec.domains[0], model), pool, num_own, key_own))
        return parts

    return sample


def _ask(config: PretrainConfig, domain: Domain, model: DPT) -> Ask:
    learner = config.learner
    assert isinstance(learner, DPTConfig)
    return expert_questions(
        domain,
        model.codec,
        num_queries=learner.num_queries,
        prefixes=learner.prefixes,
        shares_prefix=config.model.attention == "set",
        label_noise=learner.label_noise,
        reward_temperature=learner.reward_temperature,
    )


def _own_examples(ask: Ask, pool: tuple[Any, OrderedContext], count: int, key: Array) -> Example:
    """Returns questions about `count` contexts from the pool."""
    params, contexts = pool
    key_choice, key_ask = jax.random.split(key)
    index = jax.random.randint(key_choice, (count,), 0, contexts.length.shape[0])
    chosen = jax.tree.map(lambda leaf: leaf[index], (params, contexts))
    return jax.vmap(ask)(*chosen, jax.random.split(key_ask, count))


def _make_self_play(config: PretrainConfig, model: DPT) -> Callable[[Any, Array], Any]:
    """Returns `prepare(params, key) -> pool` of contexts that the model makes itself; an empty pool without them."""
    learner = config.learner
    if not isinstance(learner, DPTConfig) or learner.on_policy == 0.0:
        return lambda params, key: ()
    domain = model.codec.domains[0]
    skips_seen = domain.pair_index is not None
    rollout = make_self_contexts(
        domain,
        num_episodes=1 if domain.is_bandit else learner.on_policy_episodes,
        length=context_length(config),
        skips_seen=skips_seen,
    )

    def prepare(params: Any, key: Array) -> tuple[Any, OrderedContext]:
        return rollout(model.agent(params, domain, skips_seen=skips_seen), key, learner.on_policy_tasks)

    return prepare


def _history_collect(learner: ADConfig, domain: Domain, length: int) -> Collect:
    """Returns contexts that are episodes, evenly spaced, of a learning history."""
    make = noisy_expert_history if learner.source == "noisy-expert" else q_learning_history
    history = make(domain, num_episodes=learner.episodes)

    def collect(params: Any, key: Array) -> OrderedContext:
        return OrderedContext(subsample(history(params, key), learner.kept_episodes), jnp.int32(length))

    return collect
