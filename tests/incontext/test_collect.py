import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.collect import make_collect, tilted_law
from metarl.incontext.context import OrderedContext, UnorderedContext

ROOM = "darkroom@size=4,horizon=6"


def contexts(spec, behaviour, length, count=200):
    domain = make_domain(spec)
    collect = make_collect(domain, behaviour, length)

    def one(key):
        key_task, key_context = jax.random.split(key)
        params = domain.family.sample(key_task).params
        return params, collect(params, key_context)

    return domain, *jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count))


def test_tilted_laws_have_the_moments_of_their_mixture():
    laws = np.asarray(jax.vmap(lambda key: tilted_law(key, 5))(jax.random.split(jax.random.key(0), 20_000)))
    np.testing.assert_allclose(laws.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(laws.mean(0), 0.2, atol=4 * laws.std(0).max() / np.sqrt(20_000))
    # E p_k^2 = E (1-c)^2 E d^2 + 2 E c(1-c) E d / 5 + E c^2 / 5, with c on 0, .1, ..., 1 and d Dirichlet(1).
    c = np.arange(11) / 10
    square = np.mean((1 - c) ** 2) * 2 / 30 + 2 * np.mean(c * (1 - c)) / 25 + np.mean(c**2) / 5
    np.testing.assert_allclose((laws**2).mean(), square, atol=4 * (laws**2).mean(1).std() / np.sqrt(20_000))


def test_pulls_follow_one_law_per_data_set_and_rewards_their_arms():
    _, params, context = contexts("bandit@horizon=400", "tilted", 400)
    action, reward = np.asarray(context.transitions.action), np.asarray(context.transitions.reward)
    assert isinstance(context, UnorderedContext)
    means = np.take_along_axis(np.asarray(params.means), action, axis=1)
    noise = reward - means
    np.testing.assert_allclose([noise.mean(), noise.std()], [0.0, 0.3], atol=4 * 0.3 / np.sqrt(noise.size))
    # First and second half of a data set agree far better than two data sets do.
    shares = [np.stack([(half == arm).mean(1) for arm in range(5)], 1) for half in np.split(action, 2, axis=1)]
    assert np.abs(shares[0] - shares[1]).mean() < 0.03 < 0.1 < np.abs(shares[0] - shares[1][::-1]).mean()


def test_uniform_contexts_are_independent_steps_of_the_world():
    domain, params, context = contexts(ROOM, "uniform", 50)
    step = context.transitions
    assert isinstance(context, UnorderedContext)
    counts = np.bincount(np.asarray(step.observation[..., 0] * 4 + step.observation[..., 1]).ravel(), minlength=16)
    assert abs(counts / counts.sum() - 1 / 16).max() < 4 * np.sqrt(1 / 16 / counts.sum())
    assert abs(np.bincount(np.asarray(step.action).ravel()) / step.action.size - 0.2).max() < 0.02
    after = jax.vmap(jax.vmap(domain.env.move, (0, 0, None)))(step.observation, step.action, params)
    np.testing.assert_array_equal(step.next_observation, after)
    np.testing.assert_array_equal(step.reward, (after == params.goal[:, None]).all(-1))


@pytest.mark.parametrize("behaviour", ["walk", "expert", "optimal"])
def test_walks_are_chains_that_never_show_a_reset(behaviour):
    _, params, context = contexts(ROOM, behaviour, 15)
    assert isinstance(context, OrderedContext)
    step = jax.tree.map(np.asarray, context.transitions)
    starts = np.arange(15) % 6 == 0
    assert (step.observation[:, starts] == 0).all()
    inner = np.flatnonzero(~starts)
    np.testing.assert_array_equal(step.observation[:, inner], step.next_observation[:, inner - 1])
    assert (np.abs(step.next_observation - step.observation).sum(-1) <= 1).all()  # a reset would jump


def test_experts_err_in_differing_shares():
    _, params, context = contexts(ROOM, "expert", 60)
    by_task = np.asarray(context.transitions.reward).mean(1)
    assert by_task.min() < 0.1 and by_task.max() > 0.5


def test_a_stranger_walks_alike_in_whatever_task_and_goes_where_others_are_paid():
    room = make_domain("darkroom@size=4,horizon=60")
    walk = jax.jit(make_collect(room, "stranger", 100))
    tasks = [room.family.sample(jax.random.key(i)).params for i in (0, 3)]
    assert not np.array_equal(tasks[0].goal, tasks[1].goal)
    one, other = (walk(task, jax.random.key(5)).transitions for task in tasks)
    assert isinstance(walk(tasks[0], jax.random.key(5)), OrderedContext)
    for name in ("observation", "action", "next_observation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert not np.array_equal(one.reward, other.reward)
    # At goals of other tasks an expert stays, but for its errors: most of its time, which no random walk does.
    _, _, strange = contexts("darkroom@size=4,horizon=60", "stranger", 60)
    _, _, random = contexts("darkroom@size=4,horizon=60", "walk", 60)
    stays = [float(np.mean(np.asarray(one.transitions.action)[:, 10:50] == 4)) for one in (strange, random)]
    assert stays[0] > 0.4 and abs(stays[1] - 0.2) < 0.02


def test_a_stranger_follows_another_task_every_fifty_steps():
    _, _, context = contexts("darkroom@size=10,horizon=200", "stranger", 100)
    at = np.asarray(context.transitions.observation)
    # Between two tasks it has somewhere else to go, but for the few that are drawn twice or who err all the time.
    moved = np.abs(at[:, 49] - at[:, 99]).sum(1) > 0
    assert moved.mean() > 0.8
    still = np.abs(at[:, 40] - at[:, 49]).sum(1) <= 1
    assert still.mean() > 0.4


def test_the_optimal_walk_never_errs():
    _, params, context = contexts(ROOM, "optimal", 12)
    distance = np.asarray(params.goal).sum(1)  # from the corner that every episode begins in
    # Six steps an episode, and a reward for every one that ends in the goal, the step that comes to it included.
    expected = 2 * np.where(distance > 0, np.maximum(7 - distance, 0), 6)
    np.testing.assert_array_equal(np.asarray(context.transitions.reward).sum(1), expected)


def test_thompson_contexts_are_those_of_a_plain_loop():
    """In law: pulls of the best arm and regret, against a loop in NumPy."""
    _, params, context = contexts("linear-bandit@horizon=60", "thompson", 60, count=1500)
    assert isinstance(context, OrderedContext)
    means = np.asarray(params.means)
    regret = (means.max(1, keepdims=True) - np.take_along_axis(means, np.asarray(context.transitions.action), 1)).sum(1)
    generator = np.random.default_rng(0)
    expected = []
    for mean in means:
        count, total, lost = np.zeros(10), np.zeros(10), 0.0
        for _ in range(60):
            precision = 1.0 + count / 0.09
            arm = np.argmax(total / 0.09 / precision + generator.normal(size=10) / np.sqrt(precision))
            count[arm] += 1
            total[arm] += mean[arm] + 0.3 * generator.normal()
            lost += mean.max() - mean[arm]
        expected.append(lost)
    error = 4.0 * np.hypot(regret.std(), np.std(expected)) / np.sqrt(1500)
    assert abs(regret.mean() - np.mean(expected)) < error


def test_fresh_tasks_differ():
    _, params, _ = contexts("bandit", "tilted", 1)
    assert len(np.unique(np.asarray(params.means)[:, 0])) == 200


@pytest.mark.parametrize(
    ("spec", "behaviour", "length", "words"),
    [
        ("bandit", "sleep", 5, "no behaviour 'sleep'; choose one of uniform"),
        (ROOM, "tilted", 5, "is no bandit"),
        (ROOM, "uniform", 0, "at least 1"),
    ],
)
def test_what_cannot_be_gathered_is_refused(spec, behaviour, length, words):
    with pytest.raises(ValueError, match=words):
        make_collect(make_domain(spec), behaviour, length)


def test_a_context_is_decided_by_its_key():
    collect = make_collect(make_domain("bandit"), "tilted", 5)
    params = make_domain("bandit").family.sample(jax.random.key(0)).params
    one, same, other = (collect(params, jax.random.key(i)).transitions.reward for i in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not jnp.array_equal(one, other)
