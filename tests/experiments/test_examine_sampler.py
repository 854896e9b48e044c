"""Samplers for Optuna are compared on the same studies: same tables, same seeds, same first trials."""

import sys
from typing import Any

import jax
import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

from envs.blackbox.lookup import make_lookup  # noqa: E402
from envs.blackbox.splits import TEST, TRAIN, VALID  # noqa: E402
from envs.blackbox.tables import load_table  # noqa: E402
from metarl.cli.tables import print_regret_tables  # noqa: E402
from metarl.experiments.examine_nap import examine  # noqa: E402
from metarl.experiments.examine_sampler import (  # noqa: E402
    HELD_OUT,
    examine_samplers,
    regret_curve,
    require_optuna,
    study_seed,
)
from metarl.experiments.metabo_config import ScoringConfig  # noqa: E402
from metarl.metabo.export import TrainedNAP  # noqa: E402
from metarl.metabo.nap import make_nap  # noqa: E402
from metarl.metabo.optuna_study import distributions_of, make_samplers, run_study  # noqa: E402

SETTINGS: dict[str, Any] = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 16}
TABLES, TRIALS, SEEDS = ("xgb/34", "hpobench/kc1"), 7, 2
ARMS = ["random", "tpe", "tpe-5-startup", "np-ei"]


@pytest.fixture(scope="module")
def model():
    nap = make_nap(**SETTINGS)
    params = jax.device_get(jax.jit(nap.init)(jax.random.key(0)))
    return TrainedNAP(SETTINGS, params, {"head": "ei"}, nap, "digest")


@pytest.fixture(scope="module")
def found(model):
    return examine_samplers(model, num_trials=TRIALS, num_seeds=SEEDS, tables=TABLES)


def test_the_tables_are_twenty_that_nothing_is_trained_on():
    assert len(set(HELD_OUT)) == 20 and not set(HELD_OUT) & set(TRAIN)
    assert set(HELD_OUT) == set(TEST) | {name for name in VALID if not name.startswith("xgb/")}


@pytest.mark.parametrize("name", ["xgb/40", "hpolib/protein_structure", "nasbench201/imagenet"])
def test_under_one_seed_all_samplers_begin_alike_and_later_differ(model, name):
    lookup = make_lookup(load_table(name))
    makers = make_samplers(model, num_startup=5, num_trials=12)
    rows = {arm: run_study(make(3), lookup, 12).rows for arm, make in makers.items()}
    assert list(rows) == ARMS
    for arm, shared in (("tpe", 10), ("tpe-5-startup", 5), ("np-ei", 5)):
        np.testing.assert_array_equal(rows[arm][:shared], rows["random"][:shared])
        assert not np.array_equal(rows[arm][shared:], rows["random"][shared:])


def test_a_learned_acquisition_has_the_name_of_the_model(model):
    learned = TrainedNAP(SETTINGS, model.params, {"head": "acquisition"}, model.nap, "digest")
    assert list(make_samplers(learned, num_startup=5, num_trials=9)) == [*ARMS[:3], "nap"]


def test_a_study_proposes_cells_of_the_grid_and_is_told_what_was_measured_there(model):
    seen = []

    class Told(optuna.samplers.RandomSampler):
        def after_trial(self, study, trial, state, values):
            seen.append((trial.params, values))

    table, lookup = load_table("hpolib/protein_structure"), make_lookup(load_table("hpolib/protein_structure"))
    course = run_study(Told(seed=0), lookup, 20)
    assert len(seen) == 20 == len(course.seconds) and (course.seconds > 0).all()
    for row, (params, values) in zip(course.rows, seen, strict=True):
        config = np.asarray([float(params[name]) for name in table.space])
        ordinal = table.num_categories == 0
        levels = np.asarray(list(lookup.num_levels.values()))
        np.testing.assert_allclose(table.x[row], np.where(ordinal, config / (levels - 1), config), atol=1e-6)
        assert values == [float(table.y[row])]
    categories = [name for name, given in distributions_of(lookup).items() if hasattr(given, "choices")]
    assert categories == ["activation_fn_1", "activation_fn_2", "lr_schedule"]


def test_a_number_that_was_drawn_in_its_logarithm_is_proposed_so():
    seen = []

    class Told(optuna.samplers.RandomSampler):
        def after_trial(self, study, trial, state, values):
            seen.append((trial.distributions["dim_3"], trial.params["dim_3"]))

    lookup = make_lookup(load_table("xgb/34"))
    course = run_study(Told(seed=0), lookup, 40)
    assert all(law.log and law.high == pytest.approx(200 * law.low, rel=0.01) for law, _ in seen)
    assert np.mean([value - seen[0][0].low < 0.1 for _, value in seen]) > 0.4  # of numbers in [0, 1]
    assert (lookup.table.x[course.rows, 3] < 0.1).mean() > 0.4


