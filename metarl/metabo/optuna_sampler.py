"""A sampler for Optuna that lets a trained model choose (extra `optuna`).

    study = optuna.create_study(direction="maximize", sampler=NAPSampler())

Parameters that all finished trials have in common are chosen together; any others, and all of them in the first
trials, are drawn at random.
"""

import os
import threading
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl.metabo.acquisitions import score_of
from metarl.metabo.export import TrainedNAP, find_nap
from metarl.metabo.space import Categorical, Float, Int, Space
from metarl.metabo.suggest import Known, Search
from metarl.metabo.transforms import transform_of

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise ImportError("NAPSampler needs optuna; install the extra: pip install 'metarl[optuna]'") from error

Distributions = dict[str, BaseDistribution]
SHARED = "nap:chosen"
"""Attribute of a trial that tells other workers what was chosen before the objective has asked for all of it."""
CHOOSING = threading.Lock()
"""Threads of a process choose one after the other: each is to know what those before it have begun."""


class NAPSampler(BaseSampler):
    """Chooses the parameters of a trial by a trained model.

    Completed trials are what it knows. Trials that run elsewhere count as if they had come out as predicted, failed
    ones as the worst of the completed. A pruned trial counts with the last value that it reported, or as the median of
    the completed ones if that is worse, or as failed if it reported no number.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | TrainedNAP | None = None,
        *,
        seed: int | None = None,
        n_startup_trials: int = 5,
        horizon: int = 50,
        transform: str = "none",
        head: str | None = None,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        """Makes the sampler.

        Args:
            checkpoint: path of an exported model, its name in the zoo, or the model; None: the one that ships.
            seed: what is chosen in trial n depends on it, on n and on the other trials; None: a fresh one.
            n_startup_trials: completed trials before the model has its say.
            horizon: completed trials after those that the model is to expect.
            transform: what the model is shown instead of values, one of `metarl.metabo.transforms.TRANSFORMS`.
            head: what candidates are scored by, one of `metarl.metabo.acquisitions.HEADS`; None: the one that the
                model's record names.
            independent_sampler: draws what the model does not choose; None: `RandomSampler`.

        Raises:
            ValueError: if there is no such model, transform or head.
        """
        score_of(find_nap(checkpoint).head if head is None else head)
        transform_of(transform)
        self._transform, self._head = transform, head
        self._checkpoint, self._n_startup_trials, self._horizon = checkpoint, n_startup_trials, horizon
        self._seed = np.random.SeedSequence(seed).entropy
        self._independent = RandomSampler(seed=seed) if independent_sampler is None else independent_sampler
        self._spaces: dict[str, IntersectionSearchSpace] = {}
        self._has_warned = False

    def reseed_rng(self) -> None:
        """Takes a fresh seed, as Optuna wants before it runs trials in several threads."""
        self._seed = np.random.SeedSequence().entropy
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Distributions:
        """Returns what all completed trials have in common, without parameters that have a single value.

        Raises:
            ValueError: if the study has several objectives.
        """
        if len(study.directions) > 1:
            raise ValueError(f"the study has {len(study.directions)} objectives; NAPSampler optimises a single one")
        common = self._spaces.setdefault(study.study_name, IntersectionSearchSpace()).calculate(study)
        return {name: distribution for name, distribution in common.items() if not distribution.single()}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        """Returns parameters for the trial; nothing during the first trials and where the model cannot choose."""
        with CHOOSING:
            return self._choose(study, trial, search_space)

    def _choose(self, study: optuna.Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        num_complete = sum(other.state == TrialState.COMPLETE for other in others)
        if not search_space or num_complete < max(self._n_startup_trials, 1):
            return {}
        space = self._space(search_space)
        if space is None:
            return {}
        is_maximised = study.direction == optuna.study.StudyDirection.MAXIMIZE
        known = known_of(space, search_space, others, 1.0 if is_maximised else -1.0)
        progress = min((num_complete - self._n_startup_trials) / self._horizon, 1.0)
        search = Search(find_nap(self._checkpoint), space, known, progress, self._transform, self._head)
        try:
            x = search.anywhere(np.random.default_rng([*_words(self._seed), trial.number]))
        except ValueError:  # everything has been tried: repeat something, as for any sampler
            return {}
        chosen = {name: float(number) for name, number in space.decode(x[None])[0].items()}
        shared = {"names": _hash_of(search_space), "numbers": list(chosen.values())}
        study._storage.set_trial_system_attr(trial._trial_id, SHARED, shared)
        return {name: search_space[name].to_external_repr(number) for name, number in chosen.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns a parameter that the model does not choose."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _space(self, search_space: Distributions) -> Space | None:
        """Returns the space as the model reads it; None, and once a warning, if it cannot."""
        try:
            return space_from(search_space)
        except ValueError as error:
            if not self._has_warned:
                self._has_warned = True
                name = type(self._independent).__name__
                warnings.warn(f"NAPSampler leaves this study to {name}: {error}", UserWarning, stacklevel=2)
            return None


def space_from(distributions: Distributions) -> Space:
    """Returns the space of Optuna's numbers for parameters, in which a category is its place in the list.

    Raises:
        ValueError: if the model cannot read it.
    """
    dimensions = {}
    for name, given in distributions.items():
        if isinstance(given, FloatDistribution):
            dimensions[name] = Float(given.low, given.high, log=given.log, step=given.step)
        elif isinstance(given, IntDistribution):
            dimensions[name] = Int(given.low, given.high, log=given.log, step=given.step)
        elif isinstance(given, CategoricalDistribution):
            dimensions[name] = Categorical(range(len(given.choices)))
        else:
            raise ValueError(f"{name} has a {type(given).__name__}, which the model does not read")
    return Space(dimensions)


def known_of(space: Space, distributions: Distributions, trials: Sequence[FrozenTrial], sign: float) -> Known:
    """Returns what trials tell about a space.

    Args:
        space: as from `space_from`.
        distributions: what it was made from.
        trials: all but the current one.
        sign: 1 if the objective is maximised, -1 if minimised.
    """
    values = [t.value for t in trials if t.state == TrialState.COMPLETE]
    median = float(np.median(sign * np.asarray(values, np.float64))) if values else 0.0
    done, y, pending = [], [], []
    for trial in trials:
        config = _numbers(trial, distributions)
        if config is None:
            continue
        if trial.state == TrialState.RUNNING:
            pending.append(config)
        elif trial.state.is_finished():
            done.append(config)
            y.append(_value(trial, sign, median))
    return Known(space.encode(done), np.asarray(y, np.float64), space.encode(pending))


def _value(trial: FrozenTrial, sign: float, median: float) -> float:
    """Returns the value of a finished trial, maximised, NaN if it has none."""
    if trial.state == TrialState.COMPLETE:
        return sign * float(trial.values[0])
    reported = trial.intermediate_values
    if trial.state == TrialState.PRUNED and reported:
        last = sign * reported[max(reported)]
        return float(min(last, median)) if np.isfinite(last) else np.nan
    return np.nan


def _numbers(trial: FrozenTrial, distributions: Distributions) -> dict[str, float] | None:
    """Returns Optuna's numbers for the parameters of a trial; None if it does not have all of them."""
    if all(trial.distributions.get(name) == given for name, given in distributions.items()):
        return {name: float(given.to_internal_repr(trial.params[name])) for name, given in distributions.items()}
    shared = trial.system_attrs.get(SHARED)
    if trial.state == TrialState.RUNNING and shared and shared["names"] == _hash_of(distributions):
        return dict(zip(distributions, shared["numbers"], strict=True))
    return None


def _hash_of(distributions: Distributions) -> int:
    """Returns a number that tells sets of parameters apart, short enough for any storage."""
    return zlib.crc32(repr(sorted(distributions.items())).encode())


def _words(entropy: Any) -> list[int]:
    """Returns entropy as the list that generators take."""
    return list(entropy) if isinstance(entropy, Sequence) else [int(entropy)]
