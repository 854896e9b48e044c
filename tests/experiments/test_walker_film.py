"""Films of walkers: the track as it is drawn, and the episode that the examination saw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.walker.hexagons import HEXAGONS
from envs.walker.terrain import STUMPS, stump, stumps_near
from envs.walker.world import GROUND, LENGTH, STRIDE
from metarl.experiments.agent_config import AgentConfig
from metarl.experiments.task_world import task_world
from metarl.experiments.teach import build_student, film, make_teaching
from metarl.experiments.teach_config import PPOStudentConfig, TeachConfig
from metarl.experiments.walker_film import RESOLUTION, outline

SEED = jnp.array([3, 4], jnp.uint32)


def test_the_outline_of_a_track_of_stumps_is_that_of_its_stumps():
    parameters = jnp.array([1.5, 2.0], jnp.float32)
    points = np.asarray(outline(STUMPS, parameters, SEED))
    row = stumps_near(parameters, SEED, jnp.float32(0.0))
    edges, tops = (np.asarray(x) for x in stump(row, jnp.arange(60, dtype=jnp.int32)))
    expected = np.full(len(points), GROUND)
    for edge, top in zip(edges, tops, strict=True):
        if edge < LENGTH:
            expected[(points[:, 0] > edge) & (points[:, 0] < edge + STRIDE)] = top
    # A point may fall on an edge.
    assert np.mean(np.abs(points[:, 1] - expected) < 1e-4) > 0.99
    assert points[1, 0] == pytest.approx(RESOLUTION) and points[:, 1].max() > GROUND + 1.2 * STRIDE


def test_the_outline_of_hexagons_rises_where_they_are():
    points = np.asarray(outline(HEXAGONS, jnp.ones((12,), jnp.float32), SEED))
    is_high = points[:, 1] > GROUND + 0.1
    assert 0.05 < is_high.mean() < 0.9 and not is_high[points[:, 0] < 8.0].any()


@pytest.mark.slow
def test_a_film_shows_the_episode_that_was_examined():
    config = TeachConfig(
        teachers=("uniform",),
        num_students=1,
        updates=1,
        updates_per_step=1,
        student=PPOStudentConfig(env="stump-tracks", grid=2, agent=AgentConfig(num_envs=2, unroll_length=8)),
    )
    teaching = make_teaching(config)
    state, _ = jax.jit(teaching.experiment.step)(jax.jit(teaching.experiment.init)(jax.random.key(0)))
    found = film(teaching, state)
    grades = np.asarray(state.records[0].grades[0])
    assert float(found["grade"]) == pytest.approx(grades.max(), rel=1e-4)  # it masters none
    num_steps = int(jnp.sum(found["lasts"]))
    assert float(jnp.sum(found["reward"][:num_steps])) == pytest.approx(grades.max(), rel=1e-3)
    assert found["outline"].shape[1] == 2 and found["rays"].shape[1] == 10
    assert 0 < num_steps <= 2000


def test_there_is_nothing_to_see_of_a_pendulum():
    config = PPOStudentConfig(env="Pendulum-v1@g=5..15", return_range=(-1600.0, 0.0), success_return=-400.0)
    assert task_world(config).film is None and build_student(TeachConfig()).film is None