def test_regret_is_a_share_of_the_whole_table():
    table = load_table("xgb/34")
    best, worst = int(np.argmax(table.y)), int(np.argmin(table.y))
    middle = int(np.argsort(table.y)[500])
    expected = (table.y[best] - table.y[middle]) / (table.y[best] - table.y[worst])
    np.testing.assert_allclose(
        regret_curve(table, np.asarray([worst, middle, worst, best])), [1, expected, expected, 0]
    )


def test_curves_are_those_of_the_studies_and_begin_after_the_same_trials(found, model):
    assert found.curves["optuna/tasks"].tolist() == ["xgb/34", "xgb/34", "hpobench/kc1", "hpobench/kc1"]
    for arm in ARMS:
        assert found.curves[f"optuna/{arm}"].shape == (4, TRIALS - 5 + 1)
        np.testing.assert_array_equal(found.curves[f"optuna/{arm}"][:, 0], found.curves["optuna/random"][:, 0])
    table = load_table("hpobench/kc1")
    makers = make_samplers(model, num_startup=5, num_trials=TRIALS)
    course = run_study(makers["np-ei"](study_seed(0, "hpobench/kc1", 1)), make_lookup(table), TRIALS)
    np.testing.assert_allclose(found.curves["optuna/np-ei"][3], regret_curve(table, course.rows)[4:], rtol=1e-6)


def test_rows_are_of_trials_in_all_with_one_value_per_table(found):
    metrics = [(row["arm"], row["metric"]) for row in found.rows]
    for arm in ARMS:
        assert [m for a, m in metrics if a == arm and "difference" not in m] == [
            "regret_auc", "regret", "num_improvements", "seconds_per_suggestion",
        ]  # fmt: skip
    area = next(row for row in found.rows if row["metric"] == "regret_auc" and row["arm"] == "np-ei")
    assert area["setting"] == {"horizon": TRIALS} and area["first"] == 5 and area["num_trajectories"] == 4
    by_study = found.curves["optuna/np-ei"].mean(axis=1)
    np.testing.assert_allclose(area["values"], [by_study[2:].mean(), by_study[:2].mean()], rtol=1e-5)
    assert [row["setting"]["evaluations"] for row in found.rows if row["metric"] == "regret"] == [5] * 4
    pairs = [(r["arm"], r["setting"]["minus"]) for r in found.rows if r["metric"] == "regret_auc_difference"]
    assert ("np-ei", "random") in pairs and ("np-ei", "tpe") in pairs and len(pairs) == 6
    drops = (np.diff(found.curves["optuna/np-ei"], axis=1) < 0.0).sum(axis=1)
    (count,) = [r for r in found.rows if (r["arm"], r["metric"]) == ("np-ei", "num_improvements")]
    assert count["values"] == [drops[2:].mean(), drops[:2].mean()] and count["first"] == 5
    seconds = [row for row in found.rows if row["metric"] == "seconds_per_suggestion"]
    assert all(row["median"] > 0 and len(row["values"]) == 2 for row in seconds)


def test_tables_of_trials_say_what_they_count(found, capsys):
    print_regret_tables(found.rows)
    out = capsys.readouterr().out
    assert "optuna: mean regret by trials, 5 start-up ones included, 4 trajectories in 2 tasks" in out
    assert "AUC is the mean over 5 to 7 evaluations" in out and "seconds per suggestion, median: random 0.0" in out
    assert "np-ei - tpe:" in out and "improvements, mean: random 0." in out and "expected" not in out


def test_the_suite_is_a_study_and_no_pool(model, monkeypatch):
    from metarl.experiments import examine_nap

    asked = {}

    def spy(given, **options):
        asked.update(options, model=given)
        return examine_samplers(given, num_trials=6, num_seeds=1, tables=("xgb/34",))

    monkeypatch.setattr(examine_nap, "examine_samplers", spy)
    monkeypatch.setattr(examine_nap, "make_suite", None)
    findings = examine(model, ScoringConfig(suites=("optuna",), horizon=30, seeds=10), seed=4)
    assert asked["model"] is model
    assert (asked["num_trials"], asked["num_seeds"], asked["seed"]) == (30, 10, 4)
    assert {row["env"] for row in findings.rows} == {"optuna"} and "optuna/tpe" in findings.arrays()


def test_studies_of_nothing_but_start_up_are_refused(model):
    with pytest.raises(ValueError, match="scoring.horizon is 5; the suite optuna counts its 5 start-up trials"):
        ScoringConfig(suites=("xgb", "optuna"), horizon=5)
    with pytest.raises(ValueError, match="5 trials were given"):
        examine_samplers(model, num_trials=5)


def test_without_optuna_the_extra_is_named_before_anything_is_measured(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "metarl.metabo.optuna_sampler")
    with pytest.raises(ValueError, match=r"metarl\[optuna\]"):
        require_optuna()
    with pytest.raises(ValueError, match=r"metarl\[optuna\]"):
        examine(model, ScoringConfig(suites=("xgb", "optuna")), seed=0)
