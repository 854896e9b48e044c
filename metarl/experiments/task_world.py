"""What students of all kinds share: a family's tasks as teachers see them, to study in and to be examined in."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from envs.family import TaskFamily
from envs.rollout import Policy, evaluate
from envs.task_pool import TaskPool, pooled, task_pool
from envs.walker.walker_env import Walker
from metarl.experiments.student import Student, Studied
from metarl.experiments.teach_config import WorldConfig
from metarl.experiments.teach_families import task_family
from metarl.experiments.walker_film import walker_film
from metarl.progress import Progress
from metarl.teachers.base import TaskBox, task_box

TEST_SEED = 4222
"""Of the test tasks and of all randomness in them, the same in every run."""


class TaskWorld(NamedTuple):
    """A family of tasks, for students."""

    box: TaskBox
    """Where teachers propose."""
    family: TaskFamily
    """Its environment is the pooled one."""
    pool: Callable[[Float[Array, "M D"]], TaskPool]
    """`pool(vectors)`: the tasks that were proposed, to be used as the parameters of that environment."""
    any_pool: TaskPool
    """One of them, with one task."""
    test_vectors: Float[Array, "G D"]
    passes_above: float
    """Return in a test task above which it is mastered."""
    examine: Callable[[Policy], Float[Array, " G"]]
    """`examine(policy)`: the return of one episode in each test task, with noise 0."""
    film: Callable[[Policy, Array], dict[str, Array]] | None
    """`film(policy, number)`: that episode in one test task (`walker_film`); None where there is nothing to see."""


def task_world(config: WorldConfig) -> TaskWorld:
    """Returns the world of tasks that the configuration names.

    Its test tasks are a grid, each with a key of its own that is the same in every run.

    Raises:
        ValueError: if the family is unknown, its tasks cannot be decoded from vectors, or it does not say what its
            returns mean and the configuration does not either.
    """
    family = task_family(config.env)
    box = family_box(config, family)
    quantiles = _to_quantiles(box)
    test_family = family if config.test_env is None else task_family(config.test_env)
    test_box = box if config.test_env is None else family_box(config, test_family)
    tests = test_vectors(test_box, config.grid)
    in_test = task_pool(test_family, _to_quantiles(test_box)(tests)).params
    return TaskWorld(
        box=box,
        family=family._replace(env=pooled(family)),
        pool=lambda vectors: task_pool(family, quantiles(vectors)),
        any_pool=task_pool(family, jnp.full((1, family.num_dimensions), 0.5, jnp.float32)),
        test_vectors=tests,
        passes_above=test_box.success_return,
        examine=partial(_examine, test_family, in_test),
        film=partial(_film, test_family, in_test) if isinstance(test_family.env, Walker) else None,
    )


def student_in(
    world: TaskWorld,
    config: WorldConfig,
    *,
    init: Callable[[Array, TaskPool], Any],
    study: Callable[[Any, Array, Progress, Array], tuple[Any, Studied]],
    policy: Callable[[Any], Policy],
    layers: Callable[[Any], dict[str, dict[str, Array]]] | None = None,
) -> Student:
    """Returns the student of this world that is born by `init(key, env_params)`, studies and acts so."""
    film = world.film
    return Student(
        box=world.box,
        num_proposals=config.pool_size,
        finishes_all=False,
        init=lambda key, vectors: init(key, world.pool(vectors)),
        study=study,
        examine=lambda state: world.examine(policy(state)),
        layers=layers,
        film=None if film is None else lambda state, number: film(policy(state), number),
        passes_above=world.passes_above,
        test_vectors=world.test_vectors,
    )


def vectors_of(state: Any) -> Float[Array, "B D"]:
    """Returns which tasks of a pool episodes are in, as quantiles."""
    return state.task.vectors


def in_box(box: TaskBox, quantiles: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Returns task vectors in the units of the box."""
    return jnp.asarray(box.low)[None] + quantiles * jnp.asarray(box.size)[None]


def family_box(config: WorldConfig, family: TaskFamily) -> TaskBox:
    """Returns the box that teachers of a family see.

    Raises:
        ValueError: if what returns mean is said neither by the family nor by the configuration.
    """
    if family.num_dimensions < 1:
        raise ValueError(f"{family.name} has one task only; choose a family whose tasks differ")
    returns = config.return_range or family.return_range
    success = config.success_return if config.success_return is not None else family.success_return
    if returns is None or success is None:
        raise ValueError(
            f"{family.name} does not say what its returns mean; give student.return_range and student.success_return"
        )
    if config.physical_units and family.low is not None and family.high is not None:
        return task_box(family.low, family.high, return_range=returns, success_return=success)
    ones = np.ones(family.num_dimensions, np.float32)
    return task_box(0.0 * ones, ones, return_range=returns, success_return=success)


def test_vectors(box: TaskBox, grid: int) -> Float[Array, "G D"]:
    """Returns a grid over boxes of one or two dimensions, bounds included; of more, grid^2 fixed random tasks."""
    if box.num_dimensions > 2:
        return box.uniform(jax.random.key(TEST_SEED), grid**2)
    axes = [np.linspace(low, high, grid, dtype=np.float32) for low, high in zip(box.low, box.high, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return jnp.asarray(np.stack([axis.ravel() for axis in mesh], axis=1))


def finished_episodes(
    vectors: Float[Array, "T B D"],
    reward: Float[Array, "T B"],
    done: Bool[Array, "T B"],
    running: Float[Array, " B"],
    most: int,
) -> tuple[Float[Array, "n D"], Float[Array, " n"]]:
    """Returns (task vectors, returns) of at most `most` episodes that ended in a rollout, NaN in rows without one.

    Args:
        vectors: task of every step.
        reward: of every step.
        done: whether the episode ended with it.
        running: what the episodes had returned when the rollout began.
        most: rows; if more episodes ended, the earliest are told.
    """

    def add(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, done = inputs
        total = total + reward
        return jnp.where(done, 0.0, total), total

    _, totals = jax.lax.scan(add, running, (reward, done))
    done = done.reshape(-1)
    first = jnp.argsort(~done, stable=True)[: min(most, done.shape[0])]
    returns = jnp.where(done, totals.reshape(-1), jnp.nan)
    return vectors.reshape(done.shape[0], -1)[first], returns[first]


def _to_quantiles(box: TaskBox) -> Callable[[Array], Array]:
    low, size = jnp.asarray(box.low)[None], jnp.asarray(box.size)[None]
    return lambda vectors: jnp.clip((vectors - low) / size, 0.0, 1.0)


def _examine(family: TaskFamily, tests: Any, acting: Policy) -> Float[Array, " G"]:
    policy = _silent(acting)

    def one(params: Any, key: Array) -> Float[Array, ""]:
        return evaluate(family.env, params, policy, key, num_envs=1, num_steps=family.max_episode_steps)[0]

    return jax.vmap(one)(tests, _test_keys(tests))


def _film(family: TaskFamily, tests: Any, acting: Policy, number: Array) -> dict[str, Array]:
    params, key = jax.tree.map(lambda leaf: leaf[number], (tests, _test_keys(tests)))
    return walker_film(family, params, _silent(acting), key)


def _test_keys(tests: Any) -> Array:
    return jax.random.split(jax.random.key(TEST_SEED), jax.tree.leaves(tests)[0].shape[0])


def _silent(acting: Policy) -> Policy:
    """Returns the policy with noise 0."""

    def draw_nothing(key: Array, shape: tuple[int, ...]) -> Array:
        return jnp.zeros_like(acting.draw_noise(key, shape))

    return Policy(draw_nothing, acting.act, acting.infer)
