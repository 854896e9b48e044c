"""What a run cost."""

import numpy as np
import pytest

from analysis.throughput import count, duration, elapsed, seconds_per_generation, throughput


def test_elapsed_adds_the_sessions_of_a_clock_that_restarts():
    assert elapsed(np.array([2.0, 5.0, 5.0, 1.0, 4.0])) == 9.0
    assert elapsed(np.array([2.0, np.nan, 3.0])) == 3.0 and np.isnan(elapsed(np.array([np.nan])))


def test_generations_of_one_dispatch_share_its_time_equally():
    clock = np.array([30.0, 30.0, 34.0, 34.0, 38.0, 38.0])  # 30 s of compilation, then 4 s for two
    assert seconds_per_generation(np.arange(1.0, 7.0), clock) == 2.0


def test_a_restart_of_the_clock_is_no_generation():
    clock = np.array([10.0, 12.0, 1.0, 3.0])
    assert seconds_per_generation(np.arange(1.0, 5.0), clock) == 2.0
    assert np.isnan(seconds_per_generation(np.ones(1), np.ones(1)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (950, "950"),
        (9999, "9999"),
        (12_345, "12.3 k"),
        (166e6, "166 M"),
        (4.561e6, "4.56 M"),
        (8.2e11, "820 G"),
    ],
)
def test_counts_have_three_digits_and_a_unit(value, words):
    assert count(float(value)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0123, "12.3 ms"), (1.5, "1.50 s"), (90.0, "90.0 s"), (288.0, "4.8 min"), (7300.0, "2.0 h"), (2e5, "2.3 days")],
)
def test_durations_use_the_unit_that_reads_best(seconds, words):
    assert duration(seconds) == words


def test_what_is_not_recorded_is_a_dash():
    assert count(float("nan")) == duration(float("nan")) == "–"
    assert dict(throughput({"step": np.array([3.0])}))["wall time"] == "–"


def test_rates_are_totals_over_totals():
    metrics = {
        "step": np.arange(1.0, 4.0),
        "wall_s": np.array([1.0, 2.0, 4.0]),
        "env_steps_total": np.array([1e3, 2e3, 8e3]),
    }
    assert dict(throughput(metrics))["env steps / s"] == "2000"
    with_cpu = dict(throughput(metrics | {"cpu_s": np.array([2.0, 4.0, 8.0])}))
    assert with_cpu["CPU time"] == "8.0 s" and with_cpu["env steps / CPU s"] == "1000"
