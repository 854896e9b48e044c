from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domain import posterior
from envs.domains import make_domain
from metarl.experiments.bayes_gap import make_gap, posteriors, probe_lengths
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import TrainingConfig
from metarl.experiments.pretrain_presets import SMOKE
from metarl.incontext.collect import make_collect

BANDIT = make_domain("bandit@horizon=20,quadrature=101")


def test_lengths_end_with_the_whole_context():
    assert probe_lengths(20) == (0, 1, 2, 5, 10, 20) and probe_lengths(25) == (0, 1, 2, 5, 10, 25)


def test_posteriors_at_lengths_are_those_of_the_prefixes():
    params = BANDIT.family.sample(jax.random.key(0)).params
    steps = make_collect(BANDIT, "tilted", 20)(params, jax.random.key(1)).transitions
    lengths = probe_lengths(20)
    queries = jnp.ones((len(lengths), 1))
    found = posteriors(BANDIT.belief, steps, queries, lengths)
    for row, length in zip(found, lengths, strict=True):
        expected = posterior(BANDIT.belief, *steps, jnp.arange(20) < length, queries[0])
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_a_model_that_says_the_same_to_everything_is_short_by_what_the_data_tell():
    """Zero weights predict uniformly: entropy and gap then add up to ln 5 whatever the context."""
    model = make_pretraining(SMOKE).model
    zero = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    measure = jax.jit(jax.vmap(make_gap(model, model.codec.domains[0], 20), (None, 0)))
    entropy, gap = measure(zero, jax.random.split(jax.random.key(1), 64))
    np.testing.assert_allclose(entropy + gap, np.log(5.0), rtol=1e-4)
    np.testing.assert_allclose(entropy[:, 0], np.log(5.0), rtol=1e-4)
    assert (np.asarray(gap) > -1e-4).all()  # rounding of sums of five logarithms
    assert (np.diff(np.asarray(entropy).mean(0)) < 0.0).all()


@pytest.mark.slow
def test_training_closes_the_gap_and_never_falls_below_the_floor():
    experiment = make_pretraining(replace(SMOKE, updates=300, training=TrainingConfig(16, 1e-2))).experiment
    state = jax.jit(experiment.init)(jax.random.key(0))
    step, trace = jax.jit(experiment.step), []
    for _ in range(30):
        state, metrics = step(state)
        trace.append({name: float(value) for name, value in metrics.items()})
    gaps = [name for name in trace[0] if name.startswith("bayes_gap/")]
    assert min(row[name] for row in trace for name in gaps) > -1e-4
    assert trace[-1]["bayes_gap/10"] < 0.8 * trace[0]["bayes_gap/10"]
    assert trace[-1]["loss"] < trace[0]["loss"] < np.log(5.0) + 0.1
