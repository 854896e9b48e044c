"""A run directory with known numbers, as a finished discovery would leave it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from metarl.objectives.drift import NUM_FEATURES
from metarl.objectives.export import LoadedRule
from metarl.objectives.lpo import lpo
from metarl.statistics import iqm_interval

HORIZONS = (10, 25, 50, 100)
TRAINED = (10, 50)
NUM_TASKS = 24
NUM_GENERATIONS = 300


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_config(directory: Path) -> None:
    """Writes a configuration of nested tagged dataclasses and the provenance of two sessions."""
    population = {"type": "PopulationConfig", "size": 64, "sigma": 0.1, "clip": {"type": "float", "value": "inf"}}
    family = {"type": "FamilyConfig", "env": "gridworld/small", "lifetime": list(TRAINED)}
    objective = {"type": "LPGConfig", "temporal": True, "encoding": "centred", "hidden_size": 32}
    config = {"type": "DiscoverConfig", "generations": NUM_GENERATIONS, "seed": 3}
    config |= {"family": family, "objective": objective, "population": population}
    _write_json(directory / "config.json", config)
    session = {
        "first_step": 0,
        "started": "2025-03-01T09:30:00+00:00",
        "argv": ["/usr/local/bin/metarl", "discover", "--preset", "ta-lpg-cpu", "--name", "a run"],
        "git": {"commit": "64b6adf0c0ffee", "dirty": True},
        "packages": {"metarl": "0.1.0", "jax": "0.10.2", "brax": None},
        "python": "3.11.2",
        "platform": "Linux-6.1",
        "devices": {"cpu: cpu": 1},
        "num_processes": 1,
    }
    later = session | {"first_step": 200, "started": "2025-03-02T10:00:00+00:00"}
    _write_json(directory / "provenance.json", {"schema": 1, "sessions": [session, later]})


def write_metrics(directory: Path, num_generations: int = NUM_GENERATIONS) -> dict[str, np.ndarray]:
    """Writes metrics in which the clock restarts two thirds through and one fitness is null; returns its columns."""
    generator = np.random.default_rng(0)
    step = np.arange(1, num_generations + 1)
    fitness = 0.55 * (1.0 - np.exp(-step / 90.0)) + 0.08 + 0.05 * generator.normal(size=num_generations)
    fitness[num_generations // 2] = np.nan
    env_steps = generator.integers(400_000, 700_000, num_generations)
    resumed = 2 * num_generations // 3
    columns = {
        "step": step,
        "wall_s": np.where(step <= resumed, 12.0 + 0.9 * step, 7.0 + 0.9 * (step - resumed)),
        "env_steps_total": np.cumsum(env_steps),
        "env_steps": env_steps,
        "fitness": fitness,
        "fitness_std": 0.18 + 0.02 * generator.normal(size=num_generations),
        "update_norm": 0.3 * np.exp(-step / 200.0) + 0.02 * generator.random(num_generations),
        "tie_fraction": 0.3 * np.exp(-step / 60.0) + 0.05 + 0.02 * generator.normal(size=num_generations),
        "num_nonfinite": np.zeros(num_generations),
    }
    lines = []
    for index in range(num_generations):
        row = {name: column[index].item() for name, column in columns.items()}
        bad = [name for name, value in row.items() if not np.isfinite(value)]
        finite = {name: None if name in bad else value for name, value in row.items()}
        lines.append(json.dumps(finite | ({"nonfinite": bad} if bad else {})))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return columns


def _returns(arm: str, horizon: int, generator: np.random.Generator) -> np.ndarray:
    middle = {
        "initial": 0.06,
        "a2c": 0.85 * horizon / (horizon + 45.0),
        "discovered": 0.92 * horizon / (horizon + 14.0),
    }[arm]
    return np.clip(middle + 0.16 * generator.normal(size=NUM_TASKS), 0.0, 1.0)


def write_evaluation(directory: Path, envs: tuple[str, ...] = ("gridworld/small", "gridworld/mazes")) -> list[dict]:
    """Writes an evaluation of three arms, in which every optimum is 2; returns its rows."""
    generator, rows = np.random.default_rng(1), []
    for env in envs:
        for arm in ("discovered", "initial", "a2c"):
            for horizon in HORIZONS:
                values = _returns(arm, horizon, generator) * (0.7 if env.endswith("mazes") else 1.0)
                point = iqm_interval(values, num_resamples=300)._asdict()
                row = {"arm": arm, "env": env, "setting": {"horizon": horizon}, "values": values.tolist()}
                rows.append(row | {"metric": "normalised_return", "num_excluded": 2} | point)
                twice = {name: 2.0 * point[name] for name in ("iqm", "low", "high")} | {"confidence": 0.95}
                rows.append(row | {"metric": "return", "values": (2.0 * values).tolist()} | twice)
    head = {"schema": 1, "command": "metarl evaluate a-run", "device": "cpu: cpu", "commit": "64b6adf0c0ffee"}
    _write_json(directory / "evaluation.json", head | {"rows": rows})
    return rows


def _life(arm: str, horizon: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    time = (np.arange(horizon) / horizon)[None]
    speed = {"initial": 0.0, "a2c": horizon / 60.0, "discovered": 1.0 + horizon / 15.0}[arm]
    progress = 1.0 - np.exp(-speed * time)
    update = {"initial": 0.0, "a2c": 0.3 - 0.1 * time, "discovered": 0.5 * (1.0 - time) ** 1.5 + 0.02}[arm]
    noise = lambda scale: scale * generator.normal(size=(NUM_TASKS, horizon))  # noqa: E731
    skill = 1.0 + 0.25 * generator.normal(size=(NUM_TASKS, 1))
    life = {
        "return": 0.06 + 0.85 * progress * skill + noise(0.1),
        "policy_entropy": 1.608 - 0.7 * progress * skill + noise(0.03),
        "policy_kl": np.abs(0.02 * (1 - 0.8 * time) * (arm != "initial") + noise(0.002)),
        "gradient_norm_policy": np.abs(0.4 * (1 - 0.5 * time) + noise(0.05)),
        "update_norm_policy": np.abs(update + noise(0.02)),
    }
    if arm == "a2c":
        return life
    if arm == "initial":
        zero = np.zeros((NUM_TASKS, horizon))
        still = ("pi_hat_mean", "pi_hat_abs", "pi_hat_square", "prediction_kl")
        life |= {name: zero for name in (*still, "update_norm_prediction", "gradient_norm_prediction")}
        life |= {"y_hat_entropy": zero + np.log(8.0), "y_hat_square": zero + 0.125}
        return life | {"prediction_entropy": zero + np.log(8.0), "policy_entropy": zero + 1.608}
    size = 0.6 * (1 - 0.7 * time) * np.log(horizon) / 4.0
    return life | {
        "pi_hat_mean": -size + noise(0.05),
        "pi_hat_abs": size * 1.3 + np.abs(noise(0.05)),
        "pi_hat_square": 2.0 * size**2 + np.abs(noise(0.03)),
        "prediction_entropy": 2.0 - 0.9 * progress + noise(0.04),
        "y_hat_entropy": 1.9 - 0.8 * time + noise(0.05),
        "y_hat_square": 0.15 + 0.4 * time + noise(0.02),
        "prediction_kl": np.abs(0.4 * (1 - time) + noise(0.03)),
        "gradient_norm_prediction": np.abs(0.3 + noise(0.03)),
        "update_norm_prediction": np.abs(0.25 * (1 - 0.4 * time) + noise(0.02)),
    }


def write_export(directory: Path, *, with_probe: bool = True) -> dict[str, np.ndarray]:
    """Writes the rule's description, agent lives and the probe; returns the arrays."""
    generator, arrays = np.random.default_rng(2), {}
    for arm in ("initial", "discovered", "a2c"):
        for horizon in HORIZONS:
            arrays |= {f"{arm}/{horizon}/{n}": v.astype(np.float32) for n, v in _life(arm, horizon, generator).items()}
    arrays["a2c/25/return"][0, :3] = np.nan
    if with_probe:
        fractions, lifetimes = np.linspace(0.0, 1.0, 21), np.array(HORIZONS)
        size = np.log(lifetimes)[:, None] / 4.0 * (1.0 - 0.6 * fractions[None] ** 2)
        change = np.abs(size - size[:, :1])
        quantities = {"pi_hat_mean": -0.6 * size, "pi_hat_abs": size, "pi_hat_change": change}
        quantities |= {"y_hat_entropy": 1.9 - 0.5 * fractions[None] * size, "y_hat_change": 0.5 * change}
        arrays |= {f"probe/{name}": values for name, values in quantities.items()}
        arrays |= {"probe/lifetimes": lifetimes, "probe/fractions": fractions}
    rule = {
        "schema": 1,
        "objective": "lpg",
        "settings": {"hidden_size": 32},
        "sha256": "0f0f",
        "record": {"generations": 300},
    }
    _write_json(directory / "export/rule.json", rule)
    np.savez(directory / "export/lives.npz", **arrays)
    return arrays


