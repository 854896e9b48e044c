import json
import math
import multiprocessing
import sqlite3

import pytest

from envs.blackbox.evaluation_cache import (
    EvaluationFailed,
    Problem,
    cache_directory,
    content_hash,
    evaluate_all,
    evaluation_key,
    forget_failures,
)

PROBLEM = Problem("suite", "tool", "1.0", "content")
POINTS = [{"a": 1, "b": 0.5}, {"a": 2, "b": 0.25}, {"b": 0.5, "a": 1}]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Counted:
    """Evaluates to (a, 2b) and keeps what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, configuration):
        self.calls.append(configuration)
        return configuration["a"], 2 * configuration["b"]


def test_equal_configurations_are_evaluated_once_ever():
    first, second = Counted(), Counted()
    results = evaluate_all(PROBLEM, POINTS, first)
    assert [result.numbers for result in results] == [(1.0, 1.0), (2.0, 0.5), (1.0, 1.0)]
    assert first.calls == POINTS[:2]
    assert evaluate_all(PROBLEM, POINTS, second) == results
    assert second.calls == []


@pytest.mark.parametrize("field", ["suite", "tool", "version", "content"])
def test_another_problem_is_evaluated_anew(field):
    evaluate_all(PROBLEM, POINTS, Counted())
    again = Counted()
    evaluate_all(PROBLEM._replace(**{field: "other"}), POINTS, again)
    assert again.calls == POINTS[:2]


def test_failures_are_kept_as_nan_with_their_reason_until_they_are_forgotten():
    def fail(configuration):
        raise EvaluationFailed("took too long")

    (failed,) = evaluate_all(PROBLEM, POINTS[:1], fail)
    assert math.isnan(failed.numbers[0]) and len(failed.numbers) == 1 and failed.reason == "took too long"
    after = Counted()
    (kept,) = evaluate_all(PROBLEM, POINTS[:1], after)
    assert math.isnan(kept.numbers[0]) and kept.reason == "took too long" and after.calls == []
    evaluate_all(PROBLEM, POINTS[1:2], Counted())
    assert forget_failures("suite") == 1
    assert evaluate_all(PROBLEM, POINTS[:2], after)[0].numbers == (1.0, 1.0)
    assert after.calls == POINTS[:1]
    assert forget_failures("never seen") == 0


def test_other_exceptions_pass_through_and_leave_nothing():
    def broken(configuration):
        raise KeyError("bug")

    with pytest.raises(KeyError):
        evaluate_all(PROBLEM, POINTS, broken)
    assert evaluate_all(PROBLEM, POINTS[:1], Counted())[0].numbers == (1.0, 1.0)


def test_key_is_canonical_json_and_refuses_what_has_none():
    key = evaluation_key(PROBLEM, {"b": 1, "a": [True, "x"]})
    assert json.loads(key) == ["tool", "1.0", "content", {"a": [True, "x"], "b": 1}]
    assert key == evaluation_key(PROBLEM, {"a": [True, "x"], "b": 1})
    for value in (math.nan, object()):
        with pytest.raises(ValueError, match="plain values"):
            evaluation_key(PROBLEM, {"a": value})


def test_hash_knows_where_parts_end():
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert content_hash("ab", "c") == content_hash(b"ab", "c")


def test_file_lies_below_the_users_cache_directory(tmp_path, monkeypatch):
    evaluate_all(PROBLEM, POINTS, Counted())
    assert (tmp_path / "metarl" / "blackbox" / "suite.sqlite").is_file()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    assert cache_directory() == tmp_path / "someone" / ".cache" / "metarl" / "blackbox"


def test_progress_goes_through_every_configuration():
    seen = []

    def track(configurations):
        for configuration in configurations:
            yield configuration
            seen.append(configuration)

    evaluate_all(PROBLEM, POINTS, Counted(), track=track)
    assert seen == POINTS


def _evaluate_slowly(log, barrier):
    def evaluate(configuration):
        with open(log, "a") as file:
            file.write(f"{configuration['a']}\n")
        return (configuration["a"] ** 2,)

    barrier.wait()
    results = evaluate_all(PROBLEM, [{"a": a} for a in range(40)], evaluate)
    assert [result.numbers for result in results] == [(a**2,) for a in range(40)]


def test_three_processes_at_once_evaluate_each_configuration_once(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([])
    log, barrier = tmp_path / "calls.txt", context.Barrier(3)
    workers = [context.Process(target=_evaluate_slowly, args=(log, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(map(int, log.read_text().split())) == list(range(40))
    with sqlite3.connect(tmp_path / "metarl" / "blackbox" / "suite.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM evaluations").fetchone() == (40,)
    connection.close()
