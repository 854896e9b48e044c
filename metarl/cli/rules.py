"""Rules as a command line names them: a run, an exported rule, or one of the zoo."""

from pathlib import Path
from typing import Any

from metarl.experiments.config import AgentConfig
from metarl.run.config_codec import decode


def rule_directory(path: Path) -> Path:
    """Returns the directory that holds `rule.npz` and `rule.json`.

    In a run that is its export; else the path itself, or that of the rule of this name in the zoo.

    Raises:
        ValueError: if the path is a run that has not exported a rule.
    """
    from metarl import zoo

    if not path.exists() and str(path) in zoo.names():
        return zoo.directory_of(str(path))
    is_run = (path / "config.json").is_file()
    if is_run and not (path / "export" / "rule.json").is_file():
        raise ValueError(f"the run {path} has not exported a rule yet; let 'metarl discover' finish it first")
    return path / "export" if is_run else path


def find_rule(path: Path) -> tuple[Any, AgentConfig | None]:
    """Returns the rule that is meant and how agents were built where it was discovered, if that is recorded.

    Raises:
        ValueError: if there is no rule, or it is damaged.
    """
    from metarl import zoo
    from metarl.objectives.export import load_rule

    if not path.exists() and str(path) not in zoo.names():
        raise ValueError(
            f"there is no rule at {path}, and none of this name in the zoo, which has {', '.join(zoo.names())}; give a "
            "run, the directory of an exported rule or a name"
        )
    rule = load_rule(rule_directory(path))
    config = rule.record.get("config")
    # The agent alone is read, so that rules outlive changes of everything else.
    agent = config.get("agent") if isinstance(config, dict) else None
    return rule, decode(agent, (AgentConfig,)) if agent else None


def objective_of(rule: Any, agent: AgentConfig, action_space: Any) -> Any:
    """Returns the objective that a loaded rule is for, with the inner settings of these agents.

    Raises:
        ValueError: if the rule's arrays do not fit its settings.
    """
    import jax

    from metarl.experiments.build import build_objective

    objective = build_objective(rule.objective, agent, action_space, **rule.settings)
    needed = jax.tree.map(lambda x: x.shape, jax.eval_shape(objective.init, jax.random.key(0)))
    found = jax.tree.map(lambda x: x.shape, rule.meta_params)
    if found != needed:
        raise ValueError(
            f"the rule's arrays have the shapes {found}, but {rule.objective} with its settings needs {needed}; "
            "export the rule again"
        )
    return objective
