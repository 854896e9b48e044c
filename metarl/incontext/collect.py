"""Contexts for pretraining, gathered inside the compiled program by the behaviours of the papers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.domain import Domain
from metarl.incontext.agent import Transition, expert_action, random_action, require_expert
from metarl.incontext.context import Context, OrderedContext, UnorderedContext

Collect = Callable[[Any, Array], Context]
"""`collect(params, key) -> Context` of one task; consumes the key."""
STRANGER_STEPS = 50
"""Steps after which a stranger follows another task."""
NUM_TILTS = 11
"""Values 0, 0.1, …, 1 of the weight of the preferred arm."""


def make_collect(domain: Domain, behaviour: str, length: int) -> Collect:
    """Returns the way to gather full contexts of `length` transitions in this domain.

    | behaviour | transitions | context |
    |---|---|---|
    | `uniform` | each from a random observation by a random action, independent of the others | unordered |
    | `tilted` | pulls drawn from one law per data set, see `tilted_law`; bandits only | unordered |
    | `thompson` | pulls of Thompson sampling with independent N(0, 1) arms; bandits only | ordered |
    | `walk` | one random walk, episode after episode | ordered |
    | `expert` | the expert's walk, with a share of random actions drawn once per data set from U[0, 1] | ordered |
    | `stranger` | as `expert`, but of other tasks, one every 50 steps: its actions tell nothing of this one | ordered |
    | `optimal` | the expert's walk without a mistake | ordered |

    Random actions are uniform, continuous ones in their box. A domain says itself if it lacks what a behaviour needs:
    an expert, or a transition from any observation.

    Raises:
        ValueError: if the behaviour is unknown or not for this domain, or the length is below 1.
    """
    if behaviour not in BEHAVIOURS:
        raise ValueError(f"there is no behaviour {behaviour!r}; choose one of {', '.join(BEHAVIOURS)}")
    if behaviour in ("tilted", "thompson") and not domain.is_bandit:
        raise ValueError(f"behaviour {behaviour!r} pulls arms, but {domain.name} is no bandit; choose uniform or walk")
    if length < 1:
        raise ValueError(f"a context was to have {length} transitions; it needs at least 1")
    return BEHAVIOURS[behaviour](domain, length)


def tilted_law(key: Array, num_arms: int) -> Float[Array, " A"]:
    """Returns the law by which one data set pulls arms: `(1 - c) Dirichlet(1) + c e_k`; consumes the key.

    The arm k is uniform and c uniform on 0, 0.1, …, 1.

    Source: jon--lee/decision-pretrained-transformer, bandit contexts.
    """
    key_dirichlet, key_arm, key_tilt = jax.random.split(key, 3)
    weights = jax.random.exponential(key_dirichlet, (num_arms,))
    arm = jax.nn.one_hot(jax.random.randint(key_arm, (), 0, num_arms), num_arms, dtype=jnp.float32)
    tilt = jax.random.randint(key_tilt, (), 0, NUM_TILTS).astype(jnp.float32) / (NUM_TILTS - 1)
    return (1.0 - tilt) * weights / jnp.sum(weights) + tilt * arm


def _independent(domain: Domain, params: Any, observations: Any, actions: Array, key: Array) -> UnorderedContext:
    """Returns what taking each action at each observation leads to."""
    length = actions.shape[0]
    uniforms = jax.random.uniform(key, (length, domain.env.num_step_uniforms))
    rewards, after = jax.vmap(domain.transition, (0, 0, 0, None))(uniforms, observations, actions, params)
    return UnorderedContext(Transition(observations, actions, rewards, after), jnp.int32(length))


def _uniform(domain: Domain, length: int) -> Collect:
    def collect(params: Any, key: Array) -> UnorderedContext:
        key_observations, key_actions, key_steps = jax.random.split(key, 3)
        keys = jax.random.split(key_observations, length)
        observations = jax.vmap(domain.sample_query, (0, None))(keys, params)
        actions = random_action(domain, key_actions, (length,))
        return _independent(domain, params, observations, actions, key_steps)

    return collect


def _tilted(domain: Domain, length: int) -> Collect:
    def collect(params: Any, key: Array) -> UnorderedContext:
        key_law, key_pulls, key_steps, key_query = jax.random.split(key, 4)
        upto = jnp.cumsum(tilted_law(key_law, domain.num_actions))
        uniforms = jax.random.uniform(key_pulls, (length, 1))
        actions = jnp.sum((uniforms * upto[-1] >= upto[None]).astype(jnp.int32), axis=1)
        actions = jnp.minimum(actions, domain.num_actions - 1)
        observation = domain.sample_query(key_query, params)
        observations = jnp.broadcast_to(observation[None], (length, *observation.shape))
        return _independent(domain, params, observations, actions, key_steps)

    return collect


def _thompson(domain: Domain, length: int) -> Collect:
    """Source: Lee et al. 2023, contexts of the linear bandit: the sampler is blind to what arms have in common."""

    def collect(params: Any, key: Array) -> OrderedContext:
        key_steps, key_draws, key_query = jax.random.split(key, 3)
        uniforms = jax.random.uniform(key_steps, (length, domain.env.num_step_uniforms))
        normals = jax.random.normal(key_draws, (length, domain.num_actions))
        observation = domain.sample_query(key_query, params)

        def pull(statistics: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple]:
            count, total = statistics
            precision = 1.0 + count / params.noise**2
            means = total / params.noise**2 / precision
            action = jnp.argmax(means + inputs[1] / jnp.sqrt(precision)).astype(jnp.int32)
            reward, _ = domain.transition(inputs[0], observation, action, params)
            pulled = jax.nn.one_hot(action, domain.num_actions, dtype=jnp.float32)
            return (count + pulled, total + pulled * reward), (action, reward)

        zeros = jnp.zeros((domain.num_actions,), jnp.float32)
        _, (actions, rewards) = jax.lax.scan(pull, (zeros, zeros), (uniforms, normals))
        observations = jnp.broadcast_to(observation[None], (length, *observation.shape))
        return OrderedContext(Transition(observations, actions, rewards, observations), jnp.int32(length))

    return collect


def _walk(domain: Domain, length: int) -> Collect:
    return _walking(domain, length, lambda observation, params, share, key: random_action(domain, key))


def _expert(domain: Domain, length: int) -> Collect:
    return _walking(domain, length, _erring(domain))


def _stranger(domain: Domain, length: int) -> Collect:
    return _walking(domain, length, _erring(domain), is_lost=True)


def _erring(domain: Domain) -> Callable[[Any, Any, Array, Array], Array]:
    """Returns the expert's choice, but random actions with a probability of `share`."""
    require_expert(domain)

    def choose(observation: Any, params: Any, share: Array, key: Array) -> Array:
        key_coin, key_random, key_expert = jax.random.split(key, 3)
        best = expert_action(domain, observation, params, key_expert)
        return jnp.where(jax.random.uniform(key_coin) < share, random_action(domain, key_random), best)

    return choose


