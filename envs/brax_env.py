"""A brax system as a gymnax environment. Slow to import, so the registry imports it when a system is first asked for.

Episodes begin from fresh random states, drawn by gymnax's auto-reset: brax's own replays the first state for ever.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import Environment, EnvParams
from jaxtyping import Array, Bool, Float, Int
from mujoco import get_mju_user_warning, set_mju_user_warning  # pyright: ignore[reportAttributeAccessIssue] (compiled)

with contextlib.redirect_stdout(io.StringIO()):  # mjx prints that it misses `warp`, which nothing here needs
    import brax.contact
    import brax.envs

BACKENDS = ("positional", "spring", "generalized", "mjx")
"""Physics engines of brax. Their time steps differ, and so do the motions of one system under one sequence of actions.
"""
DEFAULT_BACKEND = "positional"
"""Engine of a system for which none is named."""
MAX_EPISODE_STEPS = 1000
"""Episode cap of the default parameters, in environment steps."""


class BraxState(NamedTuple):
    """A brax system in the middle of an episode. Brax's per-step metrics are dropped."""

    time: Int[Array, ""]
    """Steps since the episode began."""
    physics: Any
    """Positions, velocities and forces: the state of brax's pipeline."""
    observation: Float[Array, " D"]
    """What is seen of it."""
    info: Any
    """The dictionary that some systems carry from step to step."""


class BraxEnvironment(Environment):
    """One brax system. Observations are unbounded vectors [D]; actions are vectors [A], clipped to [-1, 1].

    `terminated` is brax's `done`; the cap `max_steps_in_episode` truncates. States whose physics have diverged are NaN.

    Args:
        system: a name in brax's registry, such as `ant`.
        backend: one of `BACKENDS`; None for `positional`.

    Raises:
        ValueError: if brax has no such system or backend, cannot run the one on the other, or observes dictionaries.
    """

    def __init__(self, system: str, backend: str | None = None):
        self.system = system
        self.backend = DEFAULT_BACKEND if backend is None else backend
        self._brax = _make_brax(system, self.backend)
        self._start = jax.eval_shape(self._brax.reset, jax.random.key(0))
        if not isinstance(self._start.obs, jax.ShapeDtypeStruct):
            raise ValueError(f"brax's {system!r} observes a dictionary; give it observations that are one vector")

    @property
    def name(self) -> str:
        """System and backend, such as `brax/ant@positional`."""
        return f"brax/{self.system}@{self.backend}"

    @property
    def default_params(self) -> EnvParams:
        """A time limit of 1000 steps."""
        return EnvParams(max_steps_in_episode=jnp.int32(MAX_EPISODE_STEPS))

    @property
    def num_actions(self) -> int:
        """A, the length of an action."""
        return self._brax.action_size

    def action_space(self, params: Any = None) -> spaces.Box:
        """A box [-1, 1]^A, which systems with other ranges of control scale to theirs."""
        return spaces.Box(-1.0, 1.0, (self.num_actions,), jnp.float32)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """All vectors of D numbers."""
        return spaces.Box(-jnp.inf, jnp.inf, self._start.obs.shape, jnp.float32)

    @property
    def has_contacts(self) -> bool:
        """Whether anything in the system can touch anything."""
        links = self._start.pipeline_state.x
        return jax.eval_shape(lambda links: brax.contact.get(self._brax.sys, links), links) is not None

    def observe(self, key: Any, state: BraxState, action: Any, params: Any) -> Float[Array, " D"]:
        """Returns the observation of a state; no randomness."""
        return state.observation

    def reset_env(self, key: Array, params: Any) -> tuple[Float[Array, " D"], BraxState]:
        """Returns `(observation, state)` at the random start of an episode; consumes `key`."""
        start = self._world(params).reset(key)
        observation = jnp.asarray(start.obs, jnp.float32)
        physics, info = _cast((start.pipeline_state, start.info), self._carried)
        return observation, BraxState(jnp.int32(0), physics, observation, info)

    def step_env(
        self, key: Any, state: BraxState, action: Float[Array, " A"], params: Any
    ) -> tuple[Float[Array, " D"], BraxState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)` without auto-reset; no randomness."""
        zero = jnp.float32(0.0)
        before = brax.envs.State(state.physics, state.observation, zero, zero, {}, dict(state.info))
        after = self._world(params).step(before, jnp.clip(action, -1.0, 1.0))
        observation, reward = jnp.asarray(after.obs, jnp.float32), jnp.asarray(after.reward, jnp.float32)
        terminated = jnp.asarray(after.done, bool)
        physics, info = _cast((after.pipeline_state, after.info), self._carried)
        state = BraxState(state.time + 1, physics, observation, info)
        return observation, state, reward, terminated, {"discount": 1.0 - terminated.astype(jnp.float32)}

    @property
    def _carried(self) -> tuple:
        """What goes from step to step, as shapes and dtypes."""
        return self._start.pipeline_state, self._start.info

    def _world(self, params: Any) -> Any:
        """Returns the brax environment with these parameters; may be called while tracing."""
        return self._brax


def _make_brax(system: str, backend: str) -> Any:
    if system not in brax.envs._envs:
        raise ValueError(f"brax has no system {system!r}; choose one of {', '.join(brax.envs._envs)}")
    if backend not in BACKENDS:
        raise ValueError(f"brax has no backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    try:
        with _without_mujoco_log():
            env: Any = brax.envs.get_environment(system, backend=backend)
    except ValueError as error:
        raise ValueError(f"brax cannot run {system!r} on {backend!r} ({error}); name another backend") from error
    if backend != "mjx" and hasattr(env, "sys") and env.sys.enable_fluid:
        # brax.fluid calls `jnp.clip(..., a_min=)`, which jax has removed.
        raise ValueError(
            f"{system!r} moves through a fluid, which brax 0.14 cannot simulate with this jax; use another"
        )
    return env


@contextlib.contextmanager
def _without_mujoco_log() -> Iterator[None]:
    """Drops what MuJoCo says of the age of brax's files; it would write MUJOCO_LOG.TXT into the current directory."""
    before = get_mju_user_warning()
    set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        set_mju_user_warning(before)


def _cast(tree: Any, like: Any) -> Any:
    """Returns the tree as strong arrays of the given dtypes: brax mixes weak ones in, which would compile twice."""
    return jax.tree.map(lambda leaf, one: jax.lax.convert_element_type(leaf, one.dtype), tree, like)
