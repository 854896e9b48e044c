"""Decision-pretrained transformers: predict the expert's action from a context, then act by the prediction.

Source: Lee et al. 2023 (Supervised Pretraining Can Learn In-Context Reinforcement Learning), equation 2.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition
from metarl.incontext.context import is_first
from metarl.incontext.heads import Head, categorical_mask, make_head
from metarl.incontext.model import IMAGE_FEATURES, Codec, InContextModel, make_codec
from metarl.networks.block import WEIGHTS
from metarl.networks.transformer import ContextTransformer, reserve


class Example(NamedTuple):
    """One context, and M questions about it with their answers."""

    transitions: Float[Array, "H F"]
    """Encoded transitions."""
    is_valid: Bool[Array, " H"]
    """Which of them there are; padding comes last."""
    queries: Float[Array, "M Q"]
    """Encoded observations that are asked about."""
    prefix: Int[Array, " M"]
    """How many transitions each question may know of."""
    labels: Float[Array, "M A"]
    """The expert's answers: probabilities, or a continuous action."""
    weight: Float[Array, " M"]
    """What each counts in the loss."""
    allowed: Bool[Array, " A"]
    """Which discrete actions there are in this domain."""


class DPT(NamedTuple):
    """A decision-pretrained transformer as pure functions."""

    codec: Codec
    """How domains are written as vectors."""
    head: Head
    """The distribution over actions."""
    init: Callable[[Array], Any]
    """`init(key) -> params`; consumes the key."""
    outputs: Callable[[Any, Example], Float[Array, "M O"]]
    """`outputs(params, example) -> [M, head.size]`; actions that are not allowed have `-inf`."""
    losses: Callable[[Any, Example], Float[Array, " M"]]
    """`losses(params, example) -> -log p(label)` of every question, in nats, unweighted."""
    agent: Callable[..., InContextAgent]
    """`agent(params, domain, greedy=False, skips_seen=False)`: the learner that acts by the model."""


def dpt(
    domains: Sequence[Domain],
    transformer: ContextTransformer,
    *,
    head: Literal["categorical", "binned", "mixture"] = "categorical",
    num_parts: int = 32,
    reads_positions: bool = False,
    counts: bool = False,
    image_features: int = IMAGE_FEATURES,
) -> DPT:
    """Returns the model for these domains.

    Args:
        domains: what it is trained on, one or several; several must all have discrete or all continuous actions.
        transformer: its layers.
        head: distribution over actions; continuous ones need `binned` or `mixture`.
        num_parts: bins of each dimension, or components, of a continuous head.
        reads_positions: whether the tokens of the context answer themselves; for causal attention and constant queries.
        counts: whether queries are told the number of transitions they know of.
        image_features: numbers that are left of an image, in domains that show one.

    Raises:
        ValueError: if the pieces do not fit together.
    """
    codec = make_codec(domains)
    _check_pieces(codec, transformer, head, reads_positions)
    law = make_head(head, codec.num_actions, num_parts=num_parts)
    model = InContextModel(transformer, law.size, codec.image_shape, reads_positions, counts, image_features)

    def mask(outputs: Float[Array, "*batch O"], allowed: Bool[Array, " A"]) -> Float[Array, "*batch O"]:
        return categorical_mask(outputs, allowed) if head == "categorical" else outputs

    def init(key: Array) -> Any:
        example = (jnp.zeros((2, codec.transition_size)), jnp.ones((2,), bool), jnp.zeros((1, codec.query_size)))
        return model.init(key, *example, jnp.full((1,), 2, jnp.int32), method=model.predict)["params"]

    def outputs(params: Any, example: Example) -> Float[Array, "M O"]:
        inputs = (example.transitions, example.is_valid, example.queries, example.prefix)
        return mask(model.apply({"params": params}, *inputs, method=model.predict), example.allowed)

    def losses(params: Any, example: Example) -> Float[Array, " M"]:
        return jax.vmap(law.loss)(outputs(params, example), example.labels)

    def agent(params: Any, domain: Domain, *, greedy: bool = False, skips_seen: bool = False) -> InContextAgent:
        allowed = codec.allowed_actions(domain)
        codec.index(domain)  # refuses what does not fit

        def apply(method: Any, *inputs: Any) -> Any:
            return model.apply({"params": params}, *inputs, method=method)

        def act(memory: Memory, observation: Any, key: Array) -> Array:
            found = mask(apply(model.act, memory.cache, codec.query(domain, observation)), allowed)
            return law.mode(found) if greedy else law.sample(found, key)

        def attention(memory: Memory, observation: Any) -> Float[Array, "L N S"]:
            query, kept = codec.query(domain, observation), {"method": model.act, "mutable": [WEIGHTS]}
            _, variables = model.apply({"params": params}, memory.cache, query, **kept)
            return _by_layer(variables[WEIGHTS]["layers"])

        learner = _agent(apply, model, codec, domain, act, skips_seen)
        return learner if reads_positions else learner._replace(attention=attention)

    return DPT(codec, law, init, outputs, losses, agent)


