"""Episodes in which a model optimises: what it saw, what it chose, and how good the best was after every choice."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.environment import BlackBox
from metarl.metabo.nap import NAP, Belief, among
from metarl.metabo.network import Evaluations
from metarl.metabo.optimiser import is_open

Choose = Callable[[Array, Belief, Any], Array]
"""`choose(key, belief, observation) -> logits [N]` before what has been visited is taken out."""


class Decision(NamedTuple):
    """One choice; [T] of them are an episode."""

    observation: dict[str, Array]
    """What had been evaluated."""
    belief: Belief
    """What the model made of it, without what is large and not needed again."""
    is_allowed: Bool[Array, " N"]
    """Which candidates could be chosen."""
    action: Int[Array, ""]
    """Which was."""
    log_prob: Float[Array, ""]
    """The log of its probability."""
    best: Float[Array, ""]
    """Best value after it."""


def evaluations_of(observation: dict[str, Array], params: Any) -> Evaluations:
    """Returns the points that an observation names."""
    return Evaluations(params.x[observation["index"]], observation["y"], observation["is_seen"])


def make_episode(
    nap: NAP,
    env: BlackBox,
    *,
    num_steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    rereads: bool = False,
) -> Callable[[Any, Any, Array, Array], tuple[Float[Array, ""], Decision]]:
    """Returns `episode(params, task, initial [I], key) -> (best initial value, decisions [T])`, choices being drawn.

    Args:
        nap: the model.
        env: pools as an environment.
        num_steps: T, choices in an episode.
        temperature: what logits are divided by.
        top_k: candidates among which is drawn; None: all.
        rereads: whether the loss looks at the evaluations again, so that of candidates but a few numbers are kept;
            otherwise only bars are left out.
    """

    def episode(params: Any, task: Any, initial: Int[Array, " I"], key: Array) -> tuple[Float[Array, ""], Decision]:
        observation, state = env.reset_at(initial, task)
        draws = jax.random.gumbel(key, (num_steps, env.num_candidates))

        def step(carry: tuple[Any, Any], gumbel: Float[Array, " N"]) -> tuple[tuple[Any, Any], Decision]:
            observation, state = carry
            belief = nap.believe(params, task.kind, evaluations_of(observation, task), task.x)
            is_allowed = is_open(observation, task)
            logits = among(nap.prefer(params, belief, observation["progress"]) / temperature, is_allowed)
            if top_k is not None:
                is_allowed = is_allowed & (logits >= jax.lax.top_k(logits, top_k)[0][-1])
                logits = among(logits, is_allowed)
            action = jnp.argmax(logits + gumbel).astype(jnp.int32)
            log_prob = jax.nn.log_softmax(logits)[action]
            after, state, _, _, _ = env.transition(jnp.zeros((0,)), state, action, task)
            reading = belief.reading._replace(bars=belief.reading.bars[:, :0])
            small = belief._replace(reading=reading._replace(hidden=reading.hidden[:, :0]) if rereads else reading)
            return (after, state), Decision(observation, small, is_allowed, action, log_prob, after["incumbent"])

        _, decisions = jax.lax.scan(step, (observation, state), draws)
        return observation["incumbent"], decisions

    return episode
