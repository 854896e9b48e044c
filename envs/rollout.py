"""Acting in a batch of environments: fixed-length unrolls that keep their episodes, and evaluation of one episode."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.uniform_noise import UniformNoiseEnvironment


class Policy(NamedTuple):
    """How to act, with the randomness drawn beforehand."""

    draw_noise: Callable[[Array, tuple[int, ...]], Array]
    """`draw_noise(key, shape) -> [*shape, ...]`: all the randomness of acting `shape` times; consumes the key."""
    act: Callable[[Any, Array], Array]
    """`act(observation [B, ...], noise [B, ...]) -> action [B, ...]`, deterministic; with `infer`, what that returned
    stands in place of the observation."""
    infer: Callable[[Any], Any] | None = None
    """`infer(observation [B, ...]) -> outputs [B, ...]`: what actions are chosen by, and what the trajectory keeps."""


class Workers(NamedTuple):
    """A batch of environments in the middle of their episodes; every leaf has leading axis B."""

    observation: Any
    """Observation to act on next."""
    state: Any
    """gymnax state."""
    running_return: Float[Array, " B"]
    """Undiscounted return of the current episode so far."""
    last_return: Float[Array, " B"]
    """Undiscounted return of the last finished episode; 0 before the first has finished."""


class Trajectory(NamedTuple):
    """Transitions of one unroll, leading axes [T, B]."""

    observation: Any
    """Observation acted on."""
    action: Array
    """Action taken."""
    reward: Float[Array, "T B"]
    """Reward of the transition."""
    terminated: Bool[Array, "T B"]
    """The episode ended in the world's own terms."""
    truncated: Bool[Array, "T B"]
    """The episode was cut by its time limit and had not terminated."""
    final_observation: Any
    """The true successor observation, before any auto-reset; None unless asked for."""
    outputs: Any
    """What the policy inferred from `observation`; None if it has no `infer`."""
    kept: Any = None
    """What `keeps` returned of the state acted in; None without."""


def reset(env: Any, params: Any, key: Array, num_envs: int) -> Workers:
    """Returns B freshly reset environments; consumes `key`."""
    zeros = jnp.zeros((num_envs,), jnp.float32)
    if isinstance(env, UniformNoiseEnvironment):
        uniforms = jax.random.uniform(key, (num_envs, env.num_reset_uniforms))
        observation, state = jax.vmap(env.reset_from, (0, None))(uniforms, params)
    else:
        observation, state = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), params)
    return Workers(observation, _strengthen(state), zeros, zeros)


def unroll(
    env: Any,
    params: Any,
    policy: Policy,
    workers: Workers,
    key: Array,
    *,
    num_steps: int,
    keeps_final: bool = False,
    keeps: Callable[[Any], Any] | None = None,
) -> tuple[Workers, Trajectory]:
    """Returns the workers `num_steps` steps later and what happened on the way, `[T, B]`.

    Episodes reset themselves and carry on across calls. `keeps_final` records the true successor observations, which a
    value bootstrap through time limits needs; `keeps(state [B, ...])` what else is wanted of the states acted in.
    Consumes `key`.
    """
    key_act, key_step = jax.random.split(key)
    shape = (num_steps, workers.running_return.shape[0])
    noise = policy.draw_noise(key_act, shape)
    randomness = _draw_step_randomness(env, key_step, shape)

    def step(workers: Workers, inputs: tuple[Array, Array]) -> tuple[Workers, Trajectory]:
        noise, randomness = inputs
        action, outputs = _decide(policy, workers.observation, noise)
        after, transition = _advance(env, params, workers, action, randomness, keeps_final)
        kept = None if keeps is None else keeps(workers.state)
        return after, transition._replace(outputs=outputs, kept=kept)

    return jax.lax.scan(step, workers, (noise, randomness))


def evaluate(env: Any, params: Any, policy: Policy, key: Array, *, num_envs: int, num_steps: int) -> Float[Array, " B"]:
    """Returns the undiscounted return of one episode in each of B fresh environments, sampled actions; consumes `key`.

    An episode that is still running after `num_steps` counts what it has collected by then.
    """
    key_reset, key_act, key_step = jax.random.split(key, 3)
    workers = reset(env, params, key_reset, num_envs)
    noise = policy.draw_noise(key_act, (num_steps, num_envs))
    randomness = _draw_step_randomness(env, key_step, (num_steps, num_envs))

    def step(carry: tuple, inputs: tuple[Array, Array]) -> tuple[tuple, None]:
        workers, total, is_running = carry
        action, _ = _decide(policy, workers.observation, inputs[0])
        workers, transition = _advance(env, params, workers, action, inputs[1], False)
        total = total + jnp.where(is_running, transition.reward, 0.0)
        return (workers, total, is_running & ~(transition.terminated | transition.truncated)), None

    start = (workers, jnp.zeros((num_envs,), jnp.float32), jnp.ones((num_envs,), bool))
    (_, total, _), _ = jax.lax.scan(step, start, (noise, randomness))
    return total


def _decide(policy: Policy, observation: Any, noise: Array) -> tuple[Array, Any]:
    """Returns (action, outputs)."""
    if policy.infer is None:
        return policy.act(observation, noise), None
    outputs = policy.infer(observation)
    return policy.act(outputs, noise), outputs


def _draw_step_randomness(env: Any, key: Array, shape: tuple[int, int]) -> Array:
    if isinstance(env, UniformNoiseEnvironment):
        return jax.random.uniform(key, (*shape, env.num_step_uniforms + env.num_reset_uniforms))
    return jax.random.split(key, shape)


def _advance(
    env: Any, params: Any, workers: Workers, action: Array, randomness: Array, keeps_final: bool
) -> tuple[Workers, Trajectory]:
    step = _step_from_uniforms if isinstance(env, UniformNoiseEnvironment) else _step_from_key
    observation, state, reward, terminated, truncated, final = jax.vmap(step, (None, 0, 0, 0, None))(
        env, randomness, workers.state, action, params
    )
    reward, terminated = reward.astype(jnp.float32), terminated.astype(bool)
    truncated = truncated.astype(bool) & ~terminated
    done = terminated | truncated
    running = workers.running_return + reward
    kept = final if keeps_final else None
    transition = Trajectory(workers.observation, action, reward, terminated, truncated, kept, None)
    after = Workers(
        observation, _strengthen(state), jnp.where(done, 0.0, running), jnp.where(done, running, workers.last_return)
    )
    return after, transition


def _step_from_key(env: Any, key: Array, state: Any, action: Array, params: Any) -> tuple:
    observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)
    return observation, state, reward, terminated, truncated, info["final_observation"]


def _step_from_uniforms(env: Any, uniforms: Array, state: Any, action: Array, params: Any) -> tuple:
    """One step with auto-reset, as `gymnax.Environment.step` does it, from uniforms instead of a key."""
    num_step = env.num_step_uniforms
    final, state_after, reward, terminated, _ = env.transition(uniforms[:num_step], state, action, params)
    truncated = env.is_truncated(state_after, params)
    observation_reset, state_reset = env.reset_from(uniforms[num_step:], params)
    done = terminated | truncated
    observation, state = jax.tree.map(
        lambda fresh, old: jnp.where(done, fresh, old), (observation_reset, state_reset), (final, state_after)
    )
    return observation, state, reward, terminated, truncated, final


def _strengthen(tree: Any) -> Any:
    """Drops weak types, which gymnax states carry and which would make a compiled step compile twice."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), tree)
