"""What others published on HPO-B, as curves: best value so far against evaluations.

Source: the result files of Pineda Arango et al. 2021 (HPO-B), Maraval et al. 2023 (NAP), Wistuba and Grabocka 2021
(FSBO) and Chen et al. 2022 (OptFormer); see `data/README.md`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from envs.blackbox.tables import load_archive

NAP_SPACES: tuple[str, ...] = ("4796", "5527", "5859", "5860", "5889", "5906")
"""HPO-B's names of the spaces that NAP was measured in: rpart.preproc, svm, rpart, glmnet, ranger, xgboost."""


class PublishedCurves(NamedTuple):
    """Curves of published methods on the same tasks and seeds, from the same initial points in one protocol."""

    tasks: tuple[str, ...]
    """`space/data set` of each of the K tasks."""
    values: dict[str, Float[np.ndarray, "K S T"]]
    """{origin__method: best value so far in [0, 1] of K tasks, S seeds, T steps}; NaN where nothing was published."""

    def regret(self, method: str, spaces: Sequence[str] | None = None) -> Float[np.ndarray, "k S T"]:
        """Returns one less the best value of a method, float64, in some spaces' tasks or all.

        Raises:
            ValueError: if the method or a space is unknown.
        """
        if method not in self.values:
            raise ValueError(f"no curves of {method!r} were published; choose one of {', '.join(self.values)}")
        homes = [task.partition("/")[0] for task in self.tasks]
        chosen = set(homes) if spaces is None else set(spaces)
        if not chosen <= set(homes):
            raise ValueError(f"HPO-B has no spaces {sorted(chosen - set(homes))}; it has {sorted(set(homes))}")
        return 1.0 - self.values[method][[home in chosen for home in homes]].astype(np.float64)


def published_curves() -> PublishedCurves:
    """Returns all published curves: 40 methods, 86 tasks, 5 seeds, 101 steps of which the first is no suggestion yet.

    Values are as published: nothing is made monotone, nothing filled in.
    """
    archive = load_archive("hpob_published_curves")
    values = {name: curve for name, curve in archive.items() if name != "tasks"}
    return PublishedCurves(tuple(archive["tasks"].tolist()), values)
