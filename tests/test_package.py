"""The package as it is installed: a wheel, used from another directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("metarl", "envs", "populations", "analysis")
HEAVY = ("jax", "jaxlib", "gymnax", "flax", "optax", "evosax", "distrax", "brax", "orbax", "matplotlib", "scipy")


def run(*command: str, cwd: Path, path: Path) -> str:
    """Returns the standard output of a command started in `cwd` with `path` first on Python's path."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Returns a folder into which the wheel, built from this tree without reaching for anything, was installed."""
    folder = tmp_path_factory.mktemp("package")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    run(*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(ROOT), cwd=folder, path=folder)
    (wheel,) = folder.glob("metarl-*.whl")
    run(*pip, "install", *offline, "--target", str(folder / "site"), str(wheel), cwd=folder, path=folder)
    return folder / "site"


def test_wheel_holds_the_four_packages_and_nothing_else_of_ours(installed):
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names == {*PACKAGES, "bin"}


def test_wheel_holds_every_module_and_the_typing_marker(installed):
    def files(root: Path) -> set[Path]:
        return {path.relative_to(root) for name in PACKAGES for path in (root / name).rglob("*.py")}

    assert files(installed) == files(ROOT)
    assert (installed / "metarl" / "py.typed").is_file()


def test_wheel_holds_the_tables_with_their_licences(installed):
    names = {path.name for path in (installed / "envs" / "blackbox" / "data").iterdir()}
    assert names == {path.name for path in (ROOT / "envs" / "blackbox" / "data").iterdir()} >= {"NOTICE", "README.md"}


def test_wheel_holds_the_experts_that_were_trained(installed):
    def files(root: Path) -> set[Path]:
        return {path.relative_to(root) for path in (root / "envs" / "experts").rglob("policy.*")}

    assert files(installed) == files(ROOT) != set()


def test_packages_import_from_the_wheel_in_another_directory(installed, tmp_path):
    code = f"import {', '.join(PACKAGES)}; print(*(m.__file__ for m in ({', '.join(PACKAGES)})), sep='\\n')"
    origins = run(sys.executable, "-c", code, cwd=tmp_path, path=installed).splitlines()
    assert [Path(origin) for origin in origins] == [installed / name / "__init__.py" for name in PACKAGES]


def test_command_line_imports_nothing_heavy(installed, tmp_path):
    code = "import sys, metarl.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = run(sys.executable, "-c", code, cwd=tmp_path, path=installed).split()
    assert "metarl" in loaded
    assert set(loaded).isdisjoint(HEAVY)


def test_command_line_describes_itself(installed, tmp_path):
    shown = run(sys.executable, str(installed / "bin" / "metarl"), "--help", cwd=tmp_path, path=installed)
    assert "usage: metarl" in shown
    assert "discover" in shown