def _check_pieces(codec: Codec, transformer: ContextTransformer, head: str, reads_positions: bool) -> None:
    """Raises ValueError if the head does not fit the actions, or outputs cannot be read where they are to be."""
    if codec.domains[0].is_continuous != (head != "categorical"):
        raise ValueError(f"head is {head!r}; continuous actions need binned or mixture, and discrete ones categorical")
    if reads_positions and (transformer.attention != "causal" or codec.observation_size > 0):
        names = ", ".join(domain.name for domain in codec.domains)
        raise ValueError(
            f"outputs cannot be read at positions with attention {transformer.attention!r} in {names}; that needs "
            "causal attention and a constant observation"
        )


def _by_layer(left: Any) -> Float[Array, "L N S"]:
    """Returns the attention that blocks of a transformer have left at one query, in their order."""
    return jnp.stack([left[f"blocks_{i}"]["layer"][0][:, 0] for i in range(len(left))])


class Memory(NamedTuple):
    """What a model remembers of a task."""

    cache: Any
    """Its context."""
    held: Int[Array, " n"]
    """Which pair of observation and action each of its places holds, -1 for none; empty where that is not looked at."""


def _agent(
    apply: Callable, model: InContextModel, codec: Codec, domain: Domain, act: Callable, skips_seen: bool
) -> InContextAgent:
    """Returns the learner whose memory is a cache."""
    if skips_seen and domain.pair_index is None:
        raise ValueError(f"transitions of {domain.name} may differ when they are repeated; they cannot be skipped")

    def init(key: Array, capacity: int) -> Memory:
        cache = apply(model.init_cache, capacity)
        return Memory(cache, jnp.full((cache.num_slots - 1 if skips_seen else 0,), -1, jnp.int32))

    def absorb(memory: Memory, transitions: Transition, is_valid: Bool[Array, " n"]) -> Memory:
        tokens = jax.vmap(lambda one: codec.transition(domain, one))(transitions)
        room = memory.cache.num_slots - 1
        for start in range(0, tokens.shape[0], room):
            piece = jax.tree.map(lambda leaf, at=slice(start, start + room): leaf[at], (transitions, tokens, is_valid))
            memory = take_in(memory, *piece)
        return memory

    def take_in(memory: Memory, transitions: Transition, tokens: Array, is_valid: Array) -> Memory:
        cache, held = memory
        if skips_seen and domain.pair_index is not None:
            pairs = jax.vmap(domain.pair_index)(transitions.observation, transitions.action)
            is_valid = is_valid & ~jnp.isin(pairs, held) & is_first(pairs, is_valid, domain.num_pairs)
            held = held.at[cache.slots_of_next(is_valid) - 1].set(pairs, mode="drop")
        return Memory(apply(model.extend, cache, tokens, is_valid), held)

    def grow(memory: Memory, capacity: int) -> Memory:
        cache = reserve(memory.cache, capacity)
        missing = cache.num_slots - memory.cache.num_slots if skips_seen else 0
        return Memory(cache, jnp.pad(memory.held, (0, missing), constant_values=-1))

    def observe(memory: Memory, transition: Transition, is_valid: Bool[Array, ""]) -> Memory:
        return absorb(memory, jax.tree.map(lambda leaf: leaf[None], transition), is_valid[None])

    return InContextAgent(
        init,
        act,
        observe,
        absorb=absorb,
        reserve=grow,
    )
