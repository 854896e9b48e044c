"""The engine against Box2D: restarts from its states, the same actions, and how far apart both are 0.2 s later."""

import numpy as np
import pytest

from tests.envs.walker.parity import ARCHIVE, BODIES, errors

LIMITS = {  # metres of position, radians of the hull's angle and of joints: in the air, and with contact
    "default_flat": ((0.0058, None, 0.014), (0.015, 0.035, 0.034)),
    "default_stumps": ((0.009, None, 0.05), (0.014, 0.019, 0.07)),
    "short_flat": ((0.0018, None, 0.05), (0.047, 0.18, 0.075)),
    "quadru_flat": ((0.015, None, 0.03), (0.028, 0.035, 0.041)),
}
"""Medians that an independent prototype of the same recipe reached; ours may exceed them by half."""
MARGIN = 1.5


@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"no Box2D trajectories in {ARCHIVE.parent}")
@pytest.mark.parametrize(
    "group", [group if group == "default_stumps" else pytest.param(group, marks=pytest.mark.slow) for group in BODIES]
)
def test_median_errors_after_ten_steps_are_within_limits(group):
    with np.load(ARCHIVE) as archive:
        found = errors(dict(archive), group)
    assert {kind for kind, _ in found} == {"zero", "rand", "hold", "sine"}
    for (kind, where), (number, error) in found.items():
        limits = LIMITS[group][where == "contact"]
        for quantity, limit in zip(("position", "angle", "joints"), limits, strict=True):
            if limit is not None:
                assert error[quantity] <= MARGIN * limit, (kind, where, number, quantity)
