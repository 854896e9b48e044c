"""The page of a pretraining run: it holds what the run holds, names what is absent, and refers to nothing else."""

import html
import json
import re
from dataclasses import asdict

import jax
import numpy as np
import pytest

from analysis.incontext import write_pretrain_report
from envs.domains import make_domain
from metarl.experiments.pretrain_config import ActingConfig, ModelConfig, PretrainConfig
from metarl.incontext.build import make_model
from metarl.incontext.export import save_model
from metarl.run.config_codec import encode

BANDIT, ROOM = "bandit@horizon=20", "darkroom@size=3,horizon=4"
PULLS, EPISODES, SIZES = 20, 3, (0, 5, 20)
ARMS = {"dpt": 2.0, "dpt-greedy": 1.5, "ucb1.0": 3.0, "posterior": 1.8, "uniform": 6.0}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_base(directory, *envs, acts_in=(), **fields):
    """Writes configuration, provenance, status and six steps of metrics."""
    acting = ActingConfig(num_tasks=64, num_episodes=EPISODES, env=acts_in)
    write_json(directory / "config.json", encode(PretrainConfig(env=envs, acting=acting, **fields)))
    session = {"argv": ["/bin/metarl", "pretrain", "--preset", "smoke"], "git": {"commit": "c0ffee", "dirty": False}}
    write_json(directory / "provenance.json", {"schema": 1, "sessions": [session | {"packages": {"jax": "0.10.2"}}]})
    (directory / "STATUS").write_text("done\n")
    lines = [
        {"step": n, "wall_s": 2.0 * n, "cpu_s": 3.0 * n, "env_steps_total": 3200 * n, "loss": 1.0 / n}
        | {f"bayes_gap/{length}": 0.5 / n for length in (0, 20)}
        | {f"cross_entropy/{length}": 1.0 + 0.5 / n for length in (0, 20)}
        for n in range(1, 7)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def rows_of(env, arm, level):
    """Returns rows whose means are `level` times the point, and their curves."""
    if env == BANDIT:
        points = [({"mode": "online", "horizon": n}, "regret", level * n) for n in (10, PULLS)]
        points += [({"mode": "offline", "context": n}, "suboptimality", level / (1 + n)) for n in SIZES]
        curve = level * np.arange(1.0, PULLS + 1.0)
    else:
        setting = {"mode": "online", "protocol": "stepwise"}
        points = [(setting | {"episode": n}, "return", level * n) for n in (1, EPISODES)]
        curve = level * np.arange(1.0, EPISODES + 1.0)
    rest = {"iqm": 0.0, "low": 0.0, "high": 0.0, "confidence": 0.95, "error": 0.1, "num_tasks": 64, "values": []}
    rows = [{"arm": arm, "env": env, "setting": s, "metric": metric, "mean": mean} | rest for s, metric, mean in points]
    return rows, {f"online/stepwise/{arm}/mean": curve, f"online/stepwise/{arm}/error": 0.1 * np.ones(len(curve))}


def write_examination(directory, *envs):
    rows, arrays = [], {}
    for env in envs:
        for arm, level in ARMS.items():
            more, curves = rows_of(env, arm, level)
            rows += more
            arrays |= {(f"{env}/" if len(envs) > 1 else "") + name: values for name, values in curves.items()}
    write_json(directory / "evaluation.json", {"schema": 1, "command": "metarl pretrain --preset smoke", "rows": rows})
    (directory / "export").mkdir(exist_ok=True)
    np.savez(directory / "export/curves.npz", **{name: values.astype(np.float32) for name, values in arrays.items()})


def write_model(directory, *envs, **record):
    """Exports a model that has learned nothing."""
    settings = asdict(ModelConfig(width=8, num_layers=1, num_heads=1, activation="relu"))
    model = make_model([make_domain(env) for env in envs], **settings)
    params = jax.device_get(model.init(jax.random.key(0)))
    config = {"learner": {"type": "DPTConfig"}, "updates_per_step": 5}
    save_model(directory / "export", settings, envs, params, {"run": "x", "config": config} | record)


@pytest.fixture(scope="module")
def bandit(tmp_path_factory):
    """Returns the directory of a whole run in a bandit, reported on."""
    directory = tmp_path_factory.mktemp("runs") / "a-bandit"
    write_base(directory, BANDIT)
    write_examination(directory, BANDIT)
    assert write_pretrain_report(directory) == directory / "report.html"
    return directory


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Returns the directory of a run in a room, with a model, reported on."""
    directory = tmp_path_factory.mktemp("runs") / "a-room"
    write_base(directory, ROOM)
    write_examination(directory, ROOM)
    write_model(directory, ROOM)
    write_pretrain_report(directory)
    return directory


def text_of(directory):
    return html.unescape((directory / "report.html").read_text(encoding="utf-8"))


def figures_of(directory):
    assert {p.stem for p in (directory / "figures").glob("*.png")} == {
        p.stem for p in (directory / "figures").glob("*.npz")
    }
    return {path.stem for path in (directory / "figures").glob("*.png")}


def test_every_section_is_there_in_order(bandit, room):
    expected = ["Acting in held-out tasks", "Training", "How to reproduce", "Where the numbers are"]
    assert re.findall(r"<h2>(.*?)</h2>", text_of(bandit)) == expected
    assert re.findall(r"<h2>(.*?)</h2>", text_of(room)) == [expected[0], "What the policy does", *expected[1:]]


def test_every_picture_has_its_numbers_beside_it_and_is_named(bandit, room):
    assert figures_of(bandit) == {"regret", "offline", "training", "bayes_gap"}
    assert figures_of(room) == {"returns", "policy", "attention", "training", "bayes_gap"}
    for directory in (bandit, room):
        page = text_of(directory)
        assert all(
            page.count(f"figures/{name}.npz") == 2 for name in figures_of(directory)
        )  # below it, and in the list


def test_saved_numbers_are_those_of_the_run(bandit):
    with np.load(bandit / "figures/regret.npz") as numbers:
        np.testing.assert_array_equal(numbers["dpt/mean"], 2.0 * np.arange(1.0, PULLS + 1.0))
    with np.load(bandit / "figures/offline.npz") as numbers:
        np.testing.assert_array_equal(numbers["all/ucb1.0/mean"], [3.0 / (1 + n) for n in SIZES])
    with np.load(bandit / "figures/bayes_gap.npz") as numbers:
        np.testing.assert_array_equal(numbers["updates"], 25.0 * np.arange(1.0, 7.0))


def test_key_figures_count_updates_and_not_steps(bandit):
    tiles = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text_of(bandit)))
    assert tiles["updates"] == "150" and tiles["environment steps"] == "19.2 k" and tiles["wall time"] == "12.0 s"
    assert tiles["updates / s"] == "12.5" and tiles["Bayes gap, n = 20"] == "0.083"  # the last step alone is a tenth


def test_results_say_who_is_best(bandit):
    page = text_of(bandit)
    assert "After 20 pulls the best model's mean regret is that of DPT, greedy, 30.00 ± 0.20; " in page
    assert "the best classical algorithm is UCB 1.0, 60.00" in page
    assert "the best exact reference is exact Thompson, 36.00" in page


def test_what_is_needed_to_reproduce_is_there(bandit):
    for needed in ("metarl pretrain --preset smoke", "c0ffee", "jax 0.10.2", "All randomness follows from the seed 0."):
        assert needed in text_of(bandit)


def test_the_page_refers_to_nothing_outside_itself(room):
    page = (room / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(links) == len(figures_of(room)) and all(link.startswith("data:image/") for link in links)
    assert "http" not in page and "<script" not in page


def test_exact_inference_that_excludes_held_out_goals_is_pointed_out(bandit, room):
    assert "no held-out goal is one of them" in text_of(room) and "no held-out goal" not in text_of(bandit)


def test_a_model_that_acts_where_it_was_not_trained_has_its_curves_and_one_set_of_maps(tmp_path):
    elsewhere = f"{ROOM},prior=all"
    write_base(tmp_path, ROOM, acts_in=(elsewhere,))
    write_examination(tmp_path, elsewhere)
    write_model(tmp_path, ROOM)
    write_pretrain_report(tmp_path)
    page = text_of(tmp_path)
    assert figures_of(tmp_path) == {"returns", "policy", "attention", "training", "bayes_gap"}
    with np.load(tmp_path / "figures/returns.npz") as numbers:
        np.testing.assert_array_equal(numbers["stepwise/dpt/mean"], 2.0 * np.arange(1.0, EPISODES + 1.0))
    assert "no held-out goal" not in page  # exact inference knew all goals
    assert f"newly drawn tasks of {ROOM} " in page and "In episode 3 the best model" in page


def test_several_domains_have_results_and_pictures_of_their_own(tmp_path):
    write_base(tmp_path, BANDIT, ROOM)
    write_examination(tmp_path, BANDIT, ROOM)
    page = write_pretrain_report(tmp_path).read_text(encoding="utf-8")
    names = {"regret_bandit-horizon-20", "offline_bandit-horizon-20", "returns_darkroom-size-3-horizon-4"}
    assert figures_of(tmp_path) == names | {"training", "bayes_gap"}
    assert f"Online: learning from what it does itself in {ROOM}" in page and "What the policy does" not in page


def test_a_run_that_has_just_begun_gets_a_page_that_says_so(tmp_path):
    write_base(tmp_path, BANDIT)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "STATUS").write_text("running")
    page = write_pretrain_report(tmp_path).read_text(encoding="utf-8")
    for words in ("has not been examined", "No step has been recorded", "had not finished", "last recorded step"):
        assert words in page
    assert "metrics of training: not there" in page and "weights of the exported model: not there" in page
    assert not (tmp_path / "figures").exists()


def test_results_without_curves_are_tables(tmp_path):
    write_base(tmp_path, ROOM)
    write_examination(tmp_path, ROOM)
    (tmp_path / "export/curves.npz").unlink()
    page = write_pretrain_report(tmp_path).read_text(encoding="utf-8")
    assert "Curves were not saved" in page and "In episode 3" in page and "returns" not in figures_of(tmp_path)


def test_without_an_exact_posterior_the_page_says_so(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    page = write_pretrain_report(tmp_path).read_text(encoding="utf-8")
    assert "No exact posterior was compared with" in page and "does not record what produced it" in page


def test_reporting_twice_gives_the_same_page(room):
    first = (room / "report.html").read_bytes()
    assert write_pretrain_report(room).read_bytes() == first
    assert [path.name for path in room.glob(".*")] == []


def test_a_hostile_run_stays_text(tmp_path):
    write_base(tmp_path, BANDIT)
    write_examination(tmp_path, BANDIT)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    content["rows"][0] |= {"arm": "<em>arm</em>"}
    write_json(tmp_path / "evaluation.json", content | {"command": "<var>"})
    (tmp_path / "STATUS").write_text("failed: <i>disk</i> full")
    page = write_pretrain_report(tmp_path).read_text(encoding="utf-8")
    assert "The run failed: &lt;i&gt;disk" in page and not re.search(r"<(em|i|var)>", page)


def test_a_path_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        write_pretrain_report(tmp_path)
