"""The page of a run of meta-Bayesian optimisation: it holds what the run holds, and refers to nothing else."""

import html
import json
import re
from dataclasses import asdict

import jax
import numpy as np
import pytest

from analysis.bo import write_metabo_report
from metarl.experiments.metabo_config import MetaboConfig, NAPConfig, ScoringConfig
from metarl.experiments.metabo_phases import PolicyConfig
from metarl.metabo.export import save_nap
from metarl.metabo.nap import make_nap
from metarl.run.config_codec import encode

LEVELS = {"random": 0.4, "gp-ei": 0.2, "np-ei": 0.1, "nap": 0.1}
HORIZON, TASKS = 5, ("xgb/34", "xgb/34", "xgb/35", "xgb/35")


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_base(directory, *, iterations=200):
    """Writes configuration, provenance, status and metrics of 60 steps of prediction and 6 of reinforcement."""
    config = MetaboConfig(policy=PolicyConfig(iterations=iterations), scoring=ScoringConfig(horizon=HORIZON, seeds=2))
    write_json(directory / "config.json", encode(config))
    session = {"argv": ["/bin/metarl", "metabo", "--preset", "smoke"], "git": {"commit": "c0ffee", "dirty": False}}
    write_json(directory / "provenance.json", {"schema": 1, "sessions": [session | {"packages": {"jax": "0.10.2"}}]})
    (directory / "STATUS").write_text("done\n")
    lines = [
        {"step": n, "wall_s": 2.0 * n, "cpu_s": 3.0 * n, "env_steps_total": 2880 * max(0, n - 60), "loss": 2.0 / n}
        | {"validation_regret": 1.0 if n < 60 else 0.06, "regret": 0.1 if n > 60 else 0.0}
        for n in range(1, 61 + (5 if iterations else -1))
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def row(arm, setting, metric, values, **fields):
    mean = float(np.mean(values))
    rest = {"iqm": mean, "low": min(values), "high": max(values), "confidence": 0.95, "mean": mean, "values": values}
    return {"arm": arm, "env": "xgb", "setting": setting, "metric": metric} | rest | fields


def curve(level):
    return np.tile(level * 0.8 ** np.arange(HORIZON + 1.0), (len(TASKS), 1)) * np.array([[0.8], [1.0], [1.0], [1.2]])


def write_examination(file, curves):
    """Writes an evaluation in which NAP beats GP-EI clearly and is no other than NP-EI."""
    rows = [row(arm, {"horizon": HORIZON}, "regret_auc", [0.9 * x, 1.1 * x]) for arm, x in LEVELS.items()]
    rows += [row(arm, {"evaluations": 0}, "regret", [0.9 * x, 1.1 * x]) for arm, x in LEVELS.items()]
    for minus, low, high in (("gp-ei", -0.12, -0.08), ("np-ei", -0.01, 0.02)):
        mean = LEVELS["nap"] - LEVELS[minus]
        one = row(
            "nap", {"minus": minus, "horizon": HORIZON}, "regret_auc_difference", [mean, mean], low=low, high=high
        )
        rows.append({name: value for name, value in one.items() if name != "iqm"})
    for count in (5, 20, 45):
        rows.append(row("np", {"context": count}, "nll", [1.0, 1.2]))
        rows += [row("np", {"context": count, "interval": p}, "coverage", [p, p]) for p in (0.5, 0.9)]
    write_json(file, {"schema": 1, "command": "metarl metabo --preset smoke", "rows": rows})
    curves.parent.mkdir(exist_ok=True)
    arrays = {f"xgb/{arm}": curve(level).astype(np.float32) for arm, level in LEVELS.items()}
    np.savez(curves, **arrays, **{"xgb/tasks": np.array(TASKS)})


def write_model(directory):
    """Exports a model that has learned nothing."""
    settings = asdict(NAPConfig(width=8, num_layers=1, num_heads=1, num_bars=16))
    params = jax.device_get(jax.jit(make_nap(**settings).init)(jax.random.key(0)))
    save_nap(directory / "export", settings, params, {"head": "acquisition"})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the directory of a whole run, reported on."""
    directory = tmp_path_factory.mktemp("runs") / "a-run"
    write_base(directory)
    write_examination(directory / "evaluation.json", directory / "export/curves.npz")
    write_model(directory)
    assert write_metabo_report(directory) == directory / "report.html"
    return directory


def text_of(path):
    return html.unescape(path.read_text(encoding="utf-8"))


def figures_of(directory):
    names = {path.stem for path in directory.glob("*.png")}
    assert names == {path.stem for path in directory.glob("*.npz")}
    return names


def test_every_section_is_there_in_order(run):
    expected = ["Optimising", "Predicting", "What the model thinks", "Training"]
    found = re.findall(r"<h2>(.*?)</h2>", text_of(run / "report.html"))
    assert found == [*expected, "How to reproduce", "Where the numbers are"]


def test_every_picture_has_its_numbers_beside_it_and_is_named(run):
    names = figures_of(run / "figures")
    optimising = {"regret", "differences", "rank"}
    assert names == optimising | {"calibration", "reliability", "slices_1d", "slices_2d", "training"}
    page = text_of(run / "report.html")
    assert all(page.count(f"figures/{name}.npz") == 2 for name in names)  # below it, and in the list


def test_saved_numbers_are_those_of_the_run(run):
    with np.load(run / "figures/regret.npz") as numbers:
        expected = curve(0.2).astype(np.float32).astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(numbers["xgb/gp-ei/mean"], expected)
    with np.load(run / "figures/differences.npz") as numbers:
        np.testing.assert_array_equal(numbers["xgb/nap-np-ei"], [0.0, -0.01, 0.02])
    with np.load(run / "figures/training.npz") as numbers:
        np.testing.assert_array_equal(numbers["loss"], 2.0 / np.arange(1.0, 66.0))
    with np.load(run / "figures/calibration.npz") as numbers:
        np.testing.assert_allclose(numbers["xgb/coverage/0.9/mean"], [0.9, 0.9, 0.9])


def test_the_page_says_what_was_found_and_what_is_open(run):
    page = text_of(run / "report.html")
    assert "the lowest mean AUC is 0.1000 (NAP and NP-EI)" in page
    assert "the interval excludes zero: NAP is better than GP-EI." in page
    assert "NP-EI is +0.0000 [−0.0100, +0.0200]; the interval includes zero" in page
    assert "intervals of 90 % from 45 evaluations hold 90.0 %" in page


def test_key_figures_are_areas_differences_and_what_training_cost(run):
    tiles = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text_of(run / "report.html")))
    assert tiles["AUC, NAP"] == "0.1000" and tiles["NAP − GP-EI"] == "−0.1000 [−0.1200, −0.0800]"
    assert tiles["wall time of training"] == "2.2 min" and tiles["evaluations in training episodes"] == "14.4 k"
    assert not any("suggestion" in name for name in tiles)  # was not measured


def test_the_page_refers_to_nothing_outside_itself(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(links) == len(figures_of(run / "figures")) and all(link.startswith("data:image/") for link in links)
    assert "http" not in page and "<script" not in page


def test_what_is_needed_to_reproduce_is_there(run):
    page = text_of(run / "report.html")
    for needed in ("metarl metabo --preset smoke", "c0ffee", "jax 0.10.2", "All randomness follows from the seed 0."):
        assert needed in page


def test_a_run_without_second_phase_has_a_page(tmp_path):
    write_base(tmp_path, iterations=0)
    page = text_of(write_metabo_report(tmp_path))
    assert "no second phase" in page and "has not been examined" in page and "no exported model yet" in page
    assert "weights of the exported model: not there" in page and figures_of(tmp_path / "figures") == {"training"}


def test_results_without_curves_are_tables_and_differences(tmp_path):
    write_base(tmp_path)
    write_examination(tmp_path / "evaluation.json", tmp_path / "export/curves.npz")
    (tmp_path / "export/curves.npz").unlink()
    page = text_of(write_metabo_report(tmp_path))
    assert "Curves were not saved" in page and figures_of(tmp_path / "figures") == {
        "differences",
        "calibration",
        "training",
    }


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evaluation.json", "{", "not valid JSON"),
        ("evaluation.json", '{"schema": 1, "rows": [{"arm": "nap"}]}', "rows without"),
        ("export/curves.npz", "no archive", "damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, file, content, message):
    write_base(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        write_metabo_report(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_hostile_run_stays_text(tmp_path):
    write_base(tmp_path, iterations=0)
    (tmp_path / "STATUS").write_text("failed: <i>disk</i> full")
    page = write_metabo_report(tmp_path).read_text(encoding="utf-8")
    assert "The run failed: &lt;i&gt;disk" in page and not re.search(r"<(em|i|var)>", page)


def test_a_path_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        write_metabo_report(tmp_path)
