"""Lengths of lives as people write them: `250` is agent updates, `1e6` is environment steps."""

import re

from metarl.experiments.config_checks import MAX_COUNT, ConfigError

UPDATES, STEPS = re.compile(r"\d+"), re.compile(r"\d+(\.\d*)?[eE]\+?\d+")


def parse_horizon(word: str, steps_per_update: int) -> int:
    """Returns a length in agent updates.

    Args:
        word: a whole number of updates, or a number with an exponent, which counts environment steps and is rounded
            down to whole updates.
        steps_per_update: environment steps of one update, over all workers of an agent.

    Raises:
        ConfigError: if the word is neither, or comes to no update or to more than can be counted.
    """
    if UPDATES.fullmatch(word):
        updates = int(word)
    elif STEPS.fullmatch(word):
        updates = int(float(word)) // steps_per_update if float(word) < 1e18 else MAX_COUNT + 1
    else:
        raise ConfigError(f"--horizons has {word!r}; write agent updates as 250 and environment steps as 1e6")
    if not 1 <= updates <= MAX_COUNT:
        raise ConfigError(
            f"--horizons has {word}, which comes to {updates} updates of {steps_per_update} environment steps; it must "
            f"come to at least 1 and at most {MAX_COUNT}"
        )
    return updates
