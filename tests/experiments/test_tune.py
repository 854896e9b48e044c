"""A model that optimises chooses how evolution is set, and is told what evolution then gave."""

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from metarl.experiments import tune
from metarl.experiments.config import ConfigError
from metarl.experiments.discover import make_discovery
from metarl.experiments.presets import SMOKE
from metarl.experiments.tune import Tuned, final_fitness, tune_discovery, with_settings
from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import make_nap
from metarl.metabo.space import Float, Int

SETTINGS: dict[str, Any] = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 16}
SPACE = {
    "sigma": Float(0.01, 1.0, log=True),
    "learning_rate": Float(1e-3, 0.1, log=True),
    "size": Int(2, 8, step=2),
}


@pytest.fixture(scope="module")
def model():
    nap = make_nap(**SETTINGS)
    params = jax.device_get(jax.jit(nap.init)(jax.random.key(0)))
    return TrainedNAP(SETTINGS, params, {"head": "acquisition"}, nap, "digest")


@pytest.mark.slow
def test_the_fitness_of_a_trial_is_that_of_the_last_generations_of_such_a_run():
    discovery = make_discovery(replace(SMOKE, generations=5))
    state, course = discovery.experiment.init(jax.random.key(SMOKE.seed)), []
    step = jax.jit(discovery.experiment.step)
    for _ in range(5):
        state, metrics = step(state)
        course.append(float(metrics["fitness"]))
    assert len(set(course)) > 1
    found = final_fitness(replace(SMOKE, generations=5))
    np.testing.assert_allclose(found, np.mean(course[3:]), rtol=1e-5)  # a quarter of 5 is 2, rounded up


@pytest.mark.slow
def test_a_model_tunes_a_real_discovery(model):
    said = []
    tuned = tune_discovery(SMOKE, SPACE, num_trials=3, num_init=2, checkpoint=model, report=said.append)
    assert len({tuple(trial.settings.items()) for trial in tuned}) == 3 == len(said)
    for trial in tuned:
        assert list(trial.settings) == list(SPACE) and trial.settings["size"] % 2 == 0
    last = tuned[-1]
    assert last.fitness == final_fitness(replace(SMOKE, population=with_settings(SMOKE.population, last.settings)))
    # The third was the model's choice after it had been told of the first two, and nobody else's.
    optimizer = Optimizer(SPACE, model, num_init=2, horizon=1)
    for trial in tuned[:2]:
        optimizer.ask()
        optimizer.tell(*trial)
    assert optimizer.ask() == [last.settings]


def test_a_trial_that_diverges_is_a_failure_and_tuning_goes_on(model, monkeypatch):
    given = []

    def fitness(config):
        given.append(config)
        return math.nan if len(given) == 2 else config.population.sigma

    monkeypatch.setattr(tune, "final_fitness", fitness)
    tuned = tune_discovery(SMOKE, SPACE, num_trials=7, num_init=3, checkpoint=model, seed=1)
    assert [math.isnan(trial.fitness) for trial in tuned] == [place == 1 for place in range(7)]
    assert tuned[0] == Tuned(tuned[0].settings, tuned[0].settings["sigma"])
    assert all(config.population.b1 == SMOKE.population.b1 and config.family == SMOKE.family for config in given)


def test_floors_give_way_to_what_is_proposed_and_stay_otherwise():
    population = replace(SMOKE.population, sigma_floor=0.1, learning_rate_floor=1e-3)
    low = with_settings(population, {"sigma": 0.02, "learning_rate": 1e-4})
    assert (low.sigma, low.sigma_floor, low.learning_rate, low.learning_rate_floor) == (0.02, 0.02, 1e-4, 1e-4)
    high = with_settings(population, {"sigma": 0.5, "size": 6})
    assert high == replace(population, sigma=0.5, size=6)


def test_what_is_no_setting_of_a_population_is_refused(model):
    with pytest.raises(ValueError, match="the settings depth were given; .* sigma"):
        tune_discovery(SMOKE, {"depth": Int(1, 2), **SPACE}, num_trials=1, checkpoint=model)
    with pytest.raises(ValueError, match="0 trials"):
        tune_discovery(SMOKE, SPACE, num_trials=0, checkpoint=model)
    with pytest.raises(ConfigError, match="even"):
        tune_discovery(SMOKE, {"size": Int(3, 5, step=2)}, num_trials=1, checkpoint=model)
