"""Pretraining on contexts and answers that were gathered elsewhere."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import PRETRAIN_CONFIG_TYPES, ModelConfig, PretrainConfig, TrainingConfig
from metarl.experiments.pretrain_corpus import stored_examples
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig
from metarl.incontext.build import make_model
from metarl.incontext.collect import make_collect
from metarl.incontext.context import Answered
from metarl.incontext.corpus import load_corpus, write_corpus
from metarl.run.directory import open_run
from metarl.run.loop import run

pytest.importorskip("grain", reason="grain is not installed (metarl[data])")
ROOM, LENGTH, COUNT, NUM_ANSWERS = "darkroom@size=3,horizon=4", 6, 8, 5


def answered(index):
    """A walk through a room, and what its expert does in five cells."""
    domain = make_domain(ROOM)
    key_task, key_walk, key_asked = jax.random.split(jax.random.key(index), 3)
    params = domain.family.sample(key_task).params
    asked = jax.vmap(domain.sample_query, (0, None))(jax.random.split(key_asked, NUM_ANSWERS), params)
    answers = jax.vmap(domain.expert, (0, None))(asked, params)
    context = make_collect(domain, "walk", LENGTH)(params, key_walk)
    return Answered(context._replace(length=jnp.int32(LENGTH - index % 2)), asked, answers)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("data") / "corpus", map(answered, range(COUNT)), per_file=3)


def config_for(path, **changes):
    config = PretrainConfig(
        updates=4,
        updates_per_step=1,
        env=(ROOM,),
        context_length=LENGTH,
        corpus=str(path),
        learner=DPTConfig(num_queries=3),
        model=ModelConfig(width=8, num_layers=1, num_heads=2),
        training=TrainingConfig(batch_size=4),
    )
    return replace(config, **changes)


def test_what_was_answered_is_read_back_in_its_order(corpus):
    found = load_corpus(corpus)
    assert isinstance(found, Answered) and found.answer.shape == (COUNT, NUM_ANSWERS, 5)
    for index in range(COUNT):
        expected = answered(index)
        mine = jax.tree.map(lambda leaf, index=index: leaf[index], found)
        jax.tree.map(np.testing.assert_array_equal, mine, expected)


@pytest.mark.parametrize("attention", ["independent", "set"])
def test_examples_are_stored_contexts_with_stored_answers(corpus, attention):
    config = config_for(corpus)
    config = replace(config, model=replace(config.model, attention=attention))
    domain = make_domain(ROOM)
    model = make_model([domain], **vars(config.model))
    sample = jax.jit(jax.vmap(stored_examples(config, model, LENGTH)))
    batch, stored = sample(jax.random.split(jax.random.key(0), 60)), load_corpus(corpus)
    encode = jax.vmap(jax.vmap(lambda one: model.codec.transition(domain, one)))
    contexts = np.asarray(encode(stored.context.transitions))
    which = [np.flatnonzero((contexts == one).all((1, 2))) for one in np.asarray(batch.transitions)]
    assert set(np.concatenate(which)) == set(range(COUNT))
    for i, (index, *_) in enumerate(which):
        known = jax.vmap(lambda seen: model.codec.query(domain, seen))(stored.observation[index])
        pairs = {(*map(float, q), *map(float, a)) for q, a in zip(known, stored.answer[index], strict=True)}
        asked = zip(batch.queries[i], batch.labels[i], strict=True)
        assert {(*map(float, q), *map(float, a)) for q, a in asked} <= pairs
        assert (batch.prefix[i] <= stored.context.length[index]).all()
        if attention == "set":
            assert (batch.prefix[i] == batch.is_valid[i].sum()).all()


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(corpus, tmp_path):
    config = config_for(corpus)

    def weights(name, *stops):
        for stop in stops:
            with open_run(tmp_path, name, config, PRETRAIN_CONFIG_TYPES) as directory:
                experiment = make_pretraining(config).experiment
                state = run(experiment, directory, num_steps=stop, seed=0, checkpoint_every=1, show_progress=False)
        return jax.device_get(state.params)

    whole, halves = weights("whole", 4), weights("halves", 2, 4)
    jax.tree.map(np.testing.assert_array_equal, whole, halves)
    fresh = make_pretraining(config).experiment.init(jax.random.key(0)).params
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(fresh), strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"context_length": 9}, "needs \\[8, 9, 2\\]"),
        ({"env": ("bandit@horizon=6,quadrature=51",)}, "the observations of .* needs \\[8, 6, 1\\]"),
        ({"corpus": "nowhere"}, "holds no corpus"),
    ],
)
def test_a_corpus_that_does_not_fit_is_refused(corpus, changes, words):
    with pytest.raises(ValueError, match=words):
        make_pretraining(config_for(corpus, **changes))


def test_a_corpus_without_answers_is_refused(tmp_path):
    write_corpus(tmp_path / "bare", [answered(0).context])
    with pytest.raises(ValueError, match="contexts without answers"):
        make_pretraining(config_for(tmp_path / "bare"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learner": DPTConfig(on_policy=0.5)}, "learner.on_policy is 0.5, but contexts and answers"),
        ({"learner": ADConfig(), "context_length": None}, "only decision pretraining in one domain"),
    ],
)
def test_what_would_do_nothing_beside_a_corpus_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        config_for("somewhere", **changes)
