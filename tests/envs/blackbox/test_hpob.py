import json
import os

import numpy as np
import pytest

from envs.blackbox import hpob
from envs.blackbox.hpob import hpob_task, initial_points, open_hpob
from envs.blackbox.task import NUMERIC
from tests.envs.blackbox.hpob_files import FILES, write_miniature


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def miniature(tmp_path):
    return write_miniature(tmp_path / "hpob")


@pytest.mark.parametrize(
    ("split", "space", "dataset"),
    [("train", "4796", "2"), ("validation", "4796", "3"), ("test", "5527", "146"), ("test", "4796", "23")],
)
def test_tables_come_back_as_they_are_in_the_files(miniature, split, space, dataset):
    folder, contents = miniature
    task = hpob_task(open_hpob(folder), space, dataset)
    np.testing.assert_allclose(task.x, contents[split][space][dataset]["X"], rtol=1e-6)  # float32
    np.testing.assert_allclose(task.y, np.ravel(contents[split][space][dataset]["y"]), rtol=1e-6)
    assert set(task.kind) == {NUMERIC} and len(task.names) == task.x.shape[1]


def test_data_sets_are_listed_by_split(miniature):
    benchmark = open_hpob(miniature[0])
    assert benchmark.datasets == {
        "train": {"4796": ["1", "2"], "5527": ["7"]},
        "validation": {"4796": ["3"]},
        "test": {"4796": ["23"], "5527": ["31", "146"]},
    }


def test_initial_points_are_those_of_the_seed(miniature):
    benchmark = open_hpob(miniature[0])
    np.testing.assert_array_equal(initial_points(benchmark, "5527", "31", "test2"), [9, 8, 2, 6, 5])
    with pytest.raises(ValueError, match="no initial points 5527/31/test5"):
        initial_points(benchmark, "5527", "31", "test5")


def test_files_are_parsed_once_and_again_only_after_they_change(miniature, monkeypatch):
    folder, contents = miniature
    calls, real = [], hpob._members
    monkeypatch.setattr(hpob, "_members", lambda text, name: calls.append(name) or real(text, name))
    open_hpob(folder)
    hpob_task(open_hpob(folder), "4796", "1")
    assert calls == [FILES[split] for split in hpob.SPLITS]
    contents["test"]["4796"]["23"]["y"][0] = [7.0]
    (folder / FILES["test"]).write_text(json.dumps(contents["test"]))
    os.utime(folder / FILES["test"], (1, 1))
    assert hpob_task(open_hpob(folder), "4796", "23").y[0] == 7.0
    assert len(calls) == 6


def test_only_the_space_that_is_asked_for_is_read(miniature):
    benchmark = open_hpob(miniature[0])
    (benchmark.directory / "test" / "5527.npz").unlink()
    assert hpob_task(benchmark, "4796", "23").y.shape == (12,)
    with pytest.raises(FileNotFoundError):
        hpob_task(benchmark, "5527", "31")


def test_augmented_training_file_will_do(miniature):
    folder, _ = miniature
    (folder / FILES["train"]).rename(folder / "meta-train-dataset-augmented.json")
    assert open_hpob(folder).datasets["train"]["5527"] == ["7"]


def test_missing_files_are_all_named_in_one_sentence(miniature, tmp_path):
    folder, _ = miniature
    (folder / FILES["initial"]).unlink()
    with pytest.raises(ValueError, match=r"meta-train.*meta-validation.*meta-test.*lacks bo-initializations\.json$"):
        open_hpob(folder)
    with pytest.raises(ValueError, match="lacks meta-train-dataset.json, meta-validation"):
        open_hpob(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"4796": {"1": ', '{"4796": {}', '{"4796" {}}'])
def test_damaged_files_are_refused_by_name(miniature, text):
    folder, _ = miniature
    (folder / FILES["validation"]).write_text(text)
    with pytest.raises(ValueError, match=r"meta-validation-dataset\.json"):
        open_hpob(folder)


def test_unknown_task_is_refused(miniature):
    with pytest.raises(ValueError, match="no task 4796/31; its spaces are 4796, 5527"):
        hpob_task(open_hpob(miniature[0]), "4796", "31")
