"""Teachers on the toy task space, against the official code's curves.

Source of the numbers: flowersteam/teachDeepRL with its default settings, seeds 1 to 10: mean and population standard
deviation of the percentage of mastered cells after 4, 8, 12, 16 and 20 thousand episodes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cubes import cubes
from metarl.teachers.base import unit_box
from metarl.teachers.teachers import make_teacher

OFFICIAL = {
    "uniform": ([0.0, 0.8, 1.2, 3.8, 5.1], [0.0, 0.4, 0.6, 0.4, 1.5]),
    "alp-gmm@capacity=20000": ([4.0, 10.1, 17.9, 26.4, 35.1], [0.9, 1.8, 1.4, 1.9, 1.9]),
    "riac": ([7.0, 16.0, 27.2, 37.6, 46.7], [1.1, 1.5, 1.7, 1.6, 1.3]),
    "covar-gmm": ([9.4, 23.4, 37.8, 50.5, 66.5], [1.4, 3.0, 3.3, 3.7, 4.8]),
}
SMALLEST_DEVIATION = 0.5
BLOCK, NUM_EPISODES = 250, 20_000


def curves(teacher, num_seeds):
    """Returns the percentage of mastered cells after every 250 episodes, [seeds, 80]."""
    world, step_size = cubes(), teacher.refit_every or BLOCK
    step_size = step_size if BLOCK % step_size == 0 else BLOCK

    def episode(carry, key):
        competence, state = carry
        vectors = teacher.sample(key, state, 1)
        competence, rewards = world.visit_all(competence, vectors)
        return (competence, teacher.observe(state, vectors, rewards)), None

    def between_fits(carry, key):
        key_fit, *keys = jax.random.split(key, step_size + 1)
        (competence, state), _ = jax.lax.scan(episode, carry, jnp.stack(keys))
        return (competence, teacher.refit(key_fit, state)), None

    def block(carry, key):
        carry, _ = jax.lax.scan(between_fits, carry, jax.random.split(key, BLOCK // step_size))
        return carry, world.mastered(carry[0])

    def run(key):
        key_init, key = jax.random.split(key)
        keys = jax.random.split(key, NUM_EPISODES // BLOCK)
        return jax.lax.scan(block, (world.init(), teacher.init(key_init)), keys)[1]

    return np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), num_seeds)))


@pytest.mark.slow
@pytest.mark.parametrize("spec", OFFICIAL)
def test_mean_curves_are_the_official_ones(spec):
    mean, deviation = map(np.array, OFFICIAL[spec])
    found = curves(make_teacher(spec, unit_box(2)), num_seeds=32)[:, 15::16]
    print(spec, found.mean(0).round(1), found.std(0).round(1))
    assert np.all(np.abs(found.mean(0) - mean) <= 3.0 * np.maximum(deviation, SMALLEST_DEVIATION))


@pytest.mark.slow
def test_the_toy_is_learned_in_the_official_order_by_few_seeds():
    """On its authors' own toy, Covar-GMM is ahead of ALP-GMM, and both far ahead of uniform tasks."""
    found = {spec: curves(make_teacher(spec, unit_box(2)), num_seeds=4)[:, -1] for spec in ("uniform", "covar-gmm")}
    found["alp-gmm"] = curves(make_teacher("alp-gmm@capacity=20000", unit_box(2)), num_seeds=4)[:, -1]
    assert found["uniform"].max() < 12 < found["alp-gmm"].min()
    assert found["covar-gmm"].mean() > found["alp-gmm"].mean() + 10


@pytest.mark.slow
def test_forgetting_old_neighbours_helps_alp_gmm():
    """An old neighbour makes cells that were learned long ago look like progress."""
    capped = curves(make_teacher("alp-gmm@capacity=500", unit_box(2)), num_seeds=4)[:, -1]
    assert capped.min() > 50  # unbounded: 35.1 +- 1.9
