from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments.base import Experiment
from metarl.run.dispatch import check_state, make_dispatch
from populations.mesh import make_mesh, replicate, split


class Counter(NamedTuple):
    key: Any
    step: Any
    total: Any
    copy: Any


def init(key):
    total = jnp.zeros(16, jnp.float32)
    return Counter(key, jnp.int32(0), total, total)


def step(state):
    step = state.step + 1
    return state._replace(step=step, total=state.total + step.astype(jnp.float32)), {"square": step**2}


COUNTER = Experiment(init, step, lambda state: {})


def start():
    return jax.jit(init)(jax.random.key(0))


def num_compiled(caplog):
    """Not `_cache_size()`, which counts typed keys on a mesh twice, and was 0 once after thousands of tests."""
    return sum("Finished XLA compilation of jit(dispatch)" in record.message for record in caplog.records)


def test_one_compiled_program_does_every_number_of_steps(caplog):
    dispatch, state, squares = make_dispatch(COUNTER, 4), start(), []
    with jax.log_compiles():
        for count in (4, 1, 3, 4, 0, 2):
            state, metrics = dispatch(state, np.int32(count))
            squares += metrics["square"][:count].tolist()
    assert squares == [n**2 for n in range(1, 15)]
    assert int(state.step) == 14
    assert state.total.tolist() == [sum(range(15))] * 16
    assert num_compiled(caplog) == 1


def test_dispatches_equal_single_steps_bit_for_bit(tiny):
    experiment = tiny.make_tiny()
    state = jax.jit(experiment.init)(jax.random.key(1))
    single, alone = jax.jit(experiment.step), state
    fitness = []
    for _ in range(7):
        alone, metrics = single(alone)
        fitness.append(metrics["fitness"].item())
    together, rows = make_dispatch(experiment, 10)(state, np.int32(7))
    assert tiny.digest(together) == tiny.digest(alone)
    assert rows["fitness"][:7].tolist() == fitness


def test_the_state_is_donated():
    state = start()
    make_dispatch(COUNTER, 2)(state, np.int32(2))
    assert state.total.is_deleted() and state.key.is_deleted()


def test_the_step_is_traced_once():
    traces = []

    def counting(state):
        traces.append(1)
        return step(state)

    make_dispatch(COUNTER._replace(step=counting), 2)(start(), np.int32(2))
    assert len(traces) == 1


def test_on_a_mesh_one_program_is_compiled_even_if_the_step_spreads_its_work(caplog):
    mesh = make_mesh()
    place = partial(replicate, mesh=mesh)

    def spread(state):
        state, metrics = step(state)
        return state._replace(total=split(state.total, mesh)), metrics

    dispatch = make_dispatch(COUNTER._replace(step=spread), 4, place=place)
    state = jax.jit(lambda key: place(init(key)))(jax.random.key(0))
    with jax.log_compiles():
        for _ in range(4):
            state, metrics = dispatch(state, np.int32(3))
    assert state.total.tolist() == [78.0] * 16
    assert metrics["square"][:3].tolist() == [100, 121, 144]
    assert num_compiled(caplog) == 1


def test_a_step_may_return_weak_types_without_compiling_again(caplog):
    dispatch = make_dispatch(COUNTER._replace(step=lambda s: (s._replace(total=jnp.full(16, 1.0)), {})), 2)
    state = start()
    with jax.log_compiles():
        for _ in range(2):
            state, _ = dispatch(state, np.int32(2))
    assert state.total.tolist() == [1.0] * 16 and not state.total.weak_type
    assert num_compiled(caplog) == 1


@pytest.mark.parametrize(
    "broken, message",
    [
        (lambda s: (s._replace(step=s.step.astype(jnp.float32)), {}), r"made step: float32\[\] of step: int32\[\]"),
        (lambda s: (s._replace(total=s.total[:3]), {}), r"made total: float32\[3\] of total: float32\[16\]"),
        (lambda s: (s._replace(copy=()), {}), "structure of the state"),
        (lambda s: (s, {"x": s.total}), r"metric 'x' is float32\[16\]"),
        (lambda s: (s, {"x": s.step > 0}), r"metric 'x' is bool"),
        (lambda s: (s, {"wall_s": s.step}), "not called step, wall_s, cpu_s, env_steps_total, nonfinite"),
    ],
)
def test_a_step_that_breaks_the_contract_is_told_where(broken, message):
    dispatch = make_dispatch(COUNTER._replace(step=broken), 2)
    with pytest.raises(ValueError, match=message):
        dispatch(start(), np.int32(1))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"key": jnp.zeros(2, jnp.uint32)}, "typed key"),
        ({"key": None}, "typed key"),
        ({"step": jnp.float32(0)}, "int32 scalar 0"),
        ({"step": jnp.int32(1)}, "int32 scalar 0"),
        ({"step": jnp.zeros(1, jnp.int32)}, "int32 scalar 0"),
    ],
)
def test_a_first_state_that_breaks_the_contract_is_told_why(changes, message):
    with pytest.raises(ValueError, match=message):
        check_state(start()._replace(**changes))


def test_a_state_without_key_or_step_is_told_why():
    with pytest.raises(ValueError, match="typed key"):
        check_state({"total": jnp.zeros(3)})


def test_a_good_first_state_passes():
    check_state(start())
