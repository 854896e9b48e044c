"""Slices: the model is asked what it believes, evaluates what it ranks first, and pictures hold what they show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.bo_slice_pictures import DEPTH, below_best, line_slices, plane_slices
from analysis.bo_slices import LEVELS, choice, explore, explore_lines, explore_plane, gaussian_draw, two_hills
from envs.blackbox.task import MAX_DIMENSIONS, NUMERIC, UNUSED
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import make_nap
from metarl.metabo.network import Evaluations

SETTINGS = {"width": 8, "num_layers": 1, "num_heads": 1, "num_bars": 16, "activation": "relu"}


def make_model(head):
    """Returns a model that has learned nothing; its acquisition is moved off zero, so that it adds something."""
    nap = make_nap(**SETTINGS)
    params = jax.jit(nap.init)(jax.random.key(1))
    moved = jax.tree.map(lambda leaf: leaf + 0.3, params["acquisition_head"])
    return TrainedNAP(SETTINGS, params | {"acquisition_head": moved}, {"head": head}, nap, "")


@pytest.fixture(scope="module")
def model():
    return make_model("acquisition")


@pytest.fixture(scope="module")
def lines(model):
    return explore_lines(model, 45)


@pytest.fixture(scope="module")
def plane(model):
    return explore_plane(model, 45)


def test_functions_have_the_shape_they_claim():
    x = np.linspace(0.0, 1.0, 1001)
    assert abs(x[np.argmax(two_hills(x))] - 0.72) < 0.002
    draws = np.stack([gaussian_draw(x, seed=seed) for seed in range(200)])
    assert abs(draws.var(axis=0).mean() - 1.0) < 0.1  # a standard error of about 0.03
    correlation = np.mean(draws[:, 0] * draws[:, 120])  # one length scale apart
    assert abs(correlation - np.exp(-0.5)) < 0.25


def test_what_is_believed_is_what_the_model_says(model, lines):
    (exploration, _), view = lines, lines[0].views[1]
    kind = jnp.array([NUMERIC] + [UNUSED] * (MAX_DIMENSIONS - 1), jnp.int32)
    x = jnp.zeros((201, MAX_DIMENSIONS), jnp.float32).at[:, 0].set(jnp.asarray(exploration.x[:, 0], jnp.float32))
    seen = Evaluations(x[view.seen], jnp.asarray(exploration.y[view.seen], jnp.float32), jnp.ones(6, bool))
    belief = jax.jit(model.nap.believe)(model.params, kind, seen, x)
    np.testing.assert_allclose(view.log_ei, belief.reading.log_ei, rtol=1e-4, atol=1e-4)  # float32, padded context
    expected = belief.scale.mean + belief.scale.std * belief.reading.mean
    np.testing.assert_allclose(view.mean, expected, rtol=1e-4, atol=1e-4)
    preference = jax.jit(model.nap.prefer)(model.params, belief, jnp.float32(3.0 / 45.0))
    np.testing.assert_allclose(view.preference, preference, rtol=1e-4, atol=1e-4)
    assert np.std(view.preference - view.log_ei) > 0.0


def test_quantiles_ascend(lines):
    for view in lines[0].views:
        assert view.quantiles.shape == (len(LEVELS), 201) and np.all(np.diff(view.quantiles, axis=0) > 0.0)


def test_stages_begin_with_what_is_given_and_go_on_by_choice(lines, plane):
    for exploration, counts in ((lines[0], (3, 6, 10)), (plane, (5, 15))):
        first, last = exploration.views[0], exploration.views[-1]
        assert tuple(len(view.seen) for view in exploration.views) == counts
        assert last.seen[counts[0]] == choice(first)
        assert len(set(last.seen.tolist())) == counts[-1]


def test_without_a_learned_acquisition_expected_improvement_chooses():
    x = np.linspace(0.0, 1.0, 30)
    options = {"start": (2, 20), "stages": (2, 4), "horizon": 10}
    (view, _) = explore(make_model("ei"), "f", x[:, None], two_hills(x), **options).views
    scores = view.log_ei.copy()
    scores[[2, 20]] = -np.inf
    assert view.preference is None and choice(view) == np.argmax(scores)


def test_branin_is_maximised_on_the_grid(plane):
    best = plane.x[np.argmax(plane.y)]
    minima = (np.array([[-np.pi, 12.275], [np.pi, 2.275], [3.0 * np.pi, 2.475]]) - [-5.0, 0.0]) / 15.0
    assert np.abs(minima - best).max(axis=1).min() <= 0.0125 + 1e-6  # half a step of the grid


def test_scores_are_shown_below_their_best():
    np.testing.assert_array_equal(below_best(np.array([1.0, 3.0, -1e9])), [-2.0, 0.0, -DEPTH])


def test_pictures_hold_what_they_show(lines, plane):
    picture = line_slices(lines)
    np.testing.assert_array_equal(picture.numbers["two hills/10/mean"], lines[0].views[-1].mean)
    drawn = {line.get_label(): line.get_ydata() for line in picture.figure.axes[0].lines}
    np.testing.assert_array_equal(drawn["predictive mean"], lines[0].views[0].mean)
    np.testing.assert_array_equal(drawn["function"], lines[0].y)
    picture = plane_slices(plane)
    np.testing.assert_array_equal(picture.numbers["15/std"], plane.views[-1].std)
    image = picture.figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(np.asarray(image).ravel(), plane.views[0].mean)


def test_a_model_without_learned_acquisition_has_one_column_fewer(plane):
    alone = plane._replace(views=[view._replace(preference=None) for view in plane.views])
    titles = [axis.get_title("left") for axis in plane_slices(alone).figure.axes if axis.images]
    assert titles[:3] == ["mean", "std", "log EI (nats)"] and len(titles) == 6


def test_a_model_that_is_told_ranges_is_drawn_in_the_units_of_the_function():
    settings = {
        "architecture": "paper",
        "values": "range",
        "width": 8,
        "num_layers": 1,
        "num_heads": 2,
        "num_bars": 12,
    }
    nap = make_nap(**settings)
    told = TrainedNAP(settings, jax.jit(nap.init)(jax.random.key(1)), {"head": "acquisition"}, nap, "")
    x = np.linspace(0.0, 1.0, 16)[:, None]
    y = two_hills(x[:, 0])
    shown = {"start": (3,), "stages": (1, 2), "horizon": 4}
    one = explore(told, "hills", x, y, **shown).views[-1]
    other = explore(told, "hills", x, 3.0 * y - 5.0, **shown).views[-1]
    np.testing.assert_array_equal(other.seen, one.seen)
    np.testing.assert_allclose(other.mean, 3.0 * one.mean - 5.0, atol=1e-4)
    np.testing.assert_allclose(other.std, 3.0 * one.std, rtol=1e-4)
    np.testing.assert_allclose(other.quantiles, 3.0 * one.quantiles - 5.0, atol=1e-3)
    assert abs(float(np.mean(one.mean)) - (y.min() + 0.5 * np.ptp(y))) < 0.05 * np.ptp(y)
