"""Batches of tasks to learn from, drawn on the device."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from envs.blackbox.task import CATEGORICAL, MAX_CATEGORIES, UNUSED
from envs.family import TaskFamily


def counts(shares: Sequence[float], size: int) -> list[int]:
    """Returns how many of `size` tasks fall to each share, by largest remainders; each positive share gets one.

    Raises:
        ValueError: if there are fewer tasks than shares.
    """
    if size < len(shares):
        raise ValueError(f"a batch of {size} tasks was to have {len(shares)} sources; it needs one task of each")
    exact = [share / sum(shares) * size for share in shares]
    result = [max(1, int(number)) for number in exact]
    while sum(result) > size:
        result[result.index(max(result))] -= 1
    while sum(result) < size:
        behind = [number - count for number, count in zip(exact, result, strict=True)]
        result[behind.index(max(behind))] += 1
    return result


def permute(key: Array, params: Any) -> Any:
    """Returns the task with its used dimensions in random order and its categories renamed at random; consumes the key.

    The objective at every candidate stays what it was.
    """
    key_order, key_labels = jax.random.split(key)
    uniforms = jax.random.uniform(key_order, params.kind.shape)
    order = jnp.argsort(jnp.where(params.kind == UNUSED, 2.0, uniforms))
    labels = jnp.argsort(jax.random.uniform(key_labels, (params.kind.shape[0], MAX_CATEGORIES)), axis=1)
    codes = jnp.clip(params.x.astype(jnp.int32), 0, MAX_CATEGORIES - 1)
    renamed = jnp.take_along_axis(labels.T, codes, axis=0).astype(jnp.float32)
    x = jnp.where((params.kind == CATEGORICAL)[None], renamed, params.x)
    return params.replace(x=x[:, order], kind=params.kind[order])


def make_batches(
    families: Sequence[TaskFamily], shares: Sequence[float], size: int, *, permuted: float = 0.0
) -> Callable[[Array], Any]:
    """Returns `sample(key) -> tasks [size]`, the params of pools; consumes the key.

    Args:
        families: where pools come from; all have the same number of candidates.
        shares: of each family.
        size: K.
        permuted: share of the tasks, of every family, that `permute` is applied to.
    """
    numbers = counts(shares, size)

    def sample(key: Array) -> Any:
        # Folded in one by one, so that a task depends on its place in the batch and not on devices.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
        parts, start = [], 0
        for family, number in zip(families, numbers, strict=True):
            parts.append(jax.vmap(family.sample)(keys[start : start + number]).params)
            start += number
        tasks = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
        if permuted == 0.0:
            return tasks
        shuffled = jax.vmap(permute)(jax.vmap(jax.random.fold_in, (0, None))(keys, 1), tasks)
        chosen = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 2)))(keys) < permuted
        pick = lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
        return jax.tree.map(pick, shuffled, tasks)

    return sample
