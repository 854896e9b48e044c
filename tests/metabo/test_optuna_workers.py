"""Threads and processes that share a study."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

from optuna.trial import TrialState  # noqa: E402

from metarl.metabo.candidates import sobol  # noqa: E402
from metarl.metabo.optuna_sampler import NAPSampler  # noqa: E402
from metarl.metabo.suggest import Search  # noqa: E402
from tests.metabo.optuna_studies import objective, params_of, study_of  # noqa: E402
from tests.metabo.small_model import save_small  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("model"))


def test_two_threads_share_a_study_in_a_database(checkpoint, tmp_path):
    """Each with a sampler, a connection and a study of its own."""
    address = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="shared", storage=address, direction="maximize")
    errors = []

    def work(seed):
        try:
            sampler = NAPSampler(checkpoint, seed=seed, n_startup_trials=3)
            optuna.load_study(study_name="shared", storage=address, sampler=sampler).optimize(objective, n_trials=8)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    trials = optuna.load_study(study_name="shared", storage=address).trials
    assert errors == [] and [trial.state for trial in trials] == [TrialState.COMPLETE] * 16
    assert len({tuple(trial.params.items()) for trial in trials}) == 16
    assert sum("nap:chosen" in trial.system_attrs for trial in trials) >= 11


WORKER = """
import sys
import optuna
from metarl.metabo.optuna_sampler import NAPSampler
sampler = NAPSampler(sys.argv[2], seed=int(sys.argv[3]), n_startup_trials=3)
study = optuna.load_study(study_name="shared", storage=sys.argv[1], sampler=sampler)
study.optimize(lambda trial: -abs(trial.suggest_float("x", 0.0, 1.0) - 0.3) - trial.suggest_int("n", 0, 9), n_trials=8)
"""


@pytest.mark.multiprocess
def test_two_processes_share_a_study_in_a_database(checkpoint, tmp_path):
    """Nothing but the database tells one what the other has begun: what is equal is chance, and rare."""
    address = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="shared", storage=address, direction="maximize")
    command = [sys.executable, "-c", WORKER, address, str(checkpoint)]
    workers = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in (0, 1)]
    told = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    trials = optuna.load_study(study_name="shared", storage=address).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 16
    assert sum("nap:chosen" in trial.system_attrs for trial in trials) >= 11
    assert len({tuple(trial.params.items()) for trial in trials}) >= 14


def test_threads_of_one_study_choose_different_parameters(checkpoint):
    study = study_of(checkpoint, n_startup_trials=3)
    study.optimize(objective, n_trials=14, n_jobs=2)
    assert len({tuple(params.items()) for params in params_of(study)}) == 14


def test_threads_that_choose_at_once_know_of_each_other(checkpoint, monkeypatch):
    """Searches that take long and look at the same candidates, of which each has to take what the others left."""

    def slow(self, rng):
        time.sleep(0.05)
        return self.among(sobol(self.space, 64, np.random.default_rng(0)))

    monkeypatch.setattr(Search, "anywhere", slow)
    study = study_of(checkpoint, n_startup_trials=3)
    study.optimize(objective, n_trials=12, n_jobs=4)
    assert len({tuple(params.items()) for params in params_of(study)}) == 12
