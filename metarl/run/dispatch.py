"""Many steps of an experiment as one compiled function, and the contract that an experiment has to keep for it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from metarl.experiments.base import Experiment

RESERVED = ("step", "wall_s", "cpu_s", "env_steps_total", "nonfinite")
"""What the loop itself puts into a row of metrics, so no metric may be called so."""


def make_dispatch(
    experiment: Experiment, capacity: int, *, place: Callable[[Any], Any] = lambda tree: tree
) -> Callable[[Any, Any], tuple[Any, dict[str, Array]]]:
    """Returns the jitted `dispatch(state, count) -> (state, metrics)`, which donates the state.

    `count` is an int32 scalar in [0, capacity] and not static, so one compiled program does every number of steps;
    metrics are `[capacity]` per name, of which the first `count` are meant. `place` is applied to the results inside
    jit.

    Raises:
        ValueError: when called, if the step changes the structure, shapes or dtypes of the state, or if its metrics are
            not float32 or int32 scalars with names that are free.
    """
    step = jax.jit(experiment.step)  # so that it is traced once, for its shapes and for its use

    def dispatch(state, count):
        stepped, metrics = jax.eval_shape(step, state)
        _check_step(state, stepped, metrics)
        rows = {name: jnp.zeros((capacity,), metric.dtype) for name, metric in metrics.items()}

        def body(index, carry):
            state, rows = carry
            state, metrics = step(state)
            return strong_types(state), {name: row.at[index].set(metrics[name]) for name, row in rows.items()}

        return place(jax.lax.fori_loop(jnp.int32(0), count, body, (state, rows)))

    return jax.jit(dispatch, donate_argnums=0)


def check_state(state: Any) -> None:
    """Raises a ValueError unless a first state has a typed `key` and an int32 `step` of 0."""
    key, step = getattr(state, "key", None), getattr(state, "step", None)
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ValueError("an experiment's state needs `key`, a typed key as from jax.random.key, but has none")
    if not isinstance(step, jax.Array) or step.shape != () or step.dtype != jnp.int32 or int(step) != 0:
        raise ValueError(f"an experiment's first state needs `step`, the int32 scalar 0, but has {step!r}")


def strong_types(state: Any) -> Any:
    """Returns the state with weak types made strong, because a leaf that changes between the two compiles twice."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)


def _check_step(state: Any, stepped: Any, metrics: Any) -> None:
    before, after = _signature(state), _signature(stepped)
    for left, right in zip(before, after, strict=False):
        if left != right:
            raise ValueError(f"an experiment's step must keep the state as it is, but made {right} of {left}")
    if jax.tree.structure(state) != jax.tree.structure(stepped):
        raise ValueError(
            "an experiment's step must keep the structure of the state, but made "
            f"{jax.tree.structure(stepped)} of {jax.tree.structure(state)}"
        )
    for name, metric in metrics.items():
        if metric.shape != () or metric.dtype not in (jnp.float32, jnp.int32) or name in RESERVED:
            raise ValueError(
                f"the metric {name!r} is {metric.dtype}{list(metric.shape)}; a metric is a float32 or int32 scalar "
                f"and not called {', '.join(RESERVED)}"
            )


def _signature(state: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [f"{_name(p)}: {x.dtype}{list(x.shape)}" for p, x in leaves]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
