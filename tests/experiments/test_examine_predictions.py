"""Likelihood and coverage of predictions: right where the law is known, blind to padding, in comparable units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.suites import Suite
from envs.blackbox.task import NUMERIC, pool_params
from metarl.experiments import examine_predictions
from metarl.experiments.examine_predictions import predictions, prior_predictions
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import Belief, make_nap, scale_of

SETTINGS = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 128}
NUM, NUM_TASKS, COUNT = 400, 12, 45


@pytest.fixture(scope="module")
def model():
    nap = make_nap(**SETTINGS)
    params = jax.device_get(jax.jit(nap.init)(jax.random.key(0)))
    return TrainedNAP(SETTINGS, params, {"head": "ei"}, nap, "digest")


def noise(is_valid=None, junk=0.0):
    """Tasks whose values are standard normal wherever they are."""
    law = np.random.default_rng(0)
    y = law.standard_normal((NUM_TASKS, NUM)).astype(np.float32)
    is_valid = np.ones(NUM, bool) if is_valid is None else is_valid
    x = jnp.asarray(law.random((NUM, 1)), jnp.float32)
    kind = jnp.array([NUMERIC], jnp.int32)
    pools = [pool_params(x, kind, jnp.asarray(row), is_valid=jnp.asarray(is_valid)) for row in y]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pools)
    params = params.replace(y=jnp.where(params.is_valid, params.y, junk))
    names = tuple(str(number) for number in range(NUM_TASKS))
    return Suite("noise", names, params, jnp.tile(jnp.arange(5, dtype=jnp.int32), (NUM_TASKS, 1)))


def knowing(model):
    """The model with the belief that everything is standard normal, in the units of the context."""
    from scipy import stats

    edges = model.nap.bars.edges
    mass = np.diff(stats.norm.cdf(np.concatenate([[-np.inf], edges[1:-1], [np.inf]])))
    logits = jnp.asarray(np.log(np.maximum(mass, 1e-12)), jnp.float32)

    def believe(params, kind, evaluations, candidates):
        belief = model.nap.believe(params, kind, evaluations, candidates)
        bars = jnp.broadcast_to(logits, (candidates.shape[0], logits.shape[0]))
        return Belief(belief.reading._replace(bars=bars), scale_of(evaluations.y, evaluations.is_seen))

    return TrainedNAP(SETTINGS, model.params, model.record, model.nap._replace(believe=believe), "digest")


@pytest.fixture
def one_context(monkeypatch):
    """Predictions from 45 evaluations alone, which is one program less to compile for each other number."""
    monkeypatch.setattr(examine_predictions, "CONTEXTS", (COUNT,))


def test_a_model_that_knows_the_law_covers_what_it_claims(model, one_context):
    rows = predictions(knowing(model), noise(), seed=0, batch_size=4)
    assert [row["metric"] for row in rows] == ["nll", "coverage", "coverage"]
    assert all(row["setting"]["context"] == COUNT and len(row["values"]) == NUM_TASKS for row in rows)
    # The median of (log 2π + z²) / 2 over normal z; units are those of 45 draws, which are a tenth off.
    np.testing.assert_allclose(rows[0]["mean"], 0.5 * (np.log(2 * np.pi) + 0.4549), atol=0.06)
    for row, interval in zip(rows[1:], (0.5, 0.9), strict=True):
        assert row["setting"]["interval"] == interval
        np.testing.assert_allclose(row["mean"], interval, atol=0.05)


def test_padding_is_not_predicted(model, one_context):
    is_valid = np.arange(NUM) % 4 != 0
    found = [predictions(knowing(model), noise(is_valid, junk), seed=0, batch_size=4) for junk in (0.0, 1e4)]
    assert [row["values"] for row in found[0]] == [row["values"] for row in found[1]]


def test_under_a_known_law_exact_inference_is_better_than_an_untrained_model(model, monkeypatch):
    """Both in the same units: a spread of the context ten times as large moves both likelihoods alike."""
    monkeypatch.setattr(examine_predictions, "PRIOR_CONTEXTS", (20,))
    spec = "gp-prior@max_dimensions=1,kinds=numeric,output_share=0.0"
    rows = prior_predictions(model, spec, num_candidates=40, num_tasks=24, seed=0)
    assert [(row["arm"], row["metric"], row["setting"]) for row in rows] == [
        ("np", "nll", {"context": 20}),
        ("gp-fitted", "nll", {"context": 20}),
        ("gp-exact", "nll", {"context": 20}),
        ("gp-exact-standardised", "nll", {"context": 20}),
    ]
    own, fitted, exact, standardised = (np.array(row["values"]) for row in rows)
    assert own.shape == exact.shape == (24,) and np.isfinite(own).all() and np.isfinite(exact).all()
    assert (own > exact).mean() > 0.9
    # A standard normal, which is what knowing nothing but the units gives, costs 1.42 nats.
    assert exact.mean() < standardised.mean() < 0.9
    assert np.isfinite(fitted).all() and exact.mean() < fitted.mean() and np.median(fitted) < 0.9


def test_predictions_of_a_model_that_is_told_ranges_are_in_spreads_of_the_context_and_say_so():
    """Flat bars over 1.2 ranges of the pool: a density of 1 / 1.2 a range, in whatever units the pool is."""
    settings = {
        "architecture": "paper",
        "values": "range",
        "width": 8,
        "num_layers": 1,
        "num_heads": 2,
        "num_bars": 12,
    }
    nap = make_nap(**settings)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(nap.init, jax.random.key(0)))
    told, suite = TrainedNAP(settings, params, {"head": "acquisition"}, nap, "digest"), noise()
    scaled = suite.params.replace(
        y=3.0 * suite.params.y + 7.0,
        y_best=3.0 * suite.params.y_best + 7.0,
        y_worst=3.0 * suite.params.y_worst + 7.0,
    )
    rows = predictions(told, suite._replace(params=scaled), seed=0, batch_size=NUM_TASKS)
    assert {row["arm"] for row in rows} == {"np-oracle-normalised"}
    found = next(row for row in rows if row["metric"] == "nll" and row["setting"]["context"] == COUNT)
    keys = jax.random.split(jax.random.key(0), NUM_TASKS)
    for key, y, value in zip(keys, np.asarray(suite.params.y), found["values"], strict=True):
        known = y[np.argsort(np.asarray(jax.random.uniform(key, (NUM,))))][:COUNT]
        assert value == pytest.approx(np.log(1.2 * (y.max() - y.min()) / known.std()), abs=1e-3)
