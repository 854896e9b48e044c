import json

import jax
import numpy as np
import pytest

from metarl import zoo
from metarl.metabo.export import find_nap, load_nap, save_nap
from metarl.metabo.nap import make_nap
from metarl.metabo.space import Float, Space
from metarl.metabo.suggest import Known, Search

SMALL = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 16}
SPACE = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})


@pytest.fixture(scope="module")
def params():
    return jax.device_get(make_nap(**SMALL).init(jax.random.key(0)))


def scores(trained):
    x = SPACE.spread(np.random.default_rng(0).random((40, 2)))
    return Search(trained, SPACE, Known(x[:6], np.arange(6.0), x[:0]), 0.5).scores(x[6:])


def test_a_model_comes_back_as_it_was_saved(params, tmp_path):
    save_nap(tmp_path, SMALL, params, {"head": "acquisition", "note": "x"})
    for path in (tmp_path, tmp_path / "nap.npz", tmp_path / "nap.json"):
        trained = load_nap(path)
        assert trained.settings == SMALL and trained.record["note"] == "x" and trained.head == "acquisition"
        jax.tree.map(np.testing.assert_array_equal, trained.params, params)


def test_the_head_that_the_record_names_is_the_one_that_scores(params, tmp_path):
    """Changing the weights of the acquisition changes the scores of that head alone."""
    changed = jax.tree.map(np.copy, params)
    last = changed["acquisition_head"]["Dense_2"]["kernel"]
    last += np.linspace(-1.0, 1.0, last.size, dtype=np.float32)[:, None]
    found = {}
    for head in ("acquisition", "ei", "ucb"):
        for name, tree in (("old", params), ("new", changed)):
            save_nap(tmp_path / head / name, SMALL, tree, {"head": head})
            found[head, name] = scores(load_nap(tmp_path / head / name))
    for head in ("ei", "ucb"):
        np.testing.assert_array_equal(found[head, "old"], found[head, "new"])
    assert not np.allclose(found["acquisition", "old"], found["acquisition", "new"], atol=1e-3)
    assert not np.allclose(found["ei", "old"], found["ucb", "old"], atol=1e-3)
    np.testing.assert_allclose(found["acquisition", "old"], found["ei", "old"], atol=1e-6)  # untrained: its own EI


@pytest.fixture
def lenient():
    """Lets jax's attention promote bfloat16 in its own code."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_types_are_named_in_the_settings(lenient, params, tmp_path):
    save_nap(tmp_path, {**SMALL, "precision": "bfloat16"}, params, {"head": "ei"})
    rough = scores(load_nap(tmp_path))
    save_nap(tmp_path / "fine", SMALL, params, {"head": "ei"})
    fine = scores(load_nap(tmp_path / "fine"))
    assert not np.array_equal(rough, fine)
    np.testing.assert_allclose(rough, fine, atol=0.3)  # bfloat16 has 8 bits


@pytest.mark.parametrize("record", [{}, {"head": "best"}])
def test_a_record_without_a_head_is_refused(record, params, tmp_path):
    with pytest.raises(ValueError, match="acquisition, ei, ucb"):
        save_nap(tmp_path, SMALL, params, record)


def test_arrays_that_do_not_fit_the_settings_are_refused(params, tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        save_nap(tmp_path, {**SMALL, "width": 32}, params, {"head": "ei"})
    with pytest.raises(ValueError, match="do not fit"):
        save_nap(tmp_path, SMALL, {"bars_head": params["bars_head"]}, {"head": "ei"})
    save_nap(tmp_path, SMALL, params, {"head": "ei"})
    description = json.loads((tmp_path / "nap.json").read_text())
    for settings, words in ({**SMALL, "num_bars": 17}, "do not fit"), ({**SMALL, "colour": 1}, "colour"):
        (tmp_path / "nap.json").write_text(json.dumps({**description, "settings": settings}))
        with pytest.raises(ValueError, match=words):
            load_nap(tmp_path)


def test_a_model_is_found_by_path_and_read_once(params, tmp_path):
    save_nap(tmp_path, SMALL, params, {"head": "ei"})
    trained = find_nap(tmp_path)
    assert find_nap(str(tmp_path)) is trained is find_nap(tmp_path / "nap.json") is find_nap(trained)
    save_nap(tmp_path / "run" / "export", SMALL, params, {"head": "ei"})
    assert find_nap(tmp_path / "run").digest == trained.digest


def test_a_model_is_found_by_its_name_in_the_zoo(params, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "DIRECTORY", tmp_path)
    with pytest.raises(ValueError, match="'nap' is neither"):
        find_nap()
    save_nap(tmp_path / "nap", SMALL, params, {"head": "ei"})
    save_nap(tmp_path / "other", SMALL, params, {"head": "ucb"})
    assert zoo.nap_names() == ["nap", "other"] and find_nap().head == "ei" and find_nap("other").head == "ucb"
    with pytest.raises(ValueError, match="there: nap, other"):
        find_nap("third")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "paper", "values": "range"}, "values as range: it needs the best and the worst value"),
        ({"values": "raw"}, "values as raw: it needs values in the units of its training"),
    ],
    ids=["range", "raw"],
)
def test_a_model_that_does_not_standardise_is_kept_but_not_for_users(settings, words, tmp_path):
    settings = {**settings, "width": 8, "num_layers": 1, "num_heads": 2, "num_bars": 12}
    params = jax.device_get(jax.jit(make_nap(**settings).init)(jax.random.key(0)))
    trained = load_nap(save_nap(tmp_path, settings, params, {"head": "acquisition"}))
    jax.tree.map(np.testing.assert_array_equal, trained.params, params)
    assert not trained.nap.standardises
    for given in (tmp_path, trained):
        with pytest.raises(ValueError, match=words):
            find_nap(given)
