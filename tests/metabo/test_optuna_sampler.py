import importlib
import math
import pickle
import sys

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.trial import TrialState, create_trial  # noqa: E402

from metarl.metabo.export import load_nap, save_nap  # noqa: E402
from metarl.metabo.optuna_sampler import NAPSampler, known_of, space_from  # noqa: E402
from metarl.metabo.suggest import Search  # noqa: E402
from tests.metabo.optuna_studies import objective, params_of, study_of  # noqa: E402
from tests.metabo.small_model import SMALL, save_small  # noqa: E402

DISTRIBUTIONS = {
    "c": CategoricalDistribution(["x", "y", None]),
    "f": FloatDistribution(0.0, 1.0),
    "i": IntDistribution(1, 9, step=2),
    "l": FloatDistribution(1e-5, 1.0, log=True),
    "n": IntDistribution(1, 512, log=True),
    "s": FloatDistribution(0.0, 1.0, step=0.25),
}

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("model"))


def counted(monkeypatch):
    """Returns a list of what every search by the model knew."""
    known, make = [], Search.__init__

    def spy(self, trained, space, given, progress, *settings):
        known.append((given, progress))
        make(self, trained, space, given, progress, *settings)

    monkeypatch.setattr(Search, "__init__", spy)
    return known


def test_the_model_chooses_after_the_first_trials(checkpoint, monkeypatch):
    known = counted(monkeypatch)
    study = study_of(checkpoint, n_startup_trials=4, horizon=8)
    study.optimize(objective, n_trials=10)
    assert [len(given.y) for given, _ in known] == [4, 5, 6, 7, 8, 9]
    assert [progress for _, progress in known] == [i / 8 for i in range(6)]
    np.testing.assert_allclose(known[-1][0].y, [trial.value for trial in study.trials[:9]])
    chosen = [trial.system_attrs.get("nap:chosen") for trial in study.trials]
    assert chosen[:4] == [None] * 4 and all(chosen[4:])
    assert all(trial.params["single"] == 0.5 for trial in study.trials)


def test_minimising_is_maximising_the_negative(checkpoint):
    up, down = study_of(checkpoint), study_of(checkpoint, "minimize")
    up.optimize(objective, n_trials=9)
    down.optimize(lambda trial: -objective(trial), n_trials=9)
    assert params_of(up) == params_of(down) and up.best_value == -down.best_value


def test_a_seed_repeats_a_study_and_reseeding_does_not(checkpoint):
    studies = [study_of(checkpoint, seed=s) for s in (3, 3, 4, 3)]
    studies[3].sampler.reseed_rng()
    for study in studies:
        study.optimize(objective, n_trials=7)
    first, again, other, reseeded = map(params_of, studies)
    assert first == again and first != other and first[5:] != reseeded[5:]


def test_the_head_that_is_asked_for_is_the_one_that_chooses(checkpoint, tmp_path):
    """As with a model whose record names it; other heads choose otherwise, the untrained acquisition as `ei` does."""
    found = {}
    for head in (None, "ei", "ucb", "thompson"):
        study = study_of(checkpoint, head=head)
        study.optimize(objective, n_trials=8)
        found[head] = params_of(study)
    assert found[None] == found["ei"] and found["ei"][:5] == found["ucb"][:5]
    assert found["ei"] != found["ucb"] != found["thompson"] != found["ei"]
    params = load_nap(checkpoint).params
    recorded = study_of(save_nap(tmp_path, SMALL, params, {"head": "ucb"}))
    recorded.optimize(objective, n_trials=8)
    assert params_of(recorded) == found["ucb"]
    with pytest.raises(ValueError, match="there is no head 'pi'; choose one of acquisition, ei, ucb, thompson"):
        NAPSampler(checkpoint, head="pi")


def test_every_distribution_is_chosen_within_its_values(checkpoint):
    study = study_of(checkpoint, n_startup_trials=2)
    for _ in range(12):
        trial = study.ask(DISTRIBUTIONS)
        study.tell(trial, trial.params["f"])
    for trial in study.trials:
        for name, given in DISTRIBUTIONS.items():
            assert given._contains(given.to_internal_repr(trial.params[name]))
            assert type(trial.params[name]) is type(given.to_external_repr(given.to_internal_repr(trial.params[name])))
    assert all(trial.system_attrs["nap:chosen"] for trial in study.trials[2:])


def test_numbers_of_optuna_go_into_rows_and_back():
    space = space_from(DISTRIBUTIONS)
    params = {"c": None, "f": 0.3, "i": 7, "l": 1e-3, "n": 33, "s": 0.75}
    numbers = {name: given.to_internal_repr(params[name]) for name, given in DISTRIBUTIONS.items()}
    back = space.decode(space.encode([numbers]))[0]
    assert DISTRIBUTIONS["c"].to_external_repr(back["c"]) is None
    assert {k: v for k, v in back.items() if k != "c"} == pytest.approx({k: v for k, v in params.items() if k != "c"})


def test_a_batch_of_asks_differs_and_can_be_told_in_any_order(checkpoint, monkeypatch):
    study = study_of(checkpoint, n_startup_trials=3)
    study.optimize(objective, n_trials=3)
    known = counted(monkeypatch)
    trials = [study.ask() for _ in range(5)]
    values = [objective(trial) for trial in trials]
    assert [len(given.pending) for given, _ in known] == [0, 1, 2, 3, 4]
    assert len({tuple(trial.params.items()) for trial in trials}) == 5
    for place in (3, 0, 4, 1, 2):
        study.tell(trials[place], values[place])
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8


