"""Curricula for Gymnasium environments, in a real one."""

import gymnasium
import numpy as np
import pytest

from metarl.teachers.base import task_box, unit_box
from metarl.teachers.gymnasium_wrapper import Curriculum
from metarl.teachers.host import HostTeacher

GRAVITY_AND_LENGTH = task_box([1.0, 0.5], [20.0, 2.0], return_range=(-1600.0, 0.0), success_return=-200.0)


class TaskPendulum(gymnasium.Wrapper):
    """Gymnasium's pendulum, with gravity and length by task, and short episodes."""

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1", max_episode_steps=10))

    def reset(self, *, seed=None, options=None):
        self.unwrapped.g, self.unwrapped.l = (float(number) for number in options["task"])
        return self.env.reset(seed=seed)


def host(spec="alp-gmm@window=20,refit_every=20", seed=0):
    return HostTeacher(spec, GRAVITY_AND_LENGTH, seed=seed)


def live(env, num_episodes, *, seed=None):
    """Returns (tasks, returns) of episodes with a constant torque."""
    tasks, returns = [], []
    for episode in range(num_episodes):
        _, info = env.reset(seed=seed if episode == 0 else None)
        tasks.append(info["task"])
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(np.array([0.5], np.float32))
            done = terminated or truncated
            assert ("episode_task_return" in info) == done and np.array_equal(info["task"], tasks[-1])
        returns.append(info["episode_task_return"])
    return np.array(tasks), np.array(returns)


def test_every_episode_has_a_task_of_the_box_and_is_told():
    teacher = host()
    env = Curriculum(TaskPendulum(), teacher)
    tasks, returns = live(env, 45, seed=3)
    assert np.all(tasks >= GRAVITY_AND_LENGTH.low) and np.all(tasks <= GRAVITY_AND_LENGTH.high)
    assert len(np.unique(tasks, axis=0)) == 45 and teacher.num_finished == 45
    state = teacher.state()
    assert state["teacher.has_fit"] and state["teacher.history.count"] == 45
    known = state["teacher.history.rows"][:45]
    np.testing.assert_array_equal(known[:, :2], tasks)
    np.testing.assert_allclose(known[:, 2], np.clip((returns + 1600) / 1600, 0, 1), atol=1e-6)
    assert env.unwrapped.g == pytest.approx(tasks[-1][0])


def test_the_same_seed_gives_the_same_curriculum():
    first, again, other = (live(Curriculum(TaskPendulum(), host()), 25, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    "spec", ["alp-gmm@window=20,refit_every=20", "riac@region_size=20", "uniform", "plr@capacity=10"]
)
def test_a_restored_teacher_goes_on_as_if_nothing_had_happened(spec, tmp_path):
    teacher = host(spec)
    live(Curriculum(TaskPendulum(), teacher), 30, seed=1)
    teacher.save(tmp_path / "curriculum.npz")
    restored = host(spec, seed=9)
    restored.restore(tmp_path / "curriculum.npz")
    generator = np.random.default_rng(0)
    for value in generator.uniform(-1600, 0, 25):
        task = teacher.propose()
        np.testing.assert_array_equal(task, restored.propose())
        teacher.report(task, value)
        restored.report(task, value)
    for name, array in teacher.state().items():
        np.testing.assert_array_equal(array, restored.state()[name])


def test_a_vector_of_environments_shares_one_teacher_deterministically():
    def run():
        teacher = host()
        envs = gymnasium.vector.SyncVectorEnv([lambda: Curriculum(TaskPendulum(), teacher)] * 3)
        envs.reset(seed=2)
        for _ in range(66):  # an episode is ten steps and, in this loop, one more to reset
            envs.step(np.zeros((3, 1), np.float32))
        return teacher

    first, again = run(), run()
    assert first.num_finished == 18
    for name, array in first.state().items():
        np.testing.assert_array_equal(array, again.state()[name])


def test_an_episode_that_is_cut_off_by_a_reset_is_not_told():
    teacher = host()
    env = Curriculum(TaskPendulum(), teacher)
    env.reset()
    env.step(np.zeros(1, np.float32))
    env.reset()
    assert teacher.num_finished == 0 and teacher.num_proposed == 2


def test_other_options_reach_the_environment():
    class Asking(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Discrete(1)

        def reset(self, *, seed=None, options=None):
            self.options = options
            return 0, {}

    env = Curriculum(Asking(), HostTeacher("uniform", unit_box(1)))
    env.reset(options={"colour": "red"})
    assert env.unwrapped.options["colour"] == "red" and env.unwrapped.options["task"].shape == (1,)


def test_states_of_other_teachers_and_wrong_tasks_are_refused():
    with pytest.raises(ValueError, match="another teacher or another box"):
        host("uniform").load(host().state())
    with pytest.raises(ValueError, match="another teacher or another box"):
        HostTeacher("alp-gmm", unit_box(3)).load(HostTeacher("alp-gmm", unit_box(2)).state())
    with pytest.raises(ValueError, match=r"shape \(3,\) was reported"):
        host().report([1, 2, 3], 0.0)
    with pytest.raises(ValueError, match="stepped before its first reset"):
        Curriculum(TaskPendulum(), host()).step(np.zeros(1, np.float32))


def test_returns_that_are_not_finite_count_for_nothing():
    teacher = host()
    teacher.report(teacher.propose(), float("nan"))
    assert teacher.num_finished == 0
