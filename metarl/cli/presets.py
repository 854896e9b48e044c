"""`metarl presets`."""

from metarl.experiments.metabo_presets import METABO_PRESETS
from metarl.experiments.presets import PRESETS
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
from metarl.experiments.teach_presets import TEACH_PRESETS


def presets(words: list[str]) -> None:
    """Prints the presets of every command that has them, with their purpose.

    Raises:
        ValueError: if anything but a request for help is given.
    """
    if words and words[0] not in ("-h", "--help"):
        raise ValueError(f"'metarl presets' takes no arguments, but {' '.join(words)!r} was given")
    known_of = {"discover": PRESETS, "pretrain": PRETRAIN_PRESETS, "teach": TEACH_PRESETS, "metabo": METABO_PRESETS}
    for command, known in known_of.items():
        print(f"metarl {command} --preset ...")
        for name, preset in known.items():
            print(f"  {name:22s} {preset.purpose}")
