"""HPO-B's test tasks as pools, with the starts that its protocol prescribes."""

import numpy as np
import pytest

from envs.blackbox.hpob_suite import hpob_suites
from tests.envs.blackbox.hpob_files import write_miniature


@pytest.fixture
def miniature(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_miniature(tmp_path / "hpob")


def test_every_space_is_a_suite_of_its_test_tasks_from_the_prescribed_starts(miniature):
    folder, contents = miniature
    suites = list(hpob_suites(folder, horizon=4, num_seeds=3))
    assert [suite.name for suite in suites] == ["hpob/4796", "hpob/5527"]
    assert suites[1].tasks == ("hpob/5527/31",) * 3 + ("hpob/5527/146",) * 3
    for suite in suites:
        for place, task in enumerate(suite.tasks):
            _, space, dataset = task.split("/")
            table = contents["test"][space][dataset]
            is_valid = np.asarray(suite.params.is_valid[place])
            np.testing.assert_allclose(np.asarray(suite.params.y[place])[is_valid], np.ravel(table["y"]), rtol=1e-6)
            x = np.asarray(suite.params.x[place])[is_valid]
            np.testing.assert_allclose(x[:, : len(table["X"][0])], table["X"], rtol=1e-6)
            assert suite.initial[place].tolist() == contents["initial"][space][dataset][f"test{place % 3}"]
            assert suite.params.horizon[place] == 4


@pytest.mark.parametrize("count", [0, 6])
def test_there_are_five_starts_and_no_more(miniature, count):
    with pytest.raises(ValueError, match=f"{count} starts in each table were asked for; HPO-B prescribes 5"):
        list(hpob_suites(miniature[0], num_seeds=count))