def test_what_a_running_trial_was_given_is_known_before_it_has_asked_for_all_of_it(checkpoint, monkeypatch):
    study = study_of(checkpoint, n_startup_trials=3)
    study.optimize(objective, n_trials=3)
    known = counted(monkeypatch)
    first, second = study.ask(), study.ask()
    first.suggest_int("depth", 1, 8)  # and nothing else so far
    objective(second)
    (pending,) = known[1][0].pending
    objective(first)
    numbers = study.trials[3].system_attrs["nap:chosen"]["numbers"]
    common = second.relative_search_space
    assert pending.tolist() == space_from(common).encode([dict(zip(common, numbers, strict=True))])[0].tolist()
    assert first.params["depth"] == numbers[list(common).index("depth")]


def trial_of(f, state, value=None, reported=None):
    return create_trial(
        params={"f": f},
        distributions={"f": DISTRIBUTIONS["f"]},
        value=value,
        state=state,
        intermediate_values=reported or {},
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_failed_and_pruned_trials_count_as_documented(sign):
    done = [trial_of(0.1 * i, TrialState.COMPLETE, sign * value) for i, value in enumerate((1.0, 5.0, 3.0))]
    pruned = [
        trial_of(0.5, TrialState.PRUNED, reported={0: sign * 2.5, 7: sign * 2.0}),
        trial_of(0.6, TrialState.PRUNED, reported={1: sign * 9.0}),
        trial_of(0.7, TrialState.PRUNED, reported={1: math.nan}),
        trial_of(0.8, TrialState.PRUNED),
    ]
    rest = [trial_of(0.9, TrialState.FAIL), trial_of(1.0, TrialState.RUNNING), trial_of(0.4, TrialState.WAITING)]
    common = {"f": DISTRIBUTIONS["f"]}
    known = known_of(space_from(common), common, [*done, *pruned, *rest], sign)
    np.testing.assert_array_equal(known.y, [1.0, 5.0, 3.0, 2.0, 3.0, math.nan, math.nan, math.nan])
    assert known.pending[:, 0].tolist() == [1.0]


def test_studies_with_failing_and_pruned_trials_go_on(checkpoint):
    def fragile(trial):
        value = objective(trial)
        if trial.number % 4 == 1:
            raise ArithmeticError
        if trial.number % 4 == 2:
            trial.report(value, 0)
            raise optuna.TrialPruned
        return math.nan if trial.number % 4 == 3 else value

    study = study_of(checkpoint, n_startup_trials=2)
    study.optimize(fragile, n_trials=16, catch=(ArithmeticError,))
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL] * 4
    assert len({tuple(params.items()) for params in params_of(study)}) == 16


def test_in_a_conditional_space_what_is_common_is_chosen_together(checkpoint):
    def conditional(trial):
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if trial.suggest_categorical("kind", ["tree", "net"]) == "net":
            return lr + trial.suggest_int("layers", 1, 4)
        return lr * trial.suggest_float("shrink", 0.1, 1.0)

    study = study_of(checkpoint)
    study.optimize(conditional, n_trials=14)
    assert {"layers" in params for params in params_of(study)} == {True, False}
    common = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert list(common) == ["kind", "lr"]
    assert all(len(trial.system_attrs["nap:chosen"]["numbers"]) == 2 for trial in study.trials[8:])


def test_a_space_that_the_model_cannot_read_is_left_to_chance_with_one_warning(checkpoint):
    study = study_of(checkpoint, n_startup_trials=1)
    study.optimize(lambda trial: trial.suggest_categorical("c", range(13)), n_trials=1)
    with pytest.warns(UserWarning, match="RandomSampler: Categorical has 13 choices") as caught:
        study.optimize(lambda trial: trial.suggest_categorical("c", range(13)), n_trials=4)
    assert len(caught) == 1 and len(study.trials) == 5


def test_a_small_space_that_is_used_up_is_repeated(checkpoint):
    study = study_of(checkpoint, n_startup_trials=2)
    study.optimize(lambda trial: trial.suggest_int("i", 0, 5), n_trials=20)
    first = [trial.number for trial in study.trials if trial.system_attrs.get("nap:chosen")]
    assert {trial.params["i"] for trial in study.trials} == set(range(6))
    assert 4 <= len(first) <= 5 and first == list(range(2, 2 + len(first)))


def test_several_objectives_are_refused(checkpoint):
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=NAPSampler(checkpoint))
    with pytest.raises(ValueError, match="2 objectives"):
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=1)


def test_one_sampler_serves_several_studies_and_survives_pickling(checkpoint):
    sampler = NAPSampler(checkpoint, seed=0)
    for name in ("x", "y"):
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial, name=name: trial.suggest_float(name, 0.0, 1.0), n_trials=7)
        assert all(trial.system_attrs["nap:chosen"] for trial in study.trials[5:])
    again = pickle.loads(pickle.dumps(sampler))
    study.sampler = again
    study.ask(DISTRIBUTIONS | {"y": DISTRIBUTIONS["f"]})
    assert study.trials[-1].system_attrs["nap:chosen"]


def test_the_model_that_ships_is_what_a_sampler_uses():
    study = optuna.create_study(sampler=NAPSampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", -5.0, 5.0) - 2.0) ** 2, n_trials=12)
    assert sum("nap:chosen" in trial.system_attrs for trial in study.trials) == 7  # after five of a design
    # The best of 12 uniform draws is .6 on average and below .01 in a fifth of the cases.
    assert study.best_value < 0.01


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "metarl.metabo.optuna_sampler")
    with pytest.raises(ImportError, match=r"metarl\[optuna\]"):
        importlib.import_module("metarl.metabo.optuna_sampler")
