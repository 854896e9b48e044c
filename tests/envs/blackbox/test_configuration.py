import numpy as np
import pytest

from envs.blackbox.configuration import category, category_counts, decode, draw, encode, integer, kinds, ordinal, real
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL

SPACE = (
    real("rate", 1e-4, 1.0, is_log=True),
    real("share", -1.0, 3.0),
    integer("depth", 1, 4),
    integer("width", 1, 100, is_log=True),
    ordinal("batch", 8, 16, 32),
    category("kernel", "a", "b", "c", "d"),
)


def test_decoded_points_have_the_units_of_the_space():
    middle = decode(SPACE, np.array([0.5, 0.5, 0.5, 0.0, 0.5, 2.0]))
    assert middle == {"rate": 0.01, "share": 1.0, "depth": 3, "width": 1, "batch": 16, "kernel": "c"}
    assert list(decode(SPACE, np.array([1.0, 2.0, 1.0, 1.0, 1.0, 3.0])).values()) == [1.0, 3.0, 4, 100, 32, "d"]


def test_draws_lie_in_the_cube_and_say_their_kinds():
    x = draw(SPACE, 50, 0)
    assert x.shape == (50, 6) and x.dtype == np.float32
    assert (x[:, :5] >= 0).all() and (x[:, :5] <= 1).all()
    assert set(x[:, 5]) == {0.0, 1.0, 2.0, 3.0} and set(x[:, 4]) == {0.0, 0.5, 1.0}
    np.testing.assert_array_equal(kinds(SPACE), [NUMERIC] * 4 + [ORDINAL, CATEGORICAL])
    np.testing.assert_array_equal(category_counts(SPACE), [0, 0, 0, 0, 0, 4])


def test_draws_depend_on_the_seed_alone_and_repeat_nothing():
    np.testing.assert_array_equal(draw(SPACE, 20, 3), draw(SPACE, 20, 3))
    assert (draw(SPACE, 20, 3) != draw(SPACE, 20, 4)).any()
    small = (integer("a", 1, 3), category("b", "x", "y"))
    assert {tuple(decode(small, row).values()) for row in draw(small, 6, 0)} == {
        (a, b) for a in (1, 2, 3) for b in "xy"
    }
    with pytest.raises(ValueError, match="only 6"):
        draw(small, 7, 0)


def test_whole_numbers_are_drawn_evenly():
    x = draw(SPACE[1:3], 600, 1)
    shares = np.bincount([decode(SPACE[1:3], row)["depth"] for row in x], minlength=5)[1:] / 600
    np.testing.assert_allclose(shares, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 600))


def test_encoding_and_decoding_return_the_configuration():
    for row in draw(SPACE, 50, 2):
        configuration = decode(SPACE, row)
        again = decode(SPACE, encode(SPACE, configuration))
        exact = {name: value for name, value in configuration.items() if not isinstance(value, float)}
        assert exact == {name: again[name] for name in exact}
        assert again["rate"] == pytest.approx(configuration["rate"], rel=1e-5)  # float32 over 4 decades, 6 digits
        assert again["share"] == pytest.approx(configuration["share"], abs=1e-5)


@pytest.mark.parametrize(("low", "high", "is_log"), [(1.0, 1.0, False), (2.0, 1.0, False), (0.0, 1.0, True)])
def test_ranges_without_room_are_refused(low, high, is_log):
    with pytest.raises(ValueError, match="first must be smaller"):
        real("x", low, high, is_log=is_log)
