"""Pictures of teaching: who masters how much, what is mastered, and where teachers look for progress."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from analysis.animation import Animation, encode_gif
from analysis.figure import INK, MUTED, Picture, arm_style, draw_band, hide_unused, make_figure, shared_legend, style
from metarl.statistics import bootstrap_mean_band

GRADES, UTILITY = "YlGnBu", "YlOrRd"
"""Colour maps of competence and of a Gaussian's utility."""
MAX_FRAMES = 40
TWO_DEVIATIONS = 2.0
"""Semi-axes of an ellipse, in standard deviations."""


class Lessons(NamedTuple):
    """What one teacher's record holds; N steps, S students, G test tasks."""

    mastered: Float[np.ndarray, "N S"]
    """Percentage of test tasks mastered."""
    episodes: Float[np.ndarray, "N S"]
    """Finished so far."""
    grades: Float[np.ndarray, "N G"]
    """Of the first student."""
    final_grades: Float[np.ndarray, "S G"]
    proposals: Float[np.ndarray, "N n D"]
    """Tasks that the first student's teacher would propose."""
    portrait: dict[str, np.ndarray]
    """Its Gaussians or boxes (`Teacher.portrait`); empty for teachers without."""


def load_lessons(arrays: Mapping[str, np.ndarray]) -> dict[str, Lessons]:
    """Returns what was recorded of each teacher, by name."""
    names = [name.removesuffix("/mastered") for name in arrays if name.endswith("/mastered")]
    found = {}
    for teacher in names:
        mine = {key.rpartition("/")[2]: array for key, array in arrays.items() if key.rpartition("/")[0] == teacher}
        seen = {key.removeprefix("portrait_"): mine.pop(key) for key in list(mine) if key.startswith("portrait_")}
        found[teacher] = Lessons(**mine, portrait=seen)
    return found


def mastery_curves(lessons: Mapping[str, Lessons]) -> Picture:
    """Returns the percentage of mastered test tasks over episodes: mean over students and its 95 % interval."""
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = make_figure(height=3.2)
        for teacher, lesson in lessons.items():
            band = bootstrap_mean_band(lesson.mastered.T.astype(np.float64))
            episodes = lesson.episodes.mean(1)
            draw_band(axes[0, 0], episodes, band, label=teacher, **arm_style(teacher, list(lessons)))
            numbers |= {f"{teacher}/episodes": lesson.episodes, f"{teacher}/mastered": lesson.mastered}
        axes[0, 0].set(xlabel="episodes", ylabel="test tasks mastered (%)")
        axes[0, 0].set_ylim(bottom=0.0)
        shared_legend(figure, axes, num_columns=4)
    students = next(iter(lessons.values())).mastered.shape[1]
    caption = f"Mean over {students} students of each teacher, and its pointwise 95 % bootstrap interval."
    return Picture("mastery", "Who masters how much", caption, figure, numbers)


