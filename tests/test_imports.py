"""Who may import whom (`docs/concepts.md`), and which file alone may touch which library, read from the source."""

import ast
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import optax
import pytest

from envs.family import log_uniform

ROOT = Path(__file__).parents[1]
HOMES = {
    "envs": "envs",
    "populations": "populations",
    "core": "metarl/lifetime",
    "experiments": "metarl/experiments",
    "run": "metarl/run",
    "cli": "metarl/cli",
    "analysis": "analysis",
}
"""Every room, and a folder in it."""
PACKAGES = ("metarl", "envs", "populations", "analysis")
FILES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


class Use(NamedTuple):
    """One mention of something that was imported."""

    name: str
    """The full dotted name: what an import statement binds, or a chain of attributes below it."""
    line: int
    """The line it stands on."""
    is_import: bool
    """Whether the mention is the import itself."""
    is_lazy: bool
    """Whether it stands inside a function."""


def _children(tree: ast.AST, is_lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    for node in ast.iter_child_nodes(tree):
        yield node, is_lazy
        yield from _children(node, is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def _imported(node: ast.AST, file: str) -> dict[str, str]:
    """Returns {bound name: full name} of an import statement; `import a.b` binds `a`, yet its full name is `a.b`."""
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name: alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        package = file.removesuffix(".py").split("/")[: -node.level] if node.level else []
        base = ".".join([*package, *([node.module] if node.module else [])])
        return {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    match node:
        case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
            return {arg.value: arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return {}


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return None


def uses(source: str, file: str) -> list[Use]:
    """Returns every import and every dotted name of the source, aliases resolved, in order of appearance."""
    nodes = list(_children(ast.parse(source)))
    bound = {name: full for node, _ in nodes for name, full in _imported(node, file).items()}
    found = []
    for node, is_lazy in nodes:
        found += [Use(full, node.lineno, True, is_lazy) for full in _imported(node, file).values()]
        if isinstance(node, ast.Name | ast.Attribute) and (dotted := _dotted(node)):
            root, *rest = dotted.split(".")
            found.append(Use(".".join([bound.get(root, root), *rest]), node.lineno, False, is_lazy))
    return found


def _below(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


class Rule(NamedTuple):
    """A sentence about the code, and what breaks it."""

    claim: str
    """The sentence."""
    is_broken: Callable[[str, Use], bool]
    """`is_broken(file, use)`: whether this use in this file contradicts the claim."""
    planted: list[tuple[str, str]]
    """(file, source) pairs, each of which must be found to break the rule."""
    allowed: list[tuple[str, str]]
    """(file, source) pairs close to them, none of which must."""


def _room(module: str) -> str:
    """Returns the room of a module: a package, or in metarl `experiments`, `run`, `cli`, or `core` for the rest."""
    package, *rest = module.split(".")
    if package != "metarl":
        return package
    return {"experiments": "experiments", "run": "run", "cli": "cli", "__main__": "cli"}.get((rest or [""])[0], "core")


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def may_import(room: str, *allowed: str) -> Rule:
    """Returns the rule that of our own code a room imports only itself, the allowed rooms, and the allowed modules."""

    def is_broken(file: str, use: Use) -> bool:
        is_concerned = use.is_import and _room(_module(file)) == room
        is_ours = _below(use.name, *PACKAGES)
        return is_concerned and is_ours and _room(use.name) not in (room, *allowed) and not _below(use.name, *allowed)

    file = f"{HOMES[room]}/planted.py"
    targets = {target for target in HOMES if target not in (room, *allowed)}
    good = [target if "." in target else _module(HOMES[target]) for target in (room, *allowed)]
    return Rule(
        f"{room} imports {', '.join([room, *allowed])} only",
        is_broken,
        [(file, f"def f():\n    from {_module(HOMES[target])} import planted") for target in sorted(targets)],
        [(file, f"from {target} import x") for target in good],
    )


def only_in(files: tuple[str, ...], *names: str, planted: str) -> Rule:
    """Returns the rule that the names are mentioned in the files (patterns) only."""

    def is_broken(file: str, use: Use) -> bool:
        return _below(use.name, *names) and not any(fnmatch(file, pattern) for pattern in files)

    claim = f"{', '.join(names)} only in {', '.join(files)}"
    return Rule(claim, is_broken, [("metarl/planted.py", planted)], [(files[0], planted)])


CLI = ("metarl/cli.py", "metarl/cli/*", "metarl/__main__.py")
MESH = ("populations/mesh.py",)
TERMINAL = ("metarl/run/loop.py", *CLI)

RULES = [
    may_import("envs"),
    may_import("populations"),
    may_import("core", "envs"),
    may_import("experiments", "core", "envs", "populations"),
    may_import("run", "metarl.experiments.base", "metarl.__version__", "populations.mesh"),
    may_import("analysis", "experiments", "core", "envs", "metarl.run.directory", "metarl.run.metrics"),
    Rule(
        "only the command line imports analysis",
        lambda file, use: (
            use.is_import and _below(use.name, "analysis") and _room(_module(file)) not in ("cli", "analysis")
        ),
        [("metarl/experiments/report.py", "def plot():\n    from analysis import curves")],
        [("metarl/cli/plot.py", "def plot():\n    from analysis import curves")],
    ),
    Rule(
        "the command line imports analysis inside functions only",
        lambda file, use: (
            use.is_import and _below(use.name, "analysis") and _room(_module(file)) == "cli" and not use.is_lazy
        ),
        [("metarl/cli.py", "from analysis import curves"), ("metarl/cli/plot.py", "import analysis")],
        [("metarl/cli.py", "def plot():\n    import analysis.curves as curves")],
    ),
    only_in(("populations/evosax_strategy.py",), "evosax", planted="from evosax.algorithms import Open_ES"),
    only_in(("metarl/run/checkpoint.py",), "orbax", planted="import orbax.checkpoint as ocp"),
    only_in(("metarl/networks/policy.py",), "distrax", planted="def f():\n    import distrax"),
    only_in(CLI, "tyro", planted="import importlib\nimportlib.import_module('tyro')"),
    # The sampler is for everyone's studies; those that compare samplers on tables are kept out of it.
    only_in(
        ("metarl/metabo/optuna_sampler.py", "metarl/metabo/optuna_study.py"),
        "optuna",
        planted="def f():\n    import optuna",
    ),
    only_in(("envs/brax_env.py",), "brax", planted="from brax import envs"),
    only_in(
        ("envs/registry.py",), "gymnax.make", "gymnax.registration.make", planted="import gymnax as g\ng.make('Pong')"
    ),
    only_in(MESH, "jax.sharding", planted="from jax.sharding import Mesh"),
    only_in(MESH, "jax.distributed", planted="import jax\njax.distributed.initialize()"),
    only_in(MESH, "jax.shard_map", "jax.experimental.shard_map", planted="from jax import shard_map"),
    only_in(MESH, "jax.make_mesh", "jax.set_mesh", planted="import jax\nmesh = jax.make_mesh((8,), ('p',))"),
    only_in(MESH, "jax.lax.with_sharding_constraint", planted="from jax import lax\nlax.with_sharding_constraint"),
    only_in(TERMINAL, "print", "builtins.print", planted="print('hello')"),
    only_in(TERMINAL, "sys.stdout", "sys.stderr", planted="from sys import stderr as out\nout.write('hello')"),
    only_in(TERMINAL, "tqdm", planted="from tqdm import tqdm"),
]


def broken(rule: Rule, file: str, source: str) -> list[str]:
    """Returns the mentions that break the rule, as `file:line name`."""
    return [f"{file}:{use.line} {use.name}" for use in uses(source, file) if rule.is_broken(file, use)]


@pytest.mark.parametrize("rule", RULES, ids=[rule.claim for rule in RULES])
def test_rule_holds(rule):
    assert [use for file in FILES for use in broken(rule, file, (ROOT / file).read_text())] == []


@pytest.mark.parametrize("rule", RULES, ids=[rule.claim for rule in RULES])
def test_rule_can_fail(rule):
    assert all(broken(rule, file, source) for file, source in rule.planted)
    assert not any(broken(rule, file, source) for file, source in rule.allowed)


def test_files_of_every_package_are_read():
    assert {file.split("/")[0] for file in FILES} == set(PACKAGES)


def test_our_arithmetic_is_strict_while_that_of_listed_libraries_is_not():
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.ones(3) * jnp.arange(3)
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 3)) * jnp.ones(3)
    adam = optax.adam(1e-3)
    adam.update(jnp.ones(3), adam.init(jnp.ones(3)))


def test_array_types_of_our_functions_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError):
        log_uniform(jnp.arange(3), 1.0, 2.0)
