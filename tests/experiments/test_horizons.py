"""Horizons as people write them: updates plainly, environment steps with an exponent."""

import pytest

from metarl.experiments.config import ConfigError
from metarl.experiments.horizons import parse_horizon


@pytest.mark.parametrize(
    ("word", "steps_per_update", "updates"),
    [("250", 8192, 250), ("1e6", 8192, 122), ("1.5e6", 8192, 183), ("1E+7", 20480, 488), ("8192e0", 8192, 1)],
)
def test_a_plain_number_is_updates_and_one_with_an_exponent_is_steps(word, steps_per_update, updates):
    assert parse_horizon(word, steps_per_update) == updates


@pytest.mark.parametrize(
    ("word", "mention"),
    [
        ("0", "comes to 0 updates"),
        ("1e3", "comes to 0 updates of 8192"),
        ("2147483648", "at most 2147483647"),
        ("1e400", "at most 2147483647"),
        ("-5", "'-5'"),
        ("1e-3", "'1e-3'"),
        ("ten", "'ten'; write agent updates as 250 and environment steps as 1e6"),
        ("2.5", "'2.5'"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(word, mention):
    with pytest.raises(ConfigError, match=mention):
        parse_horizon(word, 8192)
