"""The report of a run: one page that holds what the run holds, and nothing from elsewhere."""

import base64
import html
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from analysis.load import load_run
from analysis.provenance import command, preset
from analysis.report import describe, trained_horizons, write_report
from analysis.tables import number

FIGURES = {
    "learning_curve",
    "metrics",
    "horizon_curve",
    "life_return",
    "schedules",
    "targets",
    "probe_lines",
    "probe_maps",
}


class Outline(HTMLParser):
    """Collects the cells of tables, row by row, and every attribute that could load something."""

    def __init__(self):
        super().__init__()
        self.rows, self.links, self.headings, self.tags, self._cell, self._heading = [], [], [], set(), None, False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "poster")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""
        self._heading = tag in ("h1", "h2")

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data
        if self._heading:
            self.headings.append(data)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self._cell)
            self._cell = None
        self._heading = False


@pytest.fixture(scope="module")
def reported(run_directory, tmp_path_factory):
    """Returns the directory of a copy of the whole run, reported on."""
    directory = tmp_path_factory.mktemp("reported") / "ta-lpg-small"
    shutil.copytree(run_directory, directory)
    assert write_report(directory) == directory / "report.html"
    return directory


def outline(directory):
    parser = Outline()
    parser.feed((directory / "report.html").read_text(encoding="utf-8"))
    return parser


def test_every_section_is_there_in_order(reported):
    titles = ["Results", "Meta-training", "What the rule does", "How to reproduce", "Where the numbers are"]
    assert outline(reported).headings == ["ta-lpg-small", *titles]


def test_numbers_in_the_result_tables_are_those_of_the_evaluation(reported, synthetic):
    run, rows = load_run(reported), outline(reported).rows
    arms = ("discovered", "a2c", "initial")
    tables = [row for row in rows if len(row) == 4 and re.fullmatch(r"N = \d+", row[0])]
    envs, metrics = ("gridworld/small", "gridworld/mazes"), ("normalised_return", "return")
    cells = [(env, metric, horizon) for env in envs for metric in metrics for horizon in synthetic.HORIZONS]
    assert len(tables) == len(cells)
    for shown, (env, metric, horizon) in zip(tables, cells, strict=True):
        for cell, arm in zip(shown[1:], arms, strict=True):
            (row,) = (r for r in run.rows if (r.env, r.metric, r.horizon, r.arm) == (env, metric, horizon, arm))
            scale = max(abs(row.iqm), abs(row.low), abs(row.high))
            ends = [number(value, scale=scale) for value in (row.iqm, row.low, row.high)]
            assert cell.replace("*", "") == f"{ends[0]} [{ends[1]}, {ends[2]}]"
            assert float(ends[0]) == pytest.approx(row.iqm, abs=5e-4)


def test_the_page_refers_to_nothing_outside_itself(reported):
    page = (reported / "report.html").read_text(encoding="utf-8")
    parser = outline(reported)
    assert len(parser.links) == len(FIGURES) and all(link.startswith("data:image/") for link in parser.links)
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert parser.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form"})


def test_inlined_figures_refer_to_nothing_outside_themselves(reported):
    for link in outline(reported).links:
        svg = base64.b64decode(link.partition(",")[2]).decode()
        references = re.findall(r'(?:xlink:href|href|src)="([^"]*)"', svg)
        assert all(reference.startswith(("#", "data:")) for reference in references)


def test_every_figure_is_saved_with_its_numbers(reported):
    assert {path.stem for path in (reported / "figures").glob("*.png")} == FIGURES
    assert {path.stem for path in (reported / "figures").glob("*.npz")} == FIGURES


def test_saved_numbers_are_statistics_of_what_the_run_holds(reported):
    run = load_run(reported)
    with np.load(reported / "figures/schedules.npz") as numbers:
        expected = run.lives["a2c"][100]["update_norm_policy"].mean(0)
        np.testing.assert_allclose(numbers["a2c/100/update_norm_policy/mean"], expected, atol=1e-12)  # float64 rounding
    with np.load(reported / "figures/horizon_curve.npz") as numbers:
        wanted = ("gridworld/small", "a2c", "normalised_return")
        expected = [r.iqm for r in run.rows if (r.env, r.arm, r.metric) == wanted]
        np.testing.assert_array_equal(numbers["gridworld/small/normalised_return/a2c/iqm"], expected)
        assert not any("/return/" in name for name in numbers)
        np.testing.assert_array_equal(numbers["trained"], [10.0, 50.0])
    with np.load(reported / "figures/learning_curve.npz") as numbers:
        np.testing.assert_array_equal(numbers["fitness"], run.metrics["fitness"])
    with np.load(reported / "figures/probe_maps.npz") as numbers:
        np.testing.assert_array_equal(numbers["pi_hat_change"], run.probe["pi_hat_change"])


