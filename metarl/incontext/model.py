"""The in-context model: how transitions and queries become tokens, and what is read off at a query."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.domain import Domain
from metarl.incontext.agent import Transition
from metarl.networks.transformer import Cache, ContextTransformer

IMAGE_FEATURES = 8
"""What is left of an image in jon--lee/decision-pretrained-transformer, whose sizes the encoder has."""


class Codec(NamedTuple):
    """How the domains of one model are written as vectors of common sizes, padded with zeros."""

    domains: tuple[Domain, ...]
    """Domains the model is trained on."""
    observation_size: int
    """D, the largest; 0 if there is nothing to see."""
    num_actions: int
    """A, the largest."""
    shows_next: bool
    """Whether tokens hold next observations."""
    image_shape: tuple[int, int, int] | None
    """The image at the beginning of an observation, if there is one."""

    @property
    def query_size(self) -> int:
        """Entries of an encoded query: an observation, and which domain it is if there are several."""
        return self.observation_size + (len(self.domains) if len(self.domains) > 1 else 0)

    @property
    def transition_size(self) -> int:
        """Entries of an encoded transition: a query, an action, a reward, a next observation."""
        return self.query_size + self.num_actions + 1 + (self.observation_size if self.shows_next else 0)

    def observation(self, domain: Domain, observation: Any) -> Float[Array, " D"]:
        """Returns an encoded observation."""
        if self.observation_size == 0:
            return jnp.zeros((0,), jnp.float32)
        encoded = domain.encode(observation).astype(jnp.float32)
        return jnp.pad(encoded, (0, self.observation_size - encoded.shape[0]))

    def query(self, domain: Domain, observation: Any) -> Float[Array, " Q"]:
        """Returns an encoded query."""
        encoded = self.observation(domain, observation)
        if len(self.domains) == 1:
            return encoded
        which = jax.nn.one_hot(self.index(domain), len(self.domains), dtype=jnp.float32)
        return jnp.concatenate([encoded, which])

    def transition(self, domain: Domain, transition: Transition) -> Float[Array, " F"]:
        """Returns an encoded transition."""
        if domain.is_continuous:
            action = jnp.pad(transition.action, (0, self.num_actions - domain.num_actions))
        else:
            action = jax.nn.one_hot(transition.action, self.num_actions, dtype=jnp.float32)
        parts = [self.query(domain, transition.observation), action, transition.reward[None].astype(jnp.float32)]
        if self.shows_next:
            parts.append(self.observation(domain, transition.next_observation))
        return jnp.concatenate(parts)

    def index(self, domain: Domain) -> int:
        """Returns which of the model's domains one is: the one of its name, or the only one of its kind.

        Raises:
            ValueError: if the domain does not fit the model.
        """
        for index, known in enumerate(self.domains):
            if known.name == domain.name:
                return index
        kind = domain.name.partition("@")[0]
        alike = [i for i, known in enumerate(self.domains) if known.name.partition("@")[0] == kind]
        if not alike:
            names = ", ".join(known.name for known in self.domains)
            raise ValueError(f"the model was trained on {names} and not on {domain.name!r}; name one of these kinds")
        self._check_size(domain, self.domains[alike[0]])
        return alike[0]

    def _check_size(self, domain: Domain, known: Domain) -> None:
        given, trained = (
            (f"{one.num_actions} actions and observations of {one.observation_size} numbers") for one in (domain, known)
        )
        fits = domain.num_actions <= self.num_actions and domain.observation_size == known.observation_size
        if not fits or domain.is_continuous != known.is_continuous:
            raise ValueError(
                f"{domain.name} has {given}, but the model was trained on {known.name} with {trained}; actions may be "
                "fewer, and nothing else may differ"
            )

    def allowed_actions(self, domain: Domain) -> Bool[Array, " A"]:
        """Returns which discrete actions the domain has."""
        return jnp.arange(self.num_actions) < domain.num_actions


def make_codec(domains: Sequence[Domain]) -> Codec:
    """Returns the common encoding of these domains.

    Raises:
        ValueError: if there is none, or discrete and continuous actions or images and vectors are mixed.
    """
    if not domains:
        raise ValueError("no domain was given; name at least one")
    if len({domain.is_continuous for domain in domains}) > 1 or len({domain.image_shape for domain in domains}) > 1:
        names = ", ".join(domain.name for domain in domains)
        raise ValueError(
            f"{names} mix discrete and continuous actions, or images and vectors; train one model for each"
        )
    is_blind = all(domain.is_bandit and domain.observation_size == 1 for domain in domains)
    return Codec(
        tuple(domains),
        0 if is_blind else max(domain.observation_size for domain in domains),
        max(domain.num_actions for domain in domains),
        any(domain.shows_next for domain in domains),
        domains[0].image_shape,
    )


def patches(image: Float[Array, "N H W C"], *, stride: int) -> Float[Array, "N h w P"]:
    """Returns the 3 x 3 neighbourhoods of every `stride`-th pixel that has all its neighbours, P = 9 C numbers each."""
    height, width = (1 + (side - 3) // stride for side in image.shape[1:3])
    rows, columns = (stride * (count - 1) + 1 for count in (height, width))
    shifted = [image[:, i : i + rows : stride, j : j + columns : stride] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)


class ImageEncoder(nn.Module):
    """Two convolutions of 3 x 3 and a dense layer in the place of the image at the beginning of a vector.

    Convolutions are matrix products with patches: on CPU, XLA takes ten times as long for the gradients of small ones.
    """

    shape: tuple[int, int, int]
    """Height, width, channels."""
    num_features: int
    """Numbers that are left of an image."""
    dtype: Any
    """Type of activations."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch m"]:
        """Returns the vectors with these numbers instead of the image."""
        size = math.prod(self.shape)
        image = x[..., :size].reshape(-1, *self.shape).astype(self.dtype)
        image = nn.relu(nn.Dense(16, dtype=self.dtype)(patches(image, stride=2)))
        image = nn.relu(nn.Dense(16, dtype=self.dtype)(patches(image, stride=1)))
        features = nn.relu(nn.Dense(self.num_features, dtype=self.dtype)(image.reshape(image.shape[0], -1)))
        features = features.reshape(*x.shape[:-1], self.num_features)
        return jnp.concatenate([features, x[..., size:].astype(self.dtype)], -1)


