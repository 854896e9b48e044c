"""Presets: each is a configuration that can be stored and built."""

from dataclasses import replace

import jax
import pytest

from metarl.experiments.config import CONFIG_TYPES
from metarl.experiments.discover import make_discovery
from metarl.experiments.presets import PRESETS
from metarl.run.config_codec import decode, encode

PRESET = pytest.mark.parametrize("name", PRESETS)


def test_the_presets_that_documents_speak_of_exist():
    assert {"ta-lpg-cpu", "lpg-cpu", "ta-lpg-paper", "smoke"} <= set(PRESETS)
    assert {"ta-lpo-cpu", "lpo-cpu", "ta-lpo-minatar", "lpo-brax"} <= set(PRESETS)


@PRESET
def test_a_preset_survives_being_stored_and_says_what_it_is_for(name):
    config, purpose = PRESETS[name]
    assert decode(encode(config), CONFIG_TYPES) == config
    assert purpose and "\n" not in purpose


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "lpo-brax" else []) for name in PRESETS]
)
def test_a_preset_can_be_built_with_one_output_per_rule_parameter(name):
    config = PRESETS[name].config
    discovery = make_discovery(config)
    state = jax.eval_shape(discovery.experiment.init, jax.random.key(0))
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(discovery.experiment.export, state))]
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(discovery.initial)]
    assert discovery.strategy.population_size == config.population.size
    assert discovery.objective.settings["temporal"] == config.objective.temporal


@PRESET
def test_recorded_horizons_are_examined_ones_within_and_beyond_the_trained(name):
    config = PRESETS[name].config
    horizons = config.evaluation.horizons
    assert set(config.evaluation.recorded_horizons) <= set(horizons) and list(horizons) == sorted(set(horizons))
    low, high = config.family.lifetime or (10, 250)
    assert any(low <= horizon <= high for horizon in horizons) and max(horizons) > high


@pytest.mark.parametrize("kind", ["lpg", "lpo"])
def test_the_two_presets_for_this_size_differ_in_time_inputs_only(kind):
    blind, aware = PRESETS[f"{kind}-cpu"].config, PRESETS[f"ta-{kind}-cpu"].config
    assert aware.objective.temporal and not blind.objective.temporal
    assert replace(blind, objective=replace(blind.objective, temporal=True)) == aware


def test_the_scale_of_the_paper():
    """Jackson et al. 2024: 64 workers, rollouts of 20 steps, GRU of 256, lifetimes from logU(10, 250)."""
    config = PRESETS["ta-lpg-paper"].config
    assert (config.agent.num_envs, config.agent.unroll_length, config.objective.hidden_size) == (64, 20, 256)
    assert config.objective.encoding == "paper" and config.family.env == ("gridworld/all_vrandlife",)


def test_the_scales_of_the_papers_of_lpo():
    """TA-LPO on SpaceInvaders for 1e7 steps (Jackson et al. 2024); LPO on ant for 3e7 (Lu et al. 2022)."""
    for name, env, steps in (("ta-lpo-minatar", "SpaceInvaders-MinAtar", 1e7), ("lpo-brax", "brax/ant", 3e7)):
        config = PRESETS[name].config
        (low, high), per_update = config.family.lifetime, config.agent.num_envs * config.agent.unroll_length
        assert config.family.env == (env,) and low == high and 0.99 * steps < high * per_update <= steps
        assert config.objective.temporal == name.startswith("ta-") and config.objective.hidden_size == 128