def test_what_is_needed_to_reproduce_is_there(reported):
    page = html.unescape((reported / "report.html").read_text(encoding="utf-8"))
    for needed in (
        "metarl discover --preset ta-lpg-cpu --name 'a run'",
        "64b6adf0c0ffee with uncommitted changes",
        "metarl 0.1.0, jax 0.10.2",
        "All randomness follows from the seed 3.",
        "1 x cpu: cpu",
        "metarl evaluate a-run",
    ):
        assert needed in page
    assert "brax" not in page  # recorded as not installed


def test_trends_come_with_their_caveat(reported):
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert (
        page.index("Trends over a life") < page.index("Only the fixed-batch probe") < page.index("effect of time alone")
    )


def test_reporting_twice_gives_the_same_page(tmp_path, synthetic):
    synthetic.write_config(tmp_path)
    synthetic.write_metrics(tmp_path, 20)
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_run_that_has_just_begun_gets_a_page_that_says_so(tmp_path, synthetic):
    synthetic.write_config(tmp_path)
    (tmp_path / "STATUS").write_text("running")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    for words in ("has not been evaluated", "No generation has been recorded", "No agent lives", "had not finished"):
        assert words in page
    assert "metrics of meta-training: not there" in page and not (tmp_path / "figures").exists()


@pytest.mark.parametrize(("fitness", "words"), [("0.5", "figures/learning_curve.npz"), ("null", "No finite fitness")])
def test_one_generation_alone_can_be_reported(tmp_path, fitness, words):
    (tmp_path / "metrics.jsonl").write_text(
        f'{{"step": 1, "wall_s": 2.5, "env_steps_total": 640, "fitness": {fitness}}}\n'
    )
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert words in page and "does not record what produced it" in page


def test_lives_without_a_probe_leave_the_effect_of_time_open(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "export").mkdir()
    life = np.linspace(0.0, 1.0, 6, dtype=np.float32)[None] * np.ones((2, 1), np.float32)
    np.savez(tmp_path / "export/lives.npz", **{"discovered/6/pi_hat_abs": life, "discovered/6/policy_entropy": -life})
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "the effect of time alone is not known" in page and "Only the fixed-batch probe" in page and "1.00" in page


def test_a_hostile_run_stays_text(tmp_path, synthetic):
    name = "<script>alert('x')<script>&\""
    directory = tmp_path / name
    directory.mkdir()
    config = {"type": "DiscoverConfig", "seed": "<b>", "family": {"env": "</p><img src=x>"}}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "STATUS").write_text("failed: <i>disk</i> full")
    rows = synthetic.write_evaluation(directory, envs=("<u>small</u>",))
    rows[0] |= {"arm": "<em>arm</em>", "metric": "<s>metric</s>", "setting": {"<a>": "<q>"}}
    (directory / "evaluation.json").write_text(json.dumps({"schema": 1, "command": "<var>", "rows": rows}))
    page, parser = write_report(directory).read_text(encoding="utf-8"), outline(directory)
    assert parser.headings[0] == name and html.escape(name) in page and "&lt;i&gt;disk&lt;/i&gt; full" in page
    assert parser.tags.isdisjoint({"script", "b", "i", "u", "em", "s", "a", "q", "var"})
    assert all(link.startswith("data:") for link in parser.links)


def test_a_path_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        write_report(tmp_path)


def test_descriptions_say_what_the_configuration_says(run_directory, tmp_path):
    run = load_run(run_directory)
    words = describe(run)
    assert "64 candidate rules" in words and "gridworld/small" in words and "10 to 50 updates" in words
    assert "is told how far" in words and "centred" in words and preset(run) == "ta-lpg-cpu"
    blind = run._replace(config=run.config | {"objective": {"temporal": False, "encoding": "paper"}})
    assert "is not told how far" in describe(blind) and "paper" not in describe(blind)
    worlds = {"env": ["gridworld/small", "CartPole-v1"], "lifetime": [10, 50]}
    assert "task of gridworld/small or CartPole-v1 for" in describe(
        run._replace(config=run.config | {"family": worlds})
    )
    proximal = describe(run._replace(config=run.config | {"objective": {"temporal": True, "log_horizon": True}}))
    assert "how far through its life the agent is and how long that life is." in proximal and "None" not in proximal
    (tmp_path / "config.json").write_text("{}")
    assert "many candidate rules" in describe(load_run(tmp_path)) and preset(load_run(tmp_path)) is None


def test_trained_horizons_come_from_the_configuration_or_the_rule(run_directory):
    run = load_run(run_directory)
    assert trained_horizons(run) == (10.0, 50.0)
    own_law = run._replace(config={"family": {"env": "gridworld/all", "lifetime": None}})
    assert trained_horizons(own_law) is None
    assert trained_horizons(own_law._replace(rule={"record": {"lifetime": [10, 250]}})) == (10.0, 250.0)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["/usr/bin/metarl", "discover", "--name", "a b"], "metarl discover --name 'a b'"),
        (["/src/metarl/__main__.py", "discover"], "python -m metarl discover"),
        (["scripts/run.py", "--n", "3"], "python scripts/run.py --n 3"),
        ([], None),
    ],
)
def test_commands_can_be_pasted_into_a_shell(argv, line):
    assert command({"argv": argv}) == line
