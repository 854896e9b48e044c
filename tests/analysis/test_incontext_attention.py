"""Attention over a room: an agent whose attention is known, and a model's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.incontext_attention import attention_maps, gaze
from analysis.incontext_traces import follow, trace_agent
from envs.domains import make_domain
from metarl.incontext.agent import expert_agent, uniform_agent
from metarl.incontext.dpt import dpt
from metarl.networks.transformer import ContextTransformer

DOMAIN = make_domain("darkroom@size=3,horizon=5")
PARAMS = DOMAIN.env.default_params.replace(goal=jnp.array([2, 1], jnp.int32))
NUM_EPISODES = 3


def looked(agent, skips_seen):
    walk = follow(DOMAIN, agent, PARAMS, num_episodes=NUM_EPISODES, seed=0)
    trace = trace_agent(DOMAIN, agent, PARAMS, walk, seed=0)
    return gaze(DOMAIN, agent, walk, trace, skips_seen=skips_seen), trace


def by_slot(memory, observation):
    """One layer, two heads that agree: slot i gets i + 1 percent."""
    return jnp.broadcast_to(0.01 * jnp.arange(1, 17, dtype=jnp.float32), (1, 2, 16))


@pytest.fixture(scope="module")
def watchful():
    """The expert, with that attention: right, right, up, then it stays at (2, 1) in every episode."""
    return expert_agent(DOMAIN, PARAMS)._replace(attention=by_slot)


def test_slots_are_laid_on_the_cells_where_their_transitions_ended(watchful):
    found, _ = looked(watchful, skips_seen=False)
    assert found.episodes == [1, 2]
    expected = np.zeros((3, 3))
    expected[1, 0], expected[2, 0], expected[2, 1] = 0.02, 0.03, 0.04 + 0.05 + 0.06
    np.testing.assert_allclose(found.cells[0, 0], expected, rtol=1e-5)
    expected += [[0, 0, 0], [0.07, 0, 0], [0.08, 0.09 + 0.10 + 0.11, 0]]
    np.testing.assert_allclose(found.cells[1, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.nothing, 0.01, rtol=1e-5)


def test_transitions_that_are_skipped_have_no_slot(watchful):
    found, _ = looked(watchful, skips_seen=True)
    expected = np.zeros((3, 3))
    expected[1, 0], expected[2, 0], expected[2, 1] = 0.02, 0.03, 0.04 + 0.05  # up, then staying, once
    np.testing.assert_allclose(found.cells[:, 0], [expected, expected], rtol=1e-5)


@pytest.mark.parametrize("skips_seen", [False, True])
def test_all_of_a_models_attention_is_accounted_for(skips_seen):
    model = dpt([DOMAIN], ContextTransformer(width=8, num_layers=2, num_heads=2, attention="independent"))
    agent = model.agent(model.init(jax.random.key(0)), DOMAIN, skips_seen=skips_seen)
    found, trace = looked(agent, skips_seen)
    assert found.cells.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(found.cells.sum((2, 3)) + found.nothing, 1.0, atol=1e-5)
    assert ((found.cells > 0).any(1) <= trace.visited[[1, 2]]).all()


def test_without_attention_or_a_context_there_is_nothing_to_see(watchful):
    assert looked(uniform_agent(DOMAIN), False)[0] is None
    walk = follow(DOMAIN, watchful, PARAMS, num_episodes=1, seed=0)
    assert gaze(DOMAIN, watchful, walk, trace_agent(DOMAIN, watchful, PARAMS, walk, seed=0), skips_seen=False) is None


def test_what_is_drawn_is_saved(watchful):
    found, trace = looked(watchful, skips_seen=False)
    picture = attention_maps(found, trace, "expert")
    panels = [axis for axis in picture.figure.axes if axis.images]
    for axis, cells in zip(panels, found.cells[:, 0], strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), cells.T)
    np.testing.assert_array_equal(picture.numbers["cells"], found.cells)
    np.testing.assert_array_equal(picture.numbers["episodes"], [2, 3])
    assert "episode 2, goal seen" in panels[0].get_title(loc="left") and "on nothing 1%" in panels[0].get_title(
        loc="left"
    )