def grade_maps(lessons: Mapping[str, Lessons], tests: Float[np.ndarray, "G D"]) -> Picture | None:
    """Returns how well students do in each test task at the end, their mean, on the plane of the first two coordinates.

    None where the test tasks are no grid in two dimensions.
    """
    side = _grid_sides(tests)
    if side is None:
        return None
    numbers = {teacher: lesson.final_grades for teacher, lesson in lessons.items()} | {"tests": tests}
    means = {teacher: lesson.final_grades.mean(0) for teacher, lesson in lessons.items()}
    lowest, highest = (float(f(list(map(f, means.values())))) for f in (np.min, np.max))
    with style():
        columns = min(len(lessons), 3)
        figure, axes = make_figure(-(-len(lessons) // columns), columns, height=2.8)
        for axis, (teacher, mean) in zip(axes.flat, means.items(), strict=False):
            image = _draw_grades(axis, tests, mean, side, lowest, highest)
            axis.set_title(teacher)
        hide_unused(axes, len(lessons))
        figure.colorbar(image, ax=list(axes.flat), label="mean over students", aspect=30)
    caption = "How well students do in each test task at the end of the run, mean over the students of each teacher."
    return Picture("grades", "What is mastered", caption, figure, numbers)


def proposal_maps(lessons: Mapping[str, Lessons], *, num_points: int = 4) -> Picture | None:
    """Returns the tasks that teachers would propose to their first student at several points of the run.

    Of teachers with a mixture, ellipses show two standard deviations of each Gaussian, of RIAC rectangles its leaves,
    darker the more useful they are. None for tasks of one dimension.
    """
    if next(iter(lessons.values())).proposals.shape[2] < 2:
        return None
    steps = np.unique(
        np.linspace(0, len(next(iter(lessons.values())).mastered) - 1, num_points).round().astype(int)
    ).tolist()
    numbers: dict[str, np.ndarray] = {"step": np.array(steps)}
    with style():
        figure, axes = make_figure(len(lessons), len(steps), height=2.1, sharex=True, sharey=True)
        for row, (teacher, lesson) in zip(axes, lessons.items(), strict=True):
            for axis, step in zip(row, steps, strict=True):
                draw_proposals(axis, lesson, step)
                axis.set_title(f"{lesson.episodes[step].mean():,.0f} episodes" if axis in axes[0] else "")
            row[0].set_ylabel(teacher, color=INK)
            numbers |= {f"{teacher}/proposals": lesson.proposals[steps]}
            numbers |= {f"{teacher}/{name}": array[steps] for name, array in lesson.portrait.items()}
    caption = (
        "Tasks (dots, first two coordinates) that each teacher would propose to its first student. Ellipses: two "
        "standard deviations of the Gaussians that a mixture teacher has fitted; rectangles: the boxes that others "
        "choose from. Darker is more useful, in the teacher's eyes."
    )
    return Picture("proposals", "Where teachers look for progress", caption, figure, numbers)


def draw_proposals(axis: Axes, lesson: Lessons, step: int) -> None:
    """Draws proposals of one step, and the Gaussians or boxes that they come from."""
    tasks = lesson.proposals[step]
    axis.plot(tasks[:, 0], tasks[:, 1], ".", color=MUTED, markersize=2.2, alpha=0.6, zorder=2)
    seen = {name: array[step] for name, array in lesson.portrait.items()}
    used = np.flatnonzero(seen["is_used"]) if seen else []
    for k, look in zip(used, _looks(seen["utility"][used]) if seen else [], strict=True):
        if "mean" in seen:
            axis.add_patch(_ellipse(seen["mean"][k][:2], seen["cholesky"][k][:2, :2], look))
        else:
            axis.add_patch(Rectangle(seen["low"][k][:2], *(seen["high"][k] - seen["low"][k])[:2], **look))
    low, high = lesson.proposals.min((0, 1)), lesson.proposals.max((0, 1))
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def curriculum_animation(teacher: str, lesson: Lessons, tests: Float[np.ndarray, "G D"]) -> Animation | None:
    """Returns one teacher's proposals over the run, beside how well its first student does in each test task.

    None where there is nothing to move or the test tasks are no grid in two dimensions.
    """
    side, num_steps = _grid_sides(tests), len(lesson.mastered)
    if side is None or num_steps < 2:
        return None
    steps = np.unique(np.linspace(0, num_steps - 1, MAX_FRAMES).round().astype(int)).tolist()
    gif = encode_gif(list(_frames(lesson, tests, side, steps)))
    numbers = {
        "step": np.array(steps),
        "grades": lesson.grades[steps],
        "proposals": lesson.proposals[steps],
        "tests": tests,
    }
    numbers |= {f"portrait_{name}": array[steps] for name, array in lesson.portrait.items()}
    caption = (
        f"{teacher}: left, the tasks it would propose to its first student, and the Gaussians (two deviations) or "
        "boxes that they come from, darker the more useful; right, how well that student does in each test task."
    )
    return Animation("curriculum", "The curriculum over the run", caption, gif, numbers)


def _frames(
    lesson: Lessons, tests: np.ndarray, side: tuple[int, int], steps: Sequence[int]
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    with style():
        figure = Figure(figsize=(6.4, 3.2), dpi=90, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        lowest, highest = float(lesson.grades.min()), float(lesson.grades.max())
        for step in steps:
            left.clear()
            right.clear()
            draw_proposals(left, lesson, step)
            left.set_title(f"{lesson.episodes[step].mean():,.0f} episodes")
            _draw_grades(right, tests, lesson.grades[step], side, lowest, highest)
            right.set_title(f"{lesson.mastered[step, 0]:.0f} % mastered")
            canvas.draw()
            figure.set_layout_engine("none")  # what is laid out once must not move
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_grades(
    axis: Axes, tests: np.ndarray, grades: np.ndarray, side: tuple[int, int], low: float, high: float
) -> object:
    first, second = (np.unique(tests[:, i]) for i in (0, 1))
    return axis.pcolormesh(
        first, second, grades.reshape(side).T, cmap=GRADES, vmin=low, vmax=max(high, low + 1e-9), shading="nearest"
    )


def _grid_sides(tests: Float[np.ndarray, "G D"]) -> tuple[int, int] | None:
    """Returns how many test tasks there are along the first two coordinates, if they are a grid there."""
    if tests.shape[1] < 2:
        return None
    side = tuple(len(np.unique(tests[:, i])) for i in (0, 1))
    return (side[0], side[1]) if side[0] * side[1] == len(tests) else None


def _looks(utility: Float[np.ndarray, " K"]) -> list[dict[str, object]]:
    """Returns how patches are drawn: darker the more useful they are among all, pale where all are equal."""
    highest = np.nanmax(utility, initial=0.0)
    shares = np.nan_to_num(np.maximum(utility, 0.0) / highest) if highest > 0.0 else np.zeros(len(utility))
    colours = [matplotlib.colormaps[UTILITY](0.15 + 0.75 * share) for share in shares]
    return [{"facecolor": (*colour[:3], 0.35), "edgecolor": colour, "zorder": 1} for colour in colours]


def _ellipse(mean: np.ndarray, factor: np.ndarray, look: dict[str, object]) -> Ellipse:
    values, vectors = np.linalg.eigh(factor @ factor.T)
    width, height = 2.0 * TWO_DEVIATIONS * np.sqrt(np.maximum(values, 0.0))
    angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
    return Ellipse(mean, width, height, angle=angle, **look)
