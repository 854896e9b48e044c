import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.task import CATEGORICAL, NUMERIC
from metarl.metabo.nap import believe_in_blocks, make_nap
from metarl.metabo.network import Evaluations

NAP = make_nap(num_dimensions=3, width=16, num_layers=2, num_heads=2, num_bars=16)
PARAMS = NAP.init(jax.random.key(0))
KIND = jnp.array([NUMERIC, NUMERIC, CATEGORICAL], jnp.int32)


def points(key, count):
    numbers = jax.random.uniform(key, (count, 3))
    return numbers.at[:, 2].set(jnp.floor(4.0 * numbers[:, 2]))


X = points(jax.random.key(1), 12)
SEEN = Evaluations(X, 7.0 + 3.0 * jnp.sin(9.0 * X[:, 0]), jnp.arange(12) < 9)


CANDIDATES = points(jax.random.key(2), 50)


@pytest.fixture(scope="module")
def whole():
    return jax.jit(NAP.believe)(PARAMS, KIND, SEEN, CANDIDATES)


@pytest.mark.parametrize("block", [16, 25, 64], ids=["remainder", "whole blocks", "one block"])
def test_beliefs_in_blocks_are_those_of_all_candidates_at_once(whole, block):
    blocks = jax.jit(lambda x: believe_in_blocks(NAP, PARAMS, KIND, SEEN, x, block=block))(CANDIDATES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), blocks, whole)
    assert jnp.std(whole.reading.mean) > 1e-3  # candidates differ, so that their order is tested


def test_memory_between_input_and_output_is_that_of_a_block():
    candidates = jax.ShapeDtypeStruct((8192, 3), jnp.float32)

    def between(believe):
        def best(x):
            return jnp.max(believe(PARAMS, KIND, SEEN, x).reading.log_ei)

        return jax.jit(best).lower(candidates).compile().memory_analysis().temp_size_in_bytes

    whole = between(NAP.believe)
    assert between(lambda *arguments: believe_in_blocks(NAP, *arguments, block=256)) < whole / 3


def test_blocks_of_nothing_are_refused():
    with pytest.raises(ValueError, match="blocks of 0 candidates"):
        believe_in_blocks(NAP, PARAMS, KIND, SEEN, X, block=0)
