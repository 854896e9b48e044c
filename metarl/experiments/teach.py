"""Teaching as an experiment: teachers, each with several students, in one program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from metarl.experiments.base import Experiment, Metrics
from metarl.experiments.student import Student, Studied, cubes_student
from metarl.experiments.teach_config import CubesConfig, SACStudentConfig, TeachConfig
from metarl.progress import Progress
from metarl.teachers.base import Teacher, take_in
from metarl.teachers.teachers import make_teacher

NUM_RECORDED = 250
"""Tasks that the teacher of the first student would propose, recorded after every step."""
RECORDING = 2**31
"""Folded into the key of a step for what is recorded; updates have the numbers below."""


class Classroom(NamedTuple):
    """One teacher's students and what it knows of each; leading axis S."""

    student: Any
    teacher: Any
    num_episodes: Int[Array, " S"]
    """Finished by each student."""


class Record(NamedTuple):
    """What is kept of every step; leading axis N, and NaN in steps still to come."""

    mastered: Float[Array, "N S"]
    """Percentage of test tasks that each student masters."""
    episodes: Int[Array, "N S"]
    """Episodes that each has finished."""
    grades: Float[Array, "N G"]
    """How well the first student does in each test task."""
    proposals: Float[Array, "N n D"]
    """Tasks that its teacher would propose next."""
    portrait: dict[str, Array]
    """What there is to see of its teacher (`Teacher.portrait`)."""


class TeachState(NamedTuple):
    """Everything the next step depends on."""

    key: Key[Array, ""]
    """Root of all randomness; never changes."""
    step: Int[Array, ""]
    """Steps done, each of several updates."""
    classrooms: tuple[Classroom, ...]
    """One for each teacher."""
    records: tuple[Record, ...]
    """One for each teacher."""


class Teaching(NamedTuple):
    """A teaching experiment and what surrounds it."""

    experiment: Experiment
    student: Student
    teachers: dict[str, Teacher]


def make_teaching(config: TeachConfig) -> Teaching:
    """Returns the experiment in which every teacher has students of its own.

    Students with the same index have the same randomness under every teacher; teachers have their own, so that what
    one does changes nothing for the others. Metrics are `mastered/<teacher>`, in percent, and `episodes/<teacher>`,
    both means over students.

    Raises:
        ValueError: if a teacher is unknown or a setting out of range.
    """
    student = build_student(config)
    teachers = {spec: make_teacher(spec, student.box) for spec in config.teachers}

    def init(key: Array) -> TeachState:
        keys = jax.random.split(jax.random.fold_in(key, 0), config.num_students)
        rooms = tuple(jax.vmap(lambda key, t=t: _enrol(student, t, key))(keys) for t in teachers.values())
        records = tuple(
            _empty(jax.eval_shape(lambda room, t=t: _look(config, student, t, room, key), room), config.num_steps)
            for t, room in zip(teachers.values(), rooms, strict=True)
        )
        return TeachState(key, jnp.int32(0), rooms, records)

    def step(state: TeachState) -> tuple[TeachState, Metrics]:
        key_step = jax.random.fold_in(state.key, state.step + 1)
        rooms, records, metrics = [], [], {}
        env_steps, num_nonfinite = jnp.int32(0), jnp.int32(0)
        for (spec, teacher), room, record in zip(teachers.items(), state.classrooms, state.records, strict=True):
            room, studied_steps = _teach(config, student, teacher, room, state.step, key_step)
            seen = _look(config, student, teacher, room, key_step)
            rooms.append(room)
            records.append(jax.tree.map(lambda all_, now: all_.at[state.step].set(now), record, seen))
            metrics[f"mastered/{spec}"] = jnp.mean(seen.mastered)
            metrics[f"episodes/{spec}"] = jnp.mean(seen.episodes.astype(jnp.float32))
            env_steps += studied_steps
            num_nonfinite += jnp.sum(~jnp.isfinite(seen.grades)).astype(jnp.int32)
        metrics["fitness"] = metrics[f"mastered/{config.teachers[0]}"]
        metrics |= {"env_steps": env_steps, "num_nonfinite": num_nonfinite}
        metrics["num_evaluated"] = jnp.int32(len(teachers) * student.test_vectors.shape[0])
        return TeachState(state.key, state.step + 1, tuple(rooms), tuple(records)), metrics

    def export(state: TeachState) -> dict[str, Array]:
        arrays = {"test_vectors": student.test_vectors}
        for spec, record, room in zip(teachers, state.records, state.classrooms, strict=True):
            named = record._asdict()
            named |= {f"portrait_{name}": array for name, array in named.pop("portrait").items()}
            arrays |= {f"{spec}/{name}": array for name, array in named.items()}
            arrays[f"{spec}/final_grades"] = jax.lax.map(student.examine, room.student, batch_size=config.at_once)
        return arrays

    return Teaching(Experiment(init, step, export), student, teachers)


