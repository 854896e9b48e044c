"""Labels as they are drawn, under the exact posterior of contexts as they are gathered: the floors of every training.

The belief alone says what its entropy is. That answers of the expert are as surprising to it as it expects ties it to
the tasks, the contexts and the labels that models are trained on.
"""

from functools import cache

import jax
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.experiments.bayes_gap import posteriors
from metarl.incontext.collect import make_collect

BANDIT = "bandit@quadrature=201"  # a cell is 0.005, and no posterior here is narrower than 0.013
LINEAR = "linear-bandit@num_angles=720"
# Entropy of P(a* | data) after n transitions of the paper's contexts, by Monte Carlo over so many tasks.
FLOORS = {
    BANDIT: (
        40_000,
        {
            0: 1.6094,
            1: 1.5190,
            2: 1.4563,
            5: 1.3340,
            10: 1.2126,
            25: 1.0208,
            50: 0.8682,
            100: 0.7246,
            200: 0.5966,
            300: 0.5299,
            500: 0.4565,
        },
    ),
    LINEAR: (
        3000,
        {0: 1.643, 1: 1.243, 2: 0.962, 5: 0.610, 10: 0.432, 25: 0.289, 50: 0.219, 100: 0.172, 200: 0.135},
    ),
    "darkroom": (4000, {0: 0.798, 1: 0.791, 5: 0.755, 10: 0.719, 25: 0.611, 50: 0.476, 100: 0.277}),
    "darkroom@size=5,prior=all": (4000, {0: 0.950, 5: 0.754, 10: 0.593, 25: 0.292}),
}
ACCURACY = dict(
    zip(FLOORS[BANDIT][1], (0.200, 0.288, 0.332, 0.404, 0.466, 0.556, 0.623, 0.684, 0.737, 0.766, 0.797), strict=True)
)
"""How often the most probable arm is the best, in the same contexts."""
NUM_TASKS = 2000


@cache
def surprises(spec, lengths):
    """Returns (entropy, -log p(label), whether the most probable action is the label), each [K, n], in fresh tasks."""
    domain = make_domain(spec)
    belief, collect = domain.belief, make_collect(domain, domain.behaviour, lengths[-1])

    def one(key):
        key_task, key_context, key_queries = jax.random.split(key, 3)
        # Where the belief holds more goals possible than are trained on, tasks are its own.
        is_own = "prior=all" in spec
        task = belief.draw(key_task, belief.init()) if is_own else domain.family.sample(key_task).params
        queries = jax.vmap(domain.sample_query, (0, None))(jax.random.split(key_queries, len(lengths)), task)
        exact = posteriors(belief, collect(task, key_context).transitions, queries, lengths)
        labels = jax.vmap(domain.expert, (0, None))(queries, task)
        return exact, labels

    keys = jax.random.split(jax.random.key(2), NUM_TASKS)
    exact, labels = (np.asarray(found, np.float64) for found in jax.jit(jax.vmap(one))(keys))
    # Not in the compiled program: in batches of thousands on CPU, that of jax 0.10.2 reads the first row for the last.
    log = np.log(np.maximum(exact, 1e-30))
    return -np.sum(exact * log, 2), -np.sum(labels * log, 2), exact.argmax(2) == labels.argmax(2)


def assert_means(samples, expected, num_reference, rounding):
    """Means of [K, n] are within four standard errors, of both sides, of the references."""
    error = samples.std(0) * np.sqrt(1 / len(samples) + 1 / num_reference)
    np.testing.assert_array_less(np.abs(samples.mean(0) - np.array(list(expected))), 4 * error + rounding)


def test_labels_that_share_a_question_are_as_surprising_as_the_posterior_expects():
    entropy, loss, _ = surprises("darkroom@labels=soft", tuple(FLOORS["darkroom"][1]))
    assert_means(loss - entropy, np.zeros(entropy.shape[1]), np.inf, 1e-5)
    assert (entropy.mean(0) > surprises("darkroom", tuple(FLOORS["darkroom"][1]))[0].mean(0)).all()  # ties are open


@pytest.mark.parametrize("spec", FLOORS)
def test_labels_are_as_surprising_as_the_posterior_expects_and_that_is_the_floor(spec):
    num_reference, floors = FLOORS[spec]
    entropy, loss, _ = surprises(spec, tuple(floors))
    # Of one task, so that the luck of the context cancels; before any data a bandit's entropy is the same in all.
    assert_means(loss - entropy, np.zeros(len(floors)), np.inf, 1e-5)
    assert_means(entropy, floors.values(), num_reference, 0.0005)  # three or four decimals are given


def test_the_most_probable_arm_is_as_often_best_as_the_reference_says():
    _, _, right = surprises(BANDIT, tuple(ACCURACY))
    assert_means(right, ACCURACY.values(), 40_000, 0.0005)


# Of all prefixes from none to the whole, interpolated from the tables above, as here.
MEAN_FLOORS = {(BANDIT, 100): 0.932, (BANDIT, 500): 0.626, (LINEAR, 50): 0.389, (LINEAR, 200): 0.222}


@pytest.mark.parametrize(("spec", "length"), MEAN_FLOORS)
def test_the_mean_floor_over_all_prefixes_is_what_training_losses_are_held_against(spec, length):
    num_reference, lengths = FLOORS[spec][0], tuple(FLOORS[spec][1])
    entropy, _, _ = surprises(spec, lengths)
    prefixes = np.arange(length + 1)
    # The floor is nearly straight in the logarithm of the length.
    mean = np.stack([np.interp(np.log1p(prefixes), np.log1p(lengths), row).mean() for row in entropy])
    assert_means(mean[:, None], [MEAN_FLOORS[spec, length]], num_reference, 0.0005)
