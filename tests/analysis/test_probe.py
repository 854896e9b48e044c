"""The fixed-batch probe."""

import numpy as np
import pytest

from analysis.load import load_run
from analysis.probe import probe_lines, probe_maps, probe_quantities, probe_summary


@pytest.fixture(scope="module")
def probe(run_directory):
    return load_run(run_directory).probe


def test_quantities_come_in_a_fixed_order_without_the_axes(probe):
    names = ["pi_hat_mean", "pi_hat_abs", "pi_hat_change", "y_hat_entropy", "y_hat_change"]
    assert probe_quantities(probe) == names == probe_quantities(dict(reversed(probe.items())))


def test_lines_are_the_probed_values_for_each_lifetime(probe):
    picture = probe_lines(probe)
    lines = picture.figure.axes[2].lines
    assert [line.get_label() for line in lines] == [f"N = {n:g}" for n in probe["lifetimes"]]
    for line, values in zip(lines, probe["pi_hat_change"], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), probe["fractions"])
        np.testing.assert_array_equal(line.get_ydata(), values)
    for name, values in probe.items():
        np.testing.assert_array_equal(picture.numbers[name], values)


def test_maps_show_the_changes_and_start_at_zero(probe):
    picture = probe_maps(probe)
    mesh = picture.figure.axes[0].collections[0]
    np.testing.assert_array_equal(mesh.get_array().reshape(probe["pi_hat_change"].shape), probe["pi_hat_change"])
    assert mesh.get_clim()[0] == 0.0 and set(picture.numbers) == {
        "lifetimes",
        "fractions",
        "pi_hat_change",
        "y_hat_change",
    }


def test_cells_of_a_map_are_centred_on_what_was_probed(probe):
    corners = probe_maps(probe).figure.axes[0].collections[0].get_coordinates()
    np.testing.assert_allclose((corners[0, 1:, 0] + corners[0, :-1, 0]) / 2, probe["fractions"], atol=1e-12)


def test_a_probe_of_one_point_can_be_drawn():
    probe = {"lifetimes": np.array([5.0]), "fractions": np.array([0.5]), "pi_hat_change": np.array([[0.1]])}
    assert probe_maps(probe) is not None and probe_lines(probe) is not None


def test_the_summary_has_both_ends_and_the_largest_change():
    probe = {"lifetimes": np.array([4.0, 8.0]), "fractions": np.array([0.0, 0.5, 1.0])}
    probe |= {"pi_hat_mean": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}
    probe |= {"pi_hat_change": np.array([[0.0, 0.9, 0.2], [0.0, 0.1, 0.3]])}
    assert probe_summary(probe) == [
        {"lifetime": 4.0, "pi_hat_mean/first": 1.0, "pi_hat_mean/last": 3.0, "pi_hat_change/largest": 0.9},
        {"lifetime": 8.0, "pi_hat_mean/first": 4.0, "pi_hat_mean/last": 6.0, "pi_hat_change/largest": 0.3},
    ]


def test_without_a_probe_there_is_nothing():
    assert probe_lines({}) is None and probe_maps({}) is None and probe_summary({}) == []
