"""The example of `docs/extending.md` is run as it stands there."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def example():
    """The names that the example leaves behind."""
    (code,) = re.findall(r"<!-- example: ppo -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {"__name__": "example"}
    # Someone else's code runs under jax's own rules of promotion.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_the_agent_of_the_example_learns_to_catch(example):
    """A return of 1 is a caught ball, -1 a missed one; random play catches one in five."""
    returns = np.asarray(example["returns"])
    assert returns.shape == (example["NUM_UPDATES"],)
    assert returns[:5].mean() < -0.3 and returns[-5:].mean() > 0.5


def test_the_rule_of_the_example_is_a_pure_function_of_arrays(example):
    rule, key = example["rule"], jax.random.key(0)
    ratio, advantage = jnp.exp(0.5 * jax.random.normal(key, (64,))), jax.random.normal(key, (64,))
    eager = rule(ratio, advantage, step=3, lifetime=60)
    compiled = jax.jit(rule)(ratio, advantage, step=jnp.int32(3), lifetime=jnp.int32(60))
    np.testing.assert_allclose(eager, compiled, rtol=1e-4, atol=1e-6)  # float32 sums over 128 units
    assert eager.shape == (64,) and (eager >= 0.0).all() and eager.max() > 0.0
