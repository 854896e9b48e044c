import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envs.blackbox import task
from envs.blackbox.task import MAX_DIMENSIONS
from metarl.metabo import dimensions
from metarl.metabo.candidates import keys_of, nearest, perturb, sobol
from metarl.metabo.space import Categorical, Fixed, Float, Int, Ordinal, Space, space_of

MIXED = Space(
    {
        "lr": Float(1e-5, 1.0, log=True),
        "momentum": Float(0.0, 0.99),
        "depth": Int(1, 9),
        "width": Int(8, 1024, log=True),
        "even": Int(2, 11, step=2),
        "dropout": Float(0.0, 0.5, step=0.1),
        "size": Ordinal(["s", "m", "l"]),
        "net": Categorical(["mlp", "cnn", None, True, 1]),
        "seed": Fixed(7),
    }
)
ENDS = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def recipes(draw):
    """Returns what makes a dimension, which is made outside: type checks draw random numbers of their own."""
    match draw(st.sampled_from(["float", "log", "step", "int", "int log", "int step", "ordinal", "categorical"])):
        case "float":
            low = draw(ENDS)
            return Float, (low, low + draw(st.floats(1e-3, 1e6)))
        case "log":
            low = draw(st.floats(1e-8, 1e3))
            return Float, (low, low * draw(st.floats(1.1, 1e9)), True)
        case "step":
            low, step = draw(st.floats(-100, 100)), draw(st.floats(0.01, 3.0))
            return Float, (low, low + step * draw(st.integers(2, 500)), False, step)
        case "int":
            low = draw(st.integers(-(10**9), 10**9))
            return Int, (low, low + draw(st.integers(1, 10**9)))
        case "int log":
            low = draw(st.integers(1, 10**4))
            return Int, (low, low + draw(st.integers(1, 10**6)), True)
        case "int step":
            low, step = draw(st.integers(-100, 100)), draw(st.integers(1, 7))
            return Int, (low, low + draw(st.integers(step, 1000)), False, step)
        case "ordinal":
            return Ordinal, (list(range(draw(st.integers(2, 40)))),)
        case _:
            return Categorical, ([f"c{i}" for i in range(draw(st.integers(2, 12)))],)


def rounding(dimension):
    """Returns the distance between neighbouring floats of a narrow range far from 0, as a share of that range."""
    if math.isfinite(dimension.num_values):
        return 0.0
    return np.spacing(max(abs(dimension.low), abs(dimension.high))) / (dimension.high - dimension.low)


@example((Float, (262144.0, 262144.001)), [0.125])
@given(recipes(), st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=20))
def test_what_is_decoded_is_encoded_to_where_it_came_from(recipe, uniform):
    dimension = recipe[0](*recipe[1])
    space = Space({"a": dimension})
    x = space.spread(np.asarray(uniform)[:, None])
    configs = space.decode(x)
    again = space.encode(configs)
    np.testing.assert_allclose(again, x, atol=1e-9 + 2.0 * rounding(dimension))
    if math.isfinite(dimension.num_values):
        assert space.decode(again) == configs
        np.testing.assert_array_equal(again, x)  # bit by bit: rows that are the same are recognised as such
        np.testing.assert_array_equal(space.snap(x), x)
    else:
        values, back = ([c["a"] for c in rows] for rows in (configs, space.decode(again)))
        np.testing.assert_allclose(values, back, rtol=1e-9, atol=1e-9 * (dimension.high - dimension.low))


@given(recipes(), st.floats(-0.5, 12.0))
def test_snapping_anything_gives_a_row_of_the_space_and_again_itself(recipe, x):
    dimension = recipe[0](*recipe[1])
    space = Space({"a": dimension})
    row = space.snap(np.full((1, 20), x))
    assert 0.0 <= row[0, 0] <= (dimension.num_values - 1 if dimension.kind == dimensions.CATEGORICAL else 1.0)
    assert not row[0, 1:].any()
    np.testing.assert_allclose(space.snap(row), row, atol=1e-9)
    space.encode(space.decode(row))


