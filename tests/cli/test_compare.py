"""`metarl compare`: a table from evaluation files, or one sentence about what is wrong."""

import json

import pytest


def evaluation(path, gain, num_tasks=8):
    """An evaluation in which the discovered rule is better than the initial one by `gain` on every task."""
    rows = []
    for horizon in (5, 50):
        for arm, more in (("initial", 0.0), ("discovered", gain)):
            row = {"arm": arm, "env": "world", "setting": {"horizon": horizon}, "metric": "return"}
            rows.append({**row, "values": [horizon + task + more for task in range(num_tasks)]})
    path.write_text(json.dumps({"schema": 1, "rows": rows}))
    return path


@pytest.fixture
def files(tmp_path):
    return [evaluation(tmp_path / f"{index}.json", gain) for index, gain in enumerate((0.5, 1.0, 0.25))]


def test_rules_are_compared_with_an_arm_of_their_own_runs(cli, files):
    answer = cli("compare", *files, "--arm", "initial", "--metric", "return")
    assert answer.code == 0, answer.err
    assert "+0.500, +1.000, +0.250" in answer.out and answer.out.count("1.000  +") == 2
    assert [line.split()[0] for line in answer.out.splitlines() if line.strip()] == ["world", "horizon", "5", "50"]


def test_rules_are_compared_with_those_of_other_runs(cli, files):
    answer = cli("compare", files[1], "--against", files[0], "--metric", "return")
    assert answer.code == 0 and "+0.500" in answer.out


def acting(path, arm, level, num_tasks=6):
    """An evaluation of a model that acts in context: returns in a room, regrets and suboptimality in a bandit."""
    settings = {
        "return": ("room", [{"mode": "online", "protocol": "stepwise", "episode": point} for point in (1, "all")]),
        "regret": ("bandit", [{"mode": "online", "horizon": 10}]),
        "suboptimality": ("bandit", [{"mode": "offline", "context": 5}]),
    }
    rows = [
        {"arm": who, "env": env, "setting": setting, "metric": metric, "values": [more + t for t in range(num_tasks)]}
        for who, more in ((arm, level), ("uniform", 9.0))
        for metric, (env, found) in settings.items()
        for setting in found
    ]
    path.write_text(json.dumps({"schema": 1, "rows": rows}))
    return path


def test_models_of_two_kinds_are_compared_by_what_each_run_made(cli, tmp_path):
    ours, theirs = acting(tmp_path / "dpt.json", "dpt", 3.0), acting(tmp_path / "rl2.json", "rl2", 2.0)
    answer = cli("compare", ours, "--against", theirs, "--metric", "return")
    assert answer.code == 0, answer.err
    lines = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert lines[0] == ["room,", "online,", "stepwise"] and [line[0] for line in lines[1:]] == ["episode", "1", "all"]
    assert lines[2][1] == lines[3][1] == "+1.000"


def test_less_regret_wins_and_is_compared_unless_told_otherwise(cli, tmp_path):
    ours, theirs = acting(tmp_path / "dpt.json", "dpt", 3.0), acting(tmp_path / "rl2.json", "rl2", 2.0)
    answer = cli("compare", ours, "--against", theirs)
    assert "regret, of which less is better" in answer.out and "bandit, online" in answer.out
    assert "-1.000" in answer.out and "0.000  -1.000" in answer.out  # more regret in every task
    against = cli("compare", ours, "--arm", "uniform", "--metric", "suboptimality").out
    assert "bandit, offline" in against and "1.000  +6.000" in against


def test_evaluations_without_values_of_tasks_say_so(refused, tmp_path):
    packed = acting(tmp_path / "dpt.json", "dpt", 3.0, num_tasks=0)
    refused("compare", packed, "--arm", "uniform", mentions=["no values of single tasks"])


def test_what_cannot_be_compared_is_refused(refused, files, tmp_path, smoke):
    refused("compare", *files, mentions=["themselves", "--against", "--arm"])
    refused("compare", *files, "--against", files[0], mentions=["3 runs", "1 after --against"])
    refused("compare", files[0], "--arm", "dqn", "--metric", "return", mentions=["'dqn'", "initial, discovered"])
    refused("compare", tmp_path / "none.json", "--arm", "initial", mentions=["none.json", "not an evaluation file"])
    other = evaluation(tmp_path / "few.json", 0.0, num_tasks=3)
    refused("compare", files[0], "--against", other, "--metric", "return", mentions=["[8]", "[3]", "same seeds"])
    refused("compare", files[0], "--against", smoke.path, "--metric", "return", mentions=["in common"])
