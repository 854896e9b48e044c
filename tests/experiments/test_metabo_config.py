"""What a configuration of meta-Bayesian optimisation refuses, in one sentence each, and the presets."""

from dataclasses import replace

import pytest

from envs.blackbox.task import NUM_INIT
from metarl.experiments.metabo import make_metabo
from metarl.experiments.metabo_config import (
    INITIAL_POINTS,
    METABO_CONFIG_TYPES,
    LikelihoodConfig,
    MetaboConfig,
    NAPConfig,
    PolicyConfig,
    ScoringConfig,
    TasksConfig,
    ValidationConfig,
)
from metarl.experiments.metabo_presets import METABO_PRESETS, SMOKE
from metarl.run.config_codec import decode, encode

WRONG = [
    (NAPConfig, {"width": 0}, "model.width is 0"),
    (NAPConfig, {"width": 10}, "model.num_heads is 4; it must divide model.width = 10"),
    (NAPConfig, {"num_bars": 3}, "model.num_bars is 3; it must be at least 4"),
    (TasksConfig, {"shares": (1.0,)}, "tasks.sources has 2 entries and tasks.shares 1; give as many of both"),
    (TasksConfig, {"sources": (), "shares": ()}, "tasks.sources has 0 entries"),
    (TasksConfig, {"shares": (1.0, 0.0)}, "tasks.shares is 0.0"),
    (TasksConfig, {"permuted": 1.5}, "tasks.permuted is 1.5; it must lie in [0, 1]"),
    (LikelihoodConfig, {"updates": 51}, "likelihood.updates is 51; it must be a multiple of"),
    (LikelihoodConfig, {"max_context": 1}, "likelihood.max_context is 1; it must be at least 2"),
    (LikelihoodConfig, {"learning_rate": -1.0}, "likelihood.learning_rate is -1.0"),
    (PolicyConfig, {"iterations": -1}, "policy.iterations is -1; it must be at least 0"),
    (PolicyConfig, {"num_minibatches": 5}, "policy.num_minibatches is 5; it must divide policy.num_tasks = 12"),
    (PolicyConfig, {"group_size": 1}, "policy.group_size is 1; a group's mean needs at least 2 episodes"),
    (PolicyConfig, {"discount": 1.1}, "policy.discount is 1.1; it must lie in [0, 1]"),
    (PolicyConfig, {"lambda_": -0.1}, "policy.lambda_ is -0.1; it must lie in [0, 1]"),
    (PolicyConfig, {"likelihood": -1.0}, "policy.likelihood is -1.0; it must be at least 0"),
    (PolicyConfig, {"top_k": 0}, "policy.top_k is 0; it must be at least 1"),
    (PolicyConfig, {"temperature": 0.0}, "policy.temperature is 0.0"),
    (ValidationConfig, {"every": 0}, "validation.every is 0"),
    (ValidationConfig, {"tables": ()}, "validation.tables is empty; give at least one, such as xgb/20"),
    (ScoringConfig, {"suites": ()}, "scoring.suites is empty; give at least one, such as xgb"),
    (MetaboConfig, {"seed": -1}, "seed is -1; it must lie in [0, 2^32)"),
    (MetaboConfig, {"checkpoint_every": 0}, "checkpoint_every is 0"),
    (
        MetaboConfig,
        {"likelihood": LikelihoodConfig(updates=0), "policy": PolicyConfig(iterations=0)},
        "are both 0; give one of them something to do",
    ),
    (
        MetaboConfig,
        {"tasks": TasksConfig(num_candidates=50)},
        "tasks.num_candidates is 50; it must exceed likelihood.max_context = 50",
    ),
    (
        MetaboConfig,
        {"policy": PolicyConfig(horizon=106)},
        "policy.horizon is 106; with 5 initial points it must not exceed the tasks.num_candidates = 110",
    ),
    (
        MetaboConfig,
        {"policy": PolicyConfig(top_k=111)},
        "policy.top_k is 111; it must not exceed tasks.num_candidates = 110",
    ),
]


@pytest.mark.parametrize(("kind", "change", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_what_does_not_fit_is_refused_in_one_sentence(kind, change, words):
    with pytest.raises(ValueError) as caught:
        kind(**change)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_one_episode_of_a_task_is_enough_where_a_critic_is_the_baseline():
    assert PolicyConfig(group_size=1, baseline="critic").group_size == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": replace(SMOKE.tasks, sources=("gp-priot",))}, "no source of pools called 'gp-priot'; did you mean"),
        ({"tasks": replace(SMOKE.tasks, sources=("xgb/40",))}, "no source of pools called 'xgb/40'"),
        ({"tasks": replace(SMOKE.tasks, sources=("gp-prior@size=3",))}, "has the option 'size=3'"),
        (
            {"tasks": replace(SMOKE.tasks, sources=("gp-prior", "gp-prior", "gp-prior"), shares=(1.0, 1.0, 1.0))},
            "a batch of 2 tasks was to have 3 sources",
        ),
        ({"validation": ValidationConfig(tables=("xgb/34",))}, "'xgb/34', which is not of the split for validation"),
        ({"validation": ValidationConfig(tables=("xgb/3",))}, "'xgb/3', which is not of the split for validation"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_runs(change, words):
    with pytest.raises(ValueError, match="(?s).*") as caught:
        make_metabo(replace(SMOKE, **change))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_initial_points_are_those_of_every_protocol():
    assert INITIAL_POINTS == NUM_INIT


def test_steps_are_counted_over_both_phases():
    assert (SMOKE.num_likelihood_steps, SMOKE.num_steps) == (2, 4)
    assert MetaboConfig().num_likelihood_steps == 60 and MetaboConfig().num_steps == 260


@pytest.mark.parametrize("name", METABO_PRESETS)
def test_a_preset_survives_the_way_through_a_file(name):
    config = METABO_PRESETS[name].config
    assert decode(encode(config), METABO_CONFIG_TYPES) == config


def test_presets_differ_from_each_other_in_what_their_names_say():
    presets = {name: preset.config for name, preset in METABO_PRESETS.items()}
    base = presets["nap-cpu"]
    assert presets["np-cpu"].policy.iterations == 0
    assert replace(presets["np-cpu"], policy=base.policy) == base
    assert presets["nap-critic-cpu"].policy == replace(base.policy, baseline="critic")
    assert presets["nap-joint-cpu"].model == replace(base.model, stop_gradient=False)
    alone = presets["nap-rl-cpu"]
    assert alone.likelihood.updates == 0 and alone.policy.likelihood == 0.0
    assert not alone.model.stop_gradient and not alone.model.residual
