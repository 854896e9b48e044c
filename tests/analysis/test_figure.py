"""The common look of figures, and how they are saved."""

import base64

import matplotlib
import numpy as np
import pytest

from analysis.figure import (
    ARM_COLOURS,
    ARM_DASHES,
    ARM_MARKERS,
    OTHER_COLOURS,
    Picture,
    acting_order,
    arm_label,
    arm_order,
    arm_style,
    draw_band,
    encode,
    hide_unused,
    horizon_colours,
    log_horizon_axis,
    make_figure,
    save_picture,
    shared_legend,
    style,
    thin,
    thinning_note,
)
from analysis.looks import ACTING_ARMS, RULE_ARMS


@pytest.fixture
def picture():
    with style():
        figure, axes = make_figure(height=1.0)
        axes[0, 0].plot([0.0, 1.0])
    return Picture("line", "A line", "A caption.", figure, {"y": np.array([0.0, 1.0])})


def test_arms_come_in_one_order_with_discovered_last():
    assert arm_order(["discovered", "ppo", "a2c", "initial", "lpg", "ppo"]) == [
        "initial",
        "a2c",
        "ppo",
        "lpg",
        "discovered",
    ]


def test_known_arms_keep_their_colour_whatever_they_are_drawn_with():
    for arm, colour in ARM_COLOURS.items():
        assert arm_style(arm)["color"] == arm_style(arm, ["x", arm, "y"])["color"] == colour


def test_known_rules_differ_in_colour_marker_and_dashes():
    assert set(RULE_ARMS) == {"discovered", "a2c", "ppo", "dpo", "initial"}
    for channel in (ARM_COLOURS, ARM_MARKERS, {arm: str(dash) for arm, dash in ARM_DASHES.items()}):
        assert len({channel[arm] for arm in RULE_ARMS}) == len(RULE_ARMS)
    assert not set(OTHER_COLOURS) & set(ARM_COLOURS.values()) and arm_label("dpo") == "DPO"


def test_those_who_act_in_context_differ_in_colour_and_dashes_together():
    assert len({(look.colour, str(look.dashes)) for look in ACTING_ARMS.values()}) == len(ACTING_ARMS)
    assert len({look.label for look in ACTING_ARMS.values()}) == len(ACTING_ARMS)
    assert not set(ACTING_ARMS) & set(RULE_ARMS)


def test_models_come_first_and_are_drawn_on_top():
    assert acting_order(["uniform", "mine", "posterior", "dpt-greedy", "dpt", "dpt"]) == [
        "dpt",
        "dpt-greedy",
        "posterior",
        "uniform",
        "mine",
    ]
    assert arm_style("dpt")["zorder"] == arm_style("discovered")["zorder"] > arm_style("posterior")["zorder"]


@pytest.mark.parametrize("looks", [RULE_ARMS, ACTING_ARMS], ids=["rules", "acting"])
def test_colours_of_known_arms_stay_apart_without_red_or_green_receptors(looks):
    # Machado et al. 2009, full protanopia and deuteranopia, on linear RGB; distance in CIELAB, where 2.3 can be seen.
    without_red = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    without_green = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    distinct = dict.fromkeys(look.colour for look in looks.values())
    colours = np.array([matplotlib.colors.to_rgb(colour) for colour in distinct])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4338, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]])
    for seen in (np.eye(3), np.array(without_red), np.array(without_green)):
        x, y, z = np.cbrt(np.clip(linear @ seen.T, 1e-4, 1.0) @ to_xyz.T).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(len(lab), 1)]
        assert distances.min() > 15.0


def test_other_arms_get_colours_of_their_own():
    arms = ["ppo", "lpg", "tuned", "discovered", "a2c", "initial"]
    assert len({arm_style(arm, arms)["color"] for arm in arms}) == len(arms)


def test_horizon_colours_get_darker_with_the_horizon():
    lightness = [0.21 * r + 0.72 * g + 0.07 * b for r, g, b, _ in horizon_colours([1000, 10, 50, 10, 200]).values()]
    assert len(lightness) == 4 and lightness == sorted(lightness, reverse=True)
    assert len(horizon_colours([7])) == 1


def test_figures_leave_settings_and_pyplot_alone(picture, tmp_path):
    before = dict(matplotlib.rcParams)
    save_picture(picture, tmp_path)
    encode(picture)
    assert dict(matplotlib.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_a_saved_picture_is_a_png_with_its_numbers_beside_it(picture, tmp_path):
    save_picture(picture, tmp_path / "new")
    assert (tmp_path / "new/line.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "new/line.npz") as numbers:
        np.testing.assert_array_equal(numbers["y"], [0.0, 1.0])


def test_an_encoded_picture_is_a_repeatable_svg_without_text_or_references(picture):
    encoded = encode(picture)
    prefix, _, content = encoded.partition(",")
    svg = base64.b64decode(content).decode()
    assert prefix == "data:image/svg+xml;base64" and "<svg" in svg
    assert encode(picture) == encoded
    assert "<text" not in svg and "<image" not in svg and "font-family" not in svg


def test_hidden_panels_give_their_tick_labels_to_the_panel_above():
    _, axes = make_figure(2, 2, height=1.0, sharex=True)
    hide_unused(axes, 3)
    assert not axes[1, 1].get_visible() and axes[1, 0].get_visible()
    assert axes[0, 1].xaxis.get_tick_params()["labelbottom"] and not axes[0, 0].xaxis.get_tick_params()["labelbottom"]


def test_a_shared_legend_names_everything_once():
    figure, axes = make_figure(1, 2, height=1.0)
    for axis, labels in zip(axes.flat, (["a"], ["a", "b"]), strict=True):
        for label in labels:
            axis.plot([0, 1], label=label)
    shared_legend(figure, axes)
    assert [entry.get_text() for entry in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_band_lies_between_its_ends():
    _, axes = make_figure(height=1.0)
    x, low, high = np.arange(3.0), np.array([0.0, 1.0, 0.0]), np.array([2.0, 4.0, 3.0])
    draw_band(axes[0, 0], x, ((low + high) / 2, low, high), color="red", label="band")
    box = axes[0, 0].collections[0].get_paths()[0].get_extents()
    assert (box.ymin, box.ymax) == (0.0, 4.0)
    np.testing.assert_array_equal(axes[0, 0].lines[0].get_ydata(), (low + high) / 2)


def test_thinning_averages_equal_blocks_and_leaves_short_curves_alone(monkeypatch):
    monkeypatch.setattr("analysis.figure.MAX_POINTS", 3)
    np.testing.assert_array_equal(thin(np.array([1.0, 9.0, 4.0])), [1.0, 9.0, 4.0])
    values = np.array([1.0, 3.0, 4.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(thin(values), [2.0, 4.0, np.nan])
    np.testing.assert_array_equal(thin(np.arange(7.0)), [1.0, 4.0, 6.0])
    assert "more than 3 updates" in thinning_note([2, 4]) and thinning_note([3]) == thinning_note([]) == ""


def test_crowded_horizons_keep_ticks_but_lose_labels():
    _, axes = make_figure(height=1.0)
    log_horizon_axis(axes[0, 0], [10, 11, 100, 1000])
    labels = [axes[0, 0].xaxis.get_major_formatter()(tick) for tick in axes[0, 0].get_xticks()]
    assert labels == ["10", "", "100", "1000"]
