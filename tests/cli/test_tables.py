"""Evaluation rows as plain text."""

from metarl.cli.tables import horizon_table, print_tables


def row(arm, horizon, iqm, env="gridworld/small", metric="normalised_return", num_values=3):
    numbers = {"iqm": iqm, "low": iqm - 0.1, "high": iqm + 0.1, "values": [iqm] * num_values}
    return {"arm": arm, "env": env, "setting": {"horizon": horizon}, "metric": metric, **numbers}


ROWS = [
    row(arm, horizon, 0.01 * horizon + offset) for arm, offset in (("a2c", 0.0), ("mine", 0.5)) for horizon in (5, 50)
]


def test_a_line_per_horizon_and_a_column_per_arm():
    head, *lines = horizon_table(ROWS, "normalised_return").splitlines()
    assert head.split() == ["horizon", "a2c", "mine"]
    assert lines[0].split() == ["5", "0.050", "[-0.050,", "0.150]", "0.550", "[0.450,", "0.650]"]
    assert lines[1].split()[:2] == ["50", "0.500"]
    assert len({len(line) for line in (head, *lines)}) == 1


def test_other_metrics_are_left_out():
    assert "9.000" not in horizon_table([*ROWS, row("a2c", 5, 9.0, metric="return")], "normalised_return")


def test_each_environment_has_a_table_of_its_most_telling_metric(capsys):
    plain = [row("a2c", 5, 200.0, env="CartPole-v1", metric="return", num_values=7)]
    print_tables([*ROWS, row("a2c", 5, 9.0, metric="return"), *plain])
    out = capsys.readouterr().out
    grid, cartpole = out.strip().split("\n\n")
    assert grid.startswith("gridworld/small: normalised return") and "9.000" not in grid
    assert "interval of 3" in grid and "interval of 7" in cartpole
    assert cartpole.startswith("CartPole-v1: return") and "200.000 [199.900, 200.100]" in cartpole
