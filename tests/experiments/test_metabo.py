"""Two phases as one experiment: where one ends and the other begins, and which parameters are kept."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments import metabo as experiment_file
from metarl.experiments.metabo import make_metabo
from metarl.experiments.metabo_build import make_validation
from metarl.experiments.metabo_config import NAPConfig, ValidationConfig
from metarl.experiments.metabo_presets import SMOKE
from metarl.metabo.export import find_nap, save_nap
from metarl.metabo.nap import make_nap
from populations.mesh import make_mesh, replicate

TINY = replace(SMOKE, validation=ValidationConfig(tables=("xgb/20",), horizon=2))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def follow(config, monkeypatch, scores, num_steps):
    """Returns (experiment, states, metrics) of a run whose validation after step i finds `scores[i - 1]`."""
    table, now = jnp.asarray(scores, jnp.float32), {}
    monkeypatch.setattr(experiment_file, "make_validation", lambda config, nap: lambda params: table[now["step"]])
    experiment = make_metabo(config).experiment

    @jax.jit
    def step(state):
        now["step"] = state.step
        return experiment.step(state)

    states, metrics = [jax.jit(experiment.init)(jax.random.key(0))], []
    for _ in range(num_steps):
        state, measured = step(states[-1])
        states.append(state)
        metrics.append(jax.device_get(measured))
    return experiment, states, metrics


@pytest.fixture(scope="module")
def run():
    """Four steps of two phases, validated at every step of the second."""
    with pytest.MonkeyPatch.context() as patch:
        config = replace(TINY, validation=replace(TINY.validation, every=1))
        return follow(config, patch, [9.0, 0.5, 0.3, 0.4], 4)


@pytest.mark.slow
def test_validation_begins_where_the_first_phase_ends(run):
    *_, metrics = run
    np.testing.assert_allclose([m["validation_regret"] for m in metrics], [1.0, 0.5, 0.3, 0.4])


def test_what_is_kept_is_what_had_the_smallest_regret(run):
    experiment, states, _ = run
    np.testing.assert_allclose([s.best_score for s in states], [1.0, 1.0, 0.5, 0.3, 0.3])
    assert same(states[1].best, states[0].params)
    assert same(states[2].best, states[2].params) and same(states[3].best, states[3].params)
    assert same(states[4].best, states[3].params) and not same(states[4].best, states[4].params)
    assert same(experiment.export(states[4])["best"], states[3].params)


def test_of_the_first_phase_its_last_parameters_are_kept(run):
    experiment, states, _ = run
    assert same(states[4].pretrained, states[2].params) and not same(states[4].pretrained, states[4].params)
    assert same(experiment.export(states[4])["pretrained"], states[2].params)


def test_phases_move_what_is_theirs(run):
    _, states, metrics = run
    assert same(states[2].policy_optimiser, states[0].policy_optimiser)
    assert same(states[4].likelihood_optimiser, states[2].likelihood_optimiser)
    assert not same(states[1].params["layers"], states[0].params["layers"])
    assert same(states[2].params["acquisition_head"], states[0].params["acquisition_head"])
    assert not same(states[3].params["acquisition_head"], states[2].params["acquisition_head"])
    assert [int(m["env_steps"]) for m in metrics] == [0, 0, 2 * 2 * 4, 2 * 2 * 4]
    assert [int(m["num_evaluated"]) for m in metrics] == [2, 2, 8, 8]
    assert [bool(m["entropy"] > 0.0) for m in metrics] == [False, False, True, True]


@pytest.mark.slow
def test_validation_is_every_so_many_steps_and_at_the_end(monkeypatch):
    """After the first phase of 2 steps, then every 4, and at the last: scores between do not count."""
    config = replace(
        TINY,
        policy=replace(TINY.policy, iterations=5, num_epochs=1),
        validation=replace(TINY.validation, every=4),
    )
    *_, metrics = follow(config, monkeypatch, [0.0, 0.6, 0.0, 0.0, 0.0, 0.5, 0.7], 7)
    np.testing.assert_allclose([m["validation_regret"] for m in metrics], [1.0, 0.6, 0.6, 0.6, 0.6, 0.5, 0.7])


@pytest.mark.slow
def test_validation_is_the_mean_regret_of_greedy_choices():
    """By hand for expected improvement, which an untrained model follows; nothing about it is random."""
    from envs.blackbox.environment import BlackBox
    from envs.blackbox.protocol import protocol_pools
    from envs.blackbox.task import regret
    from metarl.metabo.acquisitions import nap_optimiser

    config = replace(TINY, validation=ValidationConfig(tables=("xgb/20", "xgb/21"), horizon=2, seeds=2))
    nap = make_nap(**vars(config.model))
    params = jax.jit(nap.init)(jax.random.key(0))
    found = jax.jit(make_validation(config, nap))(params)
    pools = protocol_pools([(t, s) for t in ("xgb/20", "xgb/21") for s in (0, 1)], horizon=2)
    env, optimiser = BlackBox(1000, max_horizon=2), nap_optimiser(nap, params, "ei")
    choose = jax.jit(lambda observation, task: optimiser.choose(jax.random.key(0), (), observation, task)[1])
    values = []
    for case in range(4):
        task = jax.tree.map(lambda leaf, case=case: leaf[case], pools.params)
        observation, state = env.reset_at(pools.initial[case], task)
        values.append(regret(state.best, task))
        for _ in range(2):
            index = choose(observation, task)
            observation, state, *_ = env.transition(jnp.zeros((0,)), state, index, task)
            values.append(regret(state.best, task))
    np.testing.assert_allclose(found, np.mean(values), rtol=1e-5)


@pytest.mark.slow
def test_two_devices_learn_what_one_does():
    config = replace(TINY, likelihood=replace(TINY.likelihood, updates=2), policy=replace(TINY.policy, num_epochs=1))
    found = []
    for mesh in (None, make_mesh(2)):
        experiment = make_metabo(config, mesh=mesh).experiment
        state = jax.jit(lambda key, e=experiment, m=mesh: replicate(e.init(key), m))(jax.random.key(0))
        step, losses = jax.jit(experiment.step), []
        for _ in range(2):
            state, metrics = step(state)
            losses.append(jax.device_get({name: metrics[name] for name in ("loss", "fitness", "regret", "entropy")}))
        found.append(losses)
    # Means over the batch are summed in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *found)


def test_training_begins_with_the_model_that_it_is_told_to(tmp_path):
    made = make_metabo(TINY)
    params = jax.device_get(jax.jit(made.nap.init)(jax.random.key(7)))
    save_nap(tmp_path / "export", made.settings, params, {"head": "ei"})
    begun = replace(TINY, start=str(tmp_path), likelihood=replace(TINY.likelihood, updates=0))
    state = make_metabo(begun).experiment.init(jax.random.key(0))
    assert same(state.params, params) and same(state.pretrained, params) and begun.has_pretrained
    assert not same(make_metabo(TINY).experiment.init(jax.random.key(0)).params, params)
    other = replace(begun, model=replace(TINY.model, width=8))
    with pytest.raises(ValueError, match=r"made with model.width = 16 \(not 8\)"):
        make_metabo(other)
    make_metabo(replace(begun, model=replace(TINY.model, stop_gradient=False)))  # how it is trained may differ


def test_training_may_begin_with_the_model_that_ships():
    trained = find_nap()
    fields = {name: trained.settings[name] for name in trained.settings if name != "architecture"}
    config = replace(TINY, start="nap", model=NAPConfig(**fields))
    assert same(make_metabo(config).experiment.init(jax.random.key(0)).params, trained.params)


def test_records_that_are_older_than_a_setting_mean_its_default(tmp_path):
    config = replace(TINY, model=replace(TINY.model, distances="none"))
    made = make_metabo(config)
    params = jax.device_get(jax.jit(made.nap.init)(jax.random.key(7)))
    older = {name: value for name, value in made.settings.items() if name != "distances"}
    save_nap(tmp_path / "export", older, params, {"head": "ei"})
    begun = replace(config, start=str(tmp_path))
    assert same(make_metabo(begun).experiment.init(jax.random.key(0)).params, params)
    with pytest.raises(ValueError, match=r"made with model.distances = none \(not ard\)"):
        make_metabo(replace(begun, model=replace(TINY.model, distances="ard")))
