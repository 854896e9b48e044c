"""Teachers by name, with options: `alp-gmm`, `riac@region_size=150,leaves_only=true`."""

from collections.abc import Callable
from typing import Any

from envs.naming import check_name, options_in
from metarl.teachers.base import TaskBox, Teacher
from metarl.teachers.gmm import alp_gmm, covar_gmm
from metarl.teachers.learnability import sfl
from metarl.teachers.replay import plr
from metarl.teachers.riac import riac
from metarl.teachers.schedules import adr, oracle, uniform

TEACHERS: dict[str, Callable[..., Teacher]] = {
    "uniform": uniform,
    "alp-gmm": alp_gmm,
    "covar-gmm": covar_gmm,
    "riac": riac,
    "oracle": oracle,
    "adr": adr,
    "plr": plr,
    "sfl": sfl,
}
"""Factories by name; the first argument of each is the box of tasks."""


def make_teacher(spec: str, box: TaskBox, *, expert_steps: Any = None) -> Teacher:
    """Returns the teacher that `name` or `name@option=value,option=value` stands for.

    Options are the keyword arguments of the teacher's factory that have a default.

    Args:
        spec: the words.
        box: where tasks live.
        expert_steps: [D], which way the oracle's window moves; None: upwards by a thirtieth of each side.

    Raises:
        ValueError: if the name or an option is unknown, or a value out of range.
    """
    name = spec.partition("@")[0]
    check_name(name, TEACHERS, "teacher")
    options = options_in(spec, TEACHERS[name])
    if name == "oracle":
        return oracle(box, box.size / 30.0 if expert_steps is None else expert_steps, **options)
    return TEACHERS[name](box, **options)
