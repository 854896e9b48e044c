"""What a configuration of meta-Bayesian optimisation refuses, in one sentence each, and the presets."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from envs.blackbox.task import NUM_INIT
from metarl.experiments.metabo import make_metabo
from metarl.experiments.metabo_build import build_sources
from metarl.experiments.metabo_config import (
    METABO_CONFIG_TYPES,
    MetaboConfig,
    NAPConfig,
    ScoringConfig,
    TasksConfig,
    ValidationConfig,
)
from metarl.experiments.metabo_phases import INITIAL_POINTS, LikelihoodConfig, PolicyConfig
from metarl.experiments.metabo_presets import METABO_PRESETS, SMOKE
from metarl.metabo.nap import make_nap
from metarl.metabo.network import NAPNetwork
from metarl.metabo.paper_network import PaperNetwork
from metarl.run.config_codec import decode, encode

WRONG = [
    (NAPConfig, {"width": 0}, "model.width is 0"),
    (NAPConfig, {"width": 10}, "model.num_heads is 4; it must divide model.width = 10"),
    (NAPConfig, {"num_bars": 3}, "model.num_bars is 3; it must be at least 4"),
    (
        NAPConfig,
        {"architecture": "paper", "activation": "gelu", "precision": "bfloat16"},
        "model.precision is bfloat16; with model.architecture = paper it must be float32",
    ),
    (NAPConfig, {"architecture": "paper"}, "model.activation is relu; with model.architecture = paper it must be gelu"),
    (
        NAPConfig,
        {"architecture": "paper", "activation": "gelu", "residual": False},
        "model.stop_gradient is True; with model.architecture = paper it must be False",
    ),
    (TasksConfig, {"shares": (1.0,)}, "tasks.sources has 2 entries and tasks.shares 1; give as many of both"),
    (TasksConfig, {"sources": (), "shares": ()}, "tasks.sources has 0 entries"),
    (TasksConfig, {"shares": (1.0, 0.0)}, "tasks.shares is 0.0"),
    (TasksConfig, {"permuted": 1.5}, "tasks.permuted is 1.5; it must lie in [0, 1]"),
    (LikelihoodConfig, {"updates": 51}, "likelihood.updates is 51; it must be a multiple of"),
    (LikelihoodConfig, {"max_context": 1}, "likelihood.max_context is 1; it must be at least 2"),
    (LikelihoodConfig, {"gathered": 1.5}, "likelihood.gathered is 1.5; it must lie in [0, 1]"),
    (LikelihoodConfig, {"gathered": 0.5, "with_replacement": True}, "with likelihood.with_replacement it must be 0"),
    (LikelihoodConfig, {"learning_rate": -1.0}, "likelihood.learning_rate is -1.0"),
    (PolicyConfig, {"iterations": -1}, "policy.iterations is -1; it must be at least 0"),
    (PolicyConfig, {"num_minibatches": 5}, "policy.num_minibatches is 5; it must divide policy.num_tasks = 12"),
    (PolicyConfig, {"group_size": 1}, "policy.group_size is 1; a group's mean needs at least 2 episodes"),
    (PolicyConfig, {"discount": 1.1}, "policy.discount is 1.1; it must lie in [0, 1]"),
    (PolicyConfig, {"lambda_": -0.1}, "policy.lambda_ is -0.1; it must lie in [0, 1]"),
    (PolicyConfig, {"likelihood": -1.0}, "policy.likelihood is -1.0; it must be at least 0"),
    (PolicyConfig, {"top_k": 0}, "policy.top_k is 0; it must be at least 1"),
    (PolicyConfig, {"temperature": 0.0}, "policy.temperature is 0.0"),
    (PolicyConfig, {"num_init": 6}, "policy.num_init is 6; it must be from 0 to 5"),
    (PolicyConfig, {"warmup": 3}, "policy.warmup is 3; it must be 0, or with policy.schedule = linear"),
    (PolicyConfig, {"warmup": 200, "schedule": "linear"}, "to less than policy.iterations = 200"),
    (ValidationConfig, {"every": 0}, "validation.every is 0"),
    (ValidationConfig, {"tables": ()}, "validation.tables is empty; give at least one, such as xgb/20"),
    (ScoringConfig, {"suites": ()}, "scoring.suites is empty; give at least one, such as xgb"),
    (ScoringConfig, {"heads": ()}, "scoring.heads is empty; give at least one, such as ei"),
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
        NAPConfig,
        {"architecture": "paper", "activation": "gelu", "residual": False, "stop_gradient": False},
        "model.values is standardised; with model.architecture = paper it must be range",
    ),
    (ScoringConfig, {"suites": ("xgb", "hpob")}, "the suite hpob needs the folder with the four files of HPO-B"),
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


SLOW = {"nap", "nap-paper"}
"""Presets whose tracing takes more than five seconds."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in METABO_PRESETS]
)
def test_the_pieces_of_a_preset_fit_together(name):
    """Its experiment is made and traced, at its own sizes; a state stays what it is and metrics are numbers."""
    made = make_metabo(METABO_PRESETS[name].config).experiment
    with jax.numpy_dtype_promotion("standard"):  # jax's own attention mixes bfloat16 and float32
        before = jax.eval_shape(made.init, jax.random.key(0))
        after, metrics = jax.eval_shape(made.step, before)
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) for state in (before, after)]
    assert kinds[0] == kinds[1]
    assert {leaf.shape for leaf in metrics.values()} == {()} and "validation_regret" in metrics
    assert set(jax.eval_shape(made.export, after)) == {"best", "pretrained"}


