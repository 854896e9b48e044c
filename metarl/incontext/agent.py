"""What acts in context: anything with a memory that takes in transitions and is asked for actions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.domain import Belief, Domain


class Transition(NamedTuple):
    """One step in an environment; arrays may have leading axes."""

    observation: Any
    """Observation acted on."""
    action: Array
    """Action taken."""
    reward: Array
    """Reward received."""
    next_observation: Any
    """The true successor, never the first observation of a next episode."""


def _keep(memory: Any, *_: Any) -> Any:
    return memory


class InContextAgent(NamedTuple):
    """A learner with frozen weights, or a classical algorithm, as pure functions about one task."""

    init: Callable[[Array, int], Any]
    """`init(key, capacity) -> memory` that has seen nothing, with room for `capacity` (static) transitions; consumes
    the key."""
    act: Callable[[Any, Any, Array], Array]
    """`act(memory, observation, key) -> action`; consumes the key."""
    observe: Callable[[Any, Transition, Bool[Array, ""]], Any]
    """`observe(memory, transition, is_valid) -> memory` after one transition; the same memory if it is not valid."""
    begin_episode: Callable[[Any, Array], Any] = _keep
    """`begin_episode(memory, key) -> memory`, told before the first step of every episode; consumes the key."""
    absorb: Callable[[Any, Transition, Bool[Array, " H"]], Any] | None = None
    """`absorb(memory, transitions [H], is_valid [H]) -> memory`: many transitions at once, in order; None: one by
    one."""
    reserve: Callable[[Any, int], Any] = _keep
    """`reserve(memory, capacity) -> memory` with room for `capacity` (static) transitions; nothing is forgotten."""
    attention: Callable[[Any, Any], Float[Array, "L N S"]] | None = None
    """`attention(memory, observation) -> [L, N, S]`: how each layer and head spreads its attention before an action,
    over nothing (slot 0) and the slots of the context, which are in order while none was overwritten; None: there is no
    attention to look at."""


def absorb(agent: InContextAgent, memory: Any, transitions: Transition, is_valid: Bool[Array, " H"]) -> Any:
    """Returns the memory after `[H]` transitions in order, of which only the valid count."""
    if agent.absorb is not None:
        return agent.absorb(memory, transitions, is_valid)

    def step(memory: Any, inputs: tuple[Transition, Array]) -> tuple[Any, None]:
        return agent.observe(memory, *inputs), None

    return jax.lax.scan(step, memory, (transitions, is_valid))[0]


def choose(new: Any, old: Any, condition: Bool[Array, ""]) -> Any:
    """Returns the first pytree where the condition holds, else the second."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def belief_agent(domain: Domain, *, greedy: bool = False) -> InContextAgent:
    """Returns the ideal pretrained model: actions by the exact `P(a* | data)`, sampled or the most probable.

    Continuous actions are sampled by drawing a task from the belief for every step and asking its expert.

    Raises:
        ValueError: if the domain has no exact belief, or of continuous actions the most probable is wanted.
    """
    belief = _exact_belief(domain)
    if domain.is_continuous and greedy:
        raise ValueError(f"{domain.name} has continuous actions, none of which is the most probable; sample them")

    def act(memory: Any, observation: Any, key: Array) -> Array:
        if domain.is_continuous:
            return domain.expert(observation, belief.draw(key, memory))
        probabilities = belief.probabilities(memory, observation)
        return pick(jnp.log(jnp.maximum(probabilities, 1e-30)), key, greedy=greedy)

    return InContextAgent(lambda key, capacity: belief.init(), act, _belief_observe(belief))


def posterior_sampling_agent(domain: Domain) -> InContextAgent:
    """Returns posterior sampling: the optimal action of a task drawn from the exact belief.

    It is drawn for every pull of a bandit (Thompson sampling) and for a whole episode elsewhere (PSRL; Osband et al.
    2013).

    Raises:
        ValueError: if the domain has no exact belief.
    """
    belief = _exact_belief(domain)

    if domain.is_bandit:

        def act(memory: Any, observation: Any, key: Array) -> Array:
            key_task, key_tie = jax.random.split(key)
            return expert_action(domain, observation, belief.draw(key_task, memory), key_tie)

        return InContextAgent(lambda key, capacity: belief.init(), act, _belief_observe(belief))

    inner = _belief_observe(belief)

    def init(key: Array, capacity: int) -> tuple[Any, Any]:
        prior = belief.init()
        return prior, belief.draw(key, prior)

    return InContextAgent(
        init,
        lambda memory, observation, key: expert_action(domain, observation, memory[1], key),
        lambda memory, transition, is_valid: (inner(memory[0], transition, is_valid), memory[1]),
        lambda memory, key: (memory[0], belief.draw(key, memory[0])),
    )


