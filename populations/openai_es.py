"""OpenAI-ES that never holds population x parameters: noise is drawn again from its key wherever it is needed."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from populations.fitness import pair_signs
from populations.pairing import pair_index
from populations.strategy import Strategy


class OpenAIESState(NamedTuple):
    """A Gaussian with a decaying, isotropic standard deviation, and the optimiser of its mean."""

    mean: Any
    """Centre of the search, a pytree of float arrays."""
    optimiser: Any
    """Adam moments of the mean."""
    generation: Int[Array, ""]
    """How many times `tell` has been called; decides sigma."""


class SignedNoise(NamedTuple):
    """Description of P candidates `mean + sign * sigma * noise(key)`; partners have equal keys and opposite signs."""

    key: Key[Array, " P"]
    """Key of the pair's noise."""
    sign: Float[Array, " P"]
    """+1 for the first half, -1 for their partners."""


def openai_es(
    population_size: int,
    *,
    sigma: float = 0.1,
    sigma_decay: float = 1.0,
    sigma_floor: float = 0.01,
    learning_rate: float = 0.01,
    learning_rate_decay: float = 0.999,
    learning_rate_floor: float = 1e-5,
    b1: float = 0.99,
    b2: float = 0.999,
    eps: float = 1e-8,
    shaping: Callable[[Float[Array, " P"]], Float[Array, " P"]] = pair_signs,
    chunk_size: int = 16,
) -> Strategy:
    """Returns antithetic OpenAI-ES with Adam on the mean, which needs memory for `chunk_size` noise vectors only.

    In generation t, sigma is max(sigma_floor, sigma * sigma_decay^t) and the learning rate follows the same law. The
    gradient to ascend is 1/(P sigma) sum_i s_i z_i, where s = `shaping(fitness)` and z_i carries the member's sign.

    Args:
        population_size: P, even and at least 2.
        sigma, sigma_decay, sigma_floor: standard deviation of the noise, in units of the parameters.
        learning_rate, learning_rate_decay, learning_rate_floor: Adam's step, in units of the parameters.
        b1, b2, eps: Adam's decay rates and stabiliser.
        shaping: maps fitness `[P]` to finite weights `[P]`; larger must stay larger.
        chunk_size: `tell` draws the noise of at most this many pairs at once (the largest divisor of P/2 up to it).

    Raises:
        ValueError: if the population size is odd or below 2, or a schedule or the chunk size is out of range.

    Source: Salimans et al. 2017, algorithm 1, with mirrored sampling; defaults as in Jackson et al. 2024.
    """
    pairs_of_members = pair_index(population_size)
    _check_schedule("sigma", sigma, sigma_decay, sigma_floor)
    _check_schedule("learning_rate", learning_rate, learning_rate_decay, learning_rate_floor)
    chunk = _largest_divisor(population_size // 2, chunk_size)
    sigma_at = _floored_decay(sigma, sigma_decay, sigma_floor)
    step_at = _floored_decay(learning_rate, learning_rate_decay, learning_rate_floor)
    adam = optax.adam(step_at, b1=b1, b2=b2, eps=eps)

    def init(key: Array, params: Any) -> OpenAIESState:
        del key  # the initial mean is given, so nothing is random here
        mean = jax.tree.map(_as_mean_leaf, params)
        return OpenAIESState(mean=mean, optimiser=adam.init(mean), generation=jnp.zeros((), jnp.int32))

    def ask(key: Array, state: OpenAIESState) -> SignedNoise:
        del state
        sign = jnp.where(jnp.arange(population_size) < population_size // 2, jnp.float32(1.0), jnp.float32(-1.0))
        return SignedNoise(key=jax.vmap(jax.random.fold_in, (None, 0))(key, pairs_of_members), sign=sign)

    def expand(state: OpenAIESState, member: SignedNoise) -> Any:
        scale = member.sign * sigma_at(state.generation)
        noise = draw_noise(member.key, state.mean)
        return jax.tree.map(lambda m, z: m + scale.astype(m.dtype) * z, state.mean, noise)

    def tell(state: OpenAIESState, population: SignedNoise, fitness: Float[Array, " P"]) -> OpenAIESState:
        plus, minus = jnp.split(shaping(fitness), 2)
        keys = population.key[: population_size // 2]
        scale = 1.0 / (population_size * sigma_at(state.generation))
        ascent = weighted_noise(keys, (plus - minus) * scale, state.mean, chunk)
        descent = jax.tree.map(jnp.negative, ascent)  # optax descends; the strategy climbs
        updates, optimiser = adam.update(descent, state.optimiser, state.mean)
        return OpenAIESState(optax.apply_updates(state.mean, updates), optimiser, state.generation + 1)

    return Strategy("openai_es", population_size, init, ask, expand, tell, lambda state: state.mean)


def draw_noise(key: Array, like: Any) -> Any:
    """Returns standard normal noise with the structure, shapes and dtypes of `like`; consumes the key."""
    return _unflatten(jax.random.normal(key, (_num_parameters(like),)), like)


def weighted_noise(keys: Key[Array, " N"], weights: Float[Array, " N"], like: Any, chunk: int) -> Any:
    """Returns sum_i weights_i * noise(keys_i), shaped as `like`; at most `chunk` noise vectors exist at a time.

    `chunk` must divide N.
    """
    num_parameters = _num_parameters(like)

    def add_chunk(total: Float[Array, " D"], work: tuple[Array, Array]) -> tuple[Float[Array, " D"], None]:
        chunk_keys, chunk_weights = work
        return total + chunk_weights @ jax.vmap(lambda key: jax.random.normal(key, (num_parameters,)))(chunk_keys), None

    work = (keys.reshape(-1, chunk), weights.reshape(-1, chunk))
    return _unflatten(jax.lax.scan(add_chunk, jnp.zeros(num_parameters), work)[0], like)


def _num_parameters(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _unflatten(vector: Float[Array, " D"], like: Any) -> Any:
    """Returns the vector cut into leaves like those of `like`.

    Noise is drawn as one vector because the generator is a long program, which would be compiled once per leaf.
    """
    leaves, treedef = jax.tree.flatten(like)
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))
    parts = zip(jnp.split(vector, ends[:-1]), leaves, strict=True)
    return treedef.unflatten([part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in parts])


def _floored_decay(value: float, decay: float, floor: float) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    def at(count: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(jnp.float32(floor), jnp.float32(value) * jnp.float32(decay) ** count.astype(jnp.float32))

    return at


def _as_mean_leaf(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        raise ValueError(f"parameters hold a leaf of dtype {leaf.dtype} but noise needs floats; leave that leaf out")
    return leaf.astype(leaf.dtype)  # naming the dtype drops a weak type, which would compile the next step anew


def _check_schedule(name: str, value: float, decay: float, floor: float) -> None:
    if not (0.0 < floor <= value and 0.0 < decay <= 1.0):
        raise ValueError(
            f"{name} is {value} with decay {decay} and floor {floor}; choose 0 < floor <= value and 0 < decay <= 1"
        )


def _largest_divisor(number: int, limit: int) -> int:
    if limit < 1:
        raise ValueError(f"chunk_size is {limit} but at least 1 pair must be drawn at a time; raise it")
    return max(divisor for divisor in range(1, min(limit, number) + 1) if number % divisor == 0)
