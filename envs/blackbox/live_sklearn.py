"""Learners of scikit-learn tuned on its built-in data sets, for real: accuracy in 3-fold cross-validation.

One thread and fixed seeds make a result the same in every run on one machine, and keep small fits from being slowed
down by threads that wait for each other.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from envs.blackbox.built import BuiltTable, without_failures
from envs.blackbox.configuration import (
    Parameter,
    category,
    category_counts,
    decode,
    draw,
    integer,
    kinds,
    ordinal,
    real,
)
from envs.blackbox.evaluation_cache import Configuration, EvaluationFailed, Problem, content_hash, evaluate_all

DATASETS = ("breast_cancer", "digits", "wine", "iris")
"""Data sets that come with scikit-learn."""
NUM_FOLDS = 3
"""Of the cross-validation, stratified and shuffled once."""
SEED = 0
"""Of folds and learners."""
MISSING = "live tuning needs the package scikit-learn: pip install 'metarl[metabo-real]'"

_SCALER = category("scaler", "none", "standard", "range")
SPACES: dict[str, tuple[Parameter, ...]] = {
    "svm": (
        real("C", 1e-3, 1e3, is_log=True),
        real("gamma", 1e-4, 1e1, is_log=True),
        category("kernel", "linear", "rbf", "poly", "sigmoid"),
        integer("degree", 2, 5),
        real("coef0", 0.0, 1.0),
        _SCALER,
    ),
    "tree": (
        integer("max_depth", 1, 20),
        integer("min_samples_split", 2, 64, is_log=True),
        integer("min_samples_leaf", 1, 64, is_log=True),
        real("max_features", 0.1, 1.0),
        real("ccp_alpha", 1e-5, 1e-1, is_log=True),
        category("criterion", "gini", "entropy"),
        category("splitter", "best", "random"),
    ),
    "lr": (
        real("C", 1e-4, 1e4, is_log=True),
        real("tol", 1e-6, 1e-1, is_log=True),
        integer("max_iter", 5, 200, is_log=True),
        category("solver", "lbfgs", "newton-cg", "sag"),
        category("class_weight", None, "balanced"),
        _SCALER,
    ),
    "mlp": (
        integer("width", 8, 128, is_log=True),
        integer("depth", 1, 3),
        real("alpha", 1e-6, 1.0, is_log=True),
        real("learning_rate_init", 1e-4, 1e-1, is_log=True),
        ordinal("batch_size", 32, 64, 128, 256),
        category("activation", "relu", "tanh", "logistic"),
        category("solver", "adam", "sgd"),
        _SCALER,
    ),
}
"""What is tuned of each learner; a `width` is that of every layer, and the scaler is fitted on the training folds."""
NAMES = tuple(f"{learner}/{dataset}" for learner in SPACES for dataset in DATASETS)
"""The 16 tasks."""


class Dataset(NamedTuple):
    """What is classified."""

    x: Float64[np.ndarray, "S F"]
    """Features."""
    label: Int64[np.ndarray, " S"]
    """Classes."""


def load_dataset(name: str) -> Dataset:
    """Returns a data set that comes with scikit-learn, which must be installed."""
    _sklearn()
    from sklearn import datasets

    x, label = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Dataset(np.asarray(x, np.float64), np.asarray(label, np.int64))


def cross_validate(learner: str, configuration: Configuration, dataset: Dataset) -> list[float]:
    """Returns the accuracy on each of the folds.

    Raises:
        EvaluationFailed: if the learner refuses the configuration or diverges.
    """
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=SEED).split(dataset.x, dataset.label)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a learner that has not converged is a result like any other
        return [_accuracy(_pipeline(learner, configuration), dataset, train, test) for train, test in folds]


def build(
    name: str,
    *,
    num_configs: int,
    seed: int,
    track: Callable[[Sequence[Configuration]], Iterable[Configuration]] = iter,
) -> BuiltTable:
    """Returns the table of random configurations, evaluated where the cache does not know them; y is the accuracy.

    Args:
        name: `learner/dataset`, one of `NAMES`.
        num_configs: N, different configurations.
        seed: of the draw; folds and learners have their own.
        track: shows progress, see `evaluate_all`.

    Raises:
        ValueError: if the name is another, or scikit-learn is missing.
    """
    if name not in NAMES:
        raise ValueError(f"there is no live task {name!r}; choose one of {', '.join(NAMES)}")
    learner, dataset_name = name.split("/")
    space, dataset = SPACES[learner], load_dataset(dataset_name)
    content = content_hash(learner, dataset.x.tobytes(), dataset.label.tobytes(), f"{NUM_FOLDS} folds, seed {SEED}")
    problem = Problem("live_sklearn", "scikit-learn", _sklearn().__version__, content)
    x = draw(space, num_configs, seed)
    results = evaluate_all(
        problem,
        [decode(space, row) for row in x],
        lambda configuration: cross_validate(learner, configuration, dataset),
        track=track,
    )
    accuracy = np.array([np.mean(result.numbers) for result in results])
    y, num_failed = without_failures(accuracy, [result.reason for result in results])
    return BuiltTable(x, kinds(space), category_counts(space), y, tuple(p.name for p in space), num_failed)


def _sklearn():
    try:
        import sklearn
    except ImportError as error:
        raise ValueError(MISSING) from error
    return sklearn


def _accuracy(pipeline: Any, dataset: Dataset, train: Int64[np.ndarray, " _"], test: Int64[np.ndarray, " _"]) -> float:
    try:
        pipeline.fit(dataset.x[train], dataset.label[train])
    except (ValueError, FloatingPointError, np.linalg.LinAlgError) as error:
        raise EvaluationFailed(str(error).splitlines()[0]) from error
    return float(pipeline.score(dataset.x[test], dataset.label[test]))


def _pipeline(learner: str, configuration: Configuration):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    settings = dict(configuration)
    scaler = {"none": "passthrough", "standard": StandardScaler(), "range": MinMaxScaler()}
    return make_pipeline(scaler[settings.pop("scaler", "none")], _learner(learner, settings))


def _learner(learner: str, settings: dict[str, Any]):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    if learner == "svm":
        return SVC(**settings, max_iter=20_000, random_state=SEED)
    if learner == "tree":
        return DecisionTreeClassifier(**settings, random_state=SEED)
    if learner == "lr":
        return LogisticRegression(**settings, random_state=SEED)
    layers = (settings.pop("width"),) * settings.pop("depth")
    return MLPClassifier(hidden_layer_sizes=layers, **settings, max_iter=30, random_state=SEED)
