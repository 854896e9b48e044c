"""Distances to exact inference are paired by function, and drawn where the law is known."""

from pathlib import Path

import numpy as np

from analysis.bo_floors import EXACT, FITTED, STANDARDISED, floor_envs, gaps, nll_of, prior_floors
from analysis.load import EVALUATION_SCHEMA, read_rows
from metarl.experiments.evaluate import row_of

LAW, NUM = "gp-prior@law=known", 40


def rows(arms=("np", EXACT, STANDARDISED)):
    """Functions of which some are harder than others by far, and a model that loses .04 nats in each, give or take."""
    rng = np.random.default_rng(0)
    hard = rng.normal(scale=5.0, size=NUM)
    loss = {"np": 0.04, EXACT: 0.0, STANDARDISED: 0.01, FITTED: 30.0}
    made = [
        row_of(arm, LAW, {"context": count}, "nll", hard + loss[arm] + 0.001 * rng.normal(size=NUM), {})
        for count in (5, 50)
        for arm in arms
    ]
    made.append(row_of("np", "xgb", {"context": 5}, "nll", hard, {}))
    return read_rows(Path("evaluation.json"), {"schema": EVALUATION_SCHEMA, "rows": made})


def test_distances_are_paired_so_that_hard_functions_do_not_blur_them():
    found = gaps(nll_of(rows(), LAW), "np", EXACT)
    assert set(found) == {5, 50}
    for band in found.values():
        assert band.low < band.mean < band.high and abs(band.mean - 0.04) < 0.001 and band.high - band.low < 0.002


def test_the_picture_holds_its_numbers_and_only_laws_that_are_known():
    assert floor_envs(rows()) == [LAW]
    picture = prior_floors(rows())
    assert picture is not None and not any(name.startswith("xgb") for name in picture.numbers)
    np.testing.assert_allclose(picture.numbers[f"{LAW}/np-{STANDARDISED}/mean"], 0.03, atol=0.001)
    assert len(picture.figure.axes) == 2 and len(picture.figure.axes[1].containers) == 2


def test_without_exact_inference_there_is_no_picture_and_one_floor_is_enough():
    assert prior_floors(rows(arms=("np",))) is None
    picture = prior_floors(rows(arms=("np", EXACT)))
    assert picture is not None and len(picture.figure.axes[1].containers) == 1


def test_a_fitted_process_that_is_far_off_does_not_flatten_the_rest():
    picture = prior_floors(rows(arms=("np", FITTED, EXACT)))
    assert picture is not None
    np.testing.assert_allclose(
        picture.numbers[f"{LAW}/{FITTED}/nll/mean"] - picture.numbers[f"{LAW}/np/nll/mean"], 29.96, atol=0.01
    )
    assert picture.figure.axes[0].get_ylim()[1] < picture.numbers[f"{LAW}/{FITTED}/nll/mean"].max() - 20.0
    assert f"{LAW}/np-{FITTED}/mean" not in picture.numbers
