"""An examination says of every optimiser what its trajectories show, with random search in closed form beside it."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.suites import Suite
from envs.blackbox.task import NUMERIC, pool_params
from metarl.experiments import examine_nap, examine_predictions
from metarl.experiments.examine_nap import NAPFindings, arms_of, examine, examine_optimisers, examine_run
from metarl.experiments.metabo_config import HeadName, MetaboConfig, RivalName, ScoringConfig
from metarl.experiments.metabo_phases import LikelihoodConfig, PolicyConfig
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.export import TrainedNAP, save_nap
from metarl.metabo.nap import make_nap
from metarl.metabo.optimiser import Optimiser, best_unvisited
from metarl.metabo.scores import area_under_curve, harmonic, random_regret_curve
from tests.envs.blackbox.hpob_files import write_miniature

SETTINGS: dict[str, Any] = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 16}
NUM, HORIZON = 60, 6


def trained(head="acquisition"):
    nap = make_nap(**SETTINGS)
    params = jax.device_get(jax.jit(nap.init)(jax.random.key(0)))
    return TrainedNAP(SETTINGS, params, {"head": head}, nap, "digest")


def ramps(num_seeds=2):
    """Two tasks along one dimension, better to the right and better to the left, each with some starts."""
    x = jnp.linspace(0.0, 1.0, NUM)
    pools = [pool_params(x[:, None], jnp.array([NUMERIC], jnp.int32), y, horizon=HORIZON) for y in (x, -2.0 * x)]
    rows = [pool for pool in pools for _ in range(num_seeds)]
    law = np.random.default_rng(0)
    initial = np.stack([10 + law.choice(NUM - 20, 5, replace=False) for _ in rows])
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    tasks = tuple(name for name in ("right", "left") for _ in range(num_seeds))
    return Suite("ramps", tasks, params, jnp.asarray(initial, jnp.int32))


def towards(sign):
    """The optimiser that goes along the dimension."""
    return Optimiser(
        lambda task: (),
        lambda key, memory, observation, task: (memory, best_unvisited(sign * task.x[:, 0], observation, task)),
    )


@pytest.fixture(scope="module")
def found():
    return examine_optimisers({"up": towards(1.0), "down": towards(-1.0)}, ramps(), seed=0, batch_size=2)


def rows_of(found, arm, metric):
    return [row for row in found.rows if row["arm"] == arm and row["metric"] == metric]


def test_curves_are_those_of_the_optimisers(found):
    up, down, random = (found.curves[f"ramps/{name}"] for name in ("up", "down", "random"))
    assert up.shape == down.shape == random.shape == (4, HORIZON + 1)
    np.testing.assert_array_equal(up[:2, 1:], 0.0)
    np.testing.assert_array_equal(down[2:, 1:], 0.0)
    np.testing.assert_allclose(up[2:], up[2:, :1] * np.ones((1, HORIZON + 1)))
    assert list(found.curves["ramps/tasks"]) == ["right", "right", "left", "left"]


def test_random_search_is_its_expectation(found):
    suite = ramps()
    for row in range(4):
        expected = random_regret_curve(np.asarray(suite.params.y[row]), np.asarray(suite.initial[row]), HORIZON)
        np.testing.assert_allclose(found.curves["ramps/random"][row], expected, rtol=1e-6)
        np.testing.assert_allclose(found.curves["ramps/random"][row, 0], found.curves["ramps/up"][row, 0], rtol=1e-5)


def test_rows_are_means_over_tasks_of_means_over_seeds(found):
    curves = found.curves["ramps/up"].astype(np.float64)
    (area,) = rows_of(found, "up", "regret_auc")
    # Tasks come in the order of their names: left, then right.
    expected = [area_under_curve(curves)[2:].mean(), area_under_curve(curves)[:2].mean()]
    np.testing.assert_allclose(area["values"], expected, rtol=1e-6)
    assert area["num_trajectories"] == 4 and area["setting"] == {"horizon": HORIZON}
    assert [row["setting"]["evaluations"] for row in rows_of(found, "up", "regret")] == [0, 5]
    np.testing.assert_allclose(rows_of(found, "up", "regret")[1]["values"], [curves[2:, 5].mean(), 0.0], atol=1e-7)


def test_improvements_are_counted_and_those_of_random_search_expected(found):
    # Tasks come in the order of their names: left, then right. The best is found at once or never.
    (up,), (down,), (random,) = (rows_of(found, arm, "num_improvements") for arm in ("up", "down", "random"))
    assert up["values"] == [0.0, 1.0] and down["values"] == [1.0, 0.0]
    assert up["setting"] == {"horizon": HORIZON} and up["num_trajectories"] == 4
    assert random["setting"] == {"horizon": HORIZON, "initial": 5}
    np.testing.assert_allclose(random["values"], harmonic(5 + HORIZON) - harmonic(5))


def test_every_two_arms_are_compared_pair_by_pair(found):
    rows = [row for row in found.rows if row["metric"] == "regret_auc_difference"]
    assert [(row["arm"], row["setting"]["minus"]) for row in rows] == [
        ("up", "random"), ("down", "random"), ("down", "up"),
    ]  # fmt: skip
    areas = {name: area_under_curve(found.curves[f"ramps/{name}"]) for name in ("up", "down")}
    difference = (areas["down"] - areas["up"]).reshape(2, 2).mean(axis=1)
    np.testing.assert_allclose(rows[2]["values"], difference[::-1], rtol=1e-4)
    np.testing.assert_allclose(rows[2]["mean"], difference.mean(), rtol=1e-4, atol=1e-6)
    assert rows[2]["low"] <= rows[2]["mean"] <= rows[2]["high"] and rows[2]["num_tasks"] == 2


def test_a_model_has_the_arms_that_it_was_trained_for():
    assert set(arms_of(trained("ei"))) == {"np-ei"}
    assert set(arms_of(trained())) == {"np-ei", "nap"}
    assert set(arms_of(trained(), trained("ei"))) == {"np-ei", "nap", "np-ei-pretrained"}


def test_rules_on_predictions_are_arms_where_they_are_asked_for():
    assert tuple(examine_nap.HEAD_ARMS) == get_args(HeadName)
    assert list(arms_of(trained("ei"), heads=("ucb", "thompson"))) == ["np-ucb", "np-ts"]
    assert list(arms_of(trained(), trained("ei"), get_args(HeadName))) == [
        "np-ei", "np-ucb", "np-ts", "nap", "np-ei-pretrained",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no rule chooses by what is predicted as 'pi' says; give ei, ucb, thompson"):
        arms_of(trained(), heads=("ei", "pi"))


def test_every_rule_on_predictions_is_examined(monkeypatch):
    monkeypatch.setattr(examine_nap, "make_suite", lambda name, *, horizon, num_seeds, track: ramps(num_seeds))
    monkeypatch.setattr(examine_nap, "predictions", lambda *args, **options: [])
    config = ScoringConfig(rivals=(), heads=("ei", "ucb", "thompson"), seeds=2, batch_size=4)
    found = examine(trained("ei"), config, seed=0)
    areas = {row["arm"] for row in found.rows if row["metric"] == "regret_auc"}
    assert areas == {"random", "np-ei", "np-ucb", "np-ts"}
    for arm, head in (("np-ucb", "ucb"), ("np-ts", "thompson")):  # and each by its own rule, not another's
        model, suite = trained("ei"), ramps(2)
        optimiser = nap_optimiser(model.nap, model.params, head)
        alone = examine_optimisers({"x": optimiser}, suite, seed=0, batch_size=4).curves["ramps/x"]
        np.testing.assert_array_equal(found.curves[f"ramps/{arm}"], alone)
    curves = [found.curves[f"ramps/{arm}"] for arm in ("np-ei", "np-ucb", "np-ts")]
    assert not np.array_equal(curves[0], curves[2]) and not np.array_equal(curves[1], curves[2])


def test_an_examination_has_a_rival_and_predictions_for_each_suite(monkeypatch):
    from metarl.experiments import examine_predictions

    monkeypatch.setattr(examine_nap, "make_suite", lambda name, *, horizon, num_seeds, track: ramps(num_seeds))
    monkeypatch.setitem(examine_nap.RIVALS, "gp-ei", lambda: towards(1.0))
    monkeypatch.setattr(examine_predictions, "CONTEXTS", (5,))
    said = []
    found = examine(trained(), ScoringConfig(seeds=1, batch_size=2), seed=0, report=said.append)
    assert {row["arm"] for row in found.rows} == {"random", "gp-ei", "np-ei", "nap", "np"}
    assert said == [f"ramps: {arm} in 2 trajectories" for arm in ("gp-ei", "np-ei", "nap")] + ["ramps: predictions"]
    # Untrained, the acquisition is expected improvement: both arms did the same.
    np.testing.assert_array_equal(found.curves["ramps/nap"], found.curves["ramps/np-ei"])
    assert found.arrays() is found.curves


def test_every_rival_climbs_a_ramp(monkeypatch):
    monkeypatch.setattr(examine_nap, "make_suite", lambda name, *, horizon, num_seeds, track: ramps(num_seeds))
    monkeypatch.setattr(examine_nap, "predictions", lambda *args, **options: [])
    config = ScoringConfig(rivals=get_args(RivalName), seeds=2, batch_size=4)
    found = examine(trained("ei"), config, seed=0).curves
    assert set(examine_nap.RIVALS) == set(config.rivals)
    for rival in config.rivals:
        assert np.mean(found[f"ramps/{rival}"][:, 3:]) < 0.5 * np.mean(found["ramps/random"][:, 3:]), rival


@pytest.mark.parametrize(("updates", "iterations", "has_pretrained"), [(50, 1, True), (0, 1, False), (50, 0, False)])
def test_a_run_of_one_phase_is_not_compared_with_itself(tmp_path, monkeypatch, updates, iterations, has_pretrained):
    model = trained()
    for directory in (tmp_path, tmp_path / "pretrained"):
        save_nap(directory, SETTINGS, model.params, {"head": "acquisition"})
    asked = {}

    def recorded(model, scoring, **options):
        asked.update(options)
        return NAPFindings([], {})

    monkeypatch.setattr(examine_nap, "examine", recorded)
    monkeypatch.setattr(examine_nap, "prior_predictions", lambda model, spec, **options: [{"env": spec, **options}])
    config = MetaboConfig(
        seed=7, likelihood=LikelihoodConfig(updates=updates), policy=PolicyConfig(iterations=iterations)
    )
    assert examine_run(tmp_path, config).rows == [{"env": "gp-prior", "num_tasks": 512, "seed": 7}]
    assert (asked["pretrained"] is not None) == has_pretrained and asked["seed"] == 7


def test_a_model_that_is_told_ranges_is_shown_shares_and_says_so_in_its_names():
    """It is shown values in [0, 1] whatever the pool's are, and its regrets are those of the pool itself."""
    settings = {**SETTINGS, "values": "range"}
    nap = make_nap(**settings)
    told = TrainedNAP(settings, jax.jit(nap.init)(jax.random.key(0)), {"head": "acquisition"}, nap, "digest")
    assert set(arms_of(told)) == {"np-ei-oracle-normalised", "nap-oracle-normalised"}

    def watchful():
        """Goes to the right if values are shares, else to the left."""

        def choose(key, memory, observation, task):
            is_share = (observation["incumbent"] >= 0.0) & (observation["incumbent"] <= 1.0)
            return memory, best_unvisited(jnp.where(is_share, 1.0, -1.0) * task.x[:, 0], observation, task)

        return Optimiser(lambda task: (), choose)

    suite = ramps()
    far = suite._replace(
        params=suite.params.replace(
            y=5.0 + suite.params.y, y_best=5.0 + suite.params.y_best, y_worst=5.0 + suite.params.y_worst
        )
    )
    arms = {"x": watchful(), "x-oracle-normalised": watchful()}
    curves = examine_optimisers(arms, far, seed=0, batch_size=2).curves
    np.testing.assert_array_equal(curves["ramps/x-oracle-normalised"][:2, 1], 0.0)
    np.testing.assert_allclose(curves["ramps/x-oracle-normalised"][:, 0], curves["ramps/x"][:, 0], atol=1e-6)
    assert (curves["ramps/x"][:2, -1] > 0.1).all() and (curves["ramps/x"][2:, 1] == 0.0).all()


def test_hpo_b_is_examined_space_by_space(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(examine_predictions, "CONTEXTS", (5,))
    folder, _ = write_miniature(tmp_path / "hpob")
    config = ScoringConfig(suites=("hpob",), rivals=(), horizon=3, seeds=2, batch_size=4, hpob=str(folder))
    found = examine(trained("ei"), config, seed=0)
    assert set(found.curves) == {
        f"hpob/{space}/{arm}" for space in ("4796", "5527") for arm in ("random", "np-ei", "tasks")
    }
    assert found.curves["hpob/5527/np-ei"].shape == (4, 4)
    assert {row["env"] for row in found.rows} == {"hpob/4796", "hpob/5527"}
