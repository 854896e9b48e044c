"""Learned policy optimisation, blind to time or aware of it: a proximal objective whose drift is a network.

Source: Lu et al. 2022 (LPO); Jackson et al. 2024, Eq. 10 (TA-LPO).
"""

from typing import Any

from jaxtyping import Array

from metarl.objectives.base import Objective
from metarl.objectives.drift import HIDDEN_SIZE, init_drift, learned_drift
from metarl.objectives.proximal import proximal_objective
from metarl.progress import Progress, features, num_features

START_CLIP = 0.2
"""Clip of the PPO that a learned drift starts from."""


def lpo(
    action_space: Any,
    *,
    temporal: bool = False,
    ppo_init: bool = True,
    log_horizon: bool = False,
    hidden_size: int = HIDDEN_SIZE,
    offset: float = 1e-4,
    clips_value: bool = False,
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_coefficient: float = 0.01,
    value_coefficient: float = 0.5,
) -> Objective:
    """Returns the LPO objective, or TA-LPO with `temporal=True`.

    With a network that says 0 (as `init` draws it) it is PPO with `ppo_init`, else the surrogate without a clip, both
    to within `offset` in the drift and exactly for `offset=0`.

    Args:
        action_space: gymnax action space.
        temporal: whether n/N multiplies the inputs of the drift.
        ppo_init: whether the network is added to PPO's drift or stands alone.
        log_horizon: whether ln N multiplies the inputs too; needs `temporal`.
        hidden_size: units of the network.
        offset: what is subtracted inside the drift, at least 0; positive makes every drift flat around a ratio of 1.
        clips_value: this and the others as in `proximal_objective`.

    Raises:
        ValueError: if a number is out of range, or `log_horizon` is given to a rule that is blind to time.
    """
    if log_horizon and not temporal:
        raise ValueError("log_horizon was given with temporal=False; set temporal=True or leave it out")
    if hidden_size < 1 or not offset >= 0.0:
        raise ValueError(f"lpo was given hidden_size = {hidden_size} and offset = {offset}; at least 1 and at least 0")
    encoding = ("paper" if log_horizon else "fraction") if temporal else "none"
    start_clip = START_CLIP if ppo_init else None

    def init(key: Array) -> Any:
        return init_drift(key, num_time_features=num_features(encoding), hidden_size=hidden_size)

    def drift(meta_params: Any, ratio: Array, log_ratio: Array, advantage: Array, progress: Progress) -> Array:
        time = features(progress, encoding)
        return learned_drift(meta_params, ratio, log_ratio, advantage, time=time, start_clip=start_clip, offset=offset)

    return proximal_objective(
        "lpo",
        action_space,
        drift,
        {
            "temporal": temporal,
            "ppo_init": ppo_init,
            "log_horizon": log_horizon,
            "hidden_size": hidden_size,
            "offset": offset,
        },
        init=init,
        clips_value=clips_value,
        discount=discount,
        lambda_=lambda_,
        entropy_coefficient=entropy_coefficient,
        value_coefficient=value_coefficient,
    )
