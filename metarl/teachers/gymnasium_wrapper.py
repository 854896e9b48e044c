"""A curriculum for any Gymnasium environment whose `reset(options={"task": vector})` takes a task vector.

teacher = HostTeacher("alp-gmm", task_box([0, 0], [3, 6], return_range=(-150, 350)), seed=0)
env = Curriculum(env, teacher)
"""

from typing import Any

import gymnasium
import numpy as np

from metarl.teachers.host import HostTeacher


class Curriculum(gymnasium.Wrapper):
    """Asks the teacher for a task at every reset and tells it the return at the end of every episode.

    Several environments may share one teacher, as in the vector loops of one process, where they are stepped in order,
    so that episodes that end in one step are told in the order of the environments. Copies of an environment in other
    processes would each teach themselves.

    A reset before the end of an episode tells the teacher nothing. Every `info` holds the `task`; at the end of an
    episode it holds `episode_task_return` too.
    """

    def __init__(self, env: gymnasium.Env, teacher: HostTeacher):
        """Wraps the environment."""
        super().__init__(env)
        self.teacher = teacher
        self.task: np.ndarray | None = None
        self._return = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Returns (observation, info) in the next task; a seed starts the teacher's random numbers anew too."""
        if seed is not None:
            self.teacher.reseed(seed)
        self.task, self._return = self.teacher.propose(), 0.0
        observation, info = self.env.reset(seed=seed, options={**(options or {}), "task": self.task})
        return observation, {**info, "task": self.task}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Returns what the environment does, after telling the teacher about an episode that ends.

        Raises:
            ValueError: if there has been no reset.
        """
        if self.task is None:
            raise ValueError(
                "the environment was stepped before its first reset, so that it has no task; reset it first"
            )
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        info = {**info, "task": self.task}
        if terminated or truncated:
            self.teacher.report(self.task, self._return)
            info["episode_task_return"] = self._return
        return observation, reward, terminated, truncated, info
