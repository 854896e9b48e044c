"""The optimiser of pretraining from its configuration."""

import optax

from metarl.experiments.pretrain_config import TrainingConfig


def build_optimiser(config: TrainingConfig, updates: int) -> optax.GradientTransformation:
    """Returns AdamW behind a clip of the gradients' global norm, with a warm-up and a cosine over `updates`."""
    peak = config.learning_rate
    rate = optax.warmup_cosine_decay_schedule(
        0.0, peak, max(int(config.warmup * updates), 1), max(updates, 2), config.final * peak
    )
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.adamw(rate, weight_decay=config.weight_decay)
    )
