"""Small studies for tests of the sampler, and who chooses in them."""

import math

import pytest

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")


from metarl.metabo.optuna_sampler import NAPSampler  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial):
    lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
    depth = trial.suggest_int("depth", 1, 8)
    net = trial.suggest_categorical("net", ["a", "b", None])
    trial.suggest_float("single", 0.5, 0.5)
    return -((math.log10(lr) + 2.0) ** 2) - 0.1 * (depth - 4) ** 2 + (net == "b")


def study_of(checkpoint, direction="maximize", seed=0, **settings):
    return optuna.create_study(direction=direction, sampler=NAPSampler(checkpoint, seed=seed, **settings))


def params_of(study):
    return [trial.params for trial in study.trials]
