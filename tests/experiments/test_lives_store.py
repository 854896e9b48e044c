"""Finished lives on disk: what is kept comes back, and never as something else."""

import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments.lives import Lives
from metarl.experiments.lives_store import open_store
from metarl.run.directory import write_atomic

LIVES = Lives(jnp.array([1.0, 2.0]), {"return": jnp.array([[0.5, jnp.nan], [1.5, 2.5]])}, {"w": jnp.ones(3)})


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "x.parts"


def test_lives_come_back_as_they_were_but_for_the_agents(directory):
    open_store(directory, ["words"], write_atomic).keep(LIVES, "brax/ant", "ppo", 5)
    again = open_store(directory, ["words"], write_atomic).recall("brax/ant", "ppo", 5)
    np.testing.assert_array_equal(again.fitness, LIVES.fitness)
    np.testing.assert_array_equal(again.curve["return"], LIVES.curve["return"])
    assert again.params is None


def test_other_names_know_nothing(directory):
    store = open_store(directory, ["words"], write_atomic)
    store.keep(LIVES, "ant", "ppo", 5)
    assert store.recall("ant", "ppo", 50) is None and store.recall("ant", "dpo", 5) is None


def test_lives_of_another_evaluation_are_thrown_away(directory):
    open_store(directory, ["words"], write_atomic).keep(LIVES, "ant", "ppo", 5)
    assert open_store(directory, ["other words"], write_atomic).recall("ant", "ppo", 5) is None
    assert open_store(directory, ["words"], write_atomic).recall("ant", "ppo", 5) is None


def test_nothing_is_left_after_the_end(directory):
    store = open_store(directory, ["words"], write_atomic)
    store.keep(LIVES, "ant", "ppo", 5)
    store.discard()
    assert not directory.exists()
