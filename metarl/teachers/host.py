"""A teacher for programs outside JAX: one task at a time, state as numpy arrays, all on the CPU."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metarl.teachers.base import TaskBox, Teacher
from metarl.teachers.teachers import make_teacher


class HostTeacher:
    """Proposes one task after another and takes in what they returned.

    Compiled once. It runs on the CPU even where there is an accelerator, which it leaves to the student.
    """

    def __init__(self, teacher: str | Teacher, box: TaskBox, *, seed: int = 0):
        """Makes the teacher.

        Args:
            teacher: `name` or `name@option=value,...` as `make_teacher` understands it, or a teacher.
            box: where tasks live, and what returns mean.
            seed: of all its randomness.

        Raises:
            ValueError: if the name or an option is unknown.
        """
        self.box = box
        self._teacher = make_teacher(teacher, box) if isinstance(teacher, str) else teacher
        self._cpu = jax.devices("cpu")[0]
        self._sample = jax.jit(lambda key, state: self._teacher.sample(key, state, 1)[0])
        self._observe = jax.jit(lambda state, task, value: self._teacher.observe(state, task[None], value[None]))
        self._refit = jax.jit(self._teacher.refit)
        with jax.default_device(self._cpu):
            self._key = jax.random.key(seed)
            self._state = self._teacher.init(jax.random.fold_in(self._key, 2**31))
        self.num_proposed = 0
        self.num_finished = 0

    def reseed(self, seed: int) -> None:
        """Starts the stream of random numbers anew; what has been learned stays."""
        with jax.default_device(self._cpu):
            self._key = jax.random.key(seed)
        self.num_proposed = 0

    def propose(self) -> Float[np.ndarray, " D"]:
        """Returns the next task."""
        with jax.default_device(self._cpu):
            key = jax.random.fold_in(jax.random.fold_in(self._key, self.num_proposed), 0)
            task = np.asarray(self._sample(key, self._state))
        self.num_proposed += 1
        return task

    def report(self, task: Any, episode_return: float) -> None:
        """Takes in a finished episode; one whose return is not finite counts for nothing.

        Raises:
            ValueError: unless the task has one number per dimension of the box.
        """
        task = np.asarray(task, np.float32)
        if task.shape != self.box.low.shape:
            raise ValueError(
                f"a task of shape {task.shape} was reported; the box has {self.box.num_dimensions} dimensions"
            )
        if not np.isfinite(episode_return):
            return
        with jax.default_device(self._cpu):
            self._state = self._observe(self._state, jnp.asarray(task), jnp.float32(episode_return))
            self.num_finished += 1
            every = self._teacher.refit_every
            if every is not None and self.num_finished % every == 0:
                key = jax.random.fold_in(jax.random.fold_in(self._key, self.num_finished), 1)
                self._state = self._refit(key, self._state)

    def state(self) -> dict[str, np.ndarray]:
        """Returns everything it has learned and the place in its stream of random numbers, as numpy arrays."""
        arrays = {f"teacher{jax.tree_util.keystr(path)}": np.array(leaf) for path, leaf in self._leaves()}
        counts = {name: np.array(getattr(self, name)) for name in ("num_proposed", "num_finished")}
        return arrays | counts | {"key": np.asarray(jax.random.key_data(self._key))}

    def load(self, arrays: Any) -> None:
        """Goes on from what `state` returned.

        Raises:
            ValueError: if the arrays are those of another teacher or another box.
        """
        expected = {f"teacher{jax.tree_util.keystr(path)}": leaf for path, leaf in self._leaves()}
        extra = {"num_proposed", "num_finished", "key"}
        wrong = sorted(set(arrays) ^ (set(expected) | extra))
        wrong += [name for name in expected if name in arrays and np.shape(arrays[name]) != expected[name].shape]
        if wrong:
            raise ValueError(f"the saved state is of another teacher or another box: {', '.join(wrong[:3])} do not fit")
        with jax.default_device(self._cpu):
            leaves = [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in expected.items()]
            self._state = jax.tree.unflatten(jax.tree.structure(self._state), leaves)
            self._key = jax.random.wrap_key_data(jnp.asarray(arrays["key"]))
        self.num_proposed, self.num_finished = int(arrays["num_proposed"]), int(arrays["num_finished"])

    def save(self, path: str | os.PathLike) -> None:
        """Writes the state to a numpy archive; an older one is replaced."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp.npz")
        np.savez(temporary, allow_pickle=False, **self.state())
        os.replace(temporary, path)

    def restore(self, path: str | os.PathLike) -> None:
        """Goes on from what `save` wrote.

        Raises:
            ValueError: as `load`.
        """
        with np.load(path, allow_pickle=False) as arrays:
            self.load(dict(arrays))

    def _leaves(self) -> list[tuple[Any, Any]]:
        return jax.tree_util.tree_flatten_with_path(self._state)[0]
