"""Pretraining of an RL² learner, in the shape of every other experiment."""

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from envs.domain import Domain
from metarl.experiments.base import Experiment, Metrics
from metarl.experiments.optimiser import build_optimiser
from metarl.experiments.pretrain_config import ModelConfig, PretrainConfig, TrainingConfig
from metarl.experiments.pretrain_learners import RL2Config
from metarl.experiments.pretrain_state import Pretraining, PretrainState
from metarl.incontext.rl2 import RL2State, rl2
from populations.mesh import split


def make_rl2_pretraining(config: PretrainConfig, domain: Domain, *, mesh: Any = None) -> Pretraining:
    """Returns the experiment in which an RL² learner is trained by PPO; one update is one batch of trials.

    `mesh` spreads the trials over devices.

    Raises:
        ValueError: if sizes do not fit together, or something is configured that does nothing for this learner.
    """
    _check_unused(config)
    learner_config = config.learner
    assert isinstance(learner_config, RL2Config)
    steps_per_update = learner_config.num_epochs * learner_config.num_minibatches
    optimiser = build_optimiser(config.training, config.updates * steps_per_update)
    learner = rl2(domain, **asdict(learner_config), optimiser=optimiser, place=lambda tree: split(tree, mesh))
    num_episodes = 1 if domain.is_bandit else learner_config.episodes_per_trial
    env_steps = config.updates_per_step * learner_config.num_tasks * num_episodes * domain.horizon

    def init(key: Array) -> PretrainState:
        key_params, key_run = jax.random.split(key)
        state = learner.init(key_params)
        return PretrainState(key_run, jnp.int32(0), state.params, state.optimiser)

    def step(state: PretrainState) -> tuple[PretrainState, Metrics]:
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), config.updates_per_step)
        trained, metrics = jax.lax.scan(learner.update, RL2State(state.params, state.optimiser), keys)
        means = {name: jnp.mean(values) for name, values in metrics.items()}
        counts: dict[str, Any] = {
            "num_nonfinite": jnp.sum((~jnp.isfinite(metrics["loss"])).astype(jnp.int32)),
            "num_evaluated": jnp.int32(config.updates_per_step),
            "env_steps": jnp.int32(env_steps),
        }
        return PretrainState(state.key, state.step + 1, trained.params, trained.optimiser), {**means, **counts}

    settings = {"hidden_size": learner_config.hidden_size}
    return Pretraining(Experiment(init, step, lambda state: state.params), learner, (domain,), settings)


def _check_unused(config: PretrainConfig) -> None:
    """Raises ValueError for what was chosen and would change nothing."""
    chosen = {
        "model": config.model != ModelConfig(),
        "context_length": config.context_length is not None,
        "training.batch_size": config.training.batch_size != TrainingConfig().batch_size,
    }
    for name in (name for name, is_chosen in chosen.items() if is_chosen):
        raise ValueError(
            f"{name} is set, but does nothing for RL², whose memory is a hidden state and whose batch is of trials; "
            "leave it at its default, and choose learner.hidden_size and learner.num_tasks instead"
        )
