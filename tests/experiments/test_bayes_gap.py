from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domain import posterior
from envs.domains import make_domain
from metarl import zoo
from metarl.experiments.bayes_gap import make_gap, posteriors, probe_lengths
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import TrainingConfig
from metarl.experiments.pretrain_presets import SMOKE
from metarl.incontext.collect import make_collect
from metarl.incontext.examples import expert_questions, fresh_examples

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


def exact_answers(example, num_known):
    """Returns P(a* | data) [M, A] after as many transitions of an example of the bandit, read from its tokens."""
    action, reward = example.transitions[:, :5].argmax(-1).astype(jnp.int32), example.transitions[:, 5]
    ones = jnp.ones((len(reward), 1))
    after = lambda n: posterior(BANDIT.belief, ones, action, reward, ones, jnp.arange(len(reward)) < n, ones[0])  # noqa: E731
    return jnp.maximum(jax.vmap(after)(num_known), 1e-30)


def above_the_floor(losses, codec, num_tasks=2000):
    """Returns how far losses about what is truly best in fresh tasks are above those of Bayes, and the standard error.

    `losses(example) -> [M]` in nats. Both are about the same answers, so that the luck of the draw cancels.
    """
    ask = expert_questions(BANDIT, codec, num_queries=4)
    sample = fresh_examples(BANDIT, make_collect(BANDIT, BANDIT.behaviour, 20), ask)

    def one(key):
        example = sample(key)
        floor = -jnp.sum(example.labels * jnp.log(exact_answers(example, example.prefix)), axis=1)
        return jnp.mean(losses(example) - floor)

    excess = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(11), num_tasks)), np.float64)
    return excess.mean(), excess.std() / np.sqrt(num_tasks)


def test_a_good_model_does_not_know_the_answers_better_than_its_contexts_tell():
    """It is within a hundredth of a nat of Bayes, so that little else that it knew could hide."""
    trained = zoo.load_pretrained("dpt-bandit")
    losses = lambda example: trained.model.losses(trained.params, example)  # noqa: E731
    excess, error = above_the_floor(losses, trained.model.codec)
    assert -4.0 * error < excess < 0.03


LEAKS = {
    "the answer, one time in twenty": lambda example: (
        0.95 * exact_answers(example, example.prefix) + 0.05 * example.labels
    ),
    "one transition too many": lambda example: exact_answers(example, example.prefix + 1),
    "what follows": lambda example: exact_answers(example, jnp.full_like(example.prefix, 20)),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_whoever_is_told_more_than_the_context_falls_below_the_floor(leak):
    losses = lambda example: -jnp.sum(example.labels * jnp.log(LEAKS[leak](example)), axis=1)  # noqa: E731
    excess, error = above_the_floor(losses, make_pretraining(SMOKE).model.codec, num_tasks=500)
    assert excess < -4.0 * error


TRAINED = replace(SMOKE, updates=300, training=TrainingConfig(16, 1e-2))


def with_the_answer(example):
    """Returns the example with the best arm in the place of the first action."""
    return example._replace(transitions=example.transitions.at[0, :5].set(example.labels[0]))


@pytest.mark.slow
@pytest.mark.parametrize("leaks", [False, True])
def test_training_falls_below_the_floor_if_and_only_if_its_contexts_hold_the_answer(leaks, monkeypatch):
    """What leaks here is the first action of a context: the best arm stands in its place."""
    sees = with_the_answer if leaks else lambda example: example

    def questions(*args, **options):
        ask = expert_questions(*args, **options)
        return lambda params, context, key: sees(ask(params, context, key))

    monkeypatch.setattr("metarl.experiments.pretrain_batches.expert_questions", questions)
    pretraining = make_pretraining(TRAINED)
    state, step = jax.jit(pretraining.experiment.init)(jax.random.key(0)), jax.jit(pretraining.experiment.step)
    for _ in range(30):
        state, _ = step(state)
    losses = lambda example: pretraining.model.losses(state.params, sees(example))  # noqa: E731
    excess, error = above_the_floor(losses, pretraining.model.codec)
    assert excess < -4.0 * error if leaks else excess > -4.0 * error


@pytest.mark.slow
def test_training_closes_the_gap():
    experiment = make_pretraining(TRAINED).experiment
    state = jax.jit(experiment.init)(jax.random.key(0))
    step, trace = jax.jit(experiment.step), []
    for _ in range(30):
        state, metrics = step(state)
        trace.append({name: float(value) for name, value in metrics.items()})
    assert step._cache_size() == 1
    assert trace[-1]["bayes_gap/10"] < 0.8 * trace[0]["bayes_gap/10"]
    assert trace[-1]["loss"] < trace[0]["loss"] < np.log(5.0) + 0.1
