"""Logic synthesis as a task: order 20 operators of Berkeley ABC so that a circuit takes few and shallow tables.

ABC is a program of its own (Debian's `berkeley-abc`). Circuits come from a folder of BLIF files, such as the EPFL
combinational benchmarks, or from ABC's own generator, which needs no download.

Source: Grosnit et al. 2022 (BOiLS), operators and quality; Maraval et al. 2023 (NAP), flows of 20 over 11 operators.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.blackbox.built import BuiltTable, without_failures
from envs.blackbox.configuration import category, category_counts, decode, draw, kinds
from envs.blackbox.evaluation_cache import Configuration, EvaluationFailed, Problem, content_hash, evaluate_all

PROGRAMS = ("berkeley-abc", "abc", "yosys-abc")
"""Names under which ABC is installed, in order of preference."""
OPERATORS = (
    "rewrite",
    "rewrite -z",
    "refactor",
    "refactor -z",
    "resub",
    "resub -z",
    "balance",
    "fraig",
    "&get -n; &sopb; &put",
    "&get -n; &blut; &put",
    "&get -n; &dsdb; &put",
)
"""What each of the 11 categories does."""
FLOW_LENGTH = 20
"""Operators of a flow."""
REFERENCE = (
    *("balance", "rewrite", "refactor", "balance", "rewrite"),
    *("rewrite -z", "balance", "refactor -z", "rewrite -z", "balance"),
)
"""The script `resyn2` in full; it is an alias in a file that not every installation has."""
GENERATED = {"adder": "-a", "multiplier": "-m", "sorter": "-s"}
"""Circuits that ABC can make, and the option that makes them."""
TIMEOUT = 120.0
"""Seconds after which a flow counts as failed."""

_SPACE = tuple(category(f"operator_{place:02d}", *OPERATORS) for place in range(1, FLOW_LENGTH + 1))
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STATISTICS = re.compile(r"\bnd\s*=\s*(\d+)\b.*\blev\s*=\s*(\d+)")


class Circuit(NamedTuple):
    """A combinational circuit."""

    name: str
    """What it is called."""
    blif: str
    """Its text in the Berkeley logic interchange format."""


class Cost(NamedTuple):
    """What a mapped circuit takes."""

    nodes: int
    """Look-up tables of up to 6 inputs: its area."""
    levels: int
    """Tables on the longest path: its delay."""


def find_abc() -> str:
    """Returns the path of ABC.

    Raises:
        ValueError: if it is not on the search path.
    """
    for program in PROGRAMS:
        if path := shutil.which(program):
            return path
    raise ValueError(f"logic synthesis needs Berkeley ABC, as one of {', '.join(PROGRAMS)} (Debian: berkeley-abc)")


def abc_version(program: str) -> str:
    """Returns what ABC says about its version and build."""
    shown = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    lines = [line for line in (shown.stdout + shown.stderr).splitlines() if "ABC" in line]
    return lines[0].strip() if lines else "unknown"


def read_circuit(folder: str | Path, name: str) -> Circuit:
    """Returns the circuit `name.blif`, which may lie anywhere below the folder.

    Raises:
        ValueError: if there is not exactly one such file.
    """
    files = sorted(Path(folder).rglob(f"{name}.blif"))
    if len(files) != 1:
        raise ValueError(f"{folder} holds {len(files)} files {name}.blif; name a folder that holds one")
    return Circuit(name, files[0].read_text())


def generate_circuit(kind: str, size: int) -> Circuit:
    """Returns an adder, multiplier or sorter of `size` bits (or inputs, at least 2), made by ABC.

    Raises:
        ValueError: if the kind is another, the size too small, or ABC is missing.
    """
    if kind not in GENERATED or size < 2:
        raise ValueError(f"a {kind} of size {size} cannot be made; choose one of {sorted(GENERATED)} and at least 2")
    with tempfile.TemporaryDirectory() as folder:
        _run(find_abc(), f"gen -N {size} {GENERATED[kind]} circuit.blif", folder, TIMEOUT)
        return Circuit(f"{kind}{size}", (Path(folder) / "circuit.blif").read_text())


def circuit_hash(circuit: Circuit) -> str:
    """Returns a hash of the circuit's text without comments, in which generators write the date."""
    return content_hash("\n".join(line.split("#")[0].rstrip() for line in circuit.blif.splitlines()).strip())


def parse_statistics(text: str) -> Cost:
    """Returns nodes and levels from what `print_stats` wrote, the last time that it did; colours are ignored.

    Raises:
        EvaluationFailed: if it wrote none.
    """
    found = _STATISTICS.findall(_COLOUR.sub("", text))
    if not found:
        raise EvaluationFailed(f"ABC printed no statistics but: {text.strip()[-200:]!r}")
    return Cost(*map(int, found[-1]))


def map_circuit(circuit: Circuit, flow: Sequence[str], *, program: str, timeout: float = TIMEOUT) -> Cost:
    """Returns the cost of the circuit after the flow's commands and mapping to 6-input tables.

    Raises:
        EvaluationFailed: if ABC takes longer than `timeout` seconds, crashes, or prints no statistics.
    """
    script = "; ".join(["read circuit.blif", "strash", *flow, "if -K 6", "print_stats"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "circuit.blif").write_text(circuit.blif)
        return parse_statistics(_run(program, script, folder, timeout))


def build(
    circuit: Circuit,
    *,
    num_flows: int,
    seed: int,
    track: Callable[[Sequence[Configuration]], Iterable[Configuration]] = iter,
) -> BuiltTable:
    """Returns the table of random flows, evaluated where the cache does not know them.

    The objective is minus the quality of result, `nodes / nodes_ref + levels / levels_ref` with resyn2 as reference:
    -2 is as good as the reference, and larger is better.

    Args:
        circuit: what is synthesised.
        num_flows: N, different flows.
        seed: of the draw.
        track: shows progress, see `evaluate_all`.

    Raises:
        ValueError: if ABC is missing, or cannot map the circuit with the reference or with any flow.
    """
    program = find_abc()
    problem = Problem("logic_synthesis", "abc", abc_version(program), circuit_hash(circuit))
    x = draw(_SPACE, num_flows, seed)
    flows = [{"flow": list(decode(_SPACE, row).values())} for row in x]
    reference, *results = evaluate_all(
        problem,
        [{"flow": list(REFERENCE)}, *flows],
        lambda configuration: map_circuit(circuit, configuration["flow"], program=program),
        track=track,
    )
    if reference.reason:
        raise ValueError(f"ABC cannot map {circuit.name}: {reference.reason}")
    quality = np.array([_quality(result.numbers, reference.numbers) for result in results])
    y, num_failed = without_failures(-quality, [result.reason for result in results])
    return BuiltTable(x, kinds(_SPACE), category_counts(_SPACE), y, tuple(p.name for p in _SPACE), num_failed)


def _quality(cost: Sequence[float], reference: Sequence[float]) -> float:
    """Returns area and delay, each as a share of the reference, added; NaN of a failure."""
    return sum(c / max(r, 1.0) for c, r in zip(cost, reference, strict=True)) if len(cost) == 2 else float("nan")


def _run(program: str, script: str, folder: str, timeout: float) -> str:
    """Returns what ABC prints while it runs the script in the folder; no shell and no start-up file are involved."""
    try:
        done = subprocess.run(
            [program, "-s", "-q", script],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EvaluationFailed(f"ABC took longer than {timeout:g} s") from error
    if done.returncode != 0:
        raise EvaluationFailed(f"ABC ended with code {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout
