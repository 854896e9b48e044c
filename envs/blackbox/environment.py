"""Bayesian optimisation of a finite pool as a gymnax environment: an action evaluates a candidate.

Source: Maraval et al. 2023 (NAP), section 3: state `{H_t, t, T}`, action `x_t` from the pool.
"""

from typing import Any, NamedTuple

import gymnax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.task import NUM_INIT, NUMERIC, BlackBoxParams, pool_params, regret
from envs.uniform_noise import UniformNoiseEnvironment

Observation = dict[str, Array]


class BlackBoxState(NamedTuple):
    """What has been evaluated, in order: initial points first."""

    index: Int[Array, " L"]
    """Candidates evaluated; 0 in places not filled yet."""
    y: Float[Array, " L"]
    """Their values; 0 in places not filled yet."""
    is_visited: Bool[Array, " N"]
    """Which candidates have been evaluated."""
    best: Float[Array, ""]
    """Largest value so far; minus infinity without any."""
    num_seen: Int[Array, ""]
    """Places filled."""
    time: Int[Array, ""]
    """t, evaluations after the initial ones."""


class DictionarySpace(spaces.Dict):
    """A space of dictionaries, in the order of their leaves; gymnax looks for attributes, which these do not have."""

    def __init__(self, entries: dict[str, spaces.Space]):
        super().__init__({name: entries[name] for name in sorted(entries)})

    def contains(self, x: Observation) -> Bool[Array, ""]:
        """Whether every entry lies in its space."""
        return jnp.all(jnp.stack([space.contains(x[name]) for name, space in self.spaces.items()]))


class BlackBox(UniformNoiseEnvironment):
    """Evaluate candidates until the budget is spent; the reward is by how much the regret fell.

    The pool stays in the params; an observation names candidates by their index in it:

    | entry | shape | holds |
    |---|---|---|
    | `index` | [L] | candidates evaluated |
    | `y` | [L] | their values |
    | `is_seen` | [L] | which places are filled |
    | `is_visited` | [N] | which candidates have been evaluated |
    | `incumbent` | [] | best value so far |
    | `progress` | [] | t / T |

    A candidate evaluated again gives its value again; padding gives the worst. Values have no noise.
    """

    num_step_uniforms = 0

    def __init__(self, num_candidates: int, *, max_horizon: int = 50, max_init: int = NUM_INIT):
        if num_candidates < 1 or max_horizon < 1 or max_init < 0:
            raise ValueError(
                f"a black box was given {num_candidates} candidates, a horizon of {max_horizon} and {max_init} initial "
                "points; it needs at least 1, 1 and 0"
            )
        self.num_candidates, self.max_horizon, self.max_init = num_candidates, max_horizon, max_init
        self.num_reset_uniforms = num_candidates

    @property
    def max_history(self) -> int:
        """L, places for evaluations."""
        return self.max_init + self.max_horizon

    @property
    def default_params(self) -> BlackBoxParams:
        """A ramp along one dimension."""
        x = jnp.linspace(0.0, 1.0, self.num_candidates, dtype=jnp.float32)
        kind = jnp.full((1,), NUMERIC, jnp.int32)
        return pool_params(x[:, None], kind, x, horizon=self.max_horizon, num_init=self.max_init)

    @property
    def num_actions(self) -> int:
        """N."""
        return self.num_candidates

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(N)."""
        return spaces.Discrete(self.num_candidates)

    def observation_space(self, params: Any = None) -> "DictionarySpace":
        """See the class."""
        length, count = (self.max_history,), (self.num_candidates,)
        return DictionarySpace(
            {
                "index": spaces.Box(0, self.num_candidates, length, jnp.int32),
                "y": spaces.Box(-jnp.inf, jnp.inf, length, jnp.float32),
                "is_seen": spaces.Box(False, True, length, bool),
                "is_visited": spaces.Box(False, True, count, bool),
                "incumbent": spaces.Box(-jnp.inf, jnp.inf, (), jnp.float32),
                "progress": spaces.Box(0.0, 1.0, (), jnp.float32),
            }
        )

    def observe(self, state: BlackBoxState, params: Any) -> Observation:
        """Returns the observation of a state."""
        return {
            "index": state.index,
            "y": state.y,
            "is_seen": jnp.arange(self.max_history) < state.num_seen,
            "is_visited": state.is_visited,
            "incumbent": state.best,
            "progress": state.time.astype(jnp.float32) / jnp.maximum(params.horizon, 1).astype(jnp.float32),
        }

    def reset_from(self, uniforms: Float[Array, " N"], params: Any) -> tuple[Observation, BlackBoxState]:
        """Returns `(observation, state)` after random initial points, all different while there are enough."""
        order = jnp.argsort(jnp.where(params.is_valid, uniforms, 2.0))
        return self.reset_at(order[: self.max_init].astype(jnp.int32), params)

    def reset_at(self, initial: Int[Array, " I"], params: Any) -> tuple[Observation, BlackBoxState]:
        """Returns `(observation, state)` after the first `params.num_init` of these candidates."""
        places = jnp.zeros((self.max_history,), jnp.int32).at[: initial.shape[0]].set(initial)
        num_init = jnp.minimum(params.num_init, initial.shape[0])
        is_seen = jnp.arange(self.max_history) < num_init
        y = jnp.where(is_seen, params.y[places], 0.0)
        state = BlackBoxState(
            index=jnp.where(is_seen, places, 0),
            y=y,
            is_visited=jnp.zeros((self.num_candidates,), bool).at[places].max(is_seen),
            best=jnp.max(y, where=is_seen, initial=-jnp.inf),
            num_seen=num_init,
            time=jnp.int32(0),
        )
        return self.observe(state, params), state

    def transition(
        self, uniforms: Float[Array, "0"], state: BlackBoxState, action: Int[Array, ""], params: Any
    ) -> tuple[Observation, BlackBoxState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; beyond the room for evaluations nothing is kept."""
        y = jnp.where(params.is_valid[action], params.y[action], params.y_worst)
        place = state.num_seen
        after = BlackBoxState(
            index=state.index.at[place].set(action.astype(jnp.int32), mode="drop"),
            y=state.y.at[place].set(y, mode="drop"),
            is_visited=state.is_visited.at[action].set(True),
            best=jnp.maximum(state.best, y),
            num_seen=jnp.minimum(place + 1, self.max_history),
            time=state.time + 1,
        )
        before = jnp.maximum(state.best, params.y_worst)  # without initial points, the worst is what one starts from
        reward = regret(before, params) - regret(after.best, params)
        terminated = after.time >= params.horizon
        return (
            self.observe(after, params),
            after,
            reward,
            terminated,
            {"discount": 1.0 - terminated.astype(jnp.float32)},
        )

    def is_terminated(self, state: BlackBoxState, params: Any) -> Bool[Array, ""]:
        """Whether the budget is spent."""
        return state.time >= params.horizon


if "BlackBox-metarl" not in gymnax.registered_envs:
    gymnax.register("BlackBox-metarl", lambda: BlackBox(100))
