import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.incontext.heads import make_head

NUM_SAMPLES = 4000


def samples(head, outputs):
    return jax.vmap(head.sample, (None, 0))(outputs, jax.random.split(jax.random.key(0), NUM_SAMPLES))


def test_the_categorical_loss_is_the_cross_entropy_with_soft_labels():
    head = make_head("categorical", 3)
    logits, label = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.25, 0.0, 0.75])
    expected = -(label * np.log(np.exp(logits) / np.exp(logits).sum())).sum()
    np.testing.assert_allclose(head.loss(logits, label), expected, rtol=1e-6)


def test_an_impossible_action_costs_nothing_and_is_never_taken():
    head = make_head("categorical", 3)
    logits = jnp.array([0.0, 0.0, -jnp.inf])
    np.testing.assert_allclose(head.loss(logits, jnp.array([1.0, 0.0, 0.0])), np.log(2.0), rtol=1e-6)
    gradient = jax.grad(head.loss)(logits, jnp.array([1.0, 0.0, 0.0]))
    assert np.isfinite(gradient).all()
    assert set(np.unique(samples(head, logits))) == {0, 1}


@pytest.mark.parametrize(("kind", "num_parts"), [("binned", 16), ("mixture", 3)])
def test_densities_integrate_to_one(kind, num_parts):
    """Over a wide interval: a mixture's tails are cut off only when it acts."""
    head = make_head(kind, 1, num_parts=num_parts)
    outputs = jax.random.normal(jax.random.key(0), (head.size,))
    low, high = (-1.0, 1.0) if kind == "binned" else (-30.0, 30.0)
    grid = jnp.linspace(low, high, 60_001)[:-1] + (high - low) / 120_000
    density = jnp.exp(-jax.vmap(lambda x: head.loss(outputs, x[None]))(grid))
    np.testing.assert_allclose(jnp.sum(density) * (high - low) / 60_000, 1.0, atol=2e-3)


@pytest.mark.parametrize(("kind", "num_parts"), [("binned", 16), ("mixture", 3)])
def test_samples_follow_the_density(kind, num_parts):
    head = make_head(kind, 2, num_parts=num_parts)
    outputs = jax.random.normal(jax.random.key(1), (head.size,))
    found = np.asarray(samples(head, outputs))
    assert found.shape == (NUM_SAMPLES, 2) and np.abs(found).max() <= 1.0
    # The share of samples below 0.1 in the first dimension against the integral of the density.
    grid = jnp.linspace(-20.0, 0.1, 20_001)
    inside = grid >= -1.0 if kind == "binned" else grid > -jnp.inf
    one = make_head(kind, 1, num_parts=num_parts)
    density = jnp.exp(-jax.vmap(lambda x: one.loss(outputs[: one.size], x[None]))(grid))
    expected = float(jnp.sum(jnp.where(inside, density, 0.0)) * (20.1 / 20_000))
    error = 4.0 * np.sqrt(expected * (1.0 - expected) / NUM_SAMPLES)
    assert abs(np.mean(found[:, 0] < 0.1) - expected) < error + 0.01  # 0.01: the grid's step at a jump of the density


def starts(head, num_parts):
    """Returns where the components of a mixture are before anything is learned, [M, D]."""
    return np.stack([head.mode(jnp.zeros((head.size,)).at[i].set(9.0)) for i in range(num_parts)])


def test_dimensions_of_a_mixture_hang_together():
    """Up on the left or down on the right, and never half of both."""
    head, places = make_head("mixture", 2, num_parts=2), np.array([[-0.6, 0.6], [0.6, -0.6]])
    shift, narrow = places - starts(head, 2), [-9.0, -9.0]
    outputs = jnp.array([0.0, 0.0, *shift[:, 0], *narrow, *shift[:, 1], *narrow])
    found = np.asarray(samples(head, outputs))
    assert (np.sign(found[:, 0]) == -np.sign(found[:, 1])).all()
    assert abs(np.mean(found[:, 0] > 0) - 0.5) < 4 * np.sqrt(0.25 / NUM_SAMPLES)
    assert head.loss(outputs, jnp.array([-0.6, 0.6])) + 9.0 < head.loss(outputs, jnp.array([-0.6, -0.6]))


def test_components_of_a_mixture_start_spread_over_every_dimension():
    head = make_head("mixture", 2, num_parts=4)
    found = starts(head, 4)
    np.testing.assert_allclose(np.sort(found, axis=0), np.tile([[-0.6], [-0.2], [0.2], [0.6]], 2), atol=1e-6)
    assert not np.allclose(found[:, 0], found[:, 1]) and not np.allclose(found[:, 0], -found[:, 1])


def test_modes_are_the_most_probable():
    binned = make_head("binned", 1, num_parts=4)
    np.testing.assert_allclose(binned.mode(jnp.array([0.0, 0.0, 3.0, 0.0])), [0.25])
    mixture = make_head("mixture", 1, num_parts=2)
    found = mixture.mode(jnp.array([0.0, 5.0, 0.0, 0.1, 0.0, 0.0]))
    np.testing.assert_allclose(found, [1.0 / 3.0 + 0.1], rtol=1e-5)


def test_learning_one_action_makes_it_the_mode():
    for kind in ("binned", "mixture"):
        head = make_head(kind, 2, num_parts=8)
        target, outputs = jnp.array([0.6, -0.3]), jnp.zeros((head.size,))
        adam, gradient = optax.adam(0.03), jax.jit(jax.grad(head.loss))
        state = adam.init(outputs)
        for _ in range(300):  # by plain descent, a component as narrow as e^-5 would overshoot
            updates, state = adam.update(gradient(outputs, target), state)
            outputs = optax.apply_updates(outputs, updates)
        np.testing.assert_allclose(head.mode(outputs), target, atol=0.13)  # half a bin of width 0.25


@pytest.mark.parametrize(("kind", "num_actions", "num_parts"), [("normal", 2, 4), ("binned", 0, 4), ("mixture", 2, 0)])
def test_what_no_head_can_be_is_refused(kind, num_actions, num_parts):
    with pytest.raises(ValueError, match="choose one of categorical, binned, mixture"):
        make_head(kind, num_actions, num_parts=num_parts)
