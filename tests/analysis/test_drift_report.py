"""The section about a drift, in the report of a run and on the page of a bare rule."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from analysis.drift import FRACTIONS, make_surfaces, reference_drifts, rule_drift
from analysis.drift_animation import NUM_FRAMES
from analysis.drift_report import TABLE_FRACTIONS, drift_part, rollback_table, trained_lifetimes, write_rule_report
from analysis.push import ADVANTAGES, implied_clip, push_beyond_clip
from analysis.report import write_report
from metarl.objectives.export import save_rule

NAMES = {"drift_surface", "drift_slope", "drift_clip"}
MAX_GIF_BYTES = 2_000_000


def write_lives(directory):
    life = {"policy_entropy": np.linspace(1.6, 0.4, 8), "clip_fraction": np.linspace(0.4, 0.1, 8)}
    arrays = {
        f"{arm}/8/{name}": np.tile(values, (3, 1)) for arm in ("discovered", "ppo") for name, values in life.items()
    }
    np.savez(directory / "lives.npz", **arrays)


def write_proximal_run(directory, rule):
    """Writes a run that has evolved this rule and recorded lives under it."""
    config = {"type": "DiscoverConfig", "family": {"env": ["gridworld/small"], "lifetime": [5, 50]}}
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    save_rule(directory / "export", rule.objective, rule.settings, rule.meta_params, {"run": "a run"})
    write_lives(directory / "export")
    return directory


@pytest.fixture(scope="module")
def reported(planted, tmp_path_factory):
    """Returns the directory of a run with a drift that closes over a life, reported on."""
    directory = write_proximal_run(tmp_path_factory.mktemp("drift") / "ta-lpo", planted.closing)
    write_report(directory)
    return directory


def page_of(directory):
    return html.unescape((directory / "report.html").read_text(encoding="utf-8"))


def test_the_section_comes_after_what_the_rule_does_and_has_every_picture(reported):
    page = page_of(reported)
    places = [
        page.index(f"<h2>{title}</h2>") for title in ("What the rule does", "The drift function", "How to reproduce")
    ]
    assert places == sorted(places)
    section = page[places[1] : places[2]]
    assert re.findall(r"figures/(\w+)\.npz", section) == ["drift_surface", "drift_slope", "drift_life", "drift_clip"]
    assert section.count("data:image/svg+xml") == 3 and section.count("data:image/gif") == 1
    assert "an effect of time alone" in section and "Beyond the clip" in section


def test_the_notes_of_the_probe_stay_away_and_the_caveat_speaks_of_the_drift(reported):
    page = page_of(reported)
    assert "probe has not been run" not in page and "Only the fixed-batch probe" not in page
    assert "Only the drift function" in page and "share of ratios outside 1 ± 0.2" in page


def test_the_page_still_needs_nothing_from_elsewhere(reported):
    links = re.findall(r'(?:src|href)="([^"]{0,40})', (reported / "report.html").read_text(encoding="utf-8"))
    assert links and all(link.startswith("data:image/") for link in links)


def test_the_inlined_animation_is_the_saved_one_small_and_whole(reported):
    (encoded,) = re.findall(r"data:image/gif;base64,([A-Za-z0-9+/=]+)", (reported / "report.html").read_text())
    gif = base64.b64decode(encoded)
    assert gif == (reported / "figures/drift_life.gif").read_bytes() and len(gif) < MAX_GIF_BYTES
    with Image.open(io.BytesIO(gif)) as image:
        assert image.n_frames == NUM_FRAMES


def test_saved_numbers_are_those_of_the_rule(reported, planted):
    drift, surfaces = rule_drift(planted.closing), make_surfaces(rule_drift(planted.closing), lifetimes=(50.0,))
    assert {path.stem for path in (reported / "figures").glob("drift*.png")} == NAMES
    for name in ("drift", "slope"):
        file = {"drift": "drift_surface", "slope": "drift_slope"}[name]
        with np.load(reported / f"figures/{file}.npz") as numbers:
            np.testing.assert_array_equal(numbers[name], getattr(surfaces, name))
            np.testing.assert_array_equal(numbers["fractions"], FRACTIONS)
    with np.load(reported / "figures/drift_clip.npz") as numbers:
        expected = implied_clip(drift, numbers["fractions"].tolist(), (50.0,))
        np.testing.assert_array_equal(numbers["clip"], expected)
        assert np.all(np.diff(np.abs(numbers["clip"][0, :, 1] - 1.0)) < 1e-6)
    with np.load(reported / "figures/drift_rollback.npz") as numbers:
        np.testing.assert_array_equal(numbers["push"], push_beyond_clip(drift, TABLE_FRACTIONS, (50.0,)))
        np.testing.assert_array_equal(numbers["ppo"], 0.0)


def test_the_table_has_the_numbers_that_are_saved(reported):
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", (reported / "report.html").read_text())
    shown = {re.sub("<.*?>", "", head).strip(): re.findall(r">(-?[\d.]+)<", cells) for head, cells in rows}
    with np.load(reported / "figures/drift_rollback.npz") as numbers:
        for at, fraction in enumerate(TABLE_FRACTIONS):
            cells = shown[f"discovered rule n/N = {fraction:g}"]
            np.testing.assert_allclose([float(cell) for cell in cells], numbers["push"][0, at], atol=0.0051)
        np.testing.assert_allclose([float(cell) for cell in shown["DPO"]], numbers["dpo"], atol=0.0051)
    assert len(shown["PPO"]) == len(ADVANTAGES)


def test_a_blind_rule_has_no_animation_and_says_so(planted, tmp_path):
    directory = write_proximal_run(tmp_path / "lpo", planted.blind)
    page = (write_report(directory)).read_text(encoding="utf-8")
    assert "This rule does not see time" in page and "data:image/gif" not in page
    assert "effect of time alone" not in page and not (directory / "figures/drift_life.gif").exists()


@pytest.mark.parametrize("rule", [{"objective": "lpg", "settings": {"hidden_size": 8}}, {"objective": "mine"}, None])
def test_runs_without_a_drift_have_no_such_section(synthetic, tmp_path, rule):
    synthetic.write_config(tmp_path)
    if rule is not None:
        (tmp_path / "export").mkdir()
        (tmp_path / "export/rule.json").write_text(json.dumps(rule))
        np.savez(tmp_path / "export/rule.npz", x=np.zeros(1))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "The drift function" not in page and "probe has not been run" in page
    assert not (tmp_path / "figures").exists()


def test_a_run_that_lost_the_arrays_of_its_rule_is_reported_without_the_section(planted, tmp_path):
    directory = write_proximal_run(tmp_path / "lost", planted.closing)
    (directory / "export/rule.npz").unlink()
    assert "<h2>The drift function" not in write_report(directory).read_text(encoding="utf-8")


def test_a_rule_whose_arrays_are_damaged_is_refused(planted, tmp_path):
    directory = write_proximal_run(tmp_path / "damaged", planted.closing)
    (directory / "export/rule.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="sha256"):
        write_report(directory)


@pytest.mark.slow
def test_a_bare_rule_gets_a_page_of_its_own(planted, tmp_path):
    rule, record = planted.horizon, {"run": "<b>bare</b>", "config": {"family": {"lifetime": [5, 50]}}}
    save_rule(tmp_path / "rule", rule.objective, rule.settings, rule.meta_params, record)
    before = {path: path.read_bytes() for path in (tmp_path / "rule").iterdir()}
    path = write_rule_report(tmp_path / "rule", tmp_path / "out/page")
    assert path == tmp_path / "out/page/report.html"
    page = path.read_text(encoding="utf-8")
    assert "<b>bare" not in page and "&lt;b&gt;bare" in page and "<h2>The drift function</h2>" in page
    assert (
        "N from row to row" in page
        and "settings.log_horizon" in page
        and all(f"N = {lifetime}" in page for lifetime in (5, 16, 50))
    )
    assert {path.stem for path in (path.parent / "figures").glob("*.png")} == NAMES
    assert {path: path.read_bytes() for path in (tmp_path / "rule").iterdir()} == before
    with np.load(path.parent / "figures/drift_surface.npz") as numbers:
        np.testing.assert_array_equal(numbers["lifetimes"], [5.0, 16.0, 50.0])


def test_a_bare_rule_without_a_drift_is_refused(tmp_path):
    save_rule(tmp_path / "rule", "a2c", {}, (), {})
    with pytest.raises(ValueError, match="has no drift"):
        write_rule_report(tmp_path / "rule", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables_name_horizons_only_if_there_are_several(planted):
    several = rollback_table(drift_part(planted.horizon, (5.0, 50.0)).rollback)
    one = rollback_table(drift_part(planted.blind).rollback)
    assert several.count("discovered rule") == 9 and "for comparison" in several and "N = 16" in several
    assert one.count("discovered rule") == 1 and "N = " not in one and "for comparison" not in one


def test_trained_lifetimes_are_the_first_pair_of_that_name():
    assert trained_lifetimes({}, {"record": {"config": {"family": {"lifetime": [10, 250]}}}}) == (10.0, 250.0)
    assert trained_lifetimes({"lifetime": [1, 2]}, {"lifetime": [3, 4]}) == (1.0, 2.0)
    assert trained_lifetimes({"lifetime": None}, {"lifetime": 5}) is None


def test_ppo_itself_has_a_page(tmp_path):
    save_rule(tmp_path / "rule", "ppo", {"clip": 0.3}, (), {})
    write_rule_report(tmp_path / "rule", tmp_path)
    with np.load(tmp_path / "figures/drift_clip.npz") as numbers:
        np.testing.assert_allclose(numbers["clip"], [[[1.3, 1.3, 0.7, 0.7]]], atol=1e-6)
        np.testing.assert_allclose(numbers["ppo"], implied_clip(reference_drifts()["ppo"])[0, 0])
