"""`metarl presets`."""

from metarl.experiments.presets import PRESETS


def presets(words: list[str]) -> None:
    """Prints the presets of `metarl discover` with their purpose.

    Raises:
        ValueError: if anything but a request for help is given.
    """
    if words and words[0] not in ("-h", "--help"):
        raise ValueError(f"'metarl presets' takes no arguments, but {' '.join(words)!r} was given")
    for name, preset in PRESETS.items():
        print(f"{name:14s} {preset.purpose}")
