"""Pictures of teaching and the page they stand on."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_ind

from analysis.curricula import (
    Lessons,
    curriculum_animation,
    draw_proposals,
    grade_maps,
    load_lessons,
    mastery_curves,
    proposal_maps,
)
from analysis.curricula_report import write_teach_report
from analysis.figure import make_figure

NUM_STEPS, NUM_STUDENTS, SIDE = 6, 3, 4
TESTS = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1).reshape(-1, 2) / SIDE


def recorded(dimensions=2):
    generator = np.random.default_rng(0)
    arrays = {"test_vectors": TESTS}
    for teacher in ("alp-gmm", "uniform"):
        grades = generator.random((NUM_STEPS, SIDE**2))
        arrays |= {
            f"{teacher}/mastered": np.cumsum(generator.random((NUM_STEPS, NUM_STUDENTS)), axis=0),
            f"{teacher}/episodes": np.repeat(100 * np.arange(1, NUM_STEPS + 1)[:, None], NUM_STUDENTS, axis=1),
            f"{teacher}/grades": grades,
            f"{teacher}/final_grades": generator.random((NUM_STUDENTS, SIDE**2)),
            f"{teacher}/proposals": generator.random((NUM_STEPS, 20, dimensions)),
        }
    factor = np.broadcast_to(np.diag([0.1, 0.2, 0.3]), (NUM_STEPS, 2, 3, 3))
    arrays |= {
        "alp-gmm/portrait_is_used": np.array([[False, False], *[[True, False]] * (NUM_STEPS - 1)]),
        "alp-gmm/portrait_weight": np.ones((NUM_STEPS, 2)),
        "alp-gmm/portrait_mean": np.full((NUM_STEPS, 2, 3), 0.5),
        "alp-gmm/portrait_cholesky": factor,
        "alp-gmm/portrait_utility": np.full((NUM_STEPS, 2), 0.3),
    }
    return arrays


def test_records_are_read_by_teacher():
    lessons = load_lessons(recorded())
    assert list(lessons) == ["alp-gmm", "uniform"] and not lessons["uniform"].portrait
    assert sorted(lessons["alp-gmm"].portrait) == ["cholesky", "is_used", "mean", "utility", "weight"]


def test_curves_are_means_over_students():
    arrays = recorded()
    picture = mastery_curves(load_lessons(arrays))
    (axis,) = picture.figure.axes
    line = next(line for line in axis.lines if line.get_label() == "uniform")
    np.testing.assert_allclose(line.get_ydata(), arrays["uniform/mastered"].mean(1))
    np.testing.assert_array_equal(picture.numbers["uniform/mastered"], arrays["uniform/mastered"])


def test_used_gaussians_are_ellipses_of_two_standard_deviations():
    lesson = load_lessons(recorded())["alp-gmm"]
    _, axes = make_figure(height=2.0)
    draw_proposals(axes[0, 0], lesson, 0)
    assert not axes[0, 0].patches  # nothing is fitted yet
    draw_proposals(axes[0, 0], lesson, 1)
    (ellipse,) = axes[0, 0].patches
    assert sorted([ellipse.width, ellipse.height]) == pytest.approx([0.4, 0.8])


def test_used_boxes_are_rectangles_darker_the_more_useful():
    lesson = load_lessons(recorded())["uniform"]._replace(
        portrait={
            "low": np.zeros((1, 3, 2)),
            "high": np.full((1, 3, 2), [0.5, 0.25]),
            "is_used": np.array([[True, False, True]]),
            "utility": np.array([[0.1, 9.0, 0.3]]),
        }
    )
    _, axes = make_figure(height=2.0)
    draw_proposals(axes[0, 0], lesson, 0)
    first, second = axes[0, 0].patches
    assert (first.get_width(), first.get_height()) == (0.5, 0.25)
    assert sum(first.get_edgecolor()[:3]) > sum(second.get_edgecolor()[:3])


def test_maps_show_each_test_task_where_it_is():
    lessons = load_lessons(recorded())
    picture = grade_maps(lessons, TESTS)
    mesh = picture.figure.axes[0].collections[0]
    expected = lessons["alp-gmm"].final_grades.mean(0).reshape(SIDE, SIDE)
    np.testing.assert_allclose(mesh.get_array().reshape(SIDE, SIDE), expected.T)
    assert grade_maps(lessons, np.random.default_rng(0).random((5, 4))) is None


def test_tasks_of_one_dimension_have_no_map():
    assert proposal_maps(load_lessons(recorded(dimensions=1))) is None
    lesson = load_lessons(recorded(dimensions=1))["uniform"]
    assert curriculum_animation("uniform", lesson, TESTS[:, :1]) is None


def test_the_animation_has_a_frame_for_every_step(tmp_path):
    lesson: Lessons = load_lessons(recorded())["alp-gmm"]
    animation = curriculum_animation("alp-gmm", lesson, TESTS)
    (tmp_path / "a.gif").write_bytes(animation.gif)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == NUM_STEPS
    assert len(animation.gif) < 2_000_000 and animation.numbers["step"].tolist() == list(range(NUM_STEPS))


def test_the_page_shows_the_table_the_pictures_and_the_animation(tmp_path):
    (tmp_path / "config.json").write_text('{"type": "TeachConfig", "seed": 3}')
    (tmp_path / "STATUS").write_text("done")
    (tmp_path / "export").mkdir()
    np.savez(tmp_path / "export/curriculum.npz", **recorded())
    row = {"env": "cubes", "setting": {"updates": 100}, "metric": "mastered", "confidence": 0.95}
    row |= {"iqm": 2.0, "low": 1.0, "high": 3.0}
    rows = [row | {"arm": "alp-gmm", "values": [1, 2, 3]}, row | {"arm": "uniform", "values": [1, 2, 4]}]
    (tmp_path / "evaluation.json").write_text(json.dumps({"schema": 1, "rows": rows}))
    text = write_teach_report(tmp_path).read_text()
    assert "data:image/gif;base64," in text and text.count("data:image/svg") == 3
    assert f" p {ttest_ind([1, 2, 3], [1, 2, 4], equal_var=False)[1]:.2g}" in text and "The run is complete" in text
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {"mastery.png", "mastery.npz", "curriculum.gif"}


def test_a_run_that_is_not_finished_has_a_page_that_says_so(tmp_path):
    (tmp_path / "config.json").write_text('{"type": "TeachConfig"}')
    assert "has not finished" in write_teach_report(tmp_path).read_text()


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"type": "TeachConfig"}')
    (tmp_path / "export").mkdir()
    np.savez(tmp_path / "export/curriculum.npz", **{"uniform/mastered": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="curriculum.npz is damaged"):
        write_teach_report(tmp_path)
