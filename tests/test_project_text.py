"""What the text of the project must and must not contain."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("metarl", "envs", "populations", "analysis")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Built from pieces, so that this file does not contain what it looks for.
FORBIDDEN = {
    "package index": re.compile(
        "|".join(map(re.escape, ("pypi" + ".org", "python" + "hosted", "index" + "-url", "find" + "-links")))
    ),
    "file address": re.compile(re.escape("file:" + "//")),
    "path on one machine": re.compile(r"(?<![\w.:/~-])/(?:home|mnt|opt|root|srv|work|Users)/"),
}


def tracked_texts() -> dict[str, str]:
    """Returns {path: text} of every text file that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    blobs = {name: (ROOT / name).read_bytes() for name in names if name and (ROOT / name).is_file()}
    return {name: blob.decode() for name, blob in blobs.items() if b"\0" not in blob}


def found(text: str, what: str) -> list[str]:
    """Returns the lines of the text in which the forbidden thing stands."""
    return [line for line in text.splitlines() if FORBIDDEN[what].search(line)]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_text_contains(what):
    assert {name: lines for name, text in tracked_texts().items() if (lines := found(text, what))} == {}


@pytest.mark.parametrize(
    ("what", "planted"),
    [
        ("package index", "pip install -i https://test.py" + "pi.org/simple"),
        ("package index", "--extra-index" + "-url x"),
        ("file address", "tool @ file:" + "///tmp/tool.whl"),
        ("path on one machine", "see /wo" + "rk/notes.md"),
        ("path on one machine", "(/ho" + "me/me/runs)"),
    ],
)
def test_forbidden_text_is_found(what, planted):
    assert found(planted, what) == [planted]


@pytest.mark.parametrize("fine", ["docs/work/notes.md", "https://example.com/home/x", "runs/root/x", "~/work/x"])
def test_relative_paths_and_web_addresses_are_fine(fine):
    assert not any(found(fine, what) for what in FORBIDDEN)


def test_every_public_module_has_a_docstring():
    public = [path for path in MODULES if path.name == "__init__.py" or not path.name.startswith("_")]
    silent = [
        path.relative_to(ROOT).as_posix() for path in public if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert public
    assert silent == []
