"""Pretrained models as a command line names them: a run, an exported model, or one of the zoo."""

from pathlib import Path
from typing import Any


def model_directory(path: Path) -> Path | None:
    """Returns the directory that holds `model.npz` and `model.json`, or None if the path does not name a model."""
    from metarl import zoo
    from metarl.incontext.export import DESCRIPTION

    if not path.exists() and str(path) in zoo.model_names():
        return zoo.directory_of(str(path))
    for directory in (path / "export", path):
        if (directory / DESCRIPTION).is_file():
            return directory
    return None


def is_pretraining(path: Path) -> bool:
    """Returns whether the path names a pretraining run, finished or not, or a model."""
    config = path / "config.json"
    is_run = config.is_file() and '"PretrainConfig"' in config.read_text()
    return is_run or model_directory(path) is not None


def find_model(path: Path) -> Any:
    """Returns the model that is meant.

    Raises:
        ValueError: if there is none, or it is damaged.
    """
    from metarl import zoo
    from metarl.incontext.export import load_model

    directory = model_directory(path)
    if directory is None and is_pretraining(path):
        raise ValueError(f"the run {path} has not exported a model yet; let 'metarl pretrain' finish it first")
    if directory is None:
        raise ValueError(
            f"there is no model at {path}, and none of this name in the zoo, which has {', '.join(zoo.model_names())}; "
            "give a run, the directory of an exported model or a name"
        )
    return load_model(directory)


def is_metabo(path: Path) -> bool:
    """Returns whether the path names a run of meta-Bayesian optimisation, finished or not, or a neural process."""
    config = path / "config.json"
    is_run = config.is_file() and '"MetaboConfig"' in config.read_text()
    return is_run or nap_directory(path) is not None


def nap_directory(path: Path) -> Path | None:
    """Returns the directory that holds `nap.npz` and `nap.json`, or None if the path does not name one."""
    from metarl import zoo

    if not path.exists() and str(path) in zoo.nap_names():
        return zoo.directory_of(str(path))
    return next((directory for directory in (path / "export", path) if (directory / "nap.json").is_file()), None)


def is_teaching(path: Path) -> bool:
    """Returns whether the path names a teaching run, finished or not."""
    config = path / "config.json"
    return config.is_file() and '"TeachConfig"' in config.read_text()
