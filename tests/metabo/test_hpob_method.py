"""The protocol of HPO-B: what is known and what is left go in, the place of the next candidate comes out."""

import jax
import numpy as np
import pytest

from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.export import save_nap
from metarl.metabo.hpob_method import HPOBMethod
from metarl.metabo.nap import make_nap
from metarl.metabo.space import Float

SMALL = {"width": 8, "num_layers": 1, "num_heads": 2, "num_bars": 8}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    params = jax.device_get(make_nap(**SMALL).init(jax.random.key(1)))
    return save_nap(tmp_path_factory.mktemp("model"), SMALL, params, {"head": "ei"})


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).random((30, 3))


def value(x):
    return -np.sum((x - 0.4) ** 2, axis=1)


def test_a_protocol_runs_to_its_end_and_takes_no_candidate_twice(checkpoint, points):
    """The loop of the benchmark's handler: the chosen candidate moves from what is left to what is known."""
    method, seen, left = HPOBMethod(checkpoint), list(range(5)), list(range(5, 30))
    while left:
        place = method.observe_and_suggest(points[seen], value(points[seen])[:, None], points[left])
        assert isinstance(place, int)
        seen.append(left.pop(place))
    assert sorted(seen) == list(range(30))


def test_it_chooses_what_an_optimizer_among_the_same_candidates_does(checkpoint, points):
    names = ("x0", "x1", "x2")
    opt = Optimizer(dict.fromkeys(names, Float(0.0, 1.0)), checkpoint, horizon=100)
    configs = [dict(zip(names, map(float, row), strict=True)) for row in points]
    opt.tell(configs[:8], value(points[:8]))
    (chosen,) = opt.ask(candidates=configs[8:])
    place = HPOBMethod(checkpoint).observe_and_suggest(points[:8], value(points[:8]), points[8:])
    assert configs[8 + place] == chosen


def test_without_candidates_it_proposes_a_point(checkpoint, points):
    found = HPOBMethod(checkpoint).observe_and_suggest(points[:6], value(points[:6]))
    assert found.shape == (3,) and (found >= 0.0).all() and (found <= 1.0).all()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((np.ones((2, 3)), np.ones(3), np.ones((1, 3))), "must be [n, d], [n] and [m, d]"),
        ((np.ones((2, 3)), np.ones(2), np.ones((1, 2))), "must be [n, d], [n] and [m, d]"),
        ((np.full((2, 3), 7.0), np.ones(2), np.ones((1, 3))), "from 7 to 7 were given; they must lie in [0, 1]"),
        ((np.ones((2, 3)), np.ones(2), np.full((1, 3), np.nan)), "must lie in [0, 1]"),
        ((np.ones((2, 21)), np.ones(2), np.ones((1, 21))), "21 free dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(inputs, words, checkpoint):
    with pytest.raises(ValueError) as caught:
        HPOBMethod(checkpoint).observe_and_suggest(*inputs)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="horizon=0"):
        HPOBMethod(checkpoint, horizon=0)