def _optimal(domain: Domain, length: int) -> Collect:
    require_expert(domain)
    return _walking(
        domain, length, lambda observation, params, share, key: expert_action(domain, observation, params, key)
    )


def _walking(
    domain: Domain, length: int, choose: Callable[[Any, Any, Array, Array], Array], *, is_lost: bool = False
) -> Collect:
    """Returns contexts of steps in the environment; an episode that ends is followed by the next.

    `choose(observation, params, share, key)` is told the params of the task, or if it is lost, those of other tasks.
    """
    env = domain.env

    def collect(params: Any, key: Array) -> OrderedContext:
        key_reset, key_share, key_steps = jax.random.split(key, 3)
        params = params.replace(max_steps_in_episode=jnp.int32(domain.horizon))
        share, key_lost = jax.random.uniform(key_share), jax.random.fold_in(key_share, 1)

        def followed(index: Int[Array, ""]) -> Any:
            other = jax.random.fold_in(key_lost, index // STRANGER_STEPS)
            return domain.family.sample(other).params if is_lost else params

        def step(carry: tuple[Any, Any], index: Int[Array, ""]) -> tuple[tuple[Any, Any], Transition]:
            observation, state = carry
            key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, index))
            action = choose(observation, followed(index), share, key_act)
            after, state, reward, _, _, info = env.step(key_step, state, action, params)
            # `after` may already belong to the next episode; what the step led to stands in `final_observation`.
            return (after, state), Transition(observation, action, reward, info["final_observation"])

        start = env.reset_env(key_reset, params)
        _, transitions = jax.lax.scan(step, start, jnp.arange(length))
        return OrderedContext(transitions, jnp.int32(length))

    return collect


BEHAVIOURS: dict[str, Callable[[Domain, int], Collect]] = {
    "uniform": _uniform,
    "tilted": _tilted,
    "thompson": _thompson,
    "walk": _walk,
    "expert": _expert,
    "stranger": _stranger,
    "optimal": _optimal,
}
"""Ways to gather contexts by name."""
