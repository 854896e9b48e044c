"""How tests of the loop run it, and how they read what it recorded."""

from metarl.run.metrics import read_metrics

OPTIONS = {"seed": 3, "steps_per_dispatch": 5, "checkpoint_every": 12}


def steps(directory):
    return [row["step"] for row in read_metrics(directory.metrics_file)]


def without_clock(directory):
    return [
        {k: v for k, v in row.items() if k not in ("wall_s", "cpu_s")} for row in read_metrics(directory.metrics_file)
    ]
