"""Squashed normals against distrax, and at the edges."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.networks.squashed import squashed_action


def test_actions_and_densities_are_those_of_a_normal_through_tanh(key):
    outputs = jnp.clip(jax.random.normal(key, (50, 6)), -2.0, 2.0)
    noise = jax.random.normal(jax.random.fold_in(key, 1), (50, 3))
    action, log_density = squashed_action(outputs, noise)
    mean, log_std = jnp.split(outputs, 2, axis=1)
    before = mean + jnp.exp(log_std) * noise
    np.testing.assert_allclose(action, jnp.tanh(before), rtol=1e-6)
    squashed = distrax.Transformed(
        distrax.MultivariateNormalDiag(mean, jnp.exp(log_std)), distrax.Block(distrax.Tanh(), 1)
    )
    is_inside = np.all(np.abs(before) < 3, axis=1)  # distrax inverts tanh, which float32 cannot do near the edge
    np.testing.assert_allclose(log_density[is_inside], squashed.log_prob(action)[is_inside], rtol=1e-3, atol=1e-3)
    assert is_inside.sum() > 20


def test_the_density_of_a_saturated_action_is_finite_and_so_is_its_gradient():
    outputs = jnp.array([40.0, -30.0], jnp.float32)

    def log_density(outputs):
        return squashed_action(outputs, jnp.ones((1,)))[1]

    assert np.isfinite(log_density(outputs)) and np.all(np.isfinite(jax.grad(log_density)(outputs)))
    assert float(squashed_action(outputs, jnp.ones((1,)))[0][0]) == pytest.approx(1.0)


def test_densities_integrate_to_one():
    outputs = jnp.array([0.3, -0.5], jnp.float32)
    noise = jnp.linspace(-8.0, 8.0, 20_001)[:, None]
    action, log_density = squashed_action(jnp.broadcast_to(outputs, (20_001, 2)), noise)
    density, action = np.exp(np.asarray(log_density, np.float64)), np.asarray(action[:, 0], np.float64)
    assert np.trapezoid(density, action) == pytest.approx(1.0, abs=1e-3)
