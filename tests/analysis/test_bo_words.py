"""The first paragraph of a page says what was done, and nothing that was not."""

import pytest

from analysis.bo_words import lead_words
from analysis.load import read_rows


def rows(tmp_path, **firsts):
    rest = {"metric": "regret_auc", "mean": 0.1, "low": 0.0, "high": 0.2, "confidence": 0.95}
    found = [
        {"arm": "nap", "env": env, "setting": {"horizon": 9}, "first": first} | rest for env, first in firsts.items()
    ]
    return read_rows(tmp_path / "evaluation.json", {"schema": 1, "rows": found})


@pytest.mark.parametrize(
    ("firsts", "has_pools", "has_studies"),
    [({}, True, False), ({"xgb": 0}, True, False), ({"optuna": 5}, False, True), ({"xgb": 0, "optuna": 5}, True, True)],
)
def test_pools_and_studies_are_spoken_of_where_they_were_optimised(tmp_path, firsts, has_pools, has_studies):
    words = lead_words(rows(tmp_path, **firsts), is_reinforced=True)
    assert ("pool" in words, "Optuna" in words) == (has_pools, has_studies)
    assert "share of the range of all values" in words


def test_reinforcement_is_claimed_of_models_that_had_it():
    assert "by reinforcement learning to choose" in lead_words((), is_reinforced=True)
    words = lead_words((), is_reinforced=False)
    assert "reinforcement" not in words and "chosen by expected improvement" in words
