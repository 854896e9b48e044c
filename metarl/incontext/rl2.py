"""RL²: reinforcement learning trains a recurrent network whose hidden state then learns within a task.

Source: Duan et al. 2016 (RL²: Fast Reinforcement Learning via Slow Reinforcement Learning), Wang et al. 2016; with PPO
as the outer algorithm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, choose
from metarl.incontext.heads import categorical, categorical_mask
from metarl.incontext.model import Codec, make_codec
from metarl.lifetime.learn import minibatch_indices
from metarl.networks.recurrent import Recurrent
from metarl.objectives.actor_critic_loss import check_settings, kl_estimate, normalise, value_loss
from metarl.returns import generalised_advantages

VALUE_COEFFICIENT = 0.5
"""Weight of the critic's loss."""


class Hidden(NamedTuple):
    """What the learner remembers of a task."""

    state: Float[Array, " n"]
    """Hidden state of the GRU."""
    is_first: Bool[Array, ""]
    """Whether an episode has begun and no step been made in it: the network is told, as by the flag of RL²."""


class Trials(NamedTuple):
    """What was done in whole trials; leading axes are tasks and steps, [K, N]."""

    query: Float[Array, "*KN Q"]
    """Encoded observations acted on."""
    transition: Float[Array, "*KN F"]
    """Encoded transitions."""
    action: Array
    """Actions taken."""
    log_probability: Float[Array, "*KN"]
    """Of the actions, when they were taken."""
    value: Float[Array, "*KN"]
    """Predicted when they were taken, in units of `reward_scale`."""
    reward: Float[Array, "*KN"]
    """Rewards."""


class RL2State(NamedTuple):
    """What training changes."""

    params: Any
    """Of the network."""
    optimiser: Any
    """State of the optimiser."""


class RL2(NamedTuple):
    """An RL² learner as pure functions."""

    codec: Codec
    """How transitions are written."""
    init: Callable[[Array], RL2State]
    """`init(key) -> state`; consumes the key."""
    update: Callable[[RL2State, Array], tuple[RL2State, dict[str, Array]]]
    """`update(state, key) -> (state, metrics)`: a batch of trials in fresh tasks, and PPO on them; consumes the key."""
    agent: Callable[..., InContextAgent]
    """`agent(params, domain, greedy=False, skips_seen=False)`: the learner with frozen weights; it skips nothing."""


def rl2(
    domain: Domain,
    *,
    hidden_size: int = 64,
    num_tasks: int = 64,
    episodes_per_trial: int = 10,
    num_epochs: int = 2,
    num_minibatches: int = 4,
    discount: float = 0.99,
    lambda_: float = 0.95,
    clip: float = 0.2,
    entropy: float = 0.01,
    optimiser: optax.GradientTransformation | None = None,
    place: Callable[[Any], Any] = lambda tree: tree,
) -> RL2:
    """Returns the learner for tasks of this domain.

    Metrics are `fitness` (reward in `domain.horizon` steps, over whole trials), `first_return` and `last_return` (in
    the first and last so many steps: the first and the last episode, unless episodes terminate), and means of PPO's
    statistics over its gradient steps.

    Args:
        domain: where it learns to learn; discrete actions.
        hidden_size: units of the GRU.
        num_tasks: K, tasks acted in at once.
        episodes_per_trial: episodes in a task, through which the hidden state is carried; a bandit has one.
        num_epochs: passes over the batch.
        num_minibatches: parts of it, in whole trials; it must divide the tasks.
        discount: within and across episodes, in [0, 1].
        lambda_: of the generalised advantage estimate, in [0, 1].
        clip: PPO's, in (0, 1).
        entropy: weight of the entropy bonus.
        optimiser: None: Adam with 3e-3 behind a clip of the gradients' norm at 0.5.
        place: puts a pytree whose leaves have a leading axis of tasks onto devices, inside jit: all tasks, and each
            minibatch of them.

    Raises:
        ValueError: for continuous actions, if minibatches do not divide the tasks, or a number is out of range.
    """
    if domain.is_continuous:
        raise ValueError(f"{domain.name} has continuous actions; RL² here is for discrete ones")
    if num_tasks % num_minibatches:
        raise ValueError(f"num_minibatches is {num_minibatches}; it must divide num_tasks = {num_tasks}")
    check_settings("rl2", discount=discount, lambda_=lambda_, clip=clip)
    codec = make_codec([domain])
    network = Recurrent(hidden_size, codec.num_actions)
    optimiser = optimiser or optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-3))
    num_episodes = 1 if domain.is_bandit else episodes_per_trial
    scale = reward_scale(discount, num_episodes * domain.horizon)
    trials = _make_trials(network, codec, domain, num_episodes)
    advantages = jax.vmap(lambda one: _advantages(one, scale, discount, lambda_))
    learn = _make_learn(_make_loss(network, clip, entropy), optimiser, num_epochs, num_minibatches, place)

    def init(key: Array) -> RL2State:
        sizes = (hidden_size, codec.transition_size + 1, codec.query_size + 1)
        params = network.init(key, *(jnp.zeros((size,), jnp.float32) for size in sizes))["params"]
        return RL2State(params, optimiser.init(params))

    def update(state: RL2State, key: Array) -> tuple[RL2State, dict[str, Array]]:
        key_trials, key_learn = jax.random.split(key)
        batch = place(jax.vmap(trials, (None, 0))(state.params, place(jax.random.split(key_trials, num_tasks))))
        state, info = learn(state, (batch, advantages(batch)), key_learn)
        return state, {**_returns(batch.reward, num_episodes), **info}

    return RL2(codec, init, update, _make_agent(network, codec))


