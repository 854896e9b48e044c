"""An optimiser that is asked what to evaluate and told what came out, with a trained model as its judgement."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from metarl.exported import replace_file
from metarl.metabo.acquisitions import score_of
from metarl.metabo.candidates import keys_of, nearest, sobol
from metarl.metabo.export import TrainedNAP, find_nap
from metarl.metabo.space import MAX_DIMENSIONS, Config, Dimension, Fixed, Space, space_of
from metarl.metabo.suggest import NUM_CANDIDATES, Known, Search
from metarl.metabo.transforms import transform_of

SCHEMA = 1
"""Version of the layout of saved optimisers."""
SETTINGS = ("maximize", "seed", "num_init", "horizon", "transform", "head")
DESIGN, SEARCH = 0, 1
"""Streams of random numbers of one seed."""


Value = float | int | np.number | None
"""What may come out of an evaluation."""


class Result(NamedTuple):
    """One evaluation."""

    config: Config
    """What was evaluated."""
    value: float | None
    """What came out, as it was told; None: the evaluation failed."""


class Optimizer:
    """Optimises an objective that is evaluated elsewhere.

    Until `num_init` results have been told, at least one of them a number, it asks for points of a scrambled Sobol
    design, and afterwards for what the model prefers. What it asks for depends on the seed, on how much it has been
    asked for, and on what it has been told and has not been told yet, and on nothing else.
    """

    def __init__(
        self,
        space: Space | Mapping[str, Dimension | Fixed],
        checkpoint: str | os.PathLike | TrainedNAP | None = None,
        *,
        maximize: bool = True,
        seed: int = 0,
        num_init: int = 5,
        horizon: int = 50,
        transform: str = "none",
        head: str | None = None,
    ) -> None:
        """Makes an optimiser that knows nothing yet.

        Args:
            space: what may be evaluated.
            checkpoint: path of an exported model, its name in the zoo, or the model; None: the one that ships.
            maximize: whether more is better.
            seed: of everything random, >= 0.
            num_init: results before the model has its say.
            horizon: T, results after those that the model is to expect; going on beyond it is allowed.
            transform: what the model is shown instead of values, one of `metarl.metabo.transforms.TRANSFORMS`: `log`
                for losses over orders of magnitude, `copula` for objectives some of whose values are absurdly bad.
            head: what candidates are scored by, one of `metarl.metabo.acquisitions.HEADS`: the learned `acquisition`,
                or by what is predicted, `ei`, `ucb` or draws (`thompson`); None: what the model's record names.

        Raises:
            ValueError: if there is no such model, transform or head, or a number is out of range.
        """
        if seed < 0 or num_init < 0 or horizon < 1:
            raise ValueError(
                f"seed={seed}, num_init={num_init}, horizon={horizon} were given; they must be >= 0, >= 0 and >= 1"
            )
        transform_of(transform)
        self.transform, self.head = transform, head
        self.space = space if isinstance(space, Space) else Space(space)
        self.trained = find_nap(checkpoint)
        score_of(self.trained.head if head is None else head)
        self.maximize, self.seed, self.num_init, self.horizon = maximize, seed, num_init, horizon
        self.checkpoint = None if checkpoint is None or isinstance(checkpoint, TrainedNAP) else os.fspath(checkpoint)
        self.results: list[Result] = []
        """What has been told, in order."""
        self.pending: list[Config] = []
        """What has been asked for and not been told."""
        self._num_asked = 0
        self._x = np.zeros((0, MAX_DIMENSIONS))

    @property
    def best(self) -> Result | None:
        """The best result; None as long as there is no number."""
        numbers = [result for result in self.results if result.value is not None]
        sign = 1.0 if self.maximize else -1.0
        return max(numbers, key=lambda result: sign * float(result.value or 0.0), default=None)

    @property
    def num_failed(self) -> int:
        """Results that are no numbers; the model takes them for the worst of the others."""
        return sum(result.value is None for result in self.results)

    def ask(self, n: int = 1, candidates: Sequence[Mapping[str, Any]] | None = None) -> list[Config]:
        """Returns a list of n different configurations to evaluate, also for n = 1; none has been asked for before.

        Args:
            n: how many; each is chosen as if those before it had come out as predicted.
            candidates: what may be chosen; None: anything in the space.

        Raises:
            ValueError: if there are not n such configurations; nothing has changed then.
        """
        if n < 1:
            raise ValueError(f"{n} configurations were asked for; ask for 1 or more")
        allowed = None if candidates is None else self.space.encode(candidates)
        before = self._num_asked, list(self.pending)
        try:
            for _ in range(n):
                x = self._choose(self._known(), allowed)
                self.pending.append(self.space.decode(x[None])[0])
                self._num_asked += 1
        except ValueError:
            self._num_asked, self.pending = before
            raise
        return [dict(config) for config in self.pending[-n:]]

    def tell(
        self,
        configs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        values: Value | Sequence[Value] | np.ndarray,
    ) -> None:
        """Takes results in; they need not have been asked for, so that earlier ones can be told at the start.

        Args:
            configs: one configuration or several.
            values: the value of each; None, NaN or an infinity: the evaluation failed.

        Raises:
            ValueError: if a configuration is not in the space, the counts differ, or values do not allow the transform;
                nothing has been taken in then.
        """
        if isinstance(configs, Mapping):
            configs, values = [configs], [values]  # type: ignore[assignment, list-item]
        numbers = [None if value is None or not math.isfinite(value) else float(value) for value in list(values)]
        if len(configs) != len(numbers):
            raise ValueError(
                f"{len(configs)} configurations and {len(numbers)} values were told; give one value for each"
            )
        finite = [value for value in (*(result.value for result in self.results), *numbers) if value is not None]
        transform_of(self.transform)(np.asarray(finite))
        x = self.space.encode(configs)
        self._x = np.concatenate([self._x, x])
        self.results += [Result(self.space.clean(c), value) for c, value in zip(configs, numbers, strict=True)]
        open_keys = keys_of(self.space.encode(self.pending))
        for key in keys_of(x):
            if key in open_keys:
                place = open_keys.index(key)
                del open_keys[place], self.pending[place]

    def save(self, path: str | os.PathLike) -> Path:
        """Returns the path of a JSON file with the whole state, from which `load` goes on with the same asks.

        The model itself is not in it, only where it is and the hash of its weights.

        Raises:
            ValueError: if the space holds values that JSON does not.
        """
        state = {
            "schema": SCHEMA,
            "space": self.space.describe(),
            "settings": {name: getattr(self, name) for name in SETTINGS},
            "checkpoint": self.checkpoint,
            "digest": self.trained.digest,
            "num_asked": self._num_asked,
            "results": [list(result) for result in self.results],
            "pending": self.pending,
        }
        try:
            text = json.dumps(state, allow_nan=False)
            is_same = space_of(json.loads(text)["space"]).describe() == self.space.describe()
        except (TypeError, ValueError) as error:
            raise ValueError(f"the space holds a value that JSON does not ({error}); use texts and numbers") from error
        if not is_same:
            raise ValueError("the space holds values that JSON changes, such as tuples; use texts and numbers")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
        return path

    @classmethod
    def load(cls, path: str | os.PathLike, checkpoint: str | os.PathLike | TrainedNAP | None = None) -> "Optimizer":
        """Returns the optimiser that was saved.

        Args:
            path: the file.
            checkpoint: where the model is now; None: where it was.

        Raises:
            ValueError: if the file is none of ours, or the model is not the one that the optimiser had.
        """
        try:
            state = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is no saved optimiser ({error})") from error
        if not isinstance(state, dict) or state.get("schema") != SCHEMA:
            raise ValueError(f"{path} is no saved optimiser of schema {SCHEMA}")
        found = state["checkpoint"] if checkpoint is None else checkpoint
        optimizer = cls(space_of(state["space"]), found, **state["settings"])
        if optimizer.trained.digest != state["digest"]:
            raise ValueError(f"{path} was saved with another model than {found or 'the one that ships'}; give that one")
        optimizer.results = [Result(config, value) for config, value in state["results"]]
        optimizer.pending, optimizer._num_asked = state["pending"], state["num_asked"]
        optimizer._x = optimizer.space.encode([result.config for result in optimizer.results])
        return optimizer

    def _known(self) -> Known:
        sign = 1.0 if self.maximize else -1.0
        y = [math.nan if result.value is None else sign * result.value for result in self.results]
        return Known(self._x, np.asarray(y, np.float64), self.space.encode(self.pending))

    def _choose(self, known: Known, allowed: Float64[np.ndarray, "n D"] | None) -> Float64[np.ndarray, " D"]:
        """Returns the next row."""
        progress = min(max(len(known.y) - self.num_init, 0) / self.horizon, 1.0)
        search = Search(self.trained, self.space, known, progress, self.transform, self.head)
        if len(known.y) < self.num_init or (self.num_init > 0 and not np.isfinite(known.y).any()):
            return self._designed(search, allowed)
        if allowed is not None:
            return search.among(allowed)
        return search.anywhere(np.random.default_rng([self.seed, SEARCH, self._num_asked]))

    def _designed(self, search: Search, allowed: Float64[np.ndarray, "n D"] | None) -> Float64[np.ndarray, " D"]:
        """Returns the next new point of the design, or of those allowed the new one that is closest to it."""
        points = sobol(self.space, self._num_asked + 64, np.random.default_rng([self.seed, DESIGN]))
        if allowed is not None:
            rest = allowed[search.is_new(allowed)]
            if not len(rest):
                raise ValueError(f"all {len(allowed)} candidates have been asked for; tell other ones or stop")
            return rest[nearest(self.space, rest, points[self._num_asked])]
        points = points[self._num_asked :]
        if self.space.size <= NUM_CANDIDATES:  # a small space may have had all of these
            points = np.concatenate([points, self.space.grid()])
        is_new = search.is_new(points)
        if not is_new.any():
            raise ValueError("no configuration was found that has not been asked for; the space is used up")
        return points[int(np.argmax(is_new))]
