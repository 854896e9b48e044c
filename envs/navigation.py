"""Dark navigation: go to a platform that cannot be seen, in a plane, by continuous actions.

What the Dark Room is on a grid. It stands where Laskin et al. 2022 (Algorithm Distillation) have a water maze.
"""

from functools import partial
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int

from envs.cells import STARTS
from envs.domain import Belief, Domain
from envs.family import Task, TaskFamily
from envs.finite_tasks import MAX_LIFETIME
from envs.uniform_noise import UniformNoiseEnvironment

CONTEXT_EPISODES = 5
"""Episodes' worth of transitions in a context."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@partial(struct.dataclass, kw_only=True)
class NavigationParams(environment.EnvParams):
    """A platform."""

    goal: Float[Array, "2"]
    """Its centre (x, y), in sides of the arena."""


class NavigationState(NamedTuple):
    """Where an episode is."""

    time: Int[Array, ""]
    """Steps since it began."""
    position: Float[Array, "2"]
    """Where the point is (x, y), in [0, 1]."""


class Navigation(UniformNoiseEnvironment):
    """A point in the arena [0, 1]²; every step that ends on a round platform pays 1.

    An action is a vector in [-1, 1]²; the point moves by `speed` times it, or times the unit vector if it is longer
    than that, and stops at the walls. It has no inertia. The observation is its position; nothing shows the platform,
    and nothing ends an episode but its time limit.

    Args:
        radius: of the platform, in sides of the arena.
        speed: the longest step, in the same unit.
        start: `corner` (0, 0), `centre` or `random`.
    """

    num_reset_uniforms = 2
    num_step_uniforms = 0

    def __init__(self, radius: float = 0.1, speed: float = 0.1, *, start: str = "corner"):
        self.radius, self.speed, self.start = radius, speed, start

    @property
    def default_params(self) -> NavigationParams:
        """The platform in the middle of the upper right quarter, 30 steps."""
        return NavigationParams(max_steps_in_episode=jnp.int32(30), goal=jnp.full((2,), 0.75, jnp.float32))

    @property
    def num_actions(self) -> int:
        """Two dimensions."""
        return 2

    def action_space(self, params: Any = None) -> spaces.Box:
        """The box [-1, 1]²."""
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """The box [0, 1]²."""
        return spaces.Box(0.0, 1.0, (2,), jnp.float32)

    def observe(self, key: Any, state: NavigationState, action: Any, params: Any) -> Float[Array, "2"]:
        """Returns the position."""
        return state.position

    def reset_from(self, uniforms: Float[Array, "2"], params: Any) -> tuple[Float[Array, "2"], NavigationState]:
        """Returns `(observation, state)` at the start."""
        fixed = {"corner": 0.0, "centre": 0.5}
        position = uniforms if self.start == "random" else jnp.full((2,), fixed[self.start], jnp.float32)
        return position, NavigationState(jnp.int32(0), position)

    def move(self, position: Float[Array, "2"], action: Float[Array, "2"]) -> Float[Array, "2"]:
        """Returns where an action leads to."""
        action = jnp.clip(action, -1.0, 1.0)
        return jnp.clip(position + self.speed * action / jnp.maximum(_length(action), 1.0), 0.0, 1.0)

    def transition(
        self, uniforms: Float[Array, "0"], state: NavigationState, action: Float[Array, "2"], params: NavigationParams
    ) -> tuple[Float[Array, "2"], NavigationState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; deterministic."""
        position = self.move(state.position, action)
        state = NavigationState(state.time + 1, position)
        return position, state, self.reward(position, params), jnp.bool_(False), {"discount": jnp.float32(1.0)}

    def reward(self, position: Float[Array, "2"], params: NavigationParams) -> Float[Array, ""]:
        """Returns 1 on the platform, its edge included, else 0."""
        return (_length(position - params.goal) <= self.radius).astype(jnp.float32)

    def expert(self, position: Float[Array, "2"], params: NavigationParams) -> Float[Array, "2"]:
        """Returns the action straight to the centre of the platform, as long a step as that takes and at most 1.

        No other reaches the platform in fewer steps: a step brings nobody nearer by more than `speed`.
        """
        way = params.goal - position
        return way / jnp.maximum(_length(way), self.speed)

    def steps_to_reach(self, position: Float[Array, "2"], params: NavigationParams) -> Float[Array, ""]:
        """Returns the fewest steps after which one is on the platform, at least 1."""
        gap = _length(params.goal - position) - self.radius
        return jnp.maximum(jnp.ceil(gap / self.speed), 1.0)

    def optimal_return(self, params: NavigationParams) -> Float[Array, ""]:
        """Returns what the expert collects in an episode from a start that is the same for all."""
        start, _ = self.reset_from(jnp.zeros((2,), jnp.float32), params)
        steps = jnp.asarray(params.max_steps_in_episode, jnp.float32)
        return jnp.maximum(steps - self.steps_to_reach(start, params) + 1.0, 0.0)


