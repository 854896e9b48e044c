import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.agent import belief_agent, uniform_agent
from metarl.incontext.on_policy import make_self_contexts

BANDIT = make_domain("bandit@horizon=30,quadrature=101")
ROOM = make_domain("darkroom@size=3,horizon=6")


def test_contexts_are_what_the_agent_does():
    """Greedy on the exact posterior soon pulls good arms; a random agent does not."""
    rollout = make_self_contexts(BANDIT, num_episodes=1, length=30)
    pulls = []
    for agent in (belief_agent(BANDIT, greedy=True), uniform_agent(BANDIT)):
        params, context, steps = jax.jit(rollout, static_argnums=(0, 2))(agent, jax.random.key(0), 200)
        assert context.length.tolist() == steps.tolist() == [30] * 200
        regret = params.means.max(1, keepdims=True) - jnp.take_along_axis(params.means, context.transitions.action, 1)
        pulls.append(np.asarray(regret)[:, 15:].mean())
    assert pulls[0] < 0.15 < 0.3 < pulls[1]


def test_what_came_before_is_left_out():
    rollout = make_self_contexts(ROOM, num_episodes=4, length=20, skips_seen=True)
    params, context, steps = jax.jit(rollout, static_argnums=(0, 2))(uniform_agent(ROOM), jax.random.key(0), 50)
    assert steps.tolist() == [4 * 6] * 50  # also those that were left out
    step, length = context.transitions, np.asarray(context.length)
    pairs = np.asarray(jax.vmap(jax.vmap(ROOM.pair_index))(step.observation, step.action))
    for i in range(50):
        own = pairs[i, : length[i]]
        assert len(np.unique(own)) == len(own) > 5
    after = jax.vmap(jax.vmap(ROOM.env.move, (0, 0, None)))(step.observation, step.action, params)
    valid = np.arange(20)[None] < length[:, None]
    np.testing.assert_array_equal(np.asarray(step.next_observation)[valid], np.asarray(after)[valid])


def test_steps_after_the_end_of_an_episode_are_not_counted():
    """Its door ends an episode of two cells' size; another begins, and no step is made between."""
    domain = make_domain("key-to-door@size=2,horizon=30,terminates=true,prior=all")
    rollout = make_self_contexts(domain, num_episodes=2, length=60)
    _, context, steps = jax.jit(rollout, static_argnums=(0, 2))(uniform_agent(domain), jax.random.key(0), 50)
    np.testing.assert_array_equal(steps, context.length)
    assert (steps < 60).any() and (steps >= 2 * 2).all()  # a key and a door take two steps


@pytest.mark.parametrize(
    ("domain", "options", "words"),
    [
        (BANDIT, {"num_episodes": 0, "length": 5}, "must be at least 1"),
        (BANDIT, {"num_episodes": 1, "length": 5, "skips_seen": True}, "cannot be skipped"),
    ],
)
def test_what_cannot_be_made_is_refused(domain, options, words):
    with pytest.raises(ValueError, match=words):
        make_self_contexts(domain, **options)
