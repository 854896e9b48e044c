"""`metarl presets`."""

import pytest

from metarl.experiments.metabo_presets import METABO_PRESETS
from metarl.experiments.presets import PRESETS
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
from metarl.experiments.teach_presets import TEACH_PRESETS


@pytest.mark.parametrize("words", [("presets",), ("presets", "--help")])
def test_every_preset_is_listed_with_its_purpose(cli, words):
    answer = cli(*words)
    assert answer.code == 0 and answer.err == ""
    lines = [line for line in answer.out.splitlines() if line.startswith("  ")]
    presets = [*PRESETS.items(), *PRETRAIN_PRESETS.items(), *TEACH_PRESETS.items(), *METABO_PRESETS.items()]
    assert [line.split()[0] for line in lines] == [name for name, _ in presets]
    for (_, preset), line in zip(presets, lines, strict=True):
        assert preset.purpose in line


def test_arguments_are_refused(refused):
    refused("presets", "smoke", mentions=["takes no arguments", "'smoke'"])


def test_a_reader_who_has_seen_enough_ends_the_command_quietly(metarl, tmp_path):
    start, _ = metarl
    with start("presets", cwd=tmp_path) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=120) == 141
