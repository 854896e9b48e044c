"""Batches of pretraining: contexts of every kind that a configuration asks for, and contexts of the model's own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from envs.domain import Domain
from envs.domains import make_domain
from metarl.experiments.pretrain_config import PretrainConfig
from metarl.experiments.pretrain_corpus import stored_examples
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig, RL2Config
from metarl.incontext.collect import Collect, make_collect
from metarl.incontext.context import OrderedContext
from metarl.incontext.dpt import DPT, Example
from metarl.incontext.examples import Ask, expert_questions, fresh_examples, history_questions
from metarl.incontext.histories import noisy_expert_history, q_learning_history, subsample
from metarl.incontext.on_policy import make_self_contexts


def context_length(config: PretrainConfig) -> int:
    """Returns H, the places of a context: as configured, or as long as the longest that its domains ask for."""
    if config.context_length is not None:
        return config.context_length
    domains = [make_domain(spec) for spec in config.env]
    if isinstance(config.learner, ADConfig):
        return domains[0].horizon * config.learner.kept_episodes
    return max(domain.context_length for domain in domains)


def num_own(config: PretrainConfig) -> int:
    """Returns how many contexts of a batch the model has made itself."""
    share = config.learner.on_policy if isinstance(config.learner, DPTConfig) else 0.0
    return round(share * config.training.batch_size)


def spread_sizes(config: PretrainConfig) -> dict[str, int]:
    """Returns what is spread over devices, by what a refusal calls it; their number must divide every size."""
    learner = config.learner
    if isinstance(learner, RL2Config):
        return {"learner.num_tasks / learner.num_minibatches": learner.num_tasks // learner.num_minibatches}
    size, own = config.training.batch_size, num_own(config)
    sizes = {"training.batch_size": size, "learner.on_policy * training.batch_size": own}
    if _num_kinds(config) > 1:
        sizes["the contexts of each kind in a batch"] = (size - own) // _num_kinds(config)
    return sizes


def _num_kinds(config: PretrainConfig) -> int:
    """Returns how many kinds of fresh context share a batch: domains times behaviours."""
    return len(config.env) * (len(config.learner.behaviours) if isinstance(config.learner, DPTConfig) else 1)


def steps_drawn(config: PretrainConfig, domains: tuple[Domain, ...]) -> int:
    """Returns how many steps in an environment the fresh contexts of a batch take; of a history, all its episodes."""
    if config.corpus is not None:
        return 0
    learner = config.learner
    each = domains[0].horizon * learner.episodes if isinstance(learner, ADConfig) else context_length(config)
    return (config.training.batch_size - num_own(config)) * each


def make_batches(config: PretrainConfig, model: DPT) -> Callable[[Array, Any], list[Example]]:
    """Returns `sample(key, pool) -> [examples]`, the parts of a batch, each with a leading axis of its own length."""
    _check_history(config)
    makers, length = [], context_length(config)
    for domain in model.codec.domains:
        if isinstance(config.learner, ADConfig):
            collect = _history_collect(config.learner, domain, length)
            ask = history_questions(domain, model.codec, num_queries=config.learner.num_queries)
            makers.append(fresh_examples(domain, collect, ask))
            continue
        assert isinstance(config.learner, DPTConfig)
        if config.corpus is not None:
            makers.append(stored_examples(config, model, length))
            continue
        for behaviour in config.learner.behaviours:
            behaviour = domain.behaviour if behaviour == "default" else behaviour
            ask = _ask(config, domain, model)
            makers.append(fresh_examples(domain, make_collect(domain, behaviour, length), ask))
    size, own = config.training.batch_size, num_own(config)
    if own and len(model.codec.domains) > 1:
        raise ValueError("learner.on_policy is for one domain; leave it at 0 with several")
    if (size - own) % len(makers):
        raise ValueError(
            f"training.batch_size is {size}, of which {size - own} are fresh; that must be a multiple of the "
            f"{len(makers)} kinds of context"
        )
    each = (size - own) // len(makers)

    def sample(key: Array, pool: Any) -> list[Example]:
        key_fresh, key_own = jax.random.split(key)
        # Folded in one by one, so that an example depends on its place in the batch and not on devices.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_fresh, jnp.arange(each * len(makers)))
        parts = [jax.vmap(maker)(keys[i * each : (i + 1) * each]) for i, maker in enumerate(makers) if each]
        if own:
            parts.append(_own_examples(_ask(config, model.codec.domains[0], model), pool, own, key_own))
        return parts

    return sample


def _check_history(config: PretrainConfig) -> None:
    """Raises ValueError if contexts are histories, and something does not go with that."""
    if not isinstance(config.learner, ADConfig):
        return
    if config.context_length is not None:
        raise ValueError(
            f"context_length is {config.context_length}, but a context of algorithm distillation is made of "
            "learner.kept_episodes episodes; leave it out and choose these"
        )
    if config.model.attention == "set":
        raise ValueError(
            "model.attention is 'set', which shows a question all of the history, the answer in it; choose causal or "
            "independent for algorithm distillation"
        )


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


def make_self_play(config: PretrainConfig, model: DPT) -> Callable[[Any, Array], tuple[Any, Int[Array, ""]]]:
    """Returns `prepare(params, key) -> (pool, steps)`: contexts that the model makes itself, and in how many steps.

    Without them the pool is empty.
    """
    learner = config.learner
    if not isinstance(learner, DPTConfig) or num_own(config) == 0:
        return lambda params, key: ((), jnp.int32(0))
    domain = model.codec.domains[0]
    skips_seen = domain.pair_index is not None
    rollout = make_self_contexts(
        domain,
        num_episodes=1 if domain.is_bandit else learner.on_policy_episodes,
        length=context_length(config),
        skips_seen=skips_seen,
    )

    def prepare(params: Any, key: Array) -> tuple[Any, Int[Array, ""]]:
        agent = model.agent(params, domain, skips_seen=skips_seen)
        *pool, steps = rollout(agent, key, learner.on_policy_tasks)
        return tuple(pool), jnp.sum(steps)

    return prepare


def _history_collect(learner: ADConfig, domain: Domain, length: int) -> Collect:
    """Returns contexts that are episodes, evenly spaced, of a learning history."""
    make = noisy_expert_history if learner.source == "noisy-expert" else q_learning_history
    history = make(domain, num_episodes=learner.episodes)

    def collect(params: Any, key: Array) -> OrderedContext:
        return OrderedContext(subsample(history(params, key), learner.kept_episodes), jnp.int32(length))

    return collect
