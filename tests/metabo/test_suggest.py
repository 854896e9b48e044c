"""What a model is shown of results, and the search for what it scores highest."""

import numpy as np
import pytest

from metarl.metabo.space import Float, Space
from metarl.metabo.suggest import Known, Search, context_of
from tests.metabo.ask_tell_runs import SPACE, believed_of, optimizer, run
from tests.metabo.small_model import save_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("model"))


def test_the_choice_is_the_candidate_with_the_highest_expected_improvement(checkpoint):
    """The untrained acquisition is the expected improvement, so the best of a list is found by the model's own."""
    opt, space = optimizer(checkpoint), Space(SPACE)
    run(opt, 7)
    candidates = [*optimizer(checkpoint, seed=8, num_init=600).ask(40), *(r.config for r in opt.results)]
    context = context_of(opt._known())
    belief = believed_of(opt.trained, space, context, space.encode(candidates))
    assert opt.ask(candidates=candidates) == [candidates[int(np.argmax(belief.reading.log_ei[:40]))]]


def test_the_search_finds_a_better_point_than_its_first_round(checkpoint):
    opt = optimizer(checkpoint, {f"x{i}": Float(0.0, 1.0) for i in range(4)}, num_init=5)
    for config in opt.ask(12):
        opt.tell(config, -sum((value - 0.3) ** 2 for value in config.values()))
    search = Search(opt.trained, opt.space, opt._known(), 0.1)
    first = search.scores(search._first_round(np.random.default_rng(0)))
    found = search.anywhere(np.random.default_rng(0))
    assert search.scores(found[None])[0] >= first.max() and search.is_new(found[None])[0]
    assert any(
        search.scores(search.anywhere(np.random.default_rng(s))[None])[0]
        > search.scores(search._first_round(np.random.default_rng(s))).max() + 1e-4
        for s in range(3)
    )


def test_long_lists_of_candidates_are_scored_in_blocks(checkpoint):
    opt = optimizer(checkpoint)
    run(opt, 6)
    x = opt.space.spread(np.random.default_rng(0).random((1100, 3)))
    search = Search(opt.trained, opt.space, opt._known(), 0.2)
    whole = search.scores(x)
    np.testing.assert_allclose(whole[600:700], search.scores(x[600:700]), atol=1e-5)
    assert search.space.decode(search.among(x)[None])[0] == opt.space.decode(x[[int(np.argmax(whole))]])[0]


def test_of_many_results_the_best_and_the_latest_are_shown():
    x, y = np.zeros((230, 20)), np.concatenate([np.arange(130.0), -np.arange(100.0)])
    x[:, 0] = np.arange(230)
    context = context_of(Known(x, y, x[:3]))
    assert sorted(context.x[context.is_seen, 0]) == [*range(80, 130), *range(180, 230)]
    assert context.x.shape == (128, 20) and context.is_pending.sum() == 3


def test_contexts_are_standardised_and_have_few_sizes():
    x = np.zeros((70, 20))
    sizes = {len(context_of(Known(x[:n], 1e9 + np.arange(float(n)), x[:0])).y) for n in range(1, 71)}
    assert sizes == {16, 32, 64, 128}
    context = context_of(Known(x[:3], 1e9 + np.asarray([0.0, 1.0, 2.0]), x[:0]))
    np.testing.assert_allclose(context.y[:3], np.asarray([-1, 0, 1]) / np.sqrt(2 / 3), rtol=1e-6)
    assert not context_of(Known(x[:3], np.ones(3), x[:0])).y.any()