def film(teaching: Teaching, state: TeachState) -> dict[str, Array]:
    """Returns what there is to watch of the first teacher's first student at the end; empty where nothing is.

    The test task is the one that it only just masters, or the one it does best in if it masters none: `test_vector`
    and `grade` say which.
    """
    student = teaching.student
    if student.film is None:
        return {}
    first = jax.tree.map(lambda leaf: leaf[0], state.classrooms[0].student)
    grades = jax.jit(student.examine)(first)
    is_mastered = grades > student.passes_above
    number = jnp.where(jnp.any(is_mastered), jnp.argmin(jnp.where(is_mastered, grades, jnp.inf)), jnp.nanargmax(grades))
    told = {"test_vector": student.test_vectors[number], "grade": grades[number]}
    return jax.jit(student.film)(first, number) | told


def best_layers(teaching: Teaching, state: TeachState, grades: Float[np.ndarray, "S G"]) -> dict[str, dict[str, Array]]:
    """Returns the policy of that student of the first teacher who has the best grades, see `Student.layers`.

    Raises:
        ValueError: if students are no perceptrons.
    """
    if teaching.student.layers is None:
        raise ValueError("these students are no perceptrons; only soft actor-critics leave their policy")
    best = int(np.argmax(np.nan_to_num(np.mean(grades, axis=1), nan=-np.inf)))
    return teaching.student.layers(jax.tree.map(lambda leaf: leaf[best], state.classrooms[0].student))


def build_student(config: TeachConfig) -> Student:
    """Returns the student that the configuration asks for.

    Raises:
        ValueError: if it cannot be built.
    """
    if isinstance(config.student, CubesConfig):
        return cubes_student(config.student)
    # Families of tasks are slow to import.
    if isinstance(config.student, SACStudentConfig):
        from metarl.experiments.sac_student import sac_student

        return sac_student(config.student)
    from metarl.experiments.ppo_student import ppo_student

    return ppo_student(config.student)


def _enrol(student: Student, teacher: Teacher, key: Array) -> Classroom:
    key_student, key_teacher, key_first = jax.random.split(key, 3)
    taught = teacher.init(key_teacher)
    first = teacher.sample(key_first, taught, student.num_proposals)
    return Classroom(student.init(key_student, first), taught, jnp.int32(0))


def _teach(
    config: TeachConfig, student: Student, teacher: Teacher, room: Classroom, step: Array, key: Array
) -> tuple[Classroom, Int[Array, ""]]:
    """Returns (the classroom after the updates of one step, environment steps of all its students)."""

    def lesson(room: Classroom, inputs: tuple[Array, Array]) -> tuple[Classroom, Array]:
        index, key = inputs
        update = step * config.updates_per_step + index
        key_teacher, key_student = jax.random.split(key)
        vectors = teacher.sample(key_teacher, room.teacher, student.num_proposals)
        progress = Progress(update, jnp.int32(config.updates))
        studying, studied = student.study(room.student, vectors, progress, key_student)
        key_fit = jax.random.fold_in(key_teacher, 1)
        taught = _tell(student, teacher, key_fit, room, studied, update * student.num_proposals)
        finished = jnp.sum(jnp.isfinite(studied.returns)).astype(jnp.int32)
        return Classroom(studying, taught, room.num_episodes + finished), studied.env_steps

    lessons = jnp.arange(config.updates_per_step)

    def one(inputs: tuple[Classroom, Array]) -> tuple[Classroom, Array]:
        room, keys = inputs
        return jax.lax.scan(lesson, room, (lessons, keys))

    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index), config.num_students))(lessons)
    room, env_steps = jax.lax.map(one, (room, keys.T), batch_size=config.at_once)
    return room, jnp.sum(env_steps)


def _tell(student: Student, teacher: Teacher, key: Array, room: Classroom, studied: Studied, before: Array) -> Any:
    """Returns what the teacher knows after an update; it fits anew when enough episodes have passed.

    Where students finish unequally many episodes, whether a fit is due differs between them: it is done at every update
    and taken where it is due, which costs next to nothing beside their learning.
    """
    if student.finishes_all:
        return take_in(teacher, key, room.teacher, studied.vectors, studied.returns, before)
    taught = teacher.observe(room.teacher, studied.vectors, studied.returns)
    if teacher.refit_every is None:
        return taught
    after = room.num_episodes + jnp.sum(jnp.isfinite(studied.returns)).astype(jnp.int32)
    is_due = after // teacher.refit_every > room.num_episodes // teacher.refit_every
    return jax.tree.map(lambda new, old: jnp.where(is_due, new, old), teacher.refit(key, taught), taught)


def _look(config: TeachConfig, student: Student, teacher: Teacher, room: Classroom, key: Array) -> Record:
    """Returns what is recorded of a classroom, without the axis over steps; `key` is for proposals."""
    grades = jax.lax.map(student.examine, room.student, batch_size=config.at_once)
    first = jax.tree.map(lambda leaf: leaf[0], room.teacher)
    return Record(
        mastered=100.0 * jnp.mean((grades > student.passes_above).astype(jnp.float32), axis=1),
        episodes=room.num_episodes,
        grades=grades[0],
        proposals=teacher.sample(jax.random.fold_in(key, RECORDING), first, NUM_RECORDED),
        portrait=teacher.portrait(first),
    )


def _empty(shapes: Any, num_steps: int) -> Any:
    """Returns a record of steps still to come."""

    def blank(shape: Any) -> Array:
        missing = jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else 0
        return jnp.full((num_steps, *shape.shape), missing, shape.dtype)

    return jax.tree.map(blank, shapes)
