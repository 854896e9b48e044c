"""What a learning rule is: the heads it needs, what it computes once per rollout, and the loss an agent descends."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from metarl.progress import Progress

Outputs = dict[str, Array]
"""Network outputs by head name, each `[..., size]`."""


class Rollout(NamedTuple):
    """What an agent saw and thought while its parameters stood still; axes `[T, B]` lead, or `[M]` in minibatches."""

    observation: Any
    """Observation acted on."""
    action: Array
    """Action taken."""
    reward: Float[Array, "*TB"]
    """Reward of the transition."""
    terminated: Bool[Array, "*TB"]
    """The successor ends the episode in the world's own terms: nothing follows it."""
    truncated: Bool[Array, "*TB"]
    """The episode was cut after this transition by a time limit: the successor has a value."""
    outputs: Outputs
    """Outputs at `observation` under the acting parameters."""
    next_outputs: Outputs
    """Outputs at the true successor. For objectives with `uses_final_observation=False`, entries where the episode
    ended belong to the next episode's first observation instead and must be masked."""
    kept: Any = None
    """What the agent was asked to keep of the environments' states; no rule looks at it."""

    @property
    def done(self) -> Bool[Array, "*TB"]:
        """Whether the episode ended at this transition, either way."""
        return self.terminated | self.truncated


class Objective(NamedTuple):
    """A learning rule as pure functions. PPO is an `Objective` whose `meta_params` is empty."""

    name: str
    """Registry name, e.g. `lpg`."""
    settings: dict[str, Any]
    """Keyword arguments that rebuild this objective from its name (JSON values only)."""
    heads: Callable[[Any], dict[str, int]]
    """`heads(action_space) -> {head: output size}`: what the agent's network must provide; `policy` is always there."""
    init: Callable[[Array], Any]
    """`init(key) -> meta_params`, a pytree of float32 arrays; `()` for closed-form rules."""
    targets: Callable[[Any, Rollout, Progress], Any]
    """`targets(meta_params, rollout [T, B], progress) -> pytree [T, B, ...]`, computed once per rollout, no gradient
    flows."""
    loss: Callable[[Any, Outputs, Rollout, Any, Progress], tuple[Float[Array, ""], dict[str, Array]]]
    """`loss(meta_params, outputs, rollout, targets, progress) -> (scalar to minimise, info)`. `outputs` are the
    differentiable outputs at `rollout.observation`; every argument but `meta_params` and `progress` shares the leading
    axes. `info` holds scalars."""
    uses_final_observation: bool = True
    """Whether `targets` looks at `rollout.next_outputs` where an episode was truncated."""
    drift: Callable[..., Array] | None = None
    """`drift(meta_params, ratio, log_ratio, advantage, progress) -> f`, elementwise, of a proximal objective;
    None for other objectives."""
    starts_from_zeros: bool = True
    """Whether evolution starts from zero meta-parameters rather than from what `init` draws."""