def _returns(reward: Float[Array, "K N"], num_episodes: int) -> dict[str, Float[Array, ""]]:
    returns = jnp.mean(jnp.sum(reward.reshape(reward.shape[0], num_episodes, -1), axis=-1), axis=0)
    return {"fitness": jnp.mean(returns), "first_return": returns[0], "last_return": returns[-1]}


def reward_scale(discount: float, num_steps: int) -> float:
    """Returns what rewards are multiplied by while learning, so that values are means of rewards and not sums.

    The critic shares layers with the policy; errors of the size of sums would leave the policy no part in them.
    """
    return max(1.0 - discount, 1.0 / num_steps)


def _with_flag(encoded: Float[Array, " F"], flag: Bool[Array, ""]) -> Float[Array, " f"]:
    return jnp.concatenate([encoded, flag.astype(jnp.float32)[None]])


def _make_agent(network: Recurrent, codec: Codec) -> Callable[..., InContextAgent]:
    def agent(params: Any, domain: Domain, *, greedy: bool = False, skips_seen: bool = False) -> InContextAgent:
        codec.index(domain)  # refuses what does not fit
        law, allowed = categorical(codec.num_actions), codec.allowed_actions(domain)

        def init(key: Array, capacity: int) -> Hidden:
            return Hidden(jnp.zeros((network.hidden_size,), jnp.float32), jnp.bool_(True))

        def act(memory: Hidden, observation: Any, key: Array) -> Array:
            query = _with_flag(codec.query(domain, observation), memory.is_first)
            logits, _ = network.apply({"params": params}, memory.state, query, method=network.decide)
            logits = categorical_mask(logits, allowed)
            return law.mode(logits) if greedy else law.sample(logits, key)

        def observe(memory: Hidden, transition: Transition, is_valid: Array) -> Hidden:
            encoded = _with_flag(codec.transition(domain, transition), memory.is_first)
            gates = network.apply({"params": params}, encoded, method=network.gates)
            hidden = network.apply({"params": params}, memory.state, gates, method=network.advance)
            return choose(Hidden(hidden, jnp.bool_(False)), memory, is_valid)

        return InContextAgent(init, act, observe, lambda memory, key: memory._replace(is_first=jnp.bool_(True)))

    return agent


