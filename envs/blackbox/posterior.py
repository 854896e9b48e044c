"""Functions that the tables of XGBoost could have been as well: draws from Gaussian processes fitted to them.

Kept in the user's cache once drawn.

Source: Maraval et al. 2023 (NAP) and its code (huawei-noah/HEBO): training tasks are draws, noise included, from the
posterior of a process per source table; kernels and noise are those fitted there.
"""

import os
import tempfile
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from envs.blackbox.splits import training_table
from envs.blackbox.tables import load_archive

NUM_SOURCES = 20
"""Tables that have a process: `xgb/0` to `xgb/19`."""
VERSION = 1
"""Of what the cache holds; a new one whenever the same arguments give other draws."""
JITTER = 1e-8
"""Added to a kernel's diagonal, as a share of its variance, so that it can be factorised in double precision."""


def cached_draws(num_draws: int = 49, *, seed: int = 0, directory: Path | None = None) -> Float[np.ndarray, "S M N"]:
    """Returns posterior draws of all sources, float32, from the cache or, where they are missing, drawn and put there.

    Args:
        num_draws: M, draws per source, at least 1.
        seed: decides the draws.
        directory: of the cache; `metarl` in the user's cache directory by default. Where nothing can be written, the
            draws are made anew each time.

    Raises:
        ValueError: if there are to be no draws.
    """
    if num_draws < 1:
        raise ValueError(f"cached_draws was asked for {num_draws} draws; it needs at least 1")
    path = (cache_directory() if directory is None else directory) / f"posterior-v{VERSION}-{num_draws}-{seed}.npz"
    found = _stored(path)
    if found is not None:
        return found
    draws = np.stack([posterior_draws(i, num_draws, seed=seed) for i in range(NUM_SOURCES)]).astype(np.float32)
    _store(path, draws)
    return draws


def posterior_draws(source: int, num_draws: int, *, seed: int = 0, has_noise: bool = True) -> Float[np.ndarray, "M N"]:
    """Returns draws of a table's objective at its own configurations, given its values: standardised and maximised.

    A draw of the prior is moved by what the data say about its error (Matheron's rule), which needs one factorisation
    and one solution for all draws together.

    Args:
        source: i of the table `xgb/i`, below 20.
        num_draws: M.
        seed: decides the draws, together with the source.
        has_noise: draw measurements, as the measured values are, instead of the function beneath.
    """
    kernel, noise, mean = fitted_process(source)
    law = np.random.default_rng((seed, source))
    size = (len(kernel), num_draws)
    ridge = JITTER * kernel[0, 0] * np.eye(len(kernel))
    prior = mean + np.linalg.cholesky(kernel + ridge) @ law.standard_normal(size)
    measured = prior + np.sqrt(noise) * law.standard_normal(size)
    error = -standardised(source)[:, None] - measured  # the process is one of errors
    draws = prior + kernel @ np.linalg.solve(kernel + noise * np.eye(len(kernel)), error)
    again = law.standard_normal(size)
    return -(draws + np.sqrt(noise) * again * has_noise).T


def fitted_process(source: int) -> tuple[Float[np.ndarray, "N N"], float, float]:
    """Returns (kernel matrix at the table's configurations, variance of the noise, mean) of a fitted process.

    Its units are those of standardised error rates. Inputs are hyper-parameters as they are, less their mean over their
    deviation, of all 20 tables together.
    """
    archive = load_archive("nap_xgb48")
    raw = archive["X"][:NUM_SOURCES].astype(np.float64)
    scaled = (raw[source] - raw.mean(axis=(0, 1))) / raw.std(axis=(0, 1)) / archive["gp_lengthscale"][source]
    kernel = archive["gp_outputscale"][source] * matern(scaled)
    return kernel, float(archive["gp_noise"][source]), float(archive["gp_mean"][source])


def standardised(source: int) -> Float[np.ndarray, " N"]:
    """Returns a table's objective less its mean over its deviation (divisor n - 1), float64."""
    y = training_table(f"xgb/{source}").y.astype(np.float64)
    return (y - y.mean()) / y.std(ddof=1)


def matern(x: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N N"]:
    """Returns the Matérn-5/2 correlations of points, in units of the lengthscale."""
    norms = np.sum(x**2, axis=1)
    squared = np.maximum(norms[:, None] + norms[None] - 2.0 * x @ x.T, 0.0)
    np.fill_diagonal(squared, 0.0)
    scaled = np.sqrt(5.0 * squared)
    return (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)


def cache_directory() -> Path:
    """Returns where draws are kept: `metarl` below `XDG_CACHE_HOME`, or below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl"


def _stored(path: Path) -> Float[np.ndarray, "S M N"] | None:
    """Returns what the cache holds, or None if it holds nothing that can be read."""
    try:
        # Opened here, because numpy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive["draws"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _store(path: Path, draws: Float[np.ndarray, "S M N"]) -> None:
    """Writes beside the place and moves it there, so that no reader ever sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError:  # a home that cannot be written to costs time only
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, draws=draws)
        os.replace(name, path)
    except OSError:  # a full disk as well
        Path(name).unlink(missing_ok=True)
