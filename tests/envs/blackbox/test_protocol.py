import numpy as np
import pytest

from envs.blackbox.protocol import BIG_TABLES, protocol_pools, protocol_rows
from envs.blackbox.tables import load_table
from envs.blackbox.task import CATEGORICAL


def first_regrets(cases):
    """Returns the regret of each pool after its initial points, by the definition."""
    pools = protocol_pools(cases)
    y, initial = np.asarray(pools.params.y), np.asarray(pools.initial)
    best = np.take_along_axis(y, initial, axis=1).max(axis=1)
    high, low = np.asarray(pools.params.y_best), np.asarray(pools.params.y_worst)
    return (high - best) / (high - low)


@pytest.mark.parametrize(
    ("tables", "seeds", "expected"),
    [(range(34, 47), 2, 0.2023), (range(20, 34), 3, 0.2053), (range(34, 48), 3, 0.1940)],
)
def test_initial_regrets_of_xgb_are_those_measured_before(tables, seeds, expected):
    """Against another implementation of the protocol, as are the ones below."""
    cases = [(f"xgb/{i}", seed) for i in tables for seed in range(seeds)]
    assert first_regrets(cases).mean() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"), list(zip(BIG_TABLES, (0.0509, 0.2021, 0.2751, 0.0458, 0.0489, 0.1118), strict=True))
)
def test_initial_regrets_of_big_tables_are_those_measured_before(name, expected):
    assert first_regrets([(name, seed) for seed in range(5)]).mean() == pytest.approx(expected, abs=1e-4)


def test_pools_of_two_sizes_are_batched_and_padded():
    pools = protocol_pools([("xgb/47", 0), ("nasbench201/imagenet", 1)], horizon=7)
    np.testing.assert_array_equal(pools.params.is_valid.sum(axis=1), [897, 1000])
    assert pools.params.x.shape == (2, 1000, 20) and pools.initial.shape == (2, 5)
    np.testing.assert_array_equal(pools.params.horizon, [7, 7])
    assert (pools.params.kind[1, :6] == CATEGORICAL).all()
    law = np.random.RandomState(47000)
    np.testing.assert_array_equal(pools.initial[0], law.choice(897, 5, replace=False))
    rows = np.random.RandomState(105001).choice(15625, 1000, replace=False)
    np.testing.assert_array_equal(pools.params.y[1], load_table("nasbench201/imagenet").y[rows])
    np.testing.assert_array_equal(pools.initial[1], range(5))


def test_tables_outside_the_protocol_are_refused():
    with pytest.raises(ValueError, match="no hpobench/car"):
        protocol_rows(load_table("hpobench/car"), 0)
    with pytest.raises(ValueError, match="no cases"):
        protocol_pools([])
    with pytest.raises(ValueError, match="1000 rows for a pool of 300"):
        protocol_pools([("xgb/34", 0)], num_candidates=300)