def test_precision_is_that_of_the_transformer_and_half_where_an_accelerator_is_meant():
    assert {name for name, preset in METABO_PRESETS.items() if preset.config.model.precision != "float32"} == {"nap"}
    settings = METABO_PRESETS["nap"].config.model.settings
    assert settings["precision"] == "bfloat16"
    assert make_nap(**settings).network.dtype == jax.numpy.bfloat16
    assert make_nap(**NAPConfig().settings).network.dtype == jax.numpy.float32
    older = {field: value for field, value in encode(NAPConfig()).items() if field != "precision"}
    assert decode(older, METABO_CONFIG_TYPES).precision == "float32"


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


def test_the_paper_presets_are_the_settings_of_the_public_code():
    paper, small = METABO_PRESETS["nap-paper"].config, METABO_PRESETS["nap-paper-small"].config
    policy = paper.policy
    assert policy.num_tasks * policy.group_size * policy.horizon == 1440 and policy.iterations == 2000
    assert (policy.num_init, policy.horizon, paper.likelihood.max_context) == (0, 24, 23)
    assert (policy.clip, policy.discount, policy.lambda_, policy.temperature, policy.top_k) == (
        0.15,
        0.98,
        0.98,
        0.1,
        5,
    )
    assert {policy.learning_rate, policy.critic_learning_rate, policy.backbone_learning_rate} == {3e-5}
    assert policy.joint_clip and policy.max_grad_norm == 0.5 and policy.num_epochs == 1 and policy.entropy == 0.0
    assert (policy.reward, policy.baseline, policy.warmup, policy.schedule) == (
        "neg_log10_paper",
        "critic",
        20,
        "linear",
    )
    sizes = ("num_tasks", "num_minibatches", "likelihood_batch", "iterations")
    assert replace(small.policy, **{name: getattr(policy, name) for name in sizes}) == policy
    assert replace(small.model, width=512, num_layers=6, num_bars=1000) == paper.model


def test_settings_build_the_model_of_each_architecture():
    paper = METABO_PRESETS["nap-paper-small"].config.model.settings
    assert paper == {
        "architecture": "paper",
        "width": 64,
        "num_layers": 2,
        "num_heads": 4,
        "mlp_ratio": 2,
        "num_bars": 100,
        "values": "range",
    }
    nap = make_nap(**paper)
    assert isinstance(nap.network, PaperNetwork) and not nap.standardises
    ours = SMOKE.model.settings
    assert "architecture" not in ours
    assert make_nap(**ours).standardises and isinstance(make_nap(**ours).network, NAPNetwork)
    leaky = make_nap(**replace(SMOKE.model, values="range").settings)
    assert isinstance(leaky.network, NAPNetwork) and leaky.values == "range"
    wide = make_nap(**replace(SMOKE.model, bar_limit=30.0).settings)
    np.testing.assert_allclose(wide.bars.edges[[0, -1]], [-30.0, 30.0], rtol=1e-5)


@pytest.mark.parametrize("is_oracle", [True, False])
def test_tasks_are_made_by_range_where_the_oracle_is_asked(is_oracle):
    family = build_sources(replace(SMOKE, model=replace(SMOKE.model, values="range" if is_oracle else "standardised")))[
        0
    ]
    params = jax.jit(family.sample)(jax.random.key(0)).params
    ends = (float(params.y.min()), float(params.y.max()), float(params.y_worst), float(params.y_best))
    assert (ends == (0.0, 1.0, 0.0, 1.0)) == is_oracle