class InContextModel(nn.Module):
    """A context transformer with embeddings in front and one linear head behind. About one context, unbatched."""

    transformer: ContextTransformer
    """Layers."""
    output_size: int
    """Outputs of the head."""
    image_shape: tuple[int, int, int] | None = None
    """The image at the beginning of observations, if there is one."""
    reads_positions: bool = False
    """Whether outputs are read at the tokens of the context itself, because there is only one query: the latest token
    then answers for the context that ends with it."""
    counts: bool = False
    """Whether queries are told how many transitions they know of, which a set does not show."""
    image_features: int = IMAGE_FEATURES
    """What is left of an image."""

    def setup(self) -> None:
        """Makes the layers."""
        dtype = self.transformer.dtype
        self.layers = self.transformer.clone(parent=None)
        self.embed = nn.Dense(self.transformer.width, use_bias=False, dtype=dtype)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        self.head = nn.Dense(self.output_size, use_bias=False, kernel_init=small)
        if self.image_shape is not None:
            self.look = ImageEncoder(self.image_shape, self.image_features, dtype)
        if not self.reads_positions:
            self.question = self.param("question", nn.initializers.normal(1.0), (self.transformer.width,))
            self.ask = nn.Dense(self.transformer.width, use_bias=False, dtype=dtype)
        if self.counts:
            self.count = nn.Dense(self.transformer.width, use_bias=False, dtype=dtype)

    def tokens(self, transitions: Float[Array, "H F"]) -> Float[Array, "H W"]:
        """Returns the tokens of encoded transitions."""
        return self.embed(transitions if self.image_shape is None else self.look(transitions))

    def questions(self, queries: Float[Array, "M Q"], prefix: Int[Array, " M"]) -> Float[Array, "M W"]:
        """Returns the tokens of encoded queries that know of `prefix` transitions each."""
        x = jnp.broadcast_to(self.question.astype(self.transformer.dtype), (prefix.shape[0], self.transformer.width))
        if queries.shape[-1] > 0:
            x = x + self.ask(queries if self.image_shape is None else self.look(queries))
        if self.counts:
            n = prefix.astype(jnp.float32)[:, None]
            x = x + self.count(jnp.concatenate([jnp.log1p(n), 1.0 / (1.0 + n), jnp.sqrt(n) / 10.0], axis=1))
        return x

    def predict(
        self,
        transitions: Float[Array, "H F"],
        is_valid: Bool[Array, " H"],
        queries: Float[Array, "M Q"],
        prefix: Int[Array, " M"],
    ) -> Float[Array, "M O"]:
        """Returns the outputs at M queries, each knowing the first `prefix` transitions; for training.

        With `set` attention all prefixes must be the number of valid transitions. Where outputs are read at positions,
        queries are not looked at.
        """
        cache, outputs = self.layers.encode(self.tokens(transitions), is_valid)
        if self.reads_positions:
            return self.head(outputs[prefix].astype(jnp.float32))
        slots = jnp.arange(cache.num_slots)
        visible = (slots[None] <= prefix[:, None]) & jnp.concatenate([jnp.ones((1,), bool), is_valid])[None]
        return self._answer(cache, self.questions(queries, prefix), prefix, visible)

    def _answer(
        self, cache: Cache, questions: Float[Array, "M W"], positions: Int[Array, " M"], visible: Bool[Array, "M S"]
    ) -> Float[Array, "M O"]:
        """Returns the outputs at queries, given as tokens, that see these slots of a context."""
        return self.head(self.layers.read(questions, cache, positions, visible).astype(jnp.float32))

    def act(self, cache: Cache, query: Float[Array, " Q"]) -> Float[Array, " O"]:
        """Returns the outputs at one query that knows the whole context.

        It is told how many transitions the context holds, not how many there were: training shows no others.
        """
        if self.reads_positions:
            return self.head(cache.last)
        held = jnp.minimum(cache.length, cache.num_slots - 1)
        position = held if self.transformer.attention == "set" else cache.length  # a set is encoded again, from 0 on
        return self._answer(cache, self.questions(query[None], held[None]), position[None], cache.is_filled[None])[0]

    def extend(self, cache: Cache, transitions: Float[Array, "n F"], is_valid: Bool[Array, " n"]) -> Cache:
        """Returns the context after n more encoded transitions."""
        return self.layers.extend(cache, self.tokens(transitions), is_valid)

    def init_cache(self, capacity: int) -> Cache:
        """Returns the context that holds nothing."""
        return self.layers.init_cache(capacity)
