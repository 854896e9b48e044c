"""Training examples, made inside the compiled program: a task, a context gathered in it, questions and answers."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.domain import Domain
from metarl.incontext.agent import random_action, require_expert
from metarl.incontext.collect import Collect
from metarl.incontext.context import Answered, Context
from metarl.incontext.dpt import Example
from metarl.incontext.model import Codec

Ask = Callable[[Any, Context, Array], Example]
"""`ask(params, context, key) -> Example` about a context gathered in the task with these params; consumes the key."""
PREFIXES = ("mixed", "uniform", "all")
"""How many transitions questions know of: half of them uniform and half log-uniform; all uniform; or one question for
every number from 0 to H."""


def fresh_examples(domain: Domain, collect: Collect, ask: Ask) -> Callable[[Array], Example]:
    """Returns `sample(key) -> Example` about a fresh training task; the key is consumed."""

    def sample(key: Array) -> Example:
        key_task, key_context, key_ask = jax.random.split(key, 3)
        params = domain.family.sample(key_task).params
        return ask(params, collect(params, key_context), key_ask)

    return sample


def draw_prefixes(key: Array, kind: str, count: int, length: int) -> Int[Array, " M"]:
    """Returns the number of transitions that each of `count` questions knows of, from 0 to `length`.

    `all` gives 0, 1, …, length, whatever the count. Consumes the key.

    Raises:
        ValueError: if the kind is unknown.
    """
    if kind not in PREFIXES:
        raise ValueError(f"prefixes were {kind!r}; choose one of {', '.join(PREFIXES)}")
    if kind == "all":
        return jnp.arange(length + 1)
    key_offset, key_law = jax.random.split(key)
    # Stratified: every question has its own stretch of the quantiles.
    quantile = (jnp.arange(count, dtype=jnp.float32) + jax.random.uniform(key_offset, (count,))) / count
    uniform = jnp.floor(quantile * (length + 1))
    logarithmic = jnp.floor(jnp.exp(quantile * jnp.log(length + 2.0)) - 1.0)
    is_uniform = jax.random.uniform(key_law, (count,)) < (1.0 if kind == "uniform" else 0.5)
    return jnp.clip(jnp.where(is_uniform, uniform, logarithmic), 0, length).astype(jnp.int32)


def expert_questions(
    domain: Domain,
    codec: Codec,
    *,
    num_queries: int = 8,
    prefixes: Literal["mixed", "uniform", "all"] = "mixed",
    shares_prefix: bool = False,
    label_noise: float = 0.0,
    reward_temperature: float | None = None,
) -> Ask:
    """Returns questions whose answers are the expert's.

    Args:
        domain: where tasks are drawn.
        codec: how its transitions are written.
        num_queries: M, questions about each context.
        prefixes: how many transitions they know of, see `PREFIXES`; with `all`, M is one more than there are places.
        shares_prefix: whether all questions about a context know of the same number, as `set` attention needs.
        label_noise: share of answers that are replaced by a random action, as from an expert who errs; of continuous
            actions, by one from their box.
        reward_temperature: None, or how answers are weighted by the reward r that they bring at once,
            `exp(r / temperature)`: the good ones count more where experts err (reward-weighted DPT).

    Raises:
        ValueError: if the domain has no expert, or hides from the model what its expert goes by.
    """
    require_expert(domain)
    if not domain.shows_state:
        raise ValueError(
            f"{domain.name} hides what the expert goes by, so that no context tells the answers in decision "
            "pretraining; show it, or train by algorithm distillation or RL²"
        )
    known = _make_known(prefixes, num_queries, shares_prefix)

    def ask(params: Any, context: Context, key: Array) -> Example:
        key_queries, key_prefixes, key_shared, key_labels = jax.random.split(key, 4)
        prefix, is_valid = known((key_prefixes, key_shared), context)
        observations = _asked(domain, params, context, key_queries, prefix.shape[0])
        labels = jax.vmap(domain.expert, (0, None))(observations, params)
        weight = jnp.ones(prefix.shape, jnp.float32)
        if label_noise > 0.0 or reward_temperature is not None:
            labels, weight = _suboptimal(
                domain, params, observations, labels, key_labels, label_noise, reward_temperature
            )
        return _example(domain, codec, context, is_valid, observations, prefix, labels, weight)

    return ask


def _asked(domain: Domain, params: Any, context: Context, key: Array, count: int) -> Any:
    """Returns `count` observations to ask about; consumes the key."""
    if not domain.asks_visited:
        return jax.vmap(domain.sample_query, (0, None))(jax.random.split(key, count), params)
    places = jax.random.randint(key, (count,), 0, jnp.maximum(context.length, 1))
    return jax.tree.map(lambda leaf: leaf[places], context.transitions.observation)


def stored_questions(
    domain: Domain,
    codec: Codec,
    *,
    num_queries: int = 8,
    prefixes: Literal["mixed", "uniform", "all"] = "mixed",
    shares_prefix: bool = False,
) -> Callable[[Answered, Array], Example]:
    """Returns `ask(answered, key) -> Example`: questions drawn, with replacement, from those whose answers are stored.

    Arguments are those of `expert_questions`; the key is consumed.
    """
    known = _make_known(prefixes, num_queries, shares_prefix)

    def ask(answered: Answered, key: Array) -> Example:
        key_which, key_prefixes, key_shared = jax.random.split(key, 3)
        prefix, is_valid = known((key_prefixes, key_shared), answered.context)
        which = jax.random.randint(key_which, prefix.shape, 0, answered.answer.shape[0])
        asked, answers = answered.observation[which], answered.answer[which]
        weight = jnp.ones(prefix.shape, jnp.float32)
        return _example(domain, codec, answered.context, is_valid, asked, prefix, answers, weight)

    return ask


def _make_known(kind: str, count: int, is_shared: bool) -> Callable[[tuple[Array, Array], Context], tuple]:
    """Returns `known(keys, context) -> (prefix [M], is_valid [H])`: what questions know, and what is shown to any."""

    def known(keys: tuple[Array, Array], context: Context) -> tuple[Int[Array, " M"], Bool[Array, " H"]]:
        key_prefixes, key_shared = keys
        prefix = draw_prefixes(key_prefixes, kind, count, context.is_valid.shape[0])
        if is_shared:
            prefix = jnp.broadcast_to(jax.random.choice(key_shared, prefix), prefix.shape)
        prefix = jnp.minimum(prefix, context.length)
        is_known = jnp.arange(context.is_valid.shape[0]) < prefix[0] if is_shared else True
        return prefix, context.is_valid & is_known

    return known


def _suboptimal(
    domain: Domain,
    params: Any,
    observations: Any,
    labels: Float[Array, "M a"],
    key: Array,
    noise: float,
    temperature: float | None,
) -> tuple[Float[Array, "M a"], Float[Array, " M"]]:
    """Returns the answers of an expert who errs, each one action, and what they weigh."""
    key_expert, key_coin, key_random, key_reward = jax.random.split(key, 4)
    count = labels.shape[0]
    errs, random = jax.random.uniform(key_coin, (count,)) < noise, random_action(domain, key_random, (count,))
    if domain.is_continuous:
        labels = actions = jnp.where(errs[:, None], random, labels)
    else:
        best = jax.random.categorical(key_expert, jnp.log(jnp.maximum(labels, 1e-30)), axis=-1)
        actions = jnp.where(errs, random, best).astype(jnp.int32)
        labels = jax.nn.one_hot(actions, domain.num_actions, dtype=jnp.float32)
    if temperature is None:
        return labels, jnp.ones((count,), jnp.float32)
    uniforms = jax.random.uniform(key_reward, (count, domain.env.num_step_uniforms))
    rewards, _ = jax.vmap(domain.transition, (0, 0, 0, None))(uniforms, observations, actions, params)
    return labels, jnp.exp(rewards / temperature)


def history_questions(domain: Domain, codec: Codec, *, num_queries: int = 8, skips: int = 0) -> Ask:
    """Returns questions about what was done next in a history: algorithm distillation.

    Every question is an observation of the history itself, knows of what came before it, and is answered by the action
    that was taken. Places are uniform, the first `skips` left out.

    Source: Laskin et al. 2022 (In-context Reinforcement Learning with Algorithm Distillation), equation 1.
    """

    def ask(params: Any, context: Context, key: Array) -> Example:
        length = context.is_valid.shape[0]
        prefix = jnp.sort(jax.random.randint(key, (num_queries,), skips, length))
        observations = jax.tree.map(lambda leaf: leaf[prefix], context.transitions.observation)
        actions = context.transitions.action[prefix]
        labels = actions if domain.is_continuous else jax.nn.one_hot(actions, domain.num_actions, dtype=jnp.float32)
        weight = jnp.ones((num_queries,), jnp.float32)
        return _example(domain, codec, context, context.is_valid, observations, prefix, labels, weight)

    return ask


def _example(
    domain: Domain,
    codec: Codec,
    context: Context,
    is_valid: Bool[Array, " H"],
    observations: Any,
    prefix: Int[Array, " M"],
    labels: Float[Array, "M a"],
    weight: Float[Array, " M"],
) -> Example:
    return Example(
        transitions=jax.vmap(lambda one: codec.transition(domain, one))(context.transitions),
        is_valid=is_valid,
        queries=jax.vmap(lambda one: codec.query(domain, one))(observations),
        prefix=prefix,
        labels=jnp.pad(labels, ((0, 0), (0, codec.num_actions - labels.shape[1]))),
        weight=weight,
        allowed=codec.allowed_actions(domain),
    )