def write_run(directory: Path) -> Path:
    """Writes a whole run and returns its path."""
    write_config(directory)
    write_metrics(directory)
    write_evaluation(directory)
    write_export(directory)
    (directory / "STATUS").write_text("done\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """Returns the writers above and the constants they use."""
    names = ("HORIZONS", "TRAINED", "NUM_TASKS", "NUM_GENERATIONS", "write_config", "write_metrics")
    return SimpleNamespace(
        **{name: globals()[name] for name in (*names, "write_evaluation", "write_export", "write_run")}
    )


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a whole run, written once; tests must not change it."""
    return write_run(tmp_path_factory.mktemp("runs") / "ta-lpg-small")


def planted_rule(feature: int | None = None, strength: float = 0.0, **settings: object) -> LoadedRule:
    """Returns an LPO rule with drift `relu(PPO's + strength x feature)`, to one part in 10^4.

    `feature` counts the inputs of the drift network; None leaves PPO's. An offset is subtracted only if one is given.
    """
    objective = lpo(None, **({"offset": 0.0, "hidden_size": 1} | settings))
    num_time_features = objective.settings["temporal"] + objective.settings["log_horizon"]
    hidden = np.zeros((NUM_FEATURES * (1 + num_time_features), 1), np.float32)
    slope = 1e-3  # tanh(x) is x to x^2 / 3, and features go up to 10
    if feature is not None:
        hidden[feature] = slope
    parameters = {"hidden": {"kernel": hidden}, "output": {"kernel": np.full((1, 1), strength / slope, np.float32)}}
    return LoadedRule("lpo", objective.settings, parameters, {})


@pytest.fixture(scope="session")
def planted() -> SimpleNamespace:
    """Returns rules with a known drift, and the function that makes them.

    `closing` adds 10 (n/N) (1 - r)^2 to PPO's drift, and `horizon` adds ln(N) (1 - r)^2.
    """
    squared = 3  # the place of (1 - r)^2 among the inputs, before time multiplies them
    return SimpleNamespace(
        rule=planted_rule,
        ppo=planted_rule(),
        closing=planted_rule(NUM_FEATURES + squared, 10.0, temporal=True),
        horizon=planted_rule(2 * NUM_FEATURES + squared, 1.0, temporal=True, log_horizon=True),
        blind=planted_rule(squared, 2.0),
    )
