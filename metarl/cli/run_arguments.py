"""The options of every command that makes runs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """Which run, where and how; a command adds its configuration."""

    preset: str
    """Configuration to start from; 'metarl presets' lists them. Every other option overrides one of its fields."""
    name: str | None = None
    """Name of the run, a directory below --runs. None: the preset's name."""
    runs: Path = Path("runs")
    """Directory of all runs."""
    quiet: bool = False
    """Show no progress."""


@dataclass(frozen=True, kw_only=True)
class SpreadRunArguments(RunArguments):
    """The same of a command that spreads batches over devices."""

    devices: int | None = None
    """Devices to spread batches over; CPU cores count as devices. None: all accelerators, and of CPU cores one."""
