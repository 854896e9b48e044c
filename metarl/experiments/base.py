"""The shape that every system compiles to, so that one host loop can run all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array

Metrics = dict[str, Array]
"""Scalars by name, one set per step."""


class Experiment(NamedTuple):
    """A resumable computation as pure functions.

    `State` is any pytree of arrays with attributes `key` (typed key) and `step` (int32, steps already done). Everything
    a step needs is in the state, so 2N steps equal N steps, a checkpoint, and N more, bit for bit.
    """

    init: Callable[[Array], Any]
    """`init(key) -> State` with `state.step == 0`."""
    step: Callable[[Any], tuple[Any, Metrics]]
    """`step(State) -> (State, Metrics)`: one unit of progress (for discovery: one generation). Pure and jittable; a
    fixed set of metric names with float32 or int32 scalar values. Reserved metrics: `env_steps` (environment steps
    taken by this step, used for throughput), `fitness` and `loss` (shown in the progress bar), `num_nonfinite` and
    `num_evaluated` (if equal, nothing was finite and the run stops)."""
    export: Callable[[Any], dict[str, Array]]
    """`export(State) -> {name: array}`: what is worth keeping when training is over."""