def _length(vector: Float[Array, "2"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(vector**2))


def navigation(
    *, horizon: int = 30, radius: float = 0.1, speed: float = 0.1, start: str = "corner", grid: int = 40
) -> Domain:
    """Returns the arena with a hidden platform, whose centre is uniform where all of it is inside.

    Held-out platforms are fresh draws from that law: among goals that fill a plane none comes twice. Of the belief
    there are draws and no probabilities, because actions are continuous.

    Args:
        horizon: steps of an episode.
        radius: of the platform, in sides of the arena, below 0.5.
        speed: the longest step, in the same unit.
        start: `corner` (0, 0), `centre` or `random`.
        grid: the belief knows of grid x grid platforms.

    Raises:
        ValueError: if an argument is out of range.
    """
    if horizon < 1 or grid < 1 or not 0.0 < radius < 0.5 or not speed > 0.0:
        raise ValueError(
            f"navigation was given horizon={horizon}, radius={radius}, speed={speed} and grid={grid}; it needs a step, "
            "a radius between 0 and 0.5, a positive speed and a platform in its grid"
        )
    if start not in STARTS:
        raise ValueError(f"navigation was given start={start!r}; choose one of {', '.join(STARTS)}")
    env = Navigation(radius, speed, start=start)
    family = _family(env, horizon)

    def transition(uniforms, observation, action, params):
        after = env.move(observation, action)
        return env.reward(after, params), after

    return Domain(
        name="navigation",
        family=family,
        held_out=family,
        horizon=horizon,
        context_length=CONTEXT_EPISODES * horizon,
        num_actions=2,
        observation_size=2,
        encode=lambda observation: 2.0 * observation - 1.0,
        transition=transition,
        sample_query=lambda key, params: jax.random.uniform(key, (2,)),
        expert=env.expert,
        belief=_grid_belief(env, family, grid),
        is_continuous=True,
    )


def _family(env: Navigation, horizon: int) -> TaskFamily:
    """Returns the law of the platform; a task vector holds the quantiles of its centre (x, y)."""

    def decode(vector: Float[Array, "2"]) -> Task:
        goal = env.radius + jnp.clip(vector, 0.0, 1.0) * (1.0 - 2.0 * env.radius)
        return Task(NavigationParams(max_steps_in_episode=jnp.int32(horizon), goal=goal), jnp.int32(MAX_LIFETIME))

    return TaskFamily(
        name="navigation",
        env=env,
        sample=lambda key: decode(jax.random.uniform(key, (2,))),
        decode=decode,
        num_dimensions=2,
        max_lifetime=MAX_LIFETIME,
        max_episode_steps=horizon,
        optimal_return=None if env.start == "random" else env.optimal_return,
    )


def _grid_belief(env: Navigation, family: TaskFamily, grid: int) -> Belief:
    """Returns inference over the centres of grid x grid equal cells of the goals.

    It is exact for a platform of the grid, of which those are possible that no transition speaks against. What is left
    of the plane after many transitions can lie between the cells: then those are possible that the fewest speak
    against.
    """
    middles = (jnp.arange(grid, dtype=jnp.float32) + 0.5) / grid
    quantiles = jnp.stack(jnp.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    hypotheses = jax.vmap(family.decode)(quantiles).params

    def update(against: Int[Array, " n"], observation: Any, action: Any, reward: Any, after: Any) -> Int[Array, " n"]:
        would_pay = jax.vmap(env.reward, (None, 0))(after, hypotheses)
        return against + ((would_pay > 0.5) != (reward > 0.5)).astype(jnp.int32)

    def draw(key: Array, against: Int[Array, " n"]) -> NavigationParams:
        logits = jnp.where(against == jnp.min(against), 0.0, -jnp.inf)
        index = jax.random.categorical(key, logits)
        return jax.tree.map(lambda leaf: leaf[index], hypotheses)

    return Belief(lambda: jnp.zeros((grid * grid,), jnp.int32), update, _no_probabilities, draw)


def _no_probabilities(belief: Any, query: Any) -> Any:
    raise ValueError("actions of navigation are continuous and have no probabilities; draw a task from the belief")


if "DarkNavigation-metarl" not in gymnax.registered_envs:
    gymnax.register("DarkNavigation-metarl", Navigation)
