"""A small untrained model on disk, for tests of those who ask it."""

import jax

from metarl.metabo.export import save_nap
from metarl.metabo.nap import make_nap

SMALL = {"width": 16, "num_layers": 1, "num_heads": 2, "num_bars": 16}


def save_small(directory):
    """Returns the directory with the model in it; its acquisition is untrained, and therefore expected improvement."""
    params = jax.device_get(make_nap(**SMALL).init(jax.random.key(1)))
    return save_nap(directory, SMALL, params, {"head": "acquisition"})
