"""What the page of every run says about how the run came about and how to do it again."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.load import Run, flatten
from analysis.page import Html, join, page, pairs, section, tag


def preset(run: Run) -> str | None:
    """Returns the preset's name from the command line of the first session that names one, or None."""
    for session in run.sessions:
        if found := re.search(r"--preset[ =](\S+)", " ".join(map(str, session.get("argv") or ()))):
            return found[1]
    return None


def command(session: Mapping[str, Any]) -> str | None:
    """Returns the command line of a session, ready for a shell, or None if it is not recorded."""
    argv = [str(word) for word in session.get("argv") or ()]
    if not argv:
        return None
    path = Path(argv[0])
    program = ["python", argv[0]] if path.suffix == ".py" else [path.name]
    if path.name == "__main__.py":
        program = ["python", "-m", path.parent.name]
    return shlex.join([*program, *argv[1:]])


def reproduction(run: Run, examination: str = "Evaluation") -> Html:
    """Returns the section that says how to do a run again; `examination` heads what is known of its evaluation."""
    blocks: list[object] = []
    for index, session in enumerate(run.sessions):
        blocks.append(tag("h3", f"Session {index + 1} of {len(run.sessions)}") if len(run.sessions) > 1 else "")
        blocks.append(_session(session))
    if not run.sessions:
        blocks.append(tag("p", "The run does not record what produced it.", class_="note"))
    if "seed" in run.config:
        blocks.append(tag("p", f"All randomness follows from the seed {run.config['seed']}."))
    if run.evaluation:
        entries = [(name, value) for name, value in flatten(run.evaluation).items() if name != "schema"]
        blocks += [tag("h3", examination), pairs(entries)]
    return section("How to reproduce", *blocks)


def how_evaluated(content: Mapping[str, Any]) -> Html | str:
    """Returns the section that says what an evaluation file tells of how it was made; nothing of an empty one."""
    entries = [(name, value) for name, value in content.items() if name != "rows"]
    return section("How to reproduce", pairs(entries)) if entries else ""


def _session(session: Mapping[str, Any]) -> Html:
    git = session.get("git") or {}
    commit = f"{git['commit']}{' with uncommitted changes' if git.get('dirty') else ''}" if git.get("commit") else None
    packages = [f"{name} {version}" for name, version in (session.get("packages") or {}).items() if version]
    devices = [f"{count} x {kind}" for kind, count in (session.get("devices") or {}).items()]
    entries = {"started": session.get("started"), "continued at step": session.get("first_step") or None}
    entries |= {
        "commit": commit or "not recorded",
        "devices": ", ".join(devices),
        "processes": session.get("num_processes"),
    }
    entries |= {"packages": ", ".join(packages), "python": session.get("python"), "platform": session.get("platform")}
    line = command(session)
    return join([tag("pre", line) if line else "", pairs((name, value) for name, value in entries.items() if value)])


def write_page(run: Run, *body: object) -> Path:
    """Returns the path of `report.html`, written into the run directory in place of an older one."""
    return save_page(run.directory / "report.html", run.name, *body)


def save_page(path: Path, title: str, *body: object) -> Path:
    """Returns the path, at which a page now is in place of an older one; its directory is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page(title, *body), encoding="utf-8")
    os.replace(temporary, path)
    return path