def test_rows_are_what_models_are_shown():
    config = {"lr": 1e-5, "momentum": 0.99, "depth": 5, "width": 1024, "even": 10, "dropout": 0.2, "size": "m"}
    row = MIXED.encode([{**config, "net": None}])[0]
    np.testing.assert_allclose(row[:8], [0, 1, 0.5, 1, 8 / 9, 0.4, 0.5, 2], atol=1e-12)
    assert not row[8:].any() and row.shape == (20,)
    assert MIXED.kind[:9].tolist() == [1, 1, 1, 1, 1, 1, 2, 3, 0]
    halfway = Space({"lr": Float(1e-4, 1.0, log=True)}).decode(np.full((1, 20), 0.5))[0]["lr"]
    assert halfway == pytest.approx(1e-2)


def test_fixed_values_are_in_every_configuration_and_in_no_row():
    assert MIXED.decode(np.zeros((2, 20)))[1]["seed"] == 7 and MIXED.num_free == 8
    assert list(MIXED.decode(np.zeros((1, 20)))[0]) == list(MIXED.dimensions)


def test_values_that_compare_equal_are_told_apart_by_their_type():
    base = MIXED.decode(np.zeros((1, 20)))[0]
    assert MIXED.encode([{**base, "net": True}])[0, 7] == 3.0 and MIXED.encode([{**base, "net": 1}])[0, 7] == 4.0


def test_kinds_and_limits_are_those_of_the_tasks():
    for name in ("UNUSED", "NUMERIC", "ORDINAL", "CATEGORICAL", "MAX_DIMENSIONS", "MAX_CATEGORIES"):
        assert getattr(dimensions, name) == getattr(task, name)


def test_every_value_is_equally_probable():
    space = Space({"i": Int(0, 3), "j": Int(1, 4, step=2), "c": Categorical("abc"), "o": Ordinal("xyz")})
    x = space.spread((np.tile(np.arange(120)[:, None], 4) + 0.5) / 120)
    configs = space.decode(x)
    for name, count in {"i": 30, "j": 60, "c": 40, "o": 40}.items():
        assert np.unique([config[name] for config in configs], return_counts=True)[1].tolist() == [count] * (
            120 // count
        )


def test_a_logarithmic_whole_number_reaches_both_ends_in_proportion():
    dimension = Int(1, 8, log=True)
    values = dimension.decode(dimension.spread((np.arange(4000) + 0.5) / 4000))
    share = np.bincount(values, minlength=9)[1:] / 4000
    edges = np.log(np.arange(1, 10) - 0.5)
    np.testing.assert_allclose(share, np.diff(edges) / (edges[-1] - edges[0]), atol=1e-3)


def test_the_grid_is_every_configuration_once():
    space = Space({"i": Int(3, 5), "c": Categorical("ab"), "f": Float(0.0, 1.0, step=0.25)})
    grid = space.decode(space.grid())
    assert space.size == len(grid) == len({tuple(config.values()) for config in grid}) == 30
    assert MIXED.size == math.inf


def test_a_description_gives_the_same_space():
    assert space_of(MIXED.describe()).dimensions == MIXED.dimensions


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Float(1.0, 1.0), "Fixed"),
        (lambda: Float(0.0, 1.0, log=True), "low > 0"),
        (lambda: Float(0.0, math.inf), "finite"),
        (lambda: Float(0.0, 1.0, step=2.0), "step"),
        (lambda: Int(0, 1.5), "whole"),
        (lambda: Categorical(["a"]), "2 or more"),
        (lambda: Ordinal(["a", "a"]), "twice"),
        (lambda: Categorical(range(13)), "up to 12"),
        (lambda: Space({f"x{i}": Float(0, 1) for i in range(21)}), "21 free dimensions"),
        (lambda: Space({"x": Fixed(1)}), "0 free dimensions"),
        (lambda: MIXED.encode([{"lr": 0.1}]), "lacks"),
        (lambda: Space({"x": Int(0, 4)}).encode([{"x": 5}]), r"x was given as 5.*\[0, 4\]"),
        (lambda: Space({"x": Int(0, 4)}).encode([{"x": 1.5}]), "whole"),
        (lambda: Space({"x": Float(0, 4)}).encode([{"x": math.nan}]), "nan"),
        (lambda: Space({"x": Categorical("ab")}).encode([{"x": "c"}]), "'c'"),
        (lambda: Space({"x": Float(0, 1), "s": Fixed(1)}).encode([{"x": 0.5, "s": 2}]), "fixed at 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_sobol_points_are_even_and_a_longer_sequence_goes_on():
    space = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})
    long, short = (sobol(space, n, np.random.default_rng(3)) for n in (64, 9))
    np.testing.assert_array_equal(long[:9], short)
    cells = np.unique((long[:, :2] * 8).astype(int) @ np.asarray([8, 1]))
    assert len(cells) == 64  # one point in each of 8 x 8 cells
    assert not np.array_equal(long, sobol(space, 64, np.random.default_rng(4)))


def test_neighbours_differ_from_their_parents_and_lie_in_the_space():
    rng = np.random.default_rng(0)
    parents = sobol(MIXED, 256, rng)
    children = perturb(MIXED, parents, rng, scale=0.3)
    changed = np.sum(children != parents, axis=1)
    assert np.mean(changed == 0) < 0.02  # a whole number in the logarithm may fall back to where it was
    assert 0.4 < np.mean(changed == 1) < 0.65 and changed.max() > 3
    np.testing.assert_array_equal(MIXED.encode(MIXED.decode(children))[:, 2:], children[:, 2:])


def test_neighbours_are_closer_where_the_scale_is_smaller():
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(4)})
    rng, parents = np.random.default_rng(0), np.full((512, 20), 0.5)
    far, near = (np.abs(perturb(space, parents, rng, scale=s)[:, :4] - 0.5).max() for s in (0.3, 0.003))
    assert near < 0.02 < 0.3 < far <= 0.5


def test_the_nearest_row_counts_another_category_as_a_distance_of_one():
    space = Space({"a": Float(0.0, 1.0), "c": Categorical("abc")})
    x = space.encode([{"a": 0.0, "c": "a"}, {"a": 0.9, "c": "c"}, {"a": 0.1, "c": "b"}])
    assert nearest(space, x, space.encode([{"a": 0.2, "c": "a"}])[0]) == 0
    assert nearest(space, x, space.encode([{"a": 1.0, "c": "b"}])[0]) == 2


def test_keys_are_the_same_for_rows_that_a_model_cannot_tell_apart():
    x = np.full((1, 20), 0.3)
    assert keys_of(x) == keys_of(x + 1e-12) and keys_of(x) != keys_of(x + 1e-5)


@pytest.mark.parametrize("module", ["metarl", "metarl.metabo", "metarl.metabo.space", "metarl.metabo.candidates"])
def test_importing_needs_no_jax(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_are_known_again_after_decoding_and_encoding_even_where_a_logarithm_begins():
    space = Space({"rate": Float(1e-5, 1.0, log=True), "layers": Int(1, 8)})
    x = np.zeros((4000, MAX_DIMENSIONS))
    rng = np.random.default_rng(0)
    x[:, 0], x[:, 1] = 10.0 ** rng.uniform(-7.0, 0.0, 4000), 3.0 / 7.0
    x = space.snap(x)
    again = space.encode(space.decode(x))
    assert (again.astype(np.float32) != x.astype(np.float32)).any()  # which is why single precision is too fine
    assert keys_of(again) == keys_of(x)
    assert len(set(keys_of(x))) > 3000
