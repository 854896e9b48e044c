"""The optimiser of an agent: the policy apart from the rest, each group with its step size and its own norm clip."""

from typing import Any

import optax

KINDS = {"sgd": lambda rate: optax.sgd(rate), "adam": lambda rate: optax.adam(rate, eps=1e-5)}
"""What turns clipped gradients into updates, by name."""


def make_optimiser(
    kind: str, *, policy_learning_rate: float, value_learning_rate: float, max_grad_norm: float
) -> optax.GradientTransformation:
    """Returns the optimiser of parameters keyed by head.

    Branches `policy` and `torso` follow the policy's step size, all others the value's. The gradients of the two groups
    are clipped to `max_grad_norm` in global norm, each group by itself.

    Raises:
        ValueError: if the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"optimiser {kind!r} is unknown; choose one of {', '.join(KINDS)}")

    def group(rate: float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(max_grad_norm), KINDS[kind](rate))

    def labels(params: dict[str, Any]) -> dict[str, str]:
        return {head: "policy" if head in ("policy", "torso") else "value" for head in params}

    groups = {"policy": group(policy_learning_rate), "value": group(value_learning_rate)}
    return optax.multi_transform(groups, labels)
