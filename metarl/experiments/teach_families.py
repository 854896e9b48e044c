"""Families of tasks that can be taught, by name."""

from collections.abc import Callable

from envs.domains import DOMAINS, make_domain
from envs.family import TaskFamily
from envs.naming import options_in
from envs.registry import make_family


def stumps(*, body: str = "default", max_height: float = 3.0, max_spacing: float = 6.0) -> TaskFamily:
    """Returns tracks of stumps for a walker.

    Args:
        body: `default`, `short` or `quadru`.
        max_height: highest mean height of stumps, in strides of 14/30 m; above 3 much of the box cannot be learned.
        max_spacing: largest distance between stumps, in metres.
    """
    from envs.walker.families import stump_tracks

    return stump_tracks(body=body, high=(max_height, max_spacing))


def hexagons(*, body: str = "quadru") -> TaskFamily:
    """Returns tracks of hexagons for a walker, with twelve parameters."""
    from envs.walker.families import hexagon_tracks

    return hexagon_tracks(body=body)


TRACKS: dict[str, Callable[..., TaskFamily]] = {"stump-tracks": stumps, "hexagon-tracks": hexagons}
"""Families that only teachers use, by name; options are those of the functions."""


def task_family(name: str) -> TaskFamily:
    """Returns the family of this name.

    It may be tracks, as `stump-tracks@body=short`, an in-context domain, as `darkroom@size=5`, or in the registry.

    Raises:
        ValueError: if the name or an option is unknown, or a value out of range.
    """
    kind = name.partition("@")[0]
    if kind in TRACKS:
        return TRACKS[kind](**options_in(name, TRACKS[kind]))
    return make_domain(name).family if kind in DOMAINS else make_family(name)
