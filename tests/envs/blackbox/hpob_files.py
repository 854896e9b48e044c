"""HPO-B's four files in miniature."""

import json

import numpy as np

FILES = {
    "train": "meta-train-dataset.json",
    "validation": "meta-validation-dataset.json",
    "test": "meta-test-dataset.json",
    "initial": "bo-initializations.json",
}


def table(seed, num_points, num_dimensions):
    """A data set of random points and values."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((num_points, num_dimensions)), rng.random((num_points, 1))
    return {"X": x.tolist(), "y": y.tolist()}


def write_miniature(folder, extra=0):
    """Returns (folder, contents) of the four files: two spaces, of 2 and 3 dimensions; test tables are some 12 long."""
    contents = {
        "train": {"4796": {"1": table(1, 8, 3), "2": table(2, 9, 3)}, "5527": {"7": table(3, 7, 2)}},
        "validation": {"4796": {"3": table(4, 6, 3)}},
        "test": {
            "4796": {"23": table(5, 12 + extra, 3)},
            "5527": {"31": table(6, 11 + extra, 2), "146": table(7, 10 + extra, 2)},
        },
        "initial": {
            "4796": {"23": {f"test{s}": [s, 5, 6, 7, 8] for s in range(5)}},
            "5527": {d: {f"test{s}": [9, 8, s, 6, 5] for s in range(5)} for d in ("31", "146")},
        },
    }
    folder.mkdir()
    for part, content in contents.items():
        (folder / FILES[part]).write_text(json.dumps(content, indent=1 if part == "test" else None))
    return folder, contents