def posterior_mean_agent(domain: Domain) -> InContextAgent:
    """Returns the agent that pulls the arm with the highest exact posterior mean; bandits only.

    Raises:
        ValueError: if the domain has no exact belief about arms.
    """
    belief = domain.belief
    if belief is None or belief.mean_rewards is None:
        raise ValueError(f"{domain.name} has no exact posterior of arms; leave out the posterior mean")
    means = belief.mean_rewards

    def act(memory: Any, observation: Any, key: Array) -> Array:
        return pick(_spread_ties(means(memory)), key, greedy=False)

    return InContextAgent(lambda key, capacity: belief.init(), act, _belief_observe(belief))


def _exact_belief(domain: Domain) -> Belief:
    if domain.belief is None:
        raise ValueError(f"{domain.name} has no exact posterior; leave out the references that need one")
    return domain.belief


def expert_agent(domain: Domain, params: Any) -> InContextAgent:
    """Returns the optimal policy of the task with these params; it needs no memory."""

    def act(memory: Array, observation: Any, key: Array) -> Array:
        return expert_action(domain, observation, params, key)

    return InContextAgent(lambda key, capacity: jnp.int32(0), act, _keep)


def uniform_agent(domain: Domain) -> InContextAgent:
    """Returns uniformly random actions; continuous ones from the box."""

    def act(memory: Array, observation: Any, key: Array) -> Array:
        return random_action(domain, key)

    return InContextAgent(lambda key, capacity: jnp.int32(0), act, _keep)


def stranger_agent(domain: Domain) -> InContextAgent:
    """Returns the expert of another training task, drawn anew for every episode: one who knows the law and no more.

    It is posterior sampling without a posterior. The domain must have an expert.
    """

    def init(key: Array, capacity: int) -> Any:
        return domain.family.sample(key).params

    def act(memory: Any, observation: Any, key: Array) -> Array:
        return expert_action(domain, observation, memory, key)

    return InContextAgent(init, act, _keep, lambda memory, key: domain.family.sample(key).params)


def expert_action(domain: Domain, observation: Any, params: Any, key: Array) -> Array:
    """Returns what the expert of the task with these params does, drawn from its probabilities; consumes the key."""
    answer = domain.expert(observation, params)
    return answer if domain.is_continuous else pick(jnp.log(jnp.maximum(answer, 1e-30)), key, greedy=False)


def require_expert(domain: Domain) -> None:
    """Raises the ValueError of a domain that has no expert, before anything is compiled that would ask it."""
    key = jax.random.key(0)
    params = jax.eval_shape(domain.family.sample, key).params
    jax.eval_shape(domain.expert, jax.eval_shape(domain.sample_query, key, params), params)


def random_action(domain: Domain, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Returns `shape` uniform actions: of the discrete ones, or vectors in [-1, 1]^A; consumes the key."""
    if domain.is_continuous:
        return jax.random.uniform(key, (*shape, domain.num_actions), minval=-1.0, maxval=1.0)
    return jax.random.randint(key, shape, 0, domain.num_actions)


def pick(logits: Float[Array, " A"], key: Array, *, greedy: bool) -> Array:
    """Returns an action drawn from the logits, or the first with the highest; consumes the key."""
    return jnp.argmax(logits).astype(jnp.int32) if greedy else jax.random.categorical(key, logits).astype(jnp.int32)


def _spread_ties(values: Float[Array, " A"]) -> Float[Array, " A"]:
    """Returns logits that are uniform over the highest values."""
    return jnp.where(values >= jnp.max(values) - 1e-6, 0.0, -jnp.inf)


def _belief_observe(belief: Belief) -> Callable[[Any, Transition, Bool[Array, ""]], Any]:
    def observe(memory: Any, transition: Transition, is_valid: Bool[Array, ""]) -> Any:
        return choose(belief.update(memory, *transition), memory, is_valid)

    return observe
