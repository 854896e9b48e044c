"""A toy that stands for a robot in tests of goal velocities: known in closed form, and compiled in no time."""

from collections.abc import Iterator
from contextlib import contextmanager

import brax.envs
from brax.envs.fast import Fast

TOY = "velocity@system=timed,horizon=20"


class Timed(Fast):
    """Brax's toy, which is 0.02 m/s faster after every step with a positive action, and its time step."""

    dt = 0.02


@contextmanager
def toy_in_brax() -> Iterator[None]:
    """Registers the toy with brax for as long as this lasts."""
    brax.envs.register_environment("timed", Timed)
    try:
        yield
    finally:
        del brax.envs._envs["timed"]
