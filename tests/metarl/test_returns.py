"""Returns and advantages against sums written out by hand, and against loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.returns import discounted_returns, generalised_advantages, lambda_returns

T = 9
DISCOUNT, LAMBDA = 0.9, 0.7
ROUNDING = 1e-5  # sums of at most 9 float32 numbers of order 1


def flags(*at: int) -> jax.Array:
    return jnp.zeros((T,), bool).at[jnp.array(at, jnp.int32)].set(True)


@pytest.fixture
def trajectory(key):
    """One episode that terminates at 2, one that is truncated at 5, and one that is still running at the end."""
    key_reward, key_value, key_next = jax.random.split(key, 3)
    value = jax.random.normal(key_value, (T,))
    return {
        "reward": jax.random.normal(key_reward, (T,)),
        "value": value,
        "next_value": jax.random.normal(key_next, (T,)),
        "terminated": flags(2),
        "truncated": flags(5),
    }


def advantages(trajectory, lambda_=LAMBDA, **changes):
    return generalised_advantages(**{**trajectory, **changes}, discount=DISCOUNT, lambda_=lambda_)


def returns(trajectory, lambda_=LAMBDA, **changes):
    inputs = {**trajectory, **changes}
    del inputs["value"]
    return lambda_returns(**inputs, discount=DISCOUNT, lambda_=lambda_)


def test_constant_reward_sums_to_a_geometric_series():
    result = discounted_returns(jnp.ones((T,)), flags(), DISCOUNT)
    expected = (1.0 - DISCOUNT ** np.arange(T, 0, -1)) / (1.0 - DISCOUNT)
    np.testing.assert_allclose(result, expected, rtol=ROUNDING)


def test_discounted_returns_stop_where_an_episode_ends():
    result = discounted_returns(jnp.arange(1.0, 5.0), jnp.array([False, True, False, False]), 0.5)
    np.testing.assert_allclose(result, [1.0 + 0.5 * 2.0, 2.0, 3.0 + 0.5 * 4.0, 4.0])


def test_discount_zero_gives_the_reward_itself(trajectory):
    result = discounted_returns(trajectory["reward"], trajectory["terminated"], 0.0)
    np.testing.assert_array_equal(result, trajectory["reward"])


def test_advantages_of_three_steps_written_out():
    result = generalised_advantages(
        jnp.array([1.0, 2.0, 3.0]),
        jnp.array([10.0, 20.0, 30.0]),
        jnp.array([20.0, 30.0, 40.0]),
        terminated=jnp.zeros((3,), bool),
        truncated=jnp.zeros((3,), bool),
        discount=0.5,
        lambda_=0.5,
    )
    errors = [1.0 + 10.0 - 10.0, 2.0 + 15.0 - 20.0, 3.0 + 20.0 - 30.0]
    last = errors[2]
    np.testing.assert_allclose(result, [errors[0] + 0.25 * (errors[1] + 0.25 * last), errors[1] + 0.25 * last, last])


def test_lambda_zero_gives_one_step_errors(trajectory):
    bootstrap = jnp.where(trajectory["terminated"], 0.0, trajectory["next_value"])
    expected = trajectory["reward"] + DISCOUNT * bootstrap - trajectory["value"]
    np.testing.assert_allclose(advantages(trajectory, lambda_=0.0), expected, rtol=ROUNDING, atol=ROUNDING)


def test_lambda_one_telescopes_to_returns_minus_values(trajectory):
    """With v' the value of the next state inside episodes, values in between cancel."""
    value = trajectory["value"]
    done = trajectory["terminated"] | trajectory["truncated"]
    following = jnp.roll(value, -1).at[-1].set(trajectory["next_value"][-1])
    next_value = jnp.where(done, trajectory["next_value"], following)
    ends = done.at[-1].set(True)
    bootstrap = jnp.where(ends & ~trajectory["terminated"], DISCOUNT * next_value, 0.0)
    expected = discounted_returns(trajectory["reward"] + bootstrap, ends, DISCOUNT) - value
    result = advantages(trajectory, lambda_=1.0, next_value=next_value)
    np.testing.assert_allclose(result, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("function", [advantages, returns])
def test_the_successor_of_a_termination_does_not_matter(trajectory, function):
    moved = trajectory["next_value"].at[2].add(100.0)
    np.testing.assert_array_equal(function(trajectory, next_value=moved), function(trajectory))


@pytest.mark.parametrize("function", [advantages, returns])
def test_the_successor_of_a_truncation_is_bootstrapped(trajectory, function):
    moved = trajectory["next_value"].at[5].add(1.0)
    change = function(trajectory, next_value=moved) - function(trajectory)
    np.testing.assert_allclose(change[5], DISCOUNT, rtol=ROUNDING)
    np.testing.assert_allclose(change[4], DISCOUNT * DISCOUNT * LAMBDA, rtol=ROUNDING)


@pytest.mark.parametrize("function", [advantages, returns])
@pytest.mark.parametrize("end", [2, 5])
def test_nothing_flows_back_over_the_end_of_an_episode(trajectory, function, end):
    moved = trajectory["reward"].at[end + 1].add(100.0)
    change = function(trajectory, reward=moved) - function(trajectory)
    np.testing.assert_array_equal(change[: end + 1], 0.0)
    assert change[end + 1] > 99.0


def test_the_end_of_the_trajectory_is_bootstrapped(trajectory):
    moved = trajectory["next_value"].at[-1].add(1.0)
    change = returns(trajectory, next_value=moved) - returns(trajectory)
    np.testing.assert_allclose(change[-1], DISCOUNT, rtol=ROUNDING)


def test_endless_reward_is_a_fixed_point_only_if_truncation_bootstraps():
    value = jnp.full((T,), 1.0 / (1.0 - DISCOUNT))
    inputs = {"reward": jnp.ones((T,)), "value": value, "next_value": value}
    kept = advantages({**inputs, "terminated": flags(), "truncated": flags(4)})
    confused = advantages({**inputs, "terminated": flags(4), "truncated": flags()})
    np.testing.assert_allclose(kept, 0.0, atol=ROUNDING)
    np.testing.assert_allclose(confused[4], 1.0 - 1.0 / (1.0 - DISCOUNT), rtol=ROUNDING)


def test_lambda_returns_mix_n_step_returns(trajectory):
    """The definition: (1 - lambda) sum_n lambda^(n-1) G^(n), the longest possible n taking the remaining weight."""
    reward, next_value = np.asarray(trajectory["reward"]), np.asarray(trajectory["next_value"])
    terminated, truncated = np.asarray(trajectory["terminated"]), np.asarray(trajectory["truncated"])
    expected = np.zeros(T)
    for start in range(T):
        total, weight = 0.0, 1.0
        for n, t in enumerate(range(start, T), start=1):
            rewards = sum(DISCOUNT**i * reward[start + i] for i in range(n))
            n_step = rewards + (0.0 if terminated[t] else DISCOUNT**n * next_value[t])
            is_last = terminated[t] or truncated[t] or t == T - 1
            total += (weight if is_last else weight * (1.0 - LAMBDA)) * n_step
            weight *= LAMBDA
            if is_last:
                break
        expected[start] = total
    np.testing.assert_allclose(returns(trajectory), expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 1.0])
def test_lambda_returns_are_advantages_plus_values(trajectory, lambda_):
    """Where v' is the value of the next state inside episodes."""
    done = trajectory["terminated"] | trajectory["truncated"]
    next_value = jnp.where(done, trajectory["next_value"], jnp.roll(trajectory["value"], -1))
    sums = advantages(trajectory, lambda_, next_value=next_value) + trajectory["value"]
    np.testing.assert_allclose(returns(trajectory, lambda_, next_value=next_value), sums, rtol=ROUNDING, atol=ROUNDING)


def test_workers_do_not_mix_under_vmap(trajectory):
    batch = jax.tree.map(lambda x: jnp.stack([x, jnp.roll(x, 1)], axis=1), trajectory)
    result = jax.vmap(advantages, in_axes=1, out_axes=1)(batch)
    np.testing.assert_allclose(result[:, 0], advantages(trajectory), rtol=ROUNDING)
    np.testing.assert_allclose(
        result[:, 1], advantages(jax.tree.map(lambda x: jnp.roll(x, 1), trajectory)), rtol=ROUNDING
    )
