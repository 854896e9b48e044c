"""The optimiser of an agent: the policy apart from the rest, each group with its step size and its own norm clip."""

from typing import Any

import optax

KINDS = ("sgd", "adam")
"""What turns clipped gradients into updates, by name."""


def make_optimiser(
    kind: str,
    *,
    policy_learning_rate: float,
    value_learning_rate: float,
    max_grad_norm: float,
    joint_clip: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """Returns the optimiser of parameters keyed by head.

    Branches `policy` and `torso` follow the policy's step size, all others the value's. Gradients are clipped to
    `max_grad_norm` in global norm, each group by itself or, with `joint_clip`, both together.

    Args:
        kind: `sgd` or `adam` (epsilon 1e-5, as is common for PPO).
        policy_learning_rate: step size of the policy.
        value_learning_rate: step size of everything else.
        max_grad_norm: positive.
        joint_clip: whether one norm is taken over all gradients.
        b1: Adam's decay rate of the first moment.
        b2: Adam's decay rate of the second moment.

    Raises:
        ValueError: if the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"optimiser {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    clip = optax.clip_by_global_norm(max_grad_norm)

    def group(rate: float) -> optax.GradientTransformation:
        step = optax.sgd(rate) if kind == "sgd" else optax.adam(rate, b1=b1, b2=b2, eps=1e-5)
        return step if joint_clip else optax.chain(clip, step)

    def labels(params: dict[str, Any]) -> dict[str, str]:
        return {head: "policy" if head in ("policy", "torso") else "value" for head in params}

    groups = optax.multi_transform({"policy": group(policy_learning_rate), "value": group(value_learning_rate)}, labels)
    return optax.chain(clip, groups) if joint_clip else groups
