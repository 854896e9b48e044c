"""Probes: their dynamics step by step, their values by simulation, and the promises that every environment keeps."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.probes import PROBES, EndlessReward

DISCOUNT = 0.9
NUM_STEPS = 4


@pytest.fixture(params=PROBES, ids=str, scope="module")
def probe(request):
    return PROBES[request.param]


@pytest.fixture(scope="module")
def env(probe):
    return probe.environment()


def best_action(observation):
    """Optimal in every probe: a coin must be matched; where nothing is shown, the action is 1 or does not matter."""
    return (observation[..., 0] > 0.0).astype(jnp.int32)


def walk(env, key, num_steps=NUM_STEPS):
    """Returns the transitions of `num_steps` steps with auto-reset: what was seen, and all that `step` returned."""
    params = env.default_params
    observation, state = env.reset(key, params)
    steps = []
    for index in range(num_steps):
        result = env.step(jax.random.fold_in(key, index), state, best_action(observation), params)
        steps.append((observation, *result))
        observation, state = result[:2]
    return steps


def test_only_what_is_listed_is_ever_seen(probe, env, key):
    seen = {float(x[0]) for index in range(4) for x, *_ in walk(env, jax.random.fold_in(key, index))}
    assert seen == set(probe.values(DISCOUNT))


def test_values_satisfy_the_bellman_equation(probe, env, key):
    """On every transition of the best policy, bootstrapping through truncation and not through termination."""
    values = probe.values(DISCOUNT)
    for index in range(4):
        for seen, _, _, reward, terminated, _, info in walk(env, jax.random.fold_in(key, index), num_steps=10):
            following = 0.0 if terminated else values[float(info["final_observation"][0])]
            np.testing.assert_allclose(values[float(seen[0])], reward + DISCOUNT * following, rtol=1e-6)


def test_the_best_policy_earns_the_optimal_return(probe, env, key):
    """Mean over 400 episodes; the only random return is a fair coin of +-1, known to 0.05."""
    params = env.default_params

    def episode(key):
        observation, state = env.reset(key, params)

        def step(carry, index):
            observation, state, total, is_running = carry
            observation, state, reward, terminated, truncated, _ = env.step(
                key, state, best_action(observation), params
            )
            return (
                observation,
                state,
                total + jnp.where(is_running, reward, 0.0),
                is_running & ~(terminated | truncated),
            ), None

        start = (observation, state, jnp.float32(0.0), jnp.bool_(True))
        return jax.lax.scan(step, start, jnp.arange(12))[0][2]

    returns = jax.jit(jax.vmap(episode))(jax.random.split(key, 400))
    tolerance = 0.2 if len(set(np.asarray(returns).tolist())) > 1 else 0.0  # 4 standard errors
    np.testing.assert_allclose(returns.mean(), probe.optimal_return(params), atol=tolerance)


@pytest.mark.parametrize("name", [name for name in PROBES if name != "endless_reward"])
def test_episodes_terminate_after_their_steps_and_are_never_truncated(name, key):
    steps, length = walk(PROBES[name].environment(), key), 2 if name == "delayed_reward" else 1
    ends = [(index + 1) % length == 0 for index in range(NUM_STEPS)]
    assert [bool(terminated) for *_, terminated, _, _ in steps] == ends
    assert not any(truncated for *_, truncated, _ in steps)
    assert [int(state.time) for _, _, state, *_ in steps] == [0 if end else 1 for end in ends]


def test_endless_reward_is_truncated_at_its_limit_and_never_terminated(key):
    env = EndlessReward()
    params = env.default_params.replace(max_steps_in_episode=jnp.int32(3))
    _, state = env.reset(key, params)
    flags = []
    for _ in range(6):
        _, state, reward, terminated, truncated, _ = env.step(key, state, jnp.int32(0), params)
        flags.append((float(reward), bool(terminated), bool(truncated), int(state.time)))
    assert flags == 2 * [(1.0, False, False, 1), (1.0, False, False, 2), (1.0, False, True, 0)]


def test_the_final_observation_is_the_successor_and_not_the_next_start(key):
    env = PROBES["delayed_reward"].environment()
    *_, (seen, fresh, _, reward, terminated, _, info) = walk(env, key, 2)
    assert (seen[0], reward, terminated) == (1.0, 1.0, True)
    assert (info["final_observation"][0], fresh[0]) == (1.0, -1.0)


def test_a_delayed_reward_pays_the_second_step_alone(key):
    assert [float(reward) for _, _, _, reward, *_ in walk(PROBES["delayed_reward"].environment(), key)] == [
        0.0,
        1.0,
    ] * 2


@pytest.mark.parametrize(
    ("name", "pay"),
    [
        ("constant_reward", {(1, 0): 1, (1, 1): 1}),
        ("observation_reward", {(-1, 0): -1, (-1, 1): -1, (1, 0): 1, (1, 1): 1}),
        ("action_reward", {(1, 0): -1, (1, 1): 1}),
        ("action_observation_reward", {(-1, 0): 1, (-1, 1): -1, (1, 0): -1, (1, 1): 1}),
    ],
)
def test_rewards_of_every_observation_and_action(name, pay):
    env = PROBES[name].environment()
    table = {}
    for uniform in (0.25, 0.75):
        for action in (0, 1):
            observation, state = env.reset_from(jnp.array([uniform]), env.default_params)
            _, _, reward, _, _ = env.transition(jnp.zeros((0,)), state, jnp.int32(action), env.default_params)
            table[int(observation[0]), action] = int(reward)
    assert table == pay


def test_signs_are_drawn_anew_and_fairly(key):
    env = PROBES["observation_reward"].environment()
    observations = jax.jit(jax.vmap(env.reset, (0, None)))(jax.random.split(key, 400), env.default_params)[0]
    np.testing.assert_allclose(observations.mean(), 0.0, atol=0.2)  # standard error 0.05


def test_probes_are_registered_with_gymnax(probe):
    env, params = gymnax.make(probe.gymnax_id)
    assert type(env) is probe.environment
    assert params.max_steps_in_episode == 10


def test_spaces_describe_actions_and_observations(env, key):
    observation, _ = env.reset(key, env.default_params)
    assert env.observation_space().contains(observation) and observation.shape == env.observation_space().shape
    assert env.action_space().n == env.num_actions == 2


def test_jit_and_vmap_change_no_step(env, key):
    params = env.default_params
    keys = jax.random.split(key, 5)
    actions = jnp.arange(5, dtype=jnp.int32) % 2
    _, states = jax.vmap(env.reset, (0, None))(keys, params)
    together = jax.jit(jax.vmap(env.step, (0, 0, 0, None)))(keys, states, actions, params)
    for index in range(5):
        with jax.disable_jit():
            alone = env.step(keys[index], jax.tree.map(lambda x, i=index: x[i], states), actions[index], params)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=index: x[i], together), alone)


def test_steps_keep_every_type_and_shape(env, key):
    params = env.default_params
    observation, state = env.reset(key, params)
    after = env.step(key, state, jnp.int32(1), params)
    for before, now in ((observation, after[0]), (state, after[1]), (observation, after[5]["final_observation"])):
        kinds = [[(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)] for tree in (before, now)]
        assert kinds[0] == kinds[1]
        assert not any(weak for _, _, weak in kinds[0])
    assert [x.dtype for x in after[2:5]] == [jnp.float32, jnp.bool_, jnp.bool_]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


def test_the_same_key_gives_the_same_episode(env, key):
    first, second = walk(env, key), walk(env, key)
    jax.tree.map(np.testing.assert_array_equal, first, second)
