"""Teachers and their students as an experiment."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import t as student_t

from metarl.experiments.agent_config import AgentConfig
from metarl.experiments.student import cubes_student
from metarl.experiments.task_world import family_box, finished_episodes
from metarl.experiments.task_world import test_vectors as make_test_vectors
from metarl.experiments.teach import best_layers, build_student, make_teaching
from metarl.experiments.teach_config import CubesConfig, PPOStudentConfig, SACConfig, SACStudentConfig, TeachConfig
from metarl.experiments.teach_families import task_family
from metarl.experiments.teach_presets import TEACH_PRESETS
from metarl.experiments.teach_results import teach_rows
from metarl.progress import Progress
from metarl.teachers.base import unit_box

SMOKE = TEACH_PRESETS["smoke"].config
PENDULUM = PPOStudentConfig(
    env="Pendulum-v1@g=5..15,l=0.5..2",
    agent=AgentConfig(num_envs=4, unroll_length=100, optimiser="adam", policy_learning_rate=1e-3, hidden=(8,)),
    pool_size=8,
    max_finished=16,
    grid=2,
    return_range=(-1600.0, 0.0),
    success_return=-400.0,
)


def run(config, num_steps=None):
    """Returns (state, metrics of all steps)."""
    teaching = make_teaching(config)
    step = jax.jit(teaching.experiment.step)
    state, metrics = jax.jit(teaching.experiment.init)(jax.random.key(config.seed)), []
    for _ in range(num_steps or config.num_steps):
        state, found = step(state)
        metrics.append(found)
    assert step._cache_size() == 1
    return teaching, state, metrics


@pytest.fixture(scope="module")
def smoke():
    return run(SMOKE)


def test_the_record_is_what_the_metrics_say(smoke):
    teaching, state, metrics = smoke
    arrays = teaching.experiment.export(state)
    for spec in SMOKE.teachers:
        np.testing.assert_allclose(
            np.mean(arrays[f"{spec}/mastered"], axis=1), [m[f"mastered/{spec}"] for m in metrics], rtol=1e-5
        )
        assert arrays[f"{spec}/episodes"][:, 0].tolist() == list(range(50, 501, 50))
        assert arrays[f"{spec}/proposals"].shape == (10, 250, 2)
        final = np.mean(np.asarray(arrays[f"{spec}/final_grades"]) > 0.75, axis=1) * 100
        np.testing.assert_allclose(arrays[f"{spec}/mastered"][-1], final, rtol=1e-5)
    assert {"portrait_mean", "portrait_utility"} <= {
        name.rpartition("/")[2] for name in arrays if name.startswith("alp-gmm")
    }
    assert not any(name.startswith("uniform/portrait") for name in arrays)
    assert all(int(m["env_steps"]) == 2 * 2 * 50 for m in metrics)


def test_adding_a_teacher_changes_nothing_for_the_others(smoke):
    _, alone, _ = run(replace(SMOKE, teachers=SMOKE.teachers[:1]))
    for a, b in zip(jax.tree.leaves(alone.records[0]), jax.tree.leaves(smoke[1].records[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_students_are_not_each_other(smoke):
    _, state, _ = smoke
    competences = np.asarray(state.classrooms[0].student)
    assert not np.array_equal(competences[0], competences[1])


def test_how_many_are_taught_at_once_changes_nothing(smoke):
    _, state, metrics = run(replace(SMOKE, students_at_once=1), num_steps=4)
    for found, expected in zip(metrics, smoke[2], strict=False):
        assert found["env_steps"] == expected["env_steps"]
    for found, expected in zip(state.records, smoke[1].records, strict=True):
        np.testing.assert_array_equal(found.mastered[:2], expected.mastered[:2])  # later mixtures may round otherwise
        np.testing.assert_array_equal(found.episodes[:4], expected.episodes[:4])


def test_going_on_from_a_state_is_not_having_stopped():
    teaching, half, _ = run(SMOKE, 5)
    stored = jax.tree.map(np.asarray, half._replace(key=jax.random.key_data(half.key)))
    resumed = jax.tree.map(jnp.asarray, stored)._replace(key=jax.random.wrap_key_data(jnp.asarray(stored.key)))
    step = jax.jit(teaching.experiment.step)
    for _ in range(5):
        resumed, _ = step(resumed)
    _, whole, _ = run(SMOKE)
    for a, b in zip(jax.tree.leaves(resumed._replace(key=())), jax.tree.leaves(whole._replace(key=())), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_have_a_number_for_every_student_and_welch_against_uniform(smoke):
    teaching, state, _ = smoke
    arrays = {name: np.array(array) for name, array in teaching.experiment.export(state).items()}
    arrays["uniform/mastered"][-1], arrays[f"{SMOKE.teachers[0]}/mastered"][-1] = [1.0, 2.0], [5.0, 7.0]
    rows = teach_rows(SMOKE, arrays)
    assert len(rows) == 10 and {row["metric"] for row in rows} == {"mastered"}
    last = next(row for row in rows if row["setting"]["updates"] == 500 and "alp" in row["arm"])
    assert last["values"] == [5.0, 7.0] and last["mean"] == 6.0 and last["episodes"] == 500.0
    # Welch: t = 4.5 / sqrt(.5 / 2 + 2 / 2) with (1.25)² / (.25² + 1²) = 1.47 degrees of freedom.
    assert last["welch_p"] == pytest.approx(2 * student_t.sf(4.5 / np.sqrt(1.25), 1.25**2 / 1.0625))


def test_cells_are_tested_in_their_middles():
    student = cubes_student(CubesConfig(num_dimensions=2, per_dimension=2, num_useless=1))
    np.testing.assert_allclose(
        student.test_vectors, [[0.25, 0.25, 0.5], [0.25, 0.75, 0.5], [0.75, 0.25, 0.5], [0.75, 0.75, 0.5]]
    )
    assert student.box.num_dimensions == 3


def test_finished_episodes_are_told_with_their_task_and_whole_return():
    reward = jnp.array([[1, 10], [2, 20], [4, 40], [8, 80]], jnp.float32)
    ends = jnp.array([[0, 0], [1, 0], [0, 1], [1, 0]], bool)
    tasks = jnp.arange(8, dtype=jnp.float32).reshape(4, 2, 1)
    vectors, returns = finished_episodes(tasks, reward, ends, jnp.array([100, 1000], jnp.float32), 5)
    np.testing.assert_array_equal(returns, [103.0, 1070.0, 12.0, np.nan, np.nan])
    np.testing.assert_array_equal(vectors[:3, 0], [2.0, 5.0, 6.0])
    assert finished_episodes(tasks, reward, ends, jnp.zeros((2,), jnp.float32), 2)[1].tolist() == [3.0, 70.0]


def test_test_tasks_are_a_grid_with_its_bounds_and_random_beyond_two_dimensions():
    grid = np.asarray(make_test_vectors(unit_box(2), 3))
    assert grid[[0, 1, 3, 8]].tolist() == [[0, 0], [0, 0.5], [0.5, 0], [1, 1]]
    np.testing.assert_array_equal(make_test_vectors(unit_box(5), 3), make_test_vectors(unit_box(5), 3))
    assert make_test_vectors(unit_box(5), 3).shape == (9, 5)


def test_a_ppo_student_studies_the_proposed_tasks():
    config = TeachConfig(
        teachers=("alp-gmm@window=16,refit_every=8",),
        num_students=2,
        updates=6,
        updates_per_step=3,
        student=PENDULUM,
    )
    teaching, state, metrics = run(config)
    arrays = teaching.experiment.export(state)
    # Episodes last 200 steps, two rollouts of four workers.
    (spec,) = config.teachers
    assert arrays[f"{spec}/episodes"].tolist() == [[4, 4], [12, 12]]
    assert int(metrics[0]["env_steps"]) == 2 * 3 * 400
    assert bool(jnp.all(state.classrooms[0].teacher.has_fit)) and np.all(np.isfinite(arrays[f"{spec}/grades"]))
    assert arrays["test_vectors"].shape == (4, 2) and np.all(np.asarray(arrays[f"{spec}/grades"]) < 0)
    history = state.classrooms[0].student.workers.state.task.vectors
    assert np.all((np.asarray(history) >= 0) & (np.asarray(history) <= 1))


@pytest.mark.slow
def test_a_soft_actor_critic_studies_the_proposed_tasks():
    agent = SACConfig(4, 100, 2, hidden=(8,), batch_size=16, capacity=1000, random_steps=400)
    student = SACStudentConfig(**{**vars(PENDULUM), "agent": agent})
    config = TeachConfig(
        teachers=("alp-gmm@window=16,refit_every=8",), num_students=2, updates=6, updates_per_step=3, student=student
    )
    teaching, state, metrics = run(config)
    arrays = teaching.experiment.export(state)
    (spec,) = config.teachers
    assert arrays[f"{spec}/episodes"].tolist() == [[4, 4], [12, 12]] and int(metrics[0]["env_steps"]) == 2 * 3 * 400
    assert np.all(np.isfinite(arrays[f"{spec}/grades"]))
    replay = state.classrooms[0].student.replay
    assert replay.count.tolist() == [2400, 2400] and replay.rows.shape == (2, 1000, 9)
    kernels = state.classrooms[0].student.learner.policy["policy"]["body"]["Dense_0"]["kernel"]
    for best, grades in enumerate(([[5.0, 1.0], [2.0, 3.0]], [[np.nan, 9.0], [2.0, 3.0]])):
        layers = best_layers(teaching, state, np.array(grades))
        np.testing.assert_array_equal(layers["0"]["kernel"], kernels[best])


def test_only_perceptrons_leave_their_policy(smoke):
    teaching, state, _ = smoke
    with pytest.raises(ValueError, match="only soft actor-critics leave their policy"):
        best_layers(teaching, state, np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("env", "num_dimensions"),
    [
        ("darkroom@size=5,horizon=10", 1),
        ("bandit@num_arms=3,horizon=20", 3),
        ("GaussianBandit-misc@sigma_l=0.1..2", 1),
        pytest.param("gridworld/debug", None, marks=pytest.mark.slow),
        pytest.param("ant-physics@spring", 4, marks=pytest.mark.slow),
    ],
)
def test_all_families_with_several_tasks_can_be_taught(env, num_dimensions):
    agent = AgentConfig(num_envs=2, unroll_length=20, hidden=(8,))
    student = replace(PENDULUM, env=env, agent=agent, return_range=(0.0, 10.0), success_return=5.0)
    world = build_student(TeachConfig(student=student))
    assert world.box.num_dimensions == (num_dimensions or task_family(env).num_dimensions)
    proposed = world.box.uniform(jax.random.key(0), 8)
    with jax.numpy_dtype_promotion("standard"):  # gymnax mixes types
        state = world.init(jax.random.key(1), proposed)
        state, studied = jax.jit(world.study)(state, proposed, Progress(jnp.int32(0), jnp.int32(1)), jax.random.key(2))
    told = np.asarray(studied.vectors)[np.isfinite(studied.returns)]
    assert int(studied.env_steps) == 40
    assert all(np.any(np.all(np.isclose(one, proposed, atol=1e-6), axis=1)) for one in told)
    if not env.startswith(("ant", "gridworld", "Gaussian")):  # whose episodes are longer
        assert len(told) >= 2


def test_physical_units_are_the_familys():
    family = task_family(PENDULUM.env)
    box = family_box(replace(PENDULUM, physical_units=True), family)
    np.testing.assert_allclose([box.low, box.high], [[5, 0.5], [15, 2]])
    assert box.success_return == -400.0


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (replace(PENDULUM, env="Pendulum-v1"), "has one task only"),
        (replace(PENDULUM, return_range=None), "does not say what its returns mean"),
        (replace(PENDULUM, env="Pendulm-v1"), "did you mean"),
    ],
)
def test_families_that_cannot_be_taught_are_refused(student, words):
    with pytest.raises(ValueError, match=words):
        make_teaching(TeachConfig(student=student))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"teachers": ()}, "at least one"),
        ({"teachers": ("uniform", "uniform")}, "none of them twice"),
        ({"updates": 7, "updates_per_step": 2}, "multiple of updates_per_step"),
        ({"num_students": 0}, "num_students is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_configurations_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        TeachConfig(**wrong)


def test_unknown_teachers_are_refused():
    with pytest.raises(ValueError, match="no teacher called 'alp'"):
        make_teaching(replace(SMOKE, teachers=("alp",)))
