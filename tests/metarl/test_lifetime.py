"""A life: exactly N updates, whatever the bound, and nothing learned from a rule that says nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.registry import make_family
from metarl.experiments.build import build_agent
from metarl.experiments.config import AgentConfig
from metarl.lifetime.agent import make_agent, replace_where
from metarl.lifetime.learn import minibatch_indices, permutation
from metarl.lifetime.lifetime import make_lifetime
from metarl.lifetime.optimiser import make_optimiser
from metarl.networks.actor_critic import mlp
from metarl.networks.tabular import tabular
from metarl.objectives.a2c import a2c
from metarl.objectives.lpg import lpg
from metarl.objectives.lpo import lpo
from metarl.objectives.ppo import ppo
from metarl.progress import Progress

CONFIG = AgentConfig(num_envs=2, unroll_length=5)
FAMILY = make_family("gridworld/debug", lifetime=(2, 6))
SPACE = FAMILY.env.action_space()


@pytest.fixture(scope="module")
def rule():
    return lpg(SPACE, temporal=True, hidden_size=4)


class CountingEnvironment(type(make_family("probe/endless_reward").env)):
    """Shows the number of steps since the episode began, and never ends but by its time limit."""

    def observed(self, state):
        return state.time.astype(jnp.float32)


@pytest.fixture(scope="module")
def task():
    return FAMILY.sample(jax.random.key(3))._replace(lifetime=jnp.int32(3))


@pytest.fixture(scope="module")
def agent(rule, task):
    return build_agent(CONFIG, FAMILY, rule, task.params)


@pytest.fixture(scope="module")
def life(agent):
    return jax.jit(make_lifetime(FAMILY, agent, num_envs=2, records_curve=True))


def test_exactly_as_many_updates_are_kept_as_the_life_is_long(agent, life, rule, task, key):
    meta_params = rule.init(jax.random.key(1))
    result = life(meta_params, task, key, jnp.int32(6))
    key_init, key_updates, _ = jax.random.split(key, 3)
    state = agent.init(key_init, task.params)
    for n in range(3):
        progress = Progress(jnp.int32(n), jnp.int32(3))
        state, _ = jax.jit(agent.update)(meta_params, state, task.params, progress, jax.random.fold_in(key_updates, n))
    for expected, found in zip(jax.tree.leaves(state), jax.tree.leaves(result.agent), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # fused differently inside the loop


def test_any_sufficient_bound_gives_the_same_life(life, rule, task, key):
    meta_params = rule.init(jax.random.key(1))
    short, long = (life(meta_params, task, key, jnp.int32(bound)) for bound in (3, 1000))
    for left, right in zip(jax.tree.leaves(short), jax.tree.leaves(long), strict=True):
        np.testing.assert_array_equal(left, right)


def test_curve_ends_with_the_life(life, rule, task, key):
    for name, values in life(rule.init(jax.random.key(1)), task, key, jnp.int32(6)).curve.items():
        assert values.shape == (6,), name
        assert np.isfinite(values[:3]).all() and np.isnan(values[3:]).all(), name


def test_a_rule_of_zeros_leaves_the_policy_as_it_was_born(agent, life, rule, task, key):
    zeros = jax.tree.map(jnp.zeros_like, rule.init(key))
    result = life(zeros, task, key, jnp.int32(6))
    born = agent.init(jax.random.split(key, 3)[0], task.params)
    left, at_birth = result.agent.params["policy"]["table"], born.params["policy"]["table"]
    np.testing.assert_allclose(left, at_birth, rtol=1e-5)  # one program rounds its normal numbers unlike many


def test_lives_in_a_batch_are_the_lives_alone(life, agent, rule, key):
    tasks = jax.vmap(FAMILY.sample)(jax.random.split(jax.random.key(5), 3))
    keys = jax.random.split(key, 3)
    meta_params = rule.init(jax.random.key(1))
    batch = jax.jit(jax.vmap(make_lifetime(FAMILY, agent, num_envs=2), (None, 0, 0, None)))
    together = batch(meta_params, tasks, keys, jnp.int32(6)).fitness
    alone = [
        life(meta_params, jax.tree.map(lambda x, i=i: x[i], tasks), keys[i], jnp.int32(6)).fitness for i in range(3)
    ]
    np.testing.assert_allclose(together, jnp.stack(alone), atol=1e-5)  # batched products sum in another order


@pytest.mark.parametrize("factory", [a2c, ppo])
def test_closed_form_rules_live_too(factory, task, key):
    objective = factory(SPACE)
    agent = build_agent(CONFIG, FAMILY, objective, task.params)
    result = jax.jit(make_lifetime(FAMILY, agent, num_envs=2, records_curve=True))((), task, key, jnp.int32(6))
    assert np.isfinite(result.fitness) and np.isfinite(result.curve["policy_entropy"][:3]).all()


def test_minibatches_cover_every_transition_once_per_epoch(task, key):
    """On a loss linear in the outputs, one epoch of minibatches under plain gradient descent is one full step."""
    objective = a2c(SPACE, entropy_coefficient=0.0)
    linear = objective._replace(
        targets=lambda meta, rollout, progress: rollout.reward,
        loss=lambda meta, outputs, rollout, targets, progress: (jnp.mean(outputs["value"][..., 0]), {}),
    )
    network = tabular(FAMILY.env.num_states, objective.heads(SPACE))
    moved = []
    for num_minibatches in (1, 5):
        optimiser = make_optimiser("sgd", policy_learning_rate=1.0, value_learning_rate=1.0, max_grad_norm=1e9)
        agent = make_agent(
            FAMILY.env, linear, network, optimiser, action_space=SPACE, num_envs=2, unroll_length=5,
            num_minibatches=num_minibatches,
        )  # fmt: skip
        state = agent.init(key, task.params)
        after, _ = agent.update((), state, task.params, Progress(jnp.int32(0), jnp.int32(3)), key)
        moved.append((after.params["value"]["table"] - state.params["value"]["table"]) / num_minibatches)
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-6)


@pytest.mark.parametrize("num_samples", [1, 2, 1000, 8192, 2**16, 2**16 + 1])
def test_a_permutation_holds_every_index_once(num_samples, key):
    order = permutation(key, num_samples)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(num_samples))


def test_every_order_is_equally_likely(key):
    orders = jax.jit(jax.vmap(lambda key: permutation(key, 3)))(jax.random.split(key, 60_000))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    np.testing.assert_allclose(counts, 10_000, atol=450)  # five standard deviations


def test_epochs_differ_in_order_but_not_in_samples(key):
    indices = minibatch_indices(key, 512, 3, 4)
    assert indices.shape == (12, 128)
    epochs = np.asarray(indices).reshape(3, 512)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(512), (3, 1)))
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(epochs[left] == epochs[right]) < 0.05  # two random orders agree in one place on average


def test_minibatches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="3 minibatches do not divide a rollout of 5 x 2"):
        make_agent(
            FAMILY.env, a2c(SPACE), tabular(3, {"policy": 5}), optax.sgd(1.0), action_space=SPACE, num_envs=2,
            unroll_length=5, num_minibatches=3,
        )  # fmt: skip


def test_policy_and_value_gradients_are_clipped_apart():
    optimiser = make_optimiser("sgd", policy_learning_rate=2.0, value_learning_rate=3.0, max_grad_norm=0.5)
    params = {"policy": jnp.zeros(2), "value": jnp.zeros(2)}
    gradients = {"policy": jnp.array([3.0, 4.0]), "value": jnp.array([0.1, 0.0])}
    updates, _ = optimiser.update(gradients, optimiser.init(params), params)
    np.testing.assert_allclose(updates["policy"], [-0.6, -0.8], rtol=1e-5)
    np.testing.assert_allclose(updates["value"], [-0.3, 0.0], rtol=1e-5)


def test_with_a_joint_clip_one_norm_is_taken_over_all_gradients():
    rates = {"policy_learning_rate": 2.0, "value_learning_rate": 3.0}
    optimiser = make_optimiser("sgd", **rates, max_grad_norm=0.5, joint_clip=True)
    params = {"policy": jnp.zeros(2), "value": jnp.zeros(1)}
    gradients = {"policy": jnp.array([3.0, 0.0]), "value": jnp.array([4.0])}
    updates, _ = optimiser.update(gradients, optimiser.init(params), params)
    np.testing.assert_allclose(updates["policy"], [-2.0 * 0.3, 0.0], rtol=1e-5)
    np.testing.assert_allclose(updates["value"], [-3.0 * 0.4], rtol=1e-5)


def test_the_decay_rates_reach_adam():
    """After a gradient of 1 and one of 0 the first moment is b1 (1 - b1), the second b2 (1 - b2)."""
    rates = {"policy_learning_rate": 1.0, "value_learning_rate": 1.0}
    optimiser = make_optimiser("adam", **rates, max_grad_norm=9.0, b1=0.5, b2=0.75)
    params = {"policy": jnp.zeros(1)}
    state = optimiser.init(params)
    for gradient in (1.0, 0.0):
        updates, state = optimiser.update({"policy": jnp.full(1, gradient)}, state, params)
    first, second = 0.25 / (1.0 - 0.5**2), 0.1875 / (1.0 - 0.75**2)
    np.testing.assert_allclose(updates["policy"], -first / np.sqrt(second), rtol=1e-4)  # epsilon is 1e-5


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="'lion' is unknown; choose one of sgd, adam"):
        make_optimiser("lion", policy_learning_rate=1.0, value_learning_rate=1.0, max_grad_norm=1.0)


def test_a_life_under_a_drift_of_zeros_is_a_life_under_ppo(key, task):
    """Epochs, minibatches, annealing and all: the same numbers from birth to examination."""
    config = replace(CONFIG, num_epochs=2, num_minibatches=2, anneals=True)
    fitness = []
    for objective in (ppo(SPACE), lpo(SPACE, temporal=True, offset=0.0, hidden_size=4)):
        agent = build_agent(config, FAMILY, objective, task.params)
        life = jax.jit(make_lifetime(FAMILY, agent, num_envs=2, records_curve=True))
        fitness.append(life(objective.init(key), task, key, jnp.int32(FAMILY.max_lifetime)))
    assert fitness[0].fitness == fitness[1].fitness
    for name, curve in fitness[0].curve.items():
        np.testing.assert_allclose(curve, fitness[1].curve[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_annealing_ends_with_one_nth_of_the_first_step(key, task):
    """Under a loss whose gradient is the same everywhere."""
    objective = a2c(SPACE, entropy_coefficient=0.0)
    constant = objective._replace(
        targets=lambda meta, rollout, progress: rollout.reward,
        loss=lambda meta, outputs, rollout, targets, progress: (jnp.mean(outputs["value"][..., 0]), {}),
    )
    network = tabular(FAMILY.env.num_states, objective.heads(SPACE))
    sizes = {"num_envs": 2, "unroll_length": 5}
    agent = make_agent(FAMILY.env, constant, network, optax.sgd(1.0), action_space=SPACE, anneals=True, **sizes)
    state, num_updates, norms = agent.init(key, task.params), 8, []
    for n in range(num_updates):
        progress = Progress(jnp.int32(n), jnp.int32(num_updates))
        norms.append(agent.update((), state, task.params, progress, key)[1]["update_norm_value"])
    np.testing.assert_allclose(norms, norms[0] * (1.0 - np.arange(num_updates) / num_updates), rtol=1e-5)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.7, 1.0])
def test_values_are_replaced_where_they_are_chosen_and_nowhere_else(density, key):
    shape = (6, 3)
    chosen = jax.random.uniform(key, shape) < density
    values, inputs = {"x": jnp.zeros(shape), "y": jnp.zeros((*shape, 2))}, jnp.arange(18.0).reshape(shape) + 1.0
    compute = lambda at: {"x": 10.0 * at, "y": jnp.stack([at, -at], axis=-1)}  # noqa: E731
    found = jax.jit(lambda chosen: replace_where(chosen, values, compute, inputs))(chosen)
    np.testing.assert_array_equal(found["x"], jnp.where(chosen, 10.0 * inputs, 0.0))
    np.testing.assert_array_equal(found["y"][..., 1], jnp.where(chosen, -inputs, 0.0))


def test_a_time_limit_bootstraps_from_the_true_successor_and_not_from_the_next_episode(key):
    """Episodes of three steps in every worker at its own phase: the outputs at successors are those of the states that
    the world was really in, and elsewhere those of the next state."""
    family = make_family("probe/endless_reward")
    space, params = family.env.action_space(), family.env.default_params.replace(max_steps_in_episode=jnp.int32(3))
    objective = ppo(space)
    network = mlp((1,), objective.heads(space), hidden=(4,))
    counting = CountingEnvironment()
    agent = make_agent(counting, objective, network, optax.sgd(0.0), action_space=space, num_envs=2, unroll_length=7)
    state = agent.init(key, params)
    after, seen = jax.jit(agent.rollout)(state, params, key)
    assert seen.truncated.sum() >= 4 and not seen.terminated.any()
    successor = seen.observation + 1.0  # the true one, whatever the reset made of it
    expected = network.apply(state.params, successor)["value"]
    np.testing.assert_allclose(seen.next_outputs["value"], expected, rtol=1e-5, atol=1e-6)
    restarted = network.apply(state.params, jnp.concatenate([seen.observation[1:], after.observation[None]]))["value"]
    assert np.any(np.abs(restarted - expected) > 1e-3)
