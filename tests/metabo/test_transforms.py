"""Transforms keep the order of values, and the model sees what they make of them."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.export import save_nap
from metarl.metabo.nap import make_nap
from metarl.metabo.space import Float
from metarl.metabo.suggest import Known, context_of
from metarl.metabo.transforms import TRANSFORMS, copula, logarithm, transform_of

SMALL = {"width": 8, "num_layers": 1, "num_heads": 2, "num_bars": 8}
VALUES = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    params = jax.device_get(make_nap(**SMALL).init(jax.random.key(1)))
    return save_nap(tmp_path_factory.mktemp("model"), SMALL, params, {"head": "ei"})


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@given(values=VALUES)
def test_no_transform_turns_two_values_around(name, sign, values):
    y = sign * np.asarray(values)
    shown = transform_of(name)(y)
    assert shown.shape == y.shape and np.isfinite(shown).all()
    assert (np.diff(shown[np.argsort(y, kind="stable")]) >= 0.0).all()


def test_ranks_become_normal_quantiles_and_ties_stay_ties():
    np.testing.assert_allclose(
        copula(np.asarray([3.0, -1e9, 7.0, 3.5])), [-0.318639, -1.150349, 1.150349, 0.318639], atol=1e-6
    )
    tied = copula(np.asarray([1.0, 5.0, 5.0, 9.0]))
    assert tied[1] == tied[2] == 0.0 and tied[0] == -tied[3]


def test_losses_and_gains_are_both_seen_in_their_logarithm():
    np.testing.assert_allclose(logarithm(np.asarray([1e-3, 1.0, 1e3])) / np.log(10.0), [-3.0, 0.0, 3.0])
    np.testing.assert_allclose(logarithm(-np.asarray([1e-3, 1.0, 1e3])) / np.log(10.0), [3.0, 0.0, -3.0])
    for values in ([1.0, -1.0], [0.0, 1.0]):
        with pytest.raises(ValueError, match="log needs values that are all positive"):
            logarithm(np.asarray(values))


def test_one_absurd_value_does_not_flatten_the_others():
    y, x = np.asarray([0.1, 0.2, 0.3, -1e12]), np.zeros((4, 20))
    shown = {name: context_of(Known(x, y, x[:0]), name).y[:3] for name in ("none", "copula")}
    assert np.ptp(shown["none"]) < 1e-6 and np.ptp(shown["copula"]) > 0.9


def test_what_failed_is_the_worst_and_where_all_failed_nothing_is_transformed():
    x = np.zeros((3, 20))
    context = context_of(Known(x, np.asarray([2.0, np.nan, 1.0]), x[:0]), "log")
    assert context.y[1] == context.y[2] < context.y[0]
    assert not context_of(Known(x, np.full(3, np.nan), x[:0]), "log").y.any()


def test_an_optimizer_sees_transformed_values_and_goes_on_after_a_save(checkpoint, tmp_path):
    """Under the copula any increasing function of the objective leads to the same asks."""
    asked = []
    for distort in (lambda y: y, lambda y: np.exp(30.0 * y)):
        opt = Optimizer({"a": Float(0.0, 1.0)}, checkpoint, num_init=3, transform="copula")
        for _ in range(5):
            (config,) = opt.ask()
            opt.tell(config, float(distort(-((config["a"] - 0.3) ** 2))))
        asked.append([result.config for result in opt.results])
    assert asked[0] == asked[1]
    again = Optimizer.load(opt.save(tmp_path / "opt.json"))
    assert again.transform == "copula" and again.ask() == opt.ask()


def test_wrong_names_and_values_are_refused_and_change_nothing(checkpoint):
    with pytest.raises(ValueError, match="no transform 'rank' of values; choose one of none, log, copula"):
        Optimizer({"a": Float(0.0, 1.0)}, checkpoint, transform="rank")
    opt = Optimizer({"a": Float(0.0, 1.0)}, checkpoint, transform="log", maximize=False)
    opt.tell({"a": 0.5}, 2.0)
    opt.tell({"a": 0.6}, None)
    with pytest.raises(ValueError, match="all positive"):
        opt.tell({"a": 0.7}, -2.0)
    assert len(opt.results) == 2
