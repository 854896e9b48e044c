"""`metarl evaluate`: a rule against baselines, in a file of the one schema, or one sentence about what is wrong."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from metarl.cli import evaluate as command
from metarl.cli import main
from metarl.cli.rules import find_rule
from metarl.experiments.config import AgentConfig
from metarl.experiments.lives_store import LivesStore
from metarl.experiments.presets import PRESETS
from metarl.objectives.export import load_rule, save_rule

ENV = "probe/action_observation_reward"
TINY = ("--agent.hidden", 4, "--agent.num-envs", 2, "--agent.unroll-length", 5, "--agent.optimiser", "sgd")


def words(rule, out, *options, env=ENV):
    return ("evaluate", rule, "--env", env, "--out", out, "--horizons", 1, 2, "--seeds", 3, *TINY, *options)


@pytest.fixture
def rule(smoke, tmp_path):
    """A copy of the exported rule, to be damaged."""
    return shutil.copytree(smoke.path / "export", tmp_path / "rule")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results" / "evaluation.json"


@pytest.fixture
def nothing_runs(monkeypatch):
    """Fails the test if an evaluation is started."""
    unexpected = lambda *arguments, **options: pytest.fail("an evaluation was started")  # noqa: E731
    monkeypatch.setattr("metarl.experiments.evaluate.evaluate_arms", unexpected)


def test_every_number_is_written_and_the_table_printed(smoke, cli, out, tree):
    before = tree(smoke.path)
    answer = cli(*words(smoke.path, out))
    assert answer.code == 0, answer.err
    content = json.loads(out.read_text())
    assert set(content) == {"schema", "command", "device", "commit", "rows"} and content["schema"] == 1
    assert content["command"].startswith(f"metarl evaluate {smoke.path} --env {ENV}")
    found = {(row["arm"], row["env"], row["setting"]["horizon"], row["metric"]) for row in content["rows"]}
    metrics = ("return", "normalised_return")
    assert found == {(arm, ENV, h, metric) for arm in ("discovered", "a2c") for h in (1, 2) for metric in metrics}
    for row in content["rows"]:
        assert len(row["values"]) == 3 and row["low"] <= row["iqm"] <= row["high"] and row["confidence"] == 0.95
    assert f"{ENV}: normalised return" in answer.out and f"numbers: {out}\n" in answer.out
    assert "a2c" in answer.out and "horizon 2" in answer.err
    assert "probability that the discovered rule is better" in answer.out
    assert tree(smoke.path) == before


def prepare(rule, env, *options):
    given = [str(word) for word in ("evaluate", rule, "--env", env, "--out", "x", *options)][1:]
    return command._prepare(given, env, *find_rule(Path(rule)))


def test_a_run_and_its_exported_rule_are_the_same_rule(smoke):
    by_run, by_export = (prepare(path, ENV)[0][0] for path in (smoke.path, smoke.path / "export"))
    jax.tree.map(np.testing.assert_array_equal, by_run.meta_params, by_export.meta_params)
    assert by_run.objective.settings == by_export.objective.settings


def test_agents_are_built_as_where_the_rule_was_found_or_for_networks_and_options_override_both(smoke):
    def agent(env, *options):
        return prepare(smoke.path, env, *options)[2]["config"]

    recorded = PRESETS["smoke"].config.agent
    assert agent("gridworld/debug") == recorded
    assert agent("gridworld/debug", "--agent.num-envs", 3).num_envs == 3
    assert agent("gridworld/debug", "--agent.num-envs", 3).unroll_length == recorded.unroll_length
    assert agent("CartPole-v1").optimiser == "adam"
    assert agent("CartPole-v1", "--agent.optimiser", "sgd").optimiser == "sgd"


def test_a_rule_that_does_not_say_where_it_was_found_uses_the_defaults(smoke, tmp_path):
    found = load_rule(smoke.path / "export")
    save_rule(tmp_path / "rule", found.objective, found.settings, found.meta_params, {})
    assert prepare(tmp_path / "rule", "gridworld/debug")[2]["config"] == AgentConfig()


def test_baselines_are_the_ones_asked_for(smoke):
    names = lambda *options: [arm.name for arm in prepare(smoke.path, ENV, *options)[0]]  # noqa: E731
    assert names() == ["discovered", "a2c"]
    assert names("--baseline", "ppo", "a2c") == ["discovered", "ppo", "a2c"]
    assert names("--baseline") == ["discovered"]


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        (("--seeds", 0), ["--seeds is 0", "from 1"]),
        (("--seeds", 2**31), ["--seeds is 2147483648", "from 1 to 2147483647"]),
        (("--seed", -1), ["--seed is -1", "[0, 2^32)"]),
        (("--seed", 2**32), ["--seed is 4294967296", "[0, 2^32)"]),
        (("--horizons",), ["--horizons is empty", "one or more"]),
        (("--horizons", 5, 0), ["--horizons has 0", "at least 1"]),
        (("--horizons", 2**31), ["--horizons has 2147483648", "at most 2147483647"]),
        (("--horizons", "1e0"), ["--horizons has 1e0", "0 updates of 10 environment steps"]),
        (("--horizons", "soon"), ["'soon'", "write agent updates as 250 and environment steps as 1e6"]),
        (("--env",), ["no environment", "--env"]),
        (("--env", "gridworld/unheard-of"), ["'gridworld/unheard-of'", "did you mean"]),
        (("--env", ENV, "Pendulum-v1"), ["discrete action space"]),
        (("--agent.network", "tabular"), ["tabular", "choose mlp or conv"]),
        (("--agent.num-envs", 0), ["agent.num_envs is 0", "from 1"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_evaluated_is_refused_before_anything_is(smoke, nothing_runs, refused, out, options, mentions):
    refused(*words(smoke.path, out, *options), mentions=mentions)
    assert not out.exists()


@pytest.mark.parametrize("baseline", ["dqn", "lpg"])
def test_an_unknown_baseline_is_named(smoke, cli, out, baseline):
    answer = cli(*words(smoke.path, out, "--baseline", baseline))
    assert answer.code == 2 and repr(baseline) in answer.err and "a2c" in answer.err


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_evaluated(smoke, nothing_runs, refused, tmp_path):
    (tmp_path / "file").write_text("precious")
    refused(*words(smoke.path, tmp_path), mentions=["--out", tmp_path, "is a directory"])
    refused(
        *words(smoke.path, tmp_path / "file" / "x.json"), mentions=["--out", tmp_path / "file", "cannot be written"]
    )
    assert (tmp_path / "file").read_text() == "precious" and len(list(tmp_path.iterdir())) == 1


def test_what_is_no_rule_is_refused(nothing_runs, refused, out, tmp_path):
    refused(*words(tmp_path, out), mentions=[tmp_path / "rule.json", "cannot be read", "exported rule"])
    mentions = ["no rule at", tmp_path / "nothing", "none of this name in the zoo, which has "]
    refused(*words(tmp_path / "nothing", out), mentions=mentions)


def test_a_run_that_has_not_exported_is_refused(smoke, nothing_runs, refused, out, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(smoke.path / "config.json", tmp_path / "run")
    refused(*words(tmp_path / "run", out), mentions=[tmp_path / "run", "not exported a rule yet"])


def edit(rule, **fields):
    description = json.loads((rule / "rule.json").read_text())
    (rule / "rule.json").write_text(json.dumps(description | fields))


def with_settings(rule, **settings):
    edit(rule, settings=json.loads((rule / "rule.json").read_text())["settings"] | settings)


@pytest.mark.parametrize(
    ("damage", "mentions"),
    [
        (lambda rule: (rule / "rule.json").write_text("{"), ["rule.json is not JSON"]),
        (lambda rule: (rule / "rule.json").write_text("{}"), ["rule.json does not describe a rule"]),
        (lambda rule: edit(rule, schema=2), ["schema 2", "reads schema 1"]),
        (lambda rule: edit(rule, settings=None), ["lacks a valid field 'settings'"]),
        (lambda rule: edit(rule, objective="muesli"), ["'muesli' is unknown", "a2c, ppo, dpo, lpg, lpo"]),
        (lambda rule: with_settings(rule, colour="red"), ["does not take the settings"]),
        (lambda rule: with_settings(rule, encoding="lunar"), ["'lunar' is unknown", "paper"]),
        (lambda rule: with_settings(rule, hidden_size=8), ["arrays have the shapes", "needs"]),
        (
            lambda rule: edit(rule, record={"config": {"agent": {"type": "AgentConfig", "wings": 2}}}),
            ["unknown field 'wings'"],
        ),
        (lambda rule: edit(rule, record={"config": {"agent": {"type": "Doctor"}}}), ["unknown type 'Doctor'"]),
        (lambda rule: (rule / "rule.npz").write_bytes(b"nonsense"), ["rule.npz has sha256", "rule.json says"]),
        (lambda rule: (rule / "rule.npz").unlink(), ["rule.npz cannot be read"]),
    ],
    ids=range(12),
)
def test_a_damaged_or_foreign_rule_is_refused(rule, nothing_runs, refused, out, damage, mentions):
    damage(rule)
    refused(*words(rule, out), mentions=mentions)
    assert not out.exists()


def test_a_rule_whose_numbers_were_changed_is_refused(rule, nothing_runs, refused, out):
    content = bytearray((rule / "rule.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (rule / "rule.npz").write_bytes(content)
    refused(*words(rule, out), mentions=["rule.npz has sha256", "export the rule again"])


def test_a_disk_that_fills_up_keeps_the_earlier_file(smoke, cli, monkeypatch, out):
    def fill_up(path, content):
        raise OSError(28, "No space left on device", str(path))

    out.parent.mkdir()
    out.write_text("earlier")
    monkeypatch.setattr("metarl.experiments.evaluate.evaluate_arms", lambda arms, family, **options: [])
    monkeypatch.setattr(command, "write_atomic", fill_up)
    answer = cli(*words(smoke.path, out))
    assert answer.code == 2 and "No space left on device" in answer.err and answer.err.count("\n") == 1
    assert out.read_text() == "earlier"


@pytest.fixture(scope="module")
def evaluated(smoke, tmp_path_factory):
    """Where one evaluation of two arms at two horizons, one of them in steps, has written."""
    out = tmp_path_factory.mktemp("evaluated") / "numbers.json"
    given = [str(word) for word in words(smoke.path, out, "--horizons", 1, "2e1", "--baseline", "ppo")]
    assert main(given) == 0
    return out


def test_horizons_may_be_given_in_environment_steps(evaluated):
    """Ten environment steps make an update here."""
    rows = json.loads(evaluated.read_text())["rows"]
    assert {(row["setting"]["horizon"], row["env_steps"]) for row in rows} == {(1, 10), (2, 20)}


def test_curves_and_a_page_are_written_beside_the_numbers(evaluated):
    assert {path.name for path in evaluated.parent.iterdir()} == {
        "numbers.json", "numbers.npz", "numbers.html", "numbers.figures",
    }  # fmt: skip
    with np.load(evaluated.with_suffix(".npz")) as arrays:
        assert arrays[f"{ENV}/discovered/2/return"].shape == (3, 2)
        assert arrays[f"{ENV}/ppo/1/clip_fraction"].shape == (3, 1)
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
    page = evaluated.with_suffix(".html").read_text()
    assert ENV in page and page.count("data:image/") >= 3 and "metarl evaluate" in page


class Stopped(Exception):
    pass


def test_an_evaluation_that_was_stopped_goes_on_to_the_same_numbers(smoke, evaluated, monkeypatch, cli, tmp_path):
    out = tmp_path / "numbers.json"
    given = words(smoke.path, out, "--horizons", 1, "2e1", "--baseline", "ppo")
    lived = []
    real = LivesStore.keep

    def keep(store, lives, env, arm, horizon):
        if len(lived) == 3:
            raise Stopped
        lived.append((arm, horizon))
        real(store, lives, env, arm, horizon)

    monkeypatch.setattr(LivesStore, "keep", keep)
    with pytest.raises(Stopped):
        cli(*given)
    assert not out.exists() and out.with_suffix(".parts").is_dir()
    monkeypatch.setattr(LivesStore, "keep", real)
    answer = cli(*given)
    assert answer.code == 0 and answer.err.count("horizon") == 1, "three of four lives were recalled"
    first, again = (json.loads(path.read_text())["rows"] for path in (evaluated, out))
    assert [row["values"] for row in first] == [row["values"] for row in again]
    assert not out.with_suffix(".parts").exists()


@pytest.mark.slow
def test_numbers_do_not_depend_on_what_else_is_evaluated(smoke, evaluated, cli, out):
    """Another environment, another arm and another horizon beside them."""
    both = ("--env", "probe/delayed_reward", ENV, "--horizons", 1, 2, 3, "--baseline", "dpo", "ppo")
    assert cli(*words(smoke.path, out, *both)).code == 0
    found = {
        (r["arm"], r["env"], r["setting"]["horizon"], r["metric"]): r["values"]
        for r in json.loads(out.read_text())["rows"]
    }
    alone = json.loads(evaluated.read_text())["rows"]
    assert len({env for _, env, _, _ in found}) == 2
    for row in alone:
        same = found[row["arm"], row["env"], row["setting"]["horizon"], row["metric"]]
        np.testing.assert_allclose(same, row["values"], rtol=1e-5)


def test_a_rule_of_the_zoo_is_known_by_its_name_and_meets_the_published_baselines():
    arms = prepare("ta-lpo", "CartPole-v1")[0]
    assert [arm.name for arm in arms] == ["discovered", "ppo", "dpo"] and arms[0].objective.settings["temporal"]


def test_inner_settings_are_those_of_the_environment_and_not_of_the_rule():
    """Entropy is rewarded in MinAtar and not in brax, under the same rule."""
    for env, coefficient in (("Breakout-MinAtar", 0.01), ("ant", 0.0)):
        arms, _, options = prepare("ta-lpo", env)
        assert {arm.objective.settings["entropy_coefficient"] for arm in arms} == {coefficient}
        assert options["config"].num_envs == {"Breakout-MinAtar": 64, "ant": 2048}[env]
