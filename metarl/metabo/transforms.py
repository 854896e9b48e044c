"""What is done to the values of an objective before a model sees them; all of it keeps their order."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtri
from scipy.stats import rankdata

Values = Float64[np.ndarray, " n"]


def logarithm(y: Values) -> Values:
    """Returns the logarithm of values, or minus that of their negatives: losses that are minimised come as such.

    Raises:
        ValueError: if some are positive and others not, or one is 0.
    """
    if not ((y > 0.0).all() or (y < 0.0).all()):
        raise ValueError("the transform log needs values that are all positive; choose copula, or none")
    return np.sign(y) * np.log(np.abs(y))


def copula(y: Values) -> Values:
    """Returns the normal quantiles of the values' ranks: however far away some are, they do not flatten the others.

    Source: Salinas et al. 2020 (A quantile-based approach for hyperparameter transfer learning), section 4.1.
    """
    return ndtri((rankdata(y) - 0.5) / max(len(y), 1))


TRANSFORMS: dict[str, Callable[[Values], Values]] = {"none": lambda y: y, "log": logarithm, "copula": copula}
"""Transforms by name."""


def transform_of(name: str) -> Callable[[Values], Values]:
    """Returns the transform of a name.

    Raises:
        ValueError: if there is none.
    """
    if name not in TRANSFORMS:
        raise ValueError(f"there is no transform {name!r} of values; choose one of {', '.join(TRANSFORMS)}")
    return TRANSFORMS[name]
