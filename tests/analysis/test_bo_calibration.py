"""Calibration: shares are those that the examination recorded, and calibrated ranks give the diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.bo_calibration import NOMINAL, calibration_curves, covered, predictive_ranks, rank_histogram, reliability
from analysis.load import read_rows
from envs.blackbox.suites import Suite
from envs.blackbox.task import NUMERIC, pool_params
from metarl.experiments.examine_predictions import predictions
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import make_nap

SEED, NUM_POOLS, SIZES = 3, 3, (20, 45)


@pytest.fixture(autouse=True)
def two_contexts(monkeypatch):
    """Leaves two sizes of contexts, for each is a program to compile."""
    for module in ("analysis.bo_calibration", "metarl.experiments.examine_predictions"):
        monkeypatch.setattr(f"{module}.CONTEXTS", SIZES)


@pytest.fixture(scope="module")
def model():
    """Returns a model that has learned nothing."""
    settings = {"width": 8, "num_layers": 1, "num_heads": 1, "num_bars": 16, "activation": "relu"}
    nap = make_nap(**settings)
    return TrainedNAP(settings, jax.jit(nap.init)(jax.random.key(0)), {"head": "ei"}, nap, "")


@pytest.fixture(scope="module")
def suite():
    """Returns pools of 60 places, of which the last three hold no candidate."""
    generator, pools = np.random.default_rng(0), []
    for _ in range(NUM_POOLS):
        x = jnp.asarray(generator.random((60, 2)), jnp.float32)
        y = jnp.asarray(generator.normal(size=60), jnp.float32)
        pools.append(pool_params(x, jnp.full((2,), NUMERIC, jnp.int32), y, is_valid=jnp.arange(60) < 57))
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pools)
    return Suite("noise", tuple("abc"), params, jnp.zeros((NUM_POOLS, 5), jnp.int32))


def test_coverage_from_predictive_ranks_is_what_the_examination_counts(model, suite):
    recorded = [row for row in predictions(model, suite, seed=SEED, batch_size=2) if row["metric"] == "coverage"]
    below = {count: predictive_ranks(model, suite, count, seed=SEED) for count in SIZES}
    assert [len(row) for row in below[20]] == [37] * NUM_POOLS
    for row in recorded:
        place = int(np.argmin(np.abs(NOMINAL - row["setting"]["interval"])))
        mine = covered(below[row["setting"]["context"]])[:, place]
        np.testing.assert_allclose(mine, row["values"], atol=1e-6)  # shares of 12 values and more


def test_uniform_ranks_are_on_the_diagonal():
    below = [(np.arange(1000) + 0.5) / 1000.0] * 2
    np.testing.assert_allclose(covered(below), np.broadcast_to(NOMINAL, (2, 41)), atol=0.0011)  # one value of 1000
    np.testing.assert_allclose(rank_histogram(below), 1.0)


def test_ranks_in_the_middle_make_a_hump_and_cover_too_much():
    below = [np.full(10, 0.52)]
    assert covered(below)[0, 2] == 1.0 and rank_histogram(below)[10] == 20.0 and rank_histogram(below).sum() == 20.0


def test_every_pool_counts_the_same_in_the_histogram():
    density = rank_histogram([np.full(90, 0.01), np.full(10, 0.99)])
    assert density[0] == density[-1] == 10.0


def test_the_picture_of_reliability_holds_what_it_draws(model, suite):
    picture = reliability(model, suite, seed=SEED)
    expected = covered(predictive_ranks(model, suite, 45, seed=SEED)).mean(axis=0)
    np.testing.assert_allclose(picture.numbers["45/covered"], expected)
    lines = {line.get_label(): line.get_ydata() for line in picture.figure.axes[0].lines}
    np.testing.assert_array_equal(lines["45 evaluations"], picture.numbers["45/covered"])
    assert "noise (3 pools)" in picture.caption


def rows_of(tmp_path, *envs):
    rows = []
    for env in envs:
        for count, scale in ((5, 1.0), (45, 2.0)):
            rest = {"arm": "np", "env": env, "iqm": 0.0, "low": 0.0, "high": 0.0, "confidence": 0.95, "mean": 0.0}
            one = {"metric": "nll", "setting": {"context": count}, "values": [scale, 2.0 * scale]}
            rows.append(rest | one)
            for level in (0.5, 0.9):
                setting = {"context": count, "interval": level}
                rows.append(rest | {"metric": "coverage", "setting": setting, "values": [level - 0.1, level + 0.1]})
    return read_rows(tmp_path / "evaluation.json", {"schema": 1, "rows": rows})


def test_calibration_is_drawn_over_sizes_of_the_context(tmp_path):
    picture = calibration_curves(rows_of(tmp_path, "xgb", "bbob"))
    for env in ("xgb", "bbob"):
        np.testing.assert_array_equal(picture.numbers[f"{env}/nll/context"], [5.0, 45.0])
        np.testing.assert_array_equal(picture.numbers[f"{env}/nll/mean"], [1.5, 3.0])
        np.testing.assert_allclose(picture.numbers[f"{env}/coverage/0.9/mean"], [0.9, 0.9])
        np.testing.assert_allclose(picture.numbers[f"{env}/coverage/0.5/low"], [0.4, 0.4])
    assert "nats" in picture.figure.axes[1].get_ylabel()


def test_without_predictions_there_is_no_picture():
    assert calibration_curves(()) is None
