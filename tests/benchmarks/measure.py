"""What benchmarks share: process CPU-seconds, rows of the one schema, and the file they are written to."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cpu_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Returns (process CPU-seconds of the call, its result)."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def row(name: str, value: float, unit: str, reference: float | None = None, target: float | None = None) -> dict:
    """Returns one result row; the target is in the unit of the value, and a row with a reference may have none."""
    extra = {}
    if reference is not None:
        extra = {"reference": reference, "ratio": value / reference}
    if target is not None:
        extra |= {"target": target, "met": bool(value >= target)}
    return {"name": name, "value": value, "unit": unit, **extra}


def write(rows: list[dict], out: Path) -> None:
    """Prints the rows and writes them."""
    for result in rows:
        ratio = f"  {result['ratio']:.2f} x reference" if "ratio" in result else ""
        target = f"  target {result['target']:.3g}" if "target" in result else ""
        print(f"{result['name']:45s} {result['value']:12.4g} {result['unit']}{ratio}{target}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"schema": 1, "rows": rows}, indent=2) + "\n")
    print(f"numbers: {out}")
