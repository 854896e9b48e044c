"""Every network keeps the same promises, whatever is inside."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.index_observation import IndexObservation
from metarl.networks.actor_critic import conv, mlp
from metarl.networks.network import Network
from metarl.networks.tabular import tabular

HEADS = {"policy": 3, "value": 1}
T, B = 3, 2
FUSED = 1e-5  # jit and vmap may fuse or reorder the float32 sums of a layer


class Case(NamedTuple):
    network: Network
    shape: tuple[int, ...]
    """Of one observation."""
    dtype: jnp.dtype


CASES = {
    "tabular": Case(tabular(7, HEADS), (), jnp.int32),
    "mlp": Case(mlp((4,), HEADS, hidden=(5, 5)), (4,), jnp.float32),
    "mlp_tanh_shared": Case(mlp((4,), HEADS, hidden=(5,), activation="tanh", shares_torso=True), (4,), jnp.float32),
    "mlp_linear": Case(mlp((2, 2), HEADS, hidden=()), (2, 2), jnp.int32),
    "conv": Case(conv((5, 5, 2), HEADS, features=(3,), hidden=(4,)), (5, 5, 2), jnp.bool_),
    "conv_shared": Case(conv((5, 5, 2), HEADS, features=(3, 3), hidden=(), shares_torso=True), (5, 5, 2), jnp.bool_),
}


def observations(case: Case, key: jax.Array):
    """[T, B] observations."""
    batch = jax.random.randint(key, (T, B, *case.shape), 0, 2 if case.dtype == jnp.bool_ else 7).astype(case.dtype)
    return IndexObservation(batch, jax.random.uniform(key, (T, B))) if case.shape == () else batch


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request):
    """The case, its functions jitted once for all tests; `test_jit_changes_nothing` looks at the bare ones."""
    bare = CASES[request.param]
    return bare._replace(network=Network(jax.jit(bare.network.init), jax.jit(bare.network.apply)))


@pytest.fixture(scope="module")
def batch(case):
    return observations(case, jax.random.key(1))


@pytest.fixture(scope="module")
def params(case):
    return case.network.init(jax.random.key(2))


def assert_close(result, expected):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=FUSED, atol=FUSED), result, expected)


def take(tree, *index):
    return jax.tree.map(lambda x: x[index], tree)


def test_outputs_have_the_declared_sizes_on_any_batch_axes(case, batch, params):
    for leading in ((T, B), (B,), ()):
        inputs = take(batch, *(0,) * (2 - len(leading)))
        outputs = jax.eval_shape(case.network.apply, params, inputs)
        assert {head: (x.shape, x.dtype) for head, x in outputs.items()} == {
            head: ((*leading, size), jnp.float32) for head, size in HEADS.items()
        }


def test_a_batch_is_its_observations_one_by_one(case, batch, params):
    together = case.network.apply(params, batch)
    for t, b in np.ndindex(T, B):
        assert_close(take(together, t, b), case.network.apply(params, take(batch, t, b)))


def test_jit_changes_nothing(request, case, batch, params):
    bare = CASES[request.node.callspec.params["case"]].network
    assert_close(bare.init(jax.random.key(2)), params)
    assert_close(bare.apply(params, batch), case.network.apply(params, batch))


def test_vmap_over_candidates_is_a_loop(case, batch):
    keys = jax.random.split(jax.random.key(3), 3)
    population = jax.jit(jax.vmap(case.network.init))(keys)
    together = jax.jit(jax.vmap(case.network.apply, in_axes=(0, None)))(population, batch)
    for index, key_member in enumerate(keys):
        member = case.network.init(key_member)
        assert_close(take(population, index), member)
        assert_close(take(together, index), case.network.apply(member, batch))


def test_parameters_are_determined_by_the_key(case, params):
    again, other = case.network.init(jax.random.key(2)), case.network.init(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, params, again)
    drawn = [(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True) if a.any()]
    assert len(drawn) >= len(HEADS)
    assert all((a != b).any() for a, b in drawn)


def test_parameters_are_strong_float32_in_a_branch_per_head(params):
    assert set(params) - {"torso"} == set(HEADS)
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in jax.tree.leaves(params))


def test_gradients_are_finite_and_of_the_parameters_type(case, batch, params):
    def loss(params):
        return sum(jnp.sum(jnp.square(x)) for x in case.network.apply(params, batch).values())

    gradient = jax.jit(jax.grad(loss))(params)
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_apply_compiles_once_for_updated_parameters(case, batch, params):
    apply = jax.jit(lambda params, observation: case.network.apply(params, observation))
    apply(params, batch)
    apply(jax.tree.map(lambda x: x - 0.1 * x, params), batch)
    assert apply._cache_size() == 1
