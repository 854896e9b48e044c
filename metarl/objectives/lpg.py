"""The learned policy gradient, blind to time or aware of it: a GRU says how to change the policy and what to predict.

Source: Oh et al. 2020 (LPG); Jackson et al. 2024, Eq. 9 (time inputs). Sizes follow EmptyJackson/groove.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.objectives.base import Objective, Outputs, Rollout
from metarl.objectives.lpg_network import Params, backward_gru, embed, init_params, read_heads
from metarl.progress import REFERENCE_LAW, Progress, features, num_features

EPSILON = 1e-8
"""Added to probabilities before they are read or put under a logarithm."""


class LPGTargets(NamedTuple):
    """What the rule says about every transition of a rollout."""

    pi_hat: Float[Array, "*TB"]
    """Coefficient of log pi(a|s) in the loss: positive lowers the probability of the action taken."""
    y_hat: Float[Array, "*TB m"]
    """Distribution that the agent's prediction is pulled towards."""


def lpg(
    action_space: Any,
    *,
    temporal: bool = False,
    encoding: str | None = None,
    lifetime_law: Sequence[int] = REFERENCE_LAW,
    hidden_size: int = 256,
    num_predictions: int = 8,
    prediction_coefficient: float = 0.5,
) -> Objective:
    """Returns the LPG objective, or TA-LPG with `temporal=True`.

    Args:
        action_space: discrete gymnax action space.
        temporal: whether the rule sees how far through its life the agent is and how long that life is.
        encoding: how it sees them, a name in `metarl.progress.ENCODINGS`; None means `paper` (n/N, ln N).
        lifetime_law: bounds (low, high) of the log-uniform law of lifetimes that the rule is discovered under;
            `centred` needs it.
        hidden_size: H, units of the GRU.
        num_predictions: m, size of the agent's categorical prediction.
        prediction_coefficient: alpha_y, weight of the prediction's loss beside the policy's.

    Raises:
        ValueError: for a continuous action space, an unknown encoding, or an encoding given to a rule that is blind to
            time.
    """
    if not hasattr(action_space, "n"):
        raise ValueError(f"LPG needs a discrete action space, but this one is {type(action_space).__name__}")
    if not temporal and encoding not in (None, "none"):
        raise ValueError(f"encoding {encoding!r} was given with temporal=False; set temporal=True or leave it out")
    encoding = (encoding or "paper") if temporal else "none"
    num_time_features = num_features(encoding)
    law = (int(lifetime_law[0]), int(lifetime_law[1]))

    def init(key: Array) -> Params:
        return init_params(
            key, hidden_size=hidden_size, num_predictions=num_predictions, num_time_features=num_time_features
        )

    def targets(meta_params: Params, rollout: Rollout, progress: Progress) -> LPGTargets:
        inputs = rule_inputs(meta_params, rollout, features(progress, encoding, law))
        return LPGTargets(*read_heads(meta_params, backward_gru(meta_params["gru"], inputs, rollout.done)))

    def loss(meta_params: Params, outputs: Outputs, rollout: Rollout, targets: LPGTargets, progress: Progress):
        return lpg_loss(outputs, rollout, targets, prediction_coefficient)

    return Objective(
        name="lpg",
        settings={
            "temporal": temporal,
            "encoding": encoding,
            "lifetime_law": list(law),
            "hidden_size": hidden_size,
            "num_predictions": num_predictions,
            "prediction_coefficient": prediction_coefficient,
        },
        heads=lambda space: {"policy": int(space.n), "prediction": num_predictions},
        init=init,
        targets=targets,
        loss=loss,
        uses_final_observation=False,
    )


def rule_inputs(meta_params: Params, rollout: Rollout, time: Float[Array, " F"]) -> Float[Array, "T B I"]:
    """Returns what the rule reads of each transition: `[r, d, pi(a|s), e(y), (1 - d) e(y'), time features]`."""
    done = rollout.done.astype(jnp.float32)
    probability = jnp.exp(_log_probability(rollout.outputs["policy"], rollout.action)) + EPSILON
    # Successor t is state t + 1 (or is masked), so T + 1 embeddings serve both columns.
    logits = jnp.concatenate([rollout.outputs["prediction"], rollout.next_outputs["prediction"][-1:]])
    prediction = embed(meta_params, jax.nn.softmax(logits))
    transition = jnp.stack([rollout.reward, done, probability, prediction[:-1], (1.0 - done) * prediction[1:]], axis=-1)
    return jnp.concatenate([transition, jnp.broadcast_to(time, (*done.shape, time.shape[0]))], axis=-1)


def lpg_loss(
    outputs: Outputs, rollout: Rollout, targets: LPGTargets, prediction_coefficient: float
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Returns `mean(log pi(a|s) pi_hat) + alpha_y mean KL(y || y_hat)` and statistics of the update.

    Source: Oh et al. 2020, Eq. 3 and 4, with the sign of EmptyJackson/groove (positive `pi_hat` lowers the
    probability).
    """
    log_probability = _log_probability(outputs["policy"], rollout.action)
    policy_loss = jnp.mean(log_probability * targets.pi_hat)
    prediction = jax.nn.softmax(outputs["prediction"])
    log_prediction, log_y_hat = jnp.log(prediction + EPSILON), jnp.log(targets.y_hat + EPSILON)
    divergence = jnp.mean(jnp.sum(prediction * (log_prediction - log_y_hat), axis=-1))
    info = {
        "policy_entropy": _mean_entropy(jax.nn.softmax(outputs["policy"])),
        "prediction_entropy": _mean_entropy(prediction),
        "prediction_kl": divergence,
        "pi_hat_mean": jnp.mean(targets.pi_hat),
        "pi_hat_abs": jnp.mean(jnp.abs(targets.pi_hat)),
        "pi_hat_square": jnp.mean(jnp.square(targets.pi_hat)),
        "y_hat_entropy": _mean_entropy(targets.y_hat),
        "y_hat_square": jnp.mean(jnp.sum(jnp.square(targets.y_hat), axis=-1)),
    }
    return policy_loss + prediction_coefficient * divergence, info


def _log_probability(logits: Float[Array, "*TB A"], action: Array) -> Float[Array, "*TB"]:
    log_probabilities = jax.nn.log_softmax(logits)
    # A masked sum instead of a gather: with few actions it fuses, and its gradient is not a scatter.
    is_taken = jax.nn.one_hot(action, logits.shape[-1], dtype=bool)
    return jnp.sum(jnp.where(is_taken, log_probabilities, 0.0), axis=-1)


def _mean_entropy(probabilities: Float[Array, "*TB n"]) -> Float[Array, ""]:
    return -jnp.mean(jnp.sum(probabilities * jnp.log(probabilities + EPSILON), axis=-1))
