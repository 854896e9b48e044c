"""How the suite runs: eight CPU devices, a compilation cache, shapes and types checked, no implicit promotion.

Everything that jax reads at start-up is set before jax is imported; processes that tests start inherit it.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from pathlib import Path
from types import FunctionType, ModuleType

PLATFORM = os.environ.get("METARL_TEST_PLATFORM", "cpu")
NUM_DEVICES = "--xla_force_host_platform_device_count"

# The CPU stays available beside an accelerator, so that a test can compare the two.
os.environ["JAX_PLATFORMS"] = PLATFORM if PLATFORM == "cpu" else f"{PLATFORM},cpu"
if NUM_DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {NUM_DEVICES}=8".strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")
if num_workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(max(1, (os.cpu_count() or 1) // num_workers))
# XLA sizes its thread pool by NPROC. With no more threads than devices a collective can wait for ever: cli/machine.py.
os.environ["NPROC"] = "16"

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The first example of a test may compile. By default properties are tried on the same examples every time, so that a
# change is not blamed for what chance has found; `make test-properties` looks for counterexamples.
settings.register_profile("metarl", settings(), deadline=None, derandomize=True)
settings.register_profile("search", settings(), deadline=None, max_examples=500)
settings.load_profile("metarl")

PROMOTING = {
    "bbobax.": "float32 * int32 and [d] against scalars in the functions' definitions",
    "brax.": "float32 * bool in its maths; broadcasts vectors against scalars",
    "evosax.": "population [P, D] + mean [D]; float32 * bool in CMA-ES weights",
    "flax.linen.normalization": "means of bfloat16 are taken in float32",
    "gymnax.environments.bsuite.": "float32 observations set from int32; float * bool rewards",
    "gymnax.environments.classic_control.": "float * int32 forces",
    "gymnax.environments.minatar.": "float * bool and int32 * bool on the board",
    "gymnax.environments.misc.": "1 - bool maps; [2] - [5, 2] distances",
    "mujoco.mjx.": "called by brax only",
    "optax.schedules._schedule": "int32 counts * float rates",
    "optax.tree_utils._tree_math": "1 - float ** int32 in Adam's bias correction",
}
"""Modules of other projects that promote implicitly, by the start of their names, and where they do. Only what they
define is relaxed: gymnax's base class is not listed, so the `step_env` of our environments stays strict in `step`."""

JITTED = type(jax.jit(lambda: None))
MAPPINGS = Path("/proc/self/maps")


def promoting(function):
    """Returns the function with implicit promotion allowed while it, or a function it returns, runs or is traced."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            result = function(*args, **kwargs)
        return promoting(result) if isinstance(result, FunctionType) else result

    return wrapped


def allow_promotion(module: ModuleType) -> None:
    """Makes the functions, methods and properties that the module defines promoting; data classes are left alone."""
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    for owner in [module, *(c for c in classes if not hasattr(c, "__dataclass_fields__"))]:
        for name, value in list(vars(owner).items()):
            if isinstance(value, FunctionType | JITTED) and value.__module__ == module.__name__:
                setattr(owner, name, promoting(value))
            elif isinstance(value, property) and value.fget is not None:
                setattr(owner, name, property(promoting(value.fget), value.fset, value.fdel, value.__doc__))


class PromotionFinder(importlib.abc.MetaPathFinder):
    """Relaxes the modules named in `PROMOTING` when they are imported, so that none has to be imported here."""

    def find_spec(self, fullname, path, target=None):
        if not fullname.startswith(tuple(PROMOTING)):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            execute = spec.loader.exec_module

            def execute_and_relax(module):
                execute(module)
                allow_promotion(module)

            spec.loader.exec_module = execute_and_relax
        return spec


sys.meta_path.insert(0, PromotionFinder())
jaxtyping.install_import_hook(["metarl", "envs", "populations", "analysis"], "beartype.beartype")


@pytest.fixture
def key() -> jax.Array:
    """Returns the typed key of seed 0."""
    return jax.random.key(0)


MAX_MAPPINGS = 40_000
"""Memory mappings of a process beyond which compiled programs are dropped; Linux allows 65 530."""


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Drops compiled programs between files once there are very many: each has mappings of its own.

    At the limit of the system, compiling aborts the process; and jax itself forgets programs, one by one, before that.
    """
    is_last = nextitem is None or nextitem.path != item.path
    if is_last and MAPPINGS.exists() and len(MAPPINGS.read_bytes().splitlines()) > MAX_MAPPINGS:
        jax.clear_caches()
