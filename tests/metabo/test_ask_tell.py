import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl.metabo
from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.export import load_nap, save_nap
from metarl.metabo.nap import make_nap
from metarl.metabo.space import Categorical, Float, Int, Space
from metarl.metabo.suggest import Known, Search, context_of, imputed, make_score
from tests.metabo.ask_tell_runs import SPACE, believed_of, objective, optimizer, run
from tests.metabo.small_model import SMALL, save_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("model"))


def test_the_package_offers_the_optimizer():
    assert metarl.metabo.Optimizer is Optimizer
    with pytest.raises(AttributeError, match="Pessimizer"):
        metarl.metabo.Pessimizer  # noqa: B018


def test_asks_are_configurations_of_the_space_and_none_comes_twice(checkpoint):
    opt = optimizer(checkpoint)
    asked = run(opt, 12)
    assert len({tuple(config.values()) for config in asked}) == 12
    assert all(list(config) == list(SPACE) and config["seed"] == 3 for config in asked)
    assert opt.best.value == max(map(objective, asked)) == objective(opt.best.config)
    assert len(opt.results) == 12 and opt.pending == []


def test_the_first_asks_are_a_scrambled_sobol_design(checkpoint):
    space = {"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)}
    asked = [tuple(config.values()) for config in optimizer(checkpoint, space, num_init=16).ask(16)]
    assert len({(int(a * 4), int(b * 4)) for a, b in asked}) == 16
    assert asked != [tuple(c.values()) for c in optimizer(checkpoint, space, num_init=16, seed=1).ask(16)]


def test_saved_optimizers_go_on_bit_by_bit(checkpoint, tmp_path):
    opt = optimizer(checkpoint, maximize=False, seed=4)
    run(opt, 8)
    opt.ask(2)
    opt.tell(opt.pending[0], math.nan)
    again = Optimizer.load(opt.save(tmp_path / "deep" / "state.json"))
    assert again.results == opt.results and again.pending == opt.pending and again.num_failed == 1
    assert run(again, 3) == run(opt, 3)
    assert again.ask(3) == opt.ask(3)


@pytest.mark.parametrize("head", ["ei", "ucb", "thompson"])
def test_the_head_that_is_asked_for_is_the_one_that_scores(checkpoint, head, tmp_path):
    """The best of a list by its own rule, computed apart; the same as of a model whose record names that head."""
    asked = optimizer(checkpoint, head=head)
    run(asked, 6)
    space, law = asked.space, np.random.default_rng(0)
    x = space.spread(law.random((40, 3)))
    candidates = [{**config, "seed": 3} for config in space.decode(x)]
    known = asked._known()
    belief = believed_of(asked.trained, space, context_of(known), space.encode(candidates))
    nap, key = asked.trained.nap, jax.random.key(len(known.x))
    expected = {
        "ei": lambda: belief.reading.log_ei,
        "ucb": lambda: nap.bars.quantile(belief.reading.bars, jnp.full((40,), 0.9)),
        "thompson": lambda: nap.bars.sample(key, jnp.pad(belief.reading.bars, ((0, 512 - 40), (0, 0))))[:40],
    }[head]()
    again = Optimizer.load(asked.save(tmp_path / "state.json"))
    assert again.head == head
    for opt in (asked, again):
        assert opt.ask(1, candidates) == [candidates[int(np.argmax(expected))]]
    params = asked.trained.params
    recorded = optimizer(save_nap(tmp_path / "model", SMALL, params, {"head": head}))
    for result in asked.results:
        recorded.tell(result.config, result.value)
    assert _as_if_asked(recorded, 6).ask(1, candidates) == [candidates[int(np.argmax(expected))]]


def test_the_same_seed_asks_the_same_and_another_does_not(checkpoint):
    first, second, other = (run(optimizer(checkpoint, seed=s), 8) for s in (0, 0, 1))
    assert first == second != other


def test_minimising_is_maximising_the_negative(checkpoint):
    up, down = optimizer(checkpoint), optimizer(checkpoint, maximize=False)
    for _ in range(9):
        (a,), (b,) = up.ask(), down.ask()
        assert a == b
        up.tell(a, objective(a))
        down.tell(b, -objective(b))
    assert down.best.value == -up.best.value


def test_scale_and_offset_of_the_values_change_no_ask(checkpoint):
    plain, scaled = optimizer(checkpoint), optimizer(checkpoint)
    for config in run(plain, 6):
        scaled.tell(config, 1e6 + 2.0**-6 * objective(config))
    assert plain.ask(1)[0] == _as_if_asked(scaled, 6).ask(1)[0]


def _as_if_asked(opt, count):
    opt._num_asked = count
    return opt


def test_a_batch_differs_and_pending_points_are_not_asked_again(checkpoint):
    opt = optimizer(checkpoint)
    run(opt, 6)
    asked = opt.ask(4) + opt.ask(3)
    assert len({tuple(config.values()) for config in asked}) == 7 and opt.pending == asked
    opt.tell([asked[5], asked[1]], [0.0, None])
    assert opt.pending == [asked[i] for i in (0, 2, 3, 4, 6)] and opt.num_failed == 1


def test_pending_points_count_as_if_they_had_come_out_as_predicted(checkpoint):
    trained, space = load_nap(checkpoint), Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})
    x = space.spread(np.random.default_rng(0).random((30, 2)))
    y, none = np.sin(7 * x[:8, 0]), x[:0]
    context = context_of(Known(x[:8], y, none))
    belief = believed_of(trained, space, context, x[8:10])
    mean = belief.scale.mean + belief.scale.std * belief.reading.mean
    believed = np.concatenate([y, np.asarray(mean) * np.std(y) + np.mean(y)])
    expected = Search(trained, space, Known(x[:10], believed, none), 0.5).scores(x[10:])
    found = Search(trained, space, Known(x[:8], y, x[8:10]), 0.5).scores(x[10:])
    without = Search(trained, space, Known(x[:8], y, none), 0.5).scores(x[10:])
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(found - without).max() > 1e-3


