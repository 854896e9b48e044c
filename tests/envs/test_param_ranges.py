"""Families over ranges of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.param_ranges import parse_ranges
from envs.registry import make_family

PENDULUM = "Pendulum-v1@g=5..15,l=0.5..2"


def test_quantiles_span_the_ranges():
    family = make_family(PENDULUM)
    assert family.num_dimensions == 2 and family.name == PENDULUM
    np.testing.assert_allclose([family.low, family.high], [[5, 0.5], [15, 2]])
    for vector, expected in (((0, 0), (5, 0.5)), ((1, 0.5), (15, 1.25)), ((-1, 9), (5, 2))):
        params = family.decode(jnp.array(vector, jnp.float32)).params
        assert (float(params.g), float(params.l)) == pytest.approx(expected)
    default = make_family("Pendulum-v1").sample(jax.random.key(0)).params
    assert params.max_torque == default.max_torque


def test_tasks_are_uniform_and_traced():
    family = make_family(PENDULUM)
    params = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(0), 2000)).params
    assert float(jnp.mean(params.g)) == pytest.approx(10.0, abs=4 * 10 / np.sqrt(12 * 2000))


def test_derived_parameters_of_cartpole_follow():
    params = make_family("CartPole-v1@masspole=0.2..0.4,length=1..3").decode(jnp.array([0.5, 0.5], jnp.float32)).params
    assert float(params.total_mass) == pytest.approx(float(params.masscart) + 0.3)
    assert float(params.polemass_length) == pytest.approx(0.3 * 2.0)


def test_lifetimes_may_be_given_too():
    family = make_family(PENDULUM, lifetime=(5, 50))
    assert family.num_dimensions == 3 and family.max_lifetime == 50


@pytest.mark.parametrize("words", ["g", "g=5", "g=5..", "g=a..b", "g=1..2..3"])
def test_what_is_no_range_is_refused(words):
    with pytest.raises(ValueError, match="is no range of a parameter"):
        parse_ranges(words)


def test_impossible_ranges_are_refused():
    with pytest.raises(ValueError, match="no parameter 'gravity' to vary; choose among"):
        make_family("Pendulum-v1@gravity=1..2")
    with pytest.raises(ValueError, match="low must be below high"):
        make_family("Pendulum-v1@g=2..2")
    with pytest.raises(ValueError, match="several tasks already"):
        make_family("gridworld/small@g=1..2")
