"""RL²: reinforcement learning trains a recurrent network whose hidden state then learns within a task.

Source: Duan et al. 2016 (RL²: Fast Reinforcement Learning via Slow Reinforcement Learning), Wang et al. 2016; with PPO
as the outer algorithm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, choose
from metarl.incontext.heads import categorical, categorical_mask
from metarl.incontext.model import Codec, make_codec
from metarl.networks.orthogonal import orthogonal
from metarl.returns import generalised_advantages


class Recurrent(nn.Module):
    """A GRU over transitions, and a policy and a value read off its hidden state and the current observation."""

    hidden_size: int
    """Units of the GRU and of the layer behind it."""
    num_actions: int
    """A."""

    def setup(self) -> None:
        """Makes the layers."""
        self.cell = nn.GRUCell(self.hidden_size, recurrent_kernel_init=orthogonal(1.0))
        self.mix = nn.Dense(self.hidden_size, kernel_init=orthogonal(2.0**0.5))
        self.policy = nn.Dense(self.num_actions, kernel_init=orthogonal(0.01))
        self.value = nn.Dense(1, kernel_init=orthogonal(1.0))

    def advance(self, hidden: Float[Array, " n"], transition: Float[Array, " F"]) -> Float[Array, " n"]:
        """Returns the hidden state after one more encoded transition."""
        return self.cell(hidden, transition)[0]

    def decide(self, hidden: Float[Array, "*batch n"], query: Float[Array, "*batch Q"]) -> tuple[Array, Array]:
        """Returns `(logits [*batch, A], value [*batch])`."""
        x = nn.tanh(self.mix(jnp.concatenate([hidden, query], axis=-1)))
        return self.policy(x), self.value(x)[..., 0]

    def __call__(self, hidden: Array, transition: Array, query: Array) -> tuple[Array, Array]:
        """Touches every parameter; for initialisation."""
        return self.decide(self.advance(hidden, transition), query)


class Trials(NamedTuple):
    """What was done in whole trials; leading axes are tasks and steps, [K, N]."""

    query: Float[Array, "K N Q"]
    """Encoded observations acted on."""
    transition: Float[Array, "K N F"]
    """Encoded transitions."""
    action: Array
    """Actions taken."""
    log_probability: Float[Array, "K N"]
    """Of the actions, when they were taken."""
    value: Float[Array, "K N"]
    """Predicted when they were taken."""
    reward: Float[Array, "K N"]
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
) -> RL2:
    """Returns the learner for tasks of this domain.

    Args:
        domain: where it learns to learn; discrete actions.
        hidden_size: units of the GRU.
        num_tasks: K, tasks acted in at once.
        episodes_per_trial: episodes in a task, through which the hidden state is carried; a bandit has one.
        num_epochs: passes over the batch.
        num_minibatches: parts of it, in whole trials; it must divide the tasks.
        discount: within and across episodes.
        lambda_: of the generalised advantage estimate.
        clip: PPO's.
        entropy: weight of the entropy bonus.
        optimiser: None: Adam with 1e-3 behind a clip of the gradients' norm at 0.5.

    Raises:
        ValueError: for continuous actions, or if minibatches do not divide the tasks.
    """
    if domain.is_continuous:
        raise ValueError(f"{domain.name} has continuous actions; RL² here is for discrete ones")
    if num_tasks % num_minibatches:
        raise ValueError(f"num_minibatches is {num_minibatches}; it must divide num_tasks = {num_tasks}")
    codec = make_codec([domain])
    network = Recurrent(hidden_size, codec.num_actions)
    optimiser = optimiser or optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
    num_episodes = 1 if domain.is_bandit else episodes_per_trial
    agent = _make_agent(network, codec)
    trials = _make_trials(network, codec, domain, num_episodes)
    loss = _make_loss(network, clip, entropy)
    advantages = jax.vmap(lambda one: _advantages(one, discount, lambda_))

    def init(key: Array) -> RL2State:
        sizes = (hidden_size, codec.transition_size, codec.query_size)
        params = network.init(key, *(jnp.zeros((size,), jnp.float32) for size in sizes))["params"]
        return RL2State(params, optimiser.init(params))

    def update(state: RL2State, key: Array) -> tuple[RL2State, dict[str, Array]]:
        key_trials, key_epochs = jax.random.split(key)
        batch = jax.vmap(trials, (None, 0))(state.params, jax.random.split(key_trials, num_tasks))
        data = (batch, advantages(batch))

        def minibatch(state: RL2State, index: Array) -> tuple[RL2State, Array]:
            part = jax.tree.map(lambda leaf: leaf[index], data)
            value, gradient = jax.value_and_grad(loss)(state.params, *part)
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            return RL2State(optax.apply_updates(state.params, updates), optimiser_state), value

        orders = jax.vmap(lambda key: jax.random.permutation(key, num_tasks))(jax.random.split(key_epochs, num_epochs))
        state, losses = jax.lax.scan(minibatch, state, orders.reshape(num_epochs * num_minibatches, -1))
        returns = batch.reward.reshape(num_tasks, num_episodes, -1).sum(-1)
        metrics = {
            "loss": jnp.mean(losses),
            "fitness": jnp.mean(returns),
            "first_return": jnp.mean(returns[:, 0]),
            "last_return": jnp.mean(returns[:, -1]),
        }
        return state, metrics

    return RL2(codec, init, update, agent)


def _make_agent(network: Recurrent, codec: Codec) -> Callable[..., InContextAgent]:
    def agent(params: Any, domain: Domain, *, greedy: bool = False, skips_seen: bool = False) -> InContextAgent:
        codec.index(domain)  # refuses what does not fit
        law, allowed = categorical(codec.num_actions), codec.allowed_actions(domain)

        def act(hidden: Array, observation: Any, key: Array) -> Array:
            query = codec.query(domain, observation)
            logits, _ = network.apply({"params": params}, hidden, query, method=network.decide)
            logits = categorical_mask(logits, allowed)
            return law.mode(logits) if greedy else law.sample(logits, key)

        def observe(hidden: Array, transition: Transition, is_valid: Array) -> Array:
            encoded = codec.transition(domain, transition)
            return choose(network.apply({"params": params}, hidden, encoded, method=network.advance), hidden, is_valid)

        return InContextAgent(lambda key, capacity: jnp.zeros((network.hidden_size,), jnp.float32), act, observe)

    return agent


def _make_trials(network: Recurrent, codec: Codec, domain: Domain, num_episodes: int) -> Callable[[Any, Array], Trials]:
    """Returns `trial(params, key) -> Trials [N]` in one fresh task."""
    env, horizon = domain.env, domain.horizon

    def trial(params: Any, key: Array) -> Trials:
        key_task, key_run = jax.random.split(key)
        task = domain.family.sample(key_task).params.replace(max_steps_in_episode=jnp.int32(horizon))

        def step(carry: tuple[Array, Any, Any], index: Array) -> tuple[tuple, Trials]:
            hidden, observation, state = carry
            key_act, key_step = jax.random.split(jax.random.fold_in(key_run, index))
            query = codec.query(domain, observation)
            logits, value = network.apply({"params": params}, hidden, query, method=network.decide)
            action = jax.random.categorical(key_act, logits).astype(jnp.int32)
            seen, state, reward, _, _, info = env.step(key_step, state, action, task)
            transition = codec.transition(domain, Transition(observation, action, reward, info["final_observation"]))
            hidden = network.apply({"params": params}, hidden, transition, method=network.advance)
            log_probability = jax.nn.log_softmax(logits)[action]
            return (hidden, seen, state), Trials(query, transition, action, log_probability, value, reward)

        start = (jnp.zeros((network.hidden_size,), jnp.float32), *env.reset_env(key_run, task))
        return jax.lax.scan(step, start, jnp.arange(num_episodes * horizon))[1]

    return trial


def _advantages(trial: Trials, discount: float, lambda_: float) -> Float[Array, " N"]:
    """Returns advantages over a whole trial, whose end is an end: episodes within it are not."""
    last = jnp.arange(trial.reward.shape[0]) == trial.reward.shape[0] - 1
    return generalised_advantages(
        trial.reward,
        trial.value,
        jnp.roll(trial.value, -1),
        terminated=last,
        truncated=jnp.zeros_like(last),
        discount=discount,
        lambda_=lambda_,
    )


def _make_loss(network: Recurrent, clip: float, entropy: float) -> Callable[[Any, Trials, Array], Float[Array, ""]]:
    """Returns PPO's loss on whole trials, through all their steps."""

    def replay(params: Any, transitions: Float[Array, "N F"]) -> Float[Array, "N n"]:
        """Returns the hidden state before every step."""

        def step(hidden: Array, transition: Array) -> tuple[Array, Array]:
            after = jnp.asarray(network.apply({"params": params}, hidden, transition, method=network.advance))
            return after, hidden

        return jax.lax.scan(step, jnp.zeros((network.hidden_size,), jnp.float32), transitions)[1]

    def loss(params: Any, trials: Trials, advantage: Float[Array, "K N"]) -> Float[Array, ""]:
        hidden = jax.vmap(replay, (None, 0))(params, trials.transition)
        read = network.apply({"params": params}, hidden, trials.query, method=network.decide)
        logits, value = (jnp.asarray(part) for part in read)
        log_law = jax.nn.log_softmax(logits)
        taken = jnp.take_along_axis(log_law, trials.action[..., None], axis=-1)[..., 0]
        ratio = jnp.exp(taken - trials.log_probability)
        normalised = (advantage - jnp.mean(advantage)) / (jnp.std(advantage) + 1e-8)
        surrogate = jnp.minimum(ratio * normalised, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * normalised)
        error = 0.5 * jnp.mean((value - (advantage + trials.value)) ** 2)
        spread = -jnp.mean(jnp.sum(jnp.exp(log_law) * log_law, axis=-1))
        return -jnp.mean(surrogate) + 0.5 * error - entropy * spread

    return loss
