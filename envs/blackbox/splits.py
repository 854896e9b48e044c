"""Which tasks are for training, for choosing, and for testing, by name.

A table is in one of them. Code that trains asks `training_table` for its tables and cannot get any other.
"""

from envs.blackbox.tables import Table, load_table

TRAIN: tuple[str, ...] = (
    *(f"xgb/{i}" for i in range(20)),
    "hpobench/car",
    "hpobench/phoneme",
    "hpobench/australian",
    "hpobench/blood_transfusion",
    "hpolib/naval_propulsion",
    "hpolib/slice_localization",
    "nasbench201/cifar10",
)
"""Tables that models are trained on."""
VALID: tuple[str, ...] = (
    *(f"xgb/{i}" for i in range(20, 34)),
    "hpobench/credit_g",
    "hpolib/parkinsons_telemonitoring",
    "nasbench201/cifar100",
)
"""Tables that checkpoints and settings are chosen by."""
TEST: tuple[str, ...] = (
    *(f"xgb/{i}" for i in range(34, 48)),
    "hpobench/kc1",
    "hpolib/protein_structure",
    "nasbench201/imagenet",
)
"""Tables of known spaces, for the end: their data sets are new."""
SPLITS = {"train": TRAIN, "valid": VALID, "test": TEST}
"""All of them by name."""
ZERO_SHOT: tuple[str, ...] = ("bbob", "sklearn", "abc", "scip")
"""Suites whose spaces no source of training pools knows, for the end."""


def training_table(name: str) -> Table:
    """Returns a table of `TRAIN`.

    Raises:
        ValueError: if the table is kept for choosing or testing, or unknown.
    """
    if name not in TRAIN:
        raise ValueError(f"{name!r} is no table to train on; choose one of {', '.join(TRAIN)}")
    return load_table(name)
