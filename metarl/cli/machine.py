"""What a command asks of the machine before JAX wakes up: one device per core, and a cache for compiled programs."""

import os
from pathlib import Path


def prepare_jax() -> None:
    """Makes every CPU core a device and keeps compiled programs on disk; call it before JAX is first imported.

    XLA_FLAGS and JAX_COMPILATION_CACHE_DIR that are already set are left alone. On an accelerator the first has no
    effect.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}".strip()
        # Devices that wait for the others in a collective hold their threads. Were there no more threads than devices,
        # the last device would wait for ever for one to share a large product with. XLA reads their number from NPROC.
        os.environ.setdefault("NPROC", str(2 * count))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl" / "compiled"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def largest_share(num_available: int, num_candidates: int, microbatch: int | None) -> int:
    """Returns the most devices, of those available, over which the population divides in whole chunks of pairs."""
    unit = microbatch or 2
    return max(n for n in range(1, num_available + 1) if n == 1 or num_candidates % (n * unit) == 0)