def _make_trials(network: Recurrent, codec: Codec, domain: Domain, num_episodes: int) -> Callable[[Any, Array], Trials]:
    """Returns `trial(params, key) -> Trials [N]` in one fresh task."""
    env, horizon = domain.env, domain.horizon

    def trial(params: Any, key: Array) -> Trials:
        key_task, key_reset, key_steps = jax.random.split(key, 3)
        task = domain.family.sample(key_task).params.replace(max_steps_in_episode=jnp.int32(horizon))

        def step(carry: tuple, index: Array) -> tuple[tuple, Trials]:
            memory, observation, state = carry
            key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, index))
            query = _with_flag(codec.query(domain, observation), memory.is_first)
            logits, value = network.apply({"params": params}, memory.state, query, method=network.decide)
            action = jax.random.categorical(key_act, logits).astype(jnp.int32)
            seen, state, reward, terminated, truncated, info = env.step(key_step, state, action, task)
            transition = codec.transition(domain, Transition(observation, action, reward, info["final_observation"]))
            transition = _with_flag(transition, memory.is_first)
            gates = network.apply({"params": params}, transition, method=network.gates)
            hidden = network.apply({"params": params}, memory.state, gates, method=network.advance)
            log_probability = jax.nn.log_softmax(logits)[action]
            memory = Hidden(hidden, terminated | truncated)
            return (memory, seen, state), Trials(query, transition, action, log_probability, value, reward)

        memory = Hidden(jnp.zeros((network.hidden_size,), jnp.float32), jnp.bool_(True))
        return jax.lax.scan(step, (memory, *env.reset_env(key_reset, task)), jnp.arange(num_episodes * horizon))[1]

    return trial


def _advantages(trial: Trials, scale: float, discount: float, lambda_: float) -> Float[Array, " N"]:
    """Returns advantages over a whole trial, whose end is an end: episodes within it are not."""
    last = jnp.arange(trial.reward.shape[0]) == trial.reward.shape[0] - 1
    return generalised_advantages(
        scale * trial.reward,
        trial.value,
        jnp.roll(trial.value, -1),
        terminated=last,
        truncated=jnp.zeros_like(last),
        discount=discount,
        lambda_=lambda_,
    )


def _make_loss(network: Recurrent, clip: float, entropy: float) -> Callable[[Any, Trials, Array], tuple[Array, dict]]:
    """Returns PPO's loss on whole trials, through all their steps, and statistics."""

    def loss(params: Any, trials: Trials, advantage: Float[Array, "K N"]) -> tuple[Array, dict[str, Array]]:
        def apply(method: Any, *inputs: Array) -> Any:
            return network.apply({"params": params}, *inputs, method=method)

        hidden = jax.vmap(lambda one: apply(network.replay, one))(trials.transition)
        logits, value = apply(network.decide, hidden, trials.query)
        log_law = jax.nn.log_softmax(logits)
        taken = jnp.take_along_axis(log_law, trials.action[..., None], axis=-1)[..., 0]
        log_ratio, normalised = taken - trials.log_probability, normalise(advantage)
        ratio = jnp.exp(log_ratio)
        surrogate = jnp.minimum(ratio * normalised, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * normalised)
        info = {
            "policy_entropy": -jnp.mean(jnp.sum(jnp.exp(log_law) * log_law, axis=-1)),
            "policy_kl": kl_estimate(log_ratio),
            "value_loss": value_loss(value, advantage + trials.value),
        }
        total = -jnp.mean(surrogate) + VALUE_COEFFICIENT * info["value_loss"] - entropy * info["policy_entropy"]
        return total, {"loss": total, **info}

    return loss


def _make_learn(
    loss: Callable,
    optimiser: optax.GradientTransformation,
    num_epochs: int,
    num_minibatches: int,
    place: Callable[[Any], Any],
) -> Callable:
    """Returns `learn(state, data [K, N], key) -> (state, info)`: passes over the data in parts of whole trials."""

    def learn(state: RL2State, data: tuple[Trials, Array], key: Array) -> tuple[RL2State, dict[str, Array]]:
        def minibatch(state: RL2State, index: Array) -> tuple[RL2State, dict[str, Array]]:
            part = place(jax.tree.map(lambda leaf: leaf[index], data))
            gradient, info = jax.grad(loss, has_aux=True)(state.params, *part)
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            info["gradient_norm"] = optax.tree.norm(gradient)
            return RL2State(optax.apply_updates(state.params, updates), optimiser_state), info

        indices = minibatch_indices(key, data[1].shape[0], num_epochs, num_minibatches)
        state, info = jax.lax.scan(minibatch, state, indices)
        return state, jax.tree.map(jnp.mean, info)

    return learn
