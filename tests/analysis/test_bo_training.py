"""Training curves: which phase a number belongs to, and which validations were made."""

import numpy as np

from analysis.bo_training import is_validated, phase_steps, training_curves

CONFIG = {
    "likelihood": {"updates": 200, "updates_per_step": 50},
    "policy": {"iterations": 7},
    "validation": {"every": 3},
}
NUM_STEPS = 11


def metrics(num_steps=NUM_STEPS):
    step = np.arange(1.0, num_steps + 1.0)
    regret = np.where(step > 4, 0.1 * step, 0.0)
    zero = np.zeros(num_steps)
    return {"step": step, "loss": 2.0 - 0.1 * step, "regret": regret, "clipped": zero, "validation_regret": 1.0 / step}


def test_the_first_phase_is_as_long_as_configured():
    assert phase_steps(CONFIG) == 4 and phase_steps({}) == 0


def test_validations_are_at_the_first_the_last_and_every_third_step_of_the_second_phase():
    step = np.arange(1.0, NUM_STEPS + 1.0)
    np.testing.assert_array_equal(step[is_validated(step, CONFIG)], [4.0, 7.0, 10.0, 11.0])


def test_numbers_are_those_recorded_and_only_validations_that_were_made():
    picture, recorded = training_curves(metrics(), CONFIG), metrics()
    np.testing.assert_array_equal(picture.numbers["loss"], recorded["loss"])
    np.testing.assert_array_equal(picture.numbers["regret"], recorded["regret"])
    np.testing.assert_array_equal(picture.numbers["validation/step"], [4.0, 7.0, 10.0, 11.0])
    np.testing.assert_array_equal(picture.numbers["validation/regret"], 1.0 / np.array([4.0, 7.0, 10.0, 11.0]))
    assert "clipped" not in picture.numbers  # never moved


def test_what_only_the_second_phase_records_is_drawn_over_its_iterations():
    figure = training_curves(metrics(), CONFIG).figure
    panels = {axis.get_title("left"): axis for axis in figure.axes if axis.get_visible()}
    assert list(panels) == ["loss (nats)", "validation, mean regret", "regret, mean of an episode"]
    regret = panels["regret, mean of an episode"]
    np.testing.assert_array_equal(regret.lines[0].get_xdata(), np.arange(1.0, 8.0))
    boundary = panels["loss (nats)"].lines[-1]
    assert list(boundary.get_xdata()) == [4.5, 4.5] and regret.get_xlabel() == "iterations"


def test_a_run_without_second_phase_has_its_loss_and_no_boundary():
    alone = CONFIG | {"policy": {"iterations": 0}}
    picture = training_curves(metrics(4), alone)
    panels = {axis.get_title("left"): axis for axis in picture.figure.axes}
    assert list(panels) == ["loss (nats)", "validation, mean regret"] and "vertical line" not in picture.caption
    assert all(len(set(line.get_xdata())) > 1 for line in panels["loss (nats)"].lines)


def test_without_a_step_there_is_no_picture():
    assert training_curves({}, CONFIG) is None
