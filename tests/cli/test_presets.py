"""`metarl presets`."""

import pytest

from metarl.experiments.presets import PRESETS


@pytest.mark.parametrize("words", [("presets",), ("presets", "--help")])
def test_every_preset_is_listed_with_its_purpose(cli, words):
    answer = cli(*words)
    assert answer.code == 0 and answer.err == ""
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(preset.purpose in line for preset, line in zip(PRESETS.values(), lines, strict=True))


def test_arguments_are_refused(refused):
    refused("presets", "smoke", mentions=["takes no arguments", "'smoke'"])
