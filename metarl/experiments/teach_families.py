"""Families of tasks that can be taught, by name."""

from envs.family import TaskFamily
from envs.registry import make_family


def task_family(name: str) -> TaskFamily:
    """Returns the family of this name.

    Raises:
        ValueError: if the name is unknown.
    """
    return make_family(name)
