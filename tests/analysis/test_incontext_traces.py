"""What an agent does in a Dark Room: agents whose policies are known, and the picture of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.incontext_traces import (
    NUM_DRAWS,
    Trace,
    follow,
    policy_maps,
    shown_episodes,
    trace_agent,
    typical_task,
)
from envs.cells import MOVES
from envs.domains import make_domain
from metarl.incontext.agent import InContextAgent, expert_agent, uniform_agent

SIZE, HORIZON = 3, 5
ROOM = f"darkroom@size={SIZE},horizon={HORIZON}"


def room(goal, spec=ROOM):
    domain = make_domain(spec)
    return domain, domain.env.default_params.replace(goal=jnp.array(goal, jnp.int32))


def traced(domain, agent, params, num_episodes):
    walk = follow(domain, agent, params, num_episodes=num_episodes, seed=0)
    return trace_agent(domain, agent, params, walk, seed=0)


def episode_counter():
    """Returns who takes action e in all of episode e, which it knows from the transitions that it was shown."""
    return InContextAgent(
        lambda key, capacity: jnp.int32(0),
        lambda memory, observation, key: memory // HORIZON,
        lambda memory, transition, is_valid: memory + is_valid.astype(jnp.int32),
    )


@pytest.fixture(scope="module")
def expert():
    domain, params = room((2, 1))
    return traced(domain, expert_agent(domain, params), params, 2)


def test_the_experts_policy_is_x_then_y_then_stay_and_certain(expert):
    x, y = np.indices((SIZE, SIZE))
    along_y = np.where(y < 1, 2, np.where(y > 1, 3, 4))
    np.testing.assert_array_equal(expert.action[0], np.where(x < 2, 0, along_y))
    np.testing.assert_array_equal(expert.probability, np.ones((2, SIZE, SIZE)))


def test_the_experts_walk_leads_to_the_goal(expert):
    np.testing.assert_array_equal(expert.path[0], [[0, 0], [1, 0], [2, 0], [2, 1], [2, 1], [2, 1]])
    assert expert.found == 0


def test_visited_cells_are_those_of_earlier_episodes(expert):
    assert not expert.visited[0].any()
    assert set(zip(*np.nonzero(expert.visited[1]), strict=True)) == {(0, 0), (1, 0), (2, 0), (2, 1)}


def test_the_context_grows_after_each_episode_and_never_within():
    domain, params = room((1, 2))
    trace = traced(domain, episode_counter(), params, 3)
    assert [set(policy.ravel()) for policy in trace.action] == [{0}, {1}, {2}]
    np.testing.assert_array_equal(trace.path[:, -1], [[2, 0], [0, 0], [0, 2]])  # +x, -x, +y into the walls
    assert trace.found is None


def test_an_undecided_agent_has_equal_probabilities():
    domain, params = room((1, 2))
    trace = traced(domain, uniform_agent(domain), params, 1)
    error = np.sqrt(0.2 * 0.8 / NUM_DRAWS)
    assert np.all((trace.probability >= 0.2) & (trace.probability < 0.2 + 5.0 * error))  # the largest of 9 x 5


def test_a_walk_ends_where_the_room_ends_the_episode():
    domain, params = room((1, 0), f"{ROOM},terminates=true")
    trace = traced(domain, expert_agent(domain, params), params, 1)
    np.testing.assert_array_equal(trace.path[0], [[0, 0], [1, 0]] + [[np.nan] * 2] * 4)


def test_no_episode_is_refused():
    domain, params = room((1, 2))
    with pytest.raises(ValueError, match="num_episodes is 0"):
        traced(domain, uniform_agent(domain), params, 0)


def test_the_typical_task_is_held_out():
    domain = make_domain("darkroom@size=4,horizon=5")
    goals = {tuple(np.asarray(domain.held_out.sample(jax.random.key(i)).params.goal).tolist()) for i in range(60)}
    distances = sorted(sum(goal) for goal in goals)
    goal = tuple(np.asarray(typical_task(domain, 0).goal).tolist())
    assert len(goals) == 4 and goal in goals and distances[0] < sum(goal) <= distances[-1]


def made_up(found, num_episodes=9):
    path = np.zeros((num_episodes, HORIZON + 1, 2))
    action = np.arange(num_episodes * SIZE * SIZE).reshape(num_episodes, SIZE, SIZE) % 5
    probability = np.linspace(0.2, 1.0, action.size).reshape(action.shape)
    moves = np.array([3, 4, 0, 2, 1])
    return Trace(np.array([2, 1]), moves, action, probability, np.zeros(action.shape, bool), path, found)


@pytest.mark.parametrize(
    ("found", "num_episodes", "shown"),
    [
        (None, 9, [0, 1, 2, 4, 8]),
        (5, 9, [0, 1, 2, 4, 6, 8]),
        (0, 9, [0, 1, 2, 4, 8]),
        (8, 9, [0, 1, 2, 4, 8]),
        (None, 1, [0]),
    ],
)
def test_shown_are_the_first_episodes_the_one_after_the_goal_and_the_last(found, num_episodes, shown):
    assert shown_episodes(made_up(found, num_episodes)) == shown


def test_panels_show_probabilities_and_the_moves_that_hidden_actions_make():
    trace = made_up(5)
    picture = policy_maps(trace, "DPT")
    panels = [axis for axis in picture.figure.axes if axis.images]
    assert len(panels) == 6
    for axis, episode in zip(panels, shown_episodes(trace), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), trace.probability[episode].T)  # x to the right
        (arrows,) = (artist for artist in axis.collections if hasattr(artist, "U"))
        found = {(x, y): (u, v) for (x, y), u, v in zip(arrows.XY.tolist(), arrows.U, arrows.V, strict=True)}
        for (x, y), action in np.ndenumerate(trace.action[episode]):
            move = tuple(MOVES[trace.moves[action]])
            assert found.get((x, y), (0, 0)) == move
    titles = [axis.get_title(loc="left") for axis in panels]
    assert titles[:4] == ["episode 1", "episode 2", "episode 3", "episode 5"]
    assert titles[4:] == ["episode 7, goal seen", "episode 9, goal seen"]


def test_what_is_drawn_is_saved(expert):
    picture = policy_maps(expert, "expert")
    assert set(picture.numbers) == {"goal", "moves", "action", "probability", "visited", "path", "episodes"}
    np.testing.assert_array_equal(picture.numbers["episodes"], [1, 2])
    assert "expert in one held-out room" in picture.caption and "came to it in episode 1" in picture.caption