def test_values_that_are_no_numbers_are_the_worst_of_the_others_and_counted(checkpoint):
    failed, explicit = optimizer(checkpoint), optimizer(checkpoint)
    configs = failed.ask(6)
    assert explicit.ask(6) == configs
    values = [0.5, 2.0, 1.0]
    failed.tell(configs, [*values, math.nan, math.inf, None])
    explicit.tell(configs, [*values, 0.5, 0.5, 0.5])
    assert failed.num_failed == 3 and failed.best.value == 2.0
    assert failed.ask(2) == explicit.ask(2)
    np.testing.assert_array_equal(imputed(np.asarray([np.inf, 3.0, np.nan, 2.0])), [2.0, 3.0, 2.0, 2.0])


def test_when_everything_fails_the_design_goes_on(checkpoint):
    opt = optimizer(checkpoint)
    for _ in range(8):
        opt.tell(opt.ask(), [None])
    design = optimizer(checkpoint).ask(8)
    assert [result.config for result in opt.results] == design and opt.best is None
    assert len(optimizer(checkpoint, num_init=0).ask(2)) == 2  # the model alone, without any data


def test_earlier_results_count_as_the_design(checkpoint):
    opt = optimizer(checkpoint)
    earlier = optimizer(checkpoint, seed=9).ask(5)
    opt.tell([{k: v for k, v in c.items() if k != "seed"} for c in earlier], [objective(c) for c in earlier])
    (config,) = opt.ask()
    assert config != optimizer(checkpoint).ask()[0] and config not in earlier


def test_a_small_space_is_used_up_exactly(checkpoint):
    opt = optimizer(checkpoint, {"i": Int(0, 3), "c": Categorical("abc")})
    for _ in range(12):
        (config,) = opt.ask()
        opt.tell(config, config["i"])
    assert len({tuple(r.config.values()) for r in opt.results}) == 12
    with pytest.raises(ValueError, match="have been asked for"):
        opt.ask()
    fresh = optimizer(checkpoint, {"i": Int(0, 3), "c": Categorical("abc")})
    with pytest.raises(ValueError, match="used up"):
        fresh.ask(13)
    assert fresh.pending == [] and len(fresh.ask(12)) == 12


def test_ones_own_candidates_are_all_that_is_asked_for(checkpoint):
    opt, own = optimizer(checkpoint), optimizer(checkpoint, seed=5, num_init=99).ask(9)
    asked = opt.ask(3, candidates=own)
    opt.tell(asked, [1.0, 2.0, 3.0])
    for _ in range(6):
        config = opt.ask(candidates=own)
        asked += config
        opt.tell(config, [objective(config[0])])
    assert sorted(map(str, asked)) == sorted(map(str, own))
    with pytest.raises(ValueError, match="all 9 candidates"):
        opt.ask(candidates=own)


@pytest.mark.slow
def test_a_whole_run_compiles_once_per_size(checkpoint):
    opt = optimizer(checkpoint, horizon=20)
    score = make_score(opt.trained.nap, "acquisition")
    score.clear_cache()
    run(opt, 34)
    assert score._cache_size() == 2 * 3  # L in 16, 32 and 64; N in 512 and 128
    assert optimizer(checkpoint).trained is opt.trained


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda opt: opt.ask(0), "1 or more"),
        (lambda opt: opt.tell([{"lr": 0.1, "depth": 2, "net": "a"}], [1.0, 2.0]), "one value for each"),
        (lambda opt: opt.tell({"lr": 2.0, "depth": 2, "net": "a"}, 1.0), "lr was given as 2.0"),
        (lambda opt: Optimizer(SPACE, opt.trained, horizon=0), "horizon=0"),
        (lambda opt: Optimizer(SPACE, "nowhere/at/all"), "neither a path nor"),
        (lambda opt: Optimizer(SPACE, opt.trained, head="pi"), "no head 'pi'; choose one of acquisition, ei, ucb, th"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(act, words, checkpoint):
    opt = optimizer(checkpoint)
    with pytest.raises(ValueError, match=words):
        act(opt)
    assert opt.results == [] and opt.pending == []


def test_files_that_do_not_fit_are_refused(checkpoint, tmp_path):
    opt = optimizer(checkpoint)
    path = opt.save(tmp_path / "state.json")
    params = jax.device_get(make_nap(**SMALL).init(jax.random.key(2)))
    other = save_nap(tmp_path / "other", SMALL, params, {"head": "ei"})
    with pytest.raises(ValueError, match="another model"):
        Optimizer.load(path, other)
    with pytest.raises(ValueError, match="no saved optimiser"):
        Optimizer.load(tmp_path / "none.json")
    (tmp_path / "x.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(ValueError, match="schema 1"):
        Optimizer.load(tmp_path / "x.json")
    for value in (1, 2), np.int64(3):
        with pytest.raises(ValueError, match="JSON"):
            optimizer(checkpoint, {"c": Categorical(["a", value])}).save(tmp_path / "y.json")
