"""What an in-context learner needs to know of a family beside its environment: experts, queries, exact beliefs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.family import TaskFamily


class Belief(NamedTuple):
    """Exact Bayesian inference about a task, one transition at a time. All functions are unbatched and pure."""

    init: Callable[[], Any]
    """`init() -> belief`: the prior."""
    update: Callable[[Any, Any, Array, Array, Any], Any]
    """`update(belief, observation, action, reward, next_observation) -> belief` after one transition."""
    probabilities: Callable[[Any, Any], Float[Array, " A"]]
    """`probabilities(belief, query) -> P(a* | data)`: how probably the expert takes each action at the query. Raises a
    ValueError where actions are continuous, of which `draw` says what there is to say."""
    draw: Callable[[Array, Any], Any]
    """`draw(key, belief) -> EnvParams` of one task from the belief; consumes the key."""
    mean_rewards: Callable[[Any], Float[Array, " A"]] | None = None
    """`mean_rewards(belief)`: the expected reward of every arm; bandits only."""


class Domain(NamedTuple):
    """A family of tasks that a learner is pretrained on to act in context.

    Functions take plain unbatched arrays. Randomness is a vector of uniforms where it is part of a transition and a key
    elsewhere.
    """

    name: str
    """How `make_domain` was asked for it."""
    family: TaskFamily
    """The law of the training tasks, and their environment."""
    held_out: TaskFamily
    """The law of the test tasks: disjoint from the training tasks where these are finitely many, the same law else."""
    horizon: int
    """Steps of an episode; of a bandit, pulls."""
    context_length: int
    """Transitions in the contexts that learners are trained on unless told otherwise."""
    num_actions: int
    """A, the number of discrete actions; of continuous actions, their dimensions."""
    observation_size: int
    """Entries of an encoded observation."""
    encode: Callable[[Any], Float[Array, " D"]]
    """`encode(observation)`: what a network is shown of an observation."""
    transition: Callable[[Float[Array, " n"], Any, Array, Any], tuple[Float[Array, ""], Any]]
    """`transition(uniforms, observation, action, params) -> (reward, next_observation)` from any observation, without
    an episode around it; `uniforms` are as many as the environment's `num_step_uniforms`."""
    sample_query: Callable[[Array, Any], Any]
    """`sample_query(key, params) -> observation` to ask the expert about; consumes the key."""
    expert: Callable[[Any, Any], Float[Array, " A"]]
    """`expert(observation, params)`: the probability with which the optimal policy takes each action, by the domain's
    rule for ties. Of continuous actions: the action."""
    mean_reward: Callable[[Any, Array, Any], Float[Array, ""]] | None = None
    """`mean_reward(observation, action, params)` without noise, by which regret is counted; bandits only."""
    belief: Belief | None = None
    """Exact inference under the prior of the training tasks, or None where there is no closed form."""
    behaviour: str = "uniform"
    """Name of the paper's way to gather contexts here, see `metarl.incontext.collect.BEHAVIOURS`."""
    is_ordered: bool = False
    """Whether the order of that context carries information, because the behaviour adapts."""
    pair_index: Callable[[Any, Array], Array] | None = None
    """`pair_index(observation, action) -> int32` below `num_pairs`; where transitions are deterministic, a pair that
    was seen once has nothing more to tell."""
    num_pairs: int = 0
    """How many pairs there are; 0 without `pair_index`."""
    image_shape: tuple[int, int, int] | None = None
    """Height, width and channels of the image that the first entries of an encoded observation are; None: no image."""
    is_continuous: bool = False
    """Whether actions are vectors in [-1, 1]^A."""
    shows_next: bool = True
    """Whether the next observation tells anything that a context should hold (not in a bandit)."""
    shows_state: bool = True
    """Whether what networks are shown of an observation is all of it that the optimal action depends on; if not, a
    question out of the blue has no answer, and only who has followed the episode can know."""
    asks_visited: bool = False
    """Whether only walks lead to observations worth asking about, so that questions are about those of a context and
    not about `sample_query`, which knows starts alone."""
    features: Callable[[Any], Float[Array, "A d"]] | None = None
    """`features(observation)` of the arms of a bandit whose means are linear in them; None elsewhere."""

    @property
    def env(self) -> Any:
        """The gymnax environment."""
        return self.family.env

    @property
    def is_bandit(self) -> bool:
        """Whether there is one state, so that regret is counted by pulls and queries are constant."""
        return self.mean_reward is not None


def posterior(
    belief: Belief,
    observation: Any,
    action: Array,
    reward: Float[Array, " H"],
    next_observation: Any,
    mask: Bool[Array, " H"],
    query: Any,
) -> Float[Array, " A"]:
    """Returns `P(a* | data)` at the query from arrays with leading axis H, of which only masked transitions count."""

    def update(state: Any, inputs: tuple) -> tuple[Any, None]:
        *transition, is_valid = inputs
        updated = belief.update(state, *transition)
        return jax.tree.map(lambda new, old: jnp.where(is_valid, new, old), updated, state), None

    state, _ = jax.lax.scan(update, belief.init(), (observation, action, reward, next_observation, mask))
    return belief.probabilities(state, query)
