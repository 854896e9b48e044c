"""What tests of the neural process share: a tiny model all of whose weights are at work, and pools of three kinds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL, pool_params
from metarl.metabo.episode import evaluations_of
from metarl.metabo.nap import NAP, make_nap

SIZE, NUM_INIT, HORIZON = 12, 3, 5
SMALL = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 32, "activation": "relu"}


class Model(NamedTuple):
    """A model, untrained and with weights at random."""

    nap: NAP
    newborn: Any
    """Parameters as they are made: last layers of heads are 0."""
    params: Any
    """The same with noise on every weight, as if it had been trained."""
    answer: Callable
    """`answer(params, kind, evaluations, candidates) -> (belief, logits, value)` at half of the budget, jitted."""


def stirred(params: Any, size: float = 0.3) -> Any:
    """Returns the parameters with noise, so that no layer is 0."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [leaf + size * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def small_model(**settings: Any) -> Model:
    shared = {} if settings.get("architecture") == "paper" else SMALL
    nap = make_nap(**{**shared, **settings})
    newborn = jax.jit(nap.init)(jax.random.key(0))

    @jax.jit
    def answer(params, kind, evaluations, candidates):
        belief, half = nap.believe(params, kind, evaluations, candidates), jnp.float32(0.5)
        return belief, nap.prefer(params, belief, half), nap.value(params, belief, half)

    return Model(nap, newborn, jax.jit(stirred)(newborn), answer)


def small_pool(size: int = SIZE, seed: int = 0) -> Any:
    """Returns a pool over a number, a grid of 5 places and 3 categories, of different values."""
    law = np.random.default_rng(seed)
    x = np.stack([law.random(size), law.integers(0, 5, size) / 4.0, law.integers(0, 3, size)], axis=1)
    y = law.permutation(size) + law.random(size) / 2.0
    kind = jnp.array([NUMERIC, ORDINAL, CATEGORICAL], jnp.int32)
    return pool_params(
        jnp.asarray(x, jnp.float32), kind, jnp.asarray(y, jnp.float32), horizon=HORIZON, num_init=NUM_INIT
    )


class Room(NamedTuple):
    """Where a model works: a pool as an environment, and what is known of it after the initial points."""

    env: BlackBox
    task: Any
    initial: Any
    observation: Any
    evaluations: Any


def room_of(task: Any) -> Room:
    env = BlackBox(task.y.shape[0], max_horizon=HORIZON, max_init=NUM_INIT)
    initial = jnp.array([7, 2, 9], jnp.int32)
    observation, _ = env.reset_at(initial, task)
    return Room(env, task, initial, observation, evaluations_of(observation, task))


@pytest.fixture(scope="session")
def model() -> Model:
    """The default: what the acquisition learns leaves the rest alone, and it starts as expected improvement."""
    return small_model()


@pytest.fixture(scope="session")
def joint() -> Model:
    """A model through which reinforcement learning reaches every weight, and whose acquisition starts from nothing."""
    return small_model(stop_gradient=False, residual=False)


@pytest.fixture(scope="session")
def room() -> Room:
    """A pool of 12, of which 3 are known."""
    return room_of(small_pool())


@pytest.fixture(scope="session")
def make_model() -> Callable:
    """Returns the function that makes models."""
    return small_model


@pytest.fixture(scope="session")
def make_pool() -> Callable:
    """Returns the function that makes pools."""
    return small_pool
