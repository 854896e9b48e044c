import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.collect import make_collect
from metarl.incontext.context import OrderedContext, UnorderedContext
from metarl.incontext.corpus import read_corpus, write_corpus

pytest.importorskip("grain", reason="grain is not installed (metarl[data])")
COUNT = 10


def contexts(behaviour="walk"):
    domain = make_domain("darkroom@size=3,horizon=4")
    collect = make_collect(domain, behaviour, 6)
    return [
        collect(domain.family.sample(jax.random.key(i)).params, jax.random.key(i))._replace(length=jnp.int32(i))
        for i in range(COUNT)
    ]


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus", contexts(), per_file=4)


def test_everything_that_was_written_is_read_once_an_epoch(corpus):
    written = {int(context.length): context for context in contexts()}
    batches = list(read_corpus(corpus, batch_size=5, seed=0, num_epochs=1))
    assert all(isinstance(batch, OrderedContext) for batch in batches) and len(batches) == 2
    lengths = [int(length) for batch in batches for length in batch.length]
    assert sorted(lengths) == list(range(COUNT)) and lengths != sorted(lengths)
    for batch in batches:
        for i, length in enumerate(batch.length):
            for found, expected in zip(batch.transitions, written[int(length)].transitions, strict=True):
                np.testing.assert_array_equal(found[i], expected)
                assert found.dtype == expected.dtype


def test_a_stopped_reading_continues_in_the_same_order(corpus):
    whole = [batch.length.tolist() for batch in read_corpus(corpus, batch_size=3, seed=1, num_epochs=3)]
    rest = [batch.length.tolist() for batch in read_corpus(corpus, batch_size=3, seed=1, num_epochs=3, skip=4)]
    assert rest == whole[4:] and len(whole) == 10
    other = [batch.length.tolist() for batch in read_corpus(corpus, batch_size=3, seed=2, num_epochs=3)]
    assert other != whole


def test_sets_stay_sets(tmp_path):
    path = write_corpus(tmp_path, contexts("uniform"))
    assert isinstance(next(iter(read_corpus(path, batch_size=2, seed=0))), UnorderedContext)


@pytest.mark.parametrize(
    ("break_", "options", "words"),
    [
        (lambda path: None, {"batch_size": 11}, "choose 1 to that many"),
        (lambda path: (path / "corpus.json").unlink(), {"batch_size": 2}, "holds no corpus"),
        (lambda path: (path / "000001.array_record").unlink(), {"batch_size": 2}, "6 contexts of 10"),
        (lambda path: (path / "corpus.json").write_text('{"schema": 9}'), {"batch_size": 2}, "schema 9"),
    ],
)
def test_what_cannot_be_read_is_refused(corpus, break_, options, words):
    break_(corpus)
    with pytest.raises(ValueError, match=words):
        read_corpus(corpus, seed=0, **options)


def test_what_is_no_corpus_is_not_written(tmp_path, corpus):
    with pytest.raises(ValueError, match="already holds a corpus"):
        write_corpus(corpus, contexts())
    with pytest.raises(ValueError, match="at least one, all of one type"):
        write_corpus(tmp_path / "none", [])
    shorter = contexts()[0]._replace(transitions=jax.tree.map(lambda leaf: leaf[:3], contexts()[0].transitions))
    with pytest.raises(ValueError, match="of equal shapes"):
        write_corpus(tmp_path / "unequal", [contexts()[0], shorter])
    with pytest.raises(ValueError, match="all of one type"):
        write_corpus(tmp_path / "mixed", [*contexts()[:1], *contexts("uniform")[:1]])
