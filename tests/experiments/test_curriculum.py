"""Where tasks come from: laws of families, and teachers that are told how lives ended."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_family
from metarl.experiments.build import build_families
from metarl.experiments.config import AgentConfig, DiscoverConfig, FamilyConfig, LPGConfig, PopulationConfig
from metarl.experiments.curriculum import NUM_SURVEYED, drawn, taught
from metarl.experiments.discover import make_discovery
from populations.mesh import make_mesh, replicate
from populations.pairing import trial_keys

NAME = "gridworld/debug"
WORLDS = make_family(NAME)
FAMILY = make_family(NAME, lifetime=(2, 9))
CONFIG = DiscoverConfig(
    family=FamilyConfig((NAME,), (1, 6)),
    objective=LPGConfig(hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=5),
    population=PopulationConfig(size=16, tasks_per_pair=2),
    teacher="plr@capacity=64,score=regret",
)


def best_returns(tasks):
    return np.asarray(jax.jit(jax.vmap(WORLDS.optimal_return))(tasks.params))


def proposals(curriculum, state, key, num):
    return jax.jit(jax.vmap(lambda key: curriculum.sample(state, key)))(jax.random.split(key, num))


def test_a_law_is_that_of_the_family_and_cannot_be_told_anything(key):
    law = drawn(FAMILY)
    proposed = law.sample(law.init(key), key)
    jax.tree.map(np.testing.assert_array_equal, proposed.task, FAMILY.sample(key))
    assert law.tell(key, (), proposed, jnp.ones((1,)), jnp.int32(0)) == ((), {})


def test_a_taught_task_is_decoded_from_the_vector_that_was_proposed(key):
    curriculum = taught("uniform", WORLDS, FAMILY)
    proposed = proposals(curriculum, curriculum.init(key), key, 8)
    worlds = jax.jit(jax.vmap(WORLDS.decode))(proposed.vector).params
    jax.tree.map(np.testing.assert_array_equal, proposed.task.params, worlds)


def test_lifetimes_keep_their_law(key):
    curriculum = taught("uniform", WORLDS, FAMILY)
    found = np.asarray(proposals(curriculum, curriculum.init(key), key, 2000).task.lifetime)
    expected = np.asarray(jax.vmap(FAMILY.sample)(jax.random.split(jax.random.fold_in(key, 1), 2000)).lifetime)
    assert found.min() == 2 and found.max() == 9
    assert abs(np.log(found).mean() - np.log(expected).mean()) < 4 * np.log(expected).std() * (2 / 2000) ** 0.5


def test_teachers_are_told_the_regret_where_the_best_return_is_known(key):
    curriculum = taught("plr@capacity=16,score=regret", WORLDS, FAMILY)
    state = curriculum.init(key)
    proposed = proposals(curriculum, state, key, 4)
    best = best_returns(proposed.task)
    returns = jnp.asarray(best - [0.0, 0.1, 0.2, 0.3], jnp.float32).at[3].set(jnp.nan)
    state, metrics = curriculum.tell(key, state, proposed, returns, jnp.int32(0))
    assert float(metrics["regret"]) == pytest.approx(0.1, abs=1e-6)
    assert int(state.num_episodes) == 3  # a life that ended in nothing finite is none
    scores = np.sort(np.asarray(state.score))[-3:]
    surveyed = best_returns(jax.vmap(WORLDS.sample)(jax.random.split(jax.random.key(0), NUM_SURVEYED)))
    np.testing.assert_allclose(scores, np.array([0.0, 0.1, 0.2]) / np.quantile(surveyed, 0.95), atol=1e-5)


def test_elsewhere_they_are_told_the_return_in_a_range_that_is_given(key):
    family = make_family("Pendulum-v1@g=5..15")
    curriculum = taught("plr@capacity=16,score=regret", family, family, return_range=(-100.0, 0.0))
    state = curriculum.init(key)
    proposed = proposals(curriculum, state, key, 2)
    state, metrics = curriculum.tell(key, state, proposed, jnp.array([-25.0, -50.0], jnp.float32), jnp.int32(0))
    assert metrics == {}
    np.testing.assert_allclose(np.sort(np.asarray(state.score))[-2:], [0.25, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("CartPole-v1", "has one task only"),
        ("Pendulum-v1@g=5..15", "does not say what its returns mean; give teacher_return_range"),
    ],
)
def test_what_cannot_be_taught_is_refused(family, words):
    with pytest.raises(ValueError, match=words):
        taught("uniform", make_family(family), make_family(family))


def test_a_range_that_descends_is_refused():
    with pytest.raises(ValueError, match=r"teacher_return_range is .*; it must ascend"):
        replace(CONFIG, teacher_return_range=(1.0, 0.0))


def evolve(config, *, num_generations=2, mesh=None):
    experiment = make_discovery(config, mesh=mesh).experiment
    states, metrics = [replicate(jax.jit(experiment.init)(jax.random.key(0)), mesh)], []
    step = jax.jit(experiment.step)
    for _ in range(num_generations):
        state, measured = step(states[-1])
        states.append(state)
        metrics.append(measured)
    return states, metrics


@pytest.fixture(scope="module")
def course():
    return evolve(CONFIG)


def test_a_teacher_is_told_of_every_life_in_the_tasks_it_proposed(course):
    states, metrics = course
    before, after = states[0].curricula[NAME], states[1].curricula[NAME]
    assert int(after.num_episodes) == 16 and int(states[2].curricula[NAME].num_episodes) == 32
    family = build_families(CONFIG.family)[0]
    curriculum = taught(CONFIG.teacher, WORLDS, family)
    key = jax.random.fold_in(states[0].key, 0)
    key_task = jax.random.split(jax.random.split(key)[1])[0]
    proposed = jax.jit(jax.vmap(lambda key: curriculum.sample(before, key)))(trial_keys(key_task, 8, 2))
    stored = np.asarray(after.tasks)[np.asarray(after.num_visits) > 0]
    np.testing.assert_array_equal(np.sort(stored, axis=0), np.sort(np.asarray(proposed.vector), axis=0))
    assert 0.0 < float(metrics[0][f"regret/{NAME}"])


@pytest.mark.slow
def test_devices_change_nothing_that_a_teacher_knows(course):
    states, metrics = evolve(CONFIG, mesh=make_mesh(8))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        states[1].curricula[NAME]._asdict(),
        course[0][1].curricula[NAME]._asdict(),
    )
    np.testing.assert_allclose(metrics[0]["fitness"], course[1][0]["fitness"], rtol=1e-6)


@pytest.mark.slow
def test_mixtures_are_fitted_as_lives_end():
    config = replace(CONFIG, teacher="alp-gmm@window=20,refit_every=20,k_max=3")
    states, _ = evolve(config)
    assert [bool(state.curricula[NAME].has_fit) for state in states] == [False, False, True]


@pytest.mark.slow
def test_every_family_has_a_teacher_of_its_own():
    names = (NAME, "gridworld/small")
    config = replace(CONFIG, family=FamilyConfig(names, (1, 2)))
    states, metrics = evolve(config, num_generations=1)
    assert [int(states[1].curricula[name].num_episodes) for name in names] == [16, 16]
    assert {f"regret/{name}" for name in names} <= set(metrics[0])
