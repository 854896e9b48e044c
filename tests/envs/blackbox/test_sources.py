"""What can be trained on, by name: pools of one size, none of whose values come from a table that is kept."""

import ast
from pathlib import Path

import jax
import numpy as np
import pytest

import envs.blackbox
import metarl.metabo
from envs.blackbox import sources, splits, tables
from envs.blackbox.bank import posterior_bank
from envs.blackbox.gp_laws import LAWS
from envs.blackbox.sources import SOURCES, make_prior, make_source
from envs.blackbox.splits import TEST, TRAIN, VALID
from envs.blackbox.task import CATEGORICAL, MAX_DIMENSIONS, NUMERIC, UNUSED

SPECS = ("xgb-bank@num_draws=2", "tables@num_rows=200", "gp-prior@max_dimensions=3", "analytic@function=hartmann-3")
SIZE, HORIZON = 20, 7


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Every source, and 40 pools of each; which tables were asked for; all others hold nothing but NaN."""
    names, load = set(), tables.load_table

    def watched(name):
        names.add(name)
        table = load(name)
        return table if name in TRAIN else table._replace(y=np.full_like(table.y, np.nan))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(splits, "load_table", watched)
        families = [make_source(spec, num_candidates=SIZE, horizon=HORIZON) for spec in SPECS]
        keys = jax.random.split(jax.random.key(0), 40)
        pools = [jax.jit(jax.vmap(family.sample))(keys).params for family in families]
    return names, families, pools


def test_training_asks_for_all_training_tables_and_no_other(asked):
    assert asked[0] == set(TRAIN)


def test_pools_are_of_one_size_and_finite(asked):
    for family, pool in zip(*asked[1:], strict=True):
        assert pool.x.shape == (40, SIZE, MAX_DIMENSIONS) and pool.y.shape == (40, SIZE)
        assert all(np.isfinite(leaf).all() for leaf in (pool.x, pool.y))
        assert (np.asarray(pool.horizon) == HORIZON).all() and pool.is_valid.all()
        assert family.env.num_candidates == SIZE and family.env.max_horizon == HORIZON
        np.testing.assert_array_equal(pool.y_best, pool.y.max(axis=1))


def test_measured_pools_are_rows_of_training_tables(asked):
    """Every value of the source `tables` is one of a training table that is no XGBoost; warps move numbers only."""
    measured = np.concatenate([tables.load_table(name).y for name in TRAIN if not name.startswith("xgb/")])
    assert np.isin(np.asarray(asked[2][1].y), measured).all()
    kept = np.concatenate([tables.load_table(name).y for name in (*VALID, *TEST) if not name.startswith("xgb/")])
    assert not np.isin(np.asarray(asked[2][1].y)[:, :SIZE], np.setdiff1d(kept, measured)).any()


@pytest.mark.parametrize("name", [*VALID[:2], *TEST[:2], "hpobench/kc1", "nasbench201/imagenet", "bbob"])
def test_no_table_can_be_named_as_a_source(name):
    with pytest.raises(ValueError, match="there is no source of pools called"):
        make_source(name)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("tables@names=hpobench/kc1", "has the option 'names=hpobench/kc1'; tables takes num_rows"),
        ("xgb-bank@num_draws=few", "which is no int"),
        ("xgb-bank@num_draws=0", "0 draws"),
        ("xgb-bank@num_tables=21", "asked for 21 tables; it has 1 to 20"),
        ("gp-prior@kinds=odd", "kinds='odd'"),
        ("gp-prior@min_dimensions=5,max_dimensions=2", "5 to 2 dimensions"),
        ("tables@num_rows=100000", "100000 rows were asked"),
        ("gp-prior@law=x", "law='x'; choose one of log-uniform, hebo, known"),
        ("tables@num_rows=10", "pools of 110 candidates were asked of a bank of 10 rows"),
    ],
)
def test_wrong_options_are_refused(spec, words):
    with pytest.raises(ValueError) as caught:
        make_source(spec)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_options_reach_the_prior():
    family = make_source("gp-prior@min_dimensions=2,max_dimensions=2,kinds=categorical", num_candidates=SIZE)
    kind = np.asarray(jax.jit(family.sample)(jax.random.key(0)).params.kind)
    assert (kind[:2] == CATEGORICAL).all() and (kind[2:] == UNUSED).all()
    prior = make_prior("gp-prior@max_dimensions=1,kinds=numeric,output_share=0.5", num_candidates=SIZE)
    assert (prior.dimensions, prior.kinds, prior.output_share) == ((1, 1), "numeric", 0.5)
    task, kernel = jax.jit(prior.sample_with_kernel)(jax.random.key(0))
    assert task.params.kind[0] == NUMERIC == kernel.kind[0]


@pytest.mark.parametrize("law", LAWS)
def test_laws_are_named(law):
    found, made = make_prior(f"gp-prior@law={law}").law, LAWS[law]()
    assert (found.shapes, found.max_log_warp, found.irrelevant_share) == made[2:]


def test_only_a_prior_has_a_law():
    with pytest.raises(ValueError, match="no law of functions called 'xgb-bank'"):
        make_prior("xgb-bank")


def imported(file):
    """Returns every name that a file imports from somewhere."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_no_file_on_the_way_of_training_can_load_a_table_that_is_kept():
    """Sources, learning and its two phases; validation has the only other way in and checks its split."""
    room, learning = Path(envs.blackbox.__file__).parent, Path(metarl.metabo.__file__).parent
    experiments = learning.parent / "experiments"
    files = [
        *(room / f"{name}.py" for name in ("sources", "bank", "posterior", "gp_prior", "task", "environment")),
        *(
            learning / f"{name}.py"
            for name in ("batches", "episode", "likelihood", "policy_gradient", "network", "nap")
        ),
        *(experiments / f"{name}.py" for name in ("metabo", "metabo_policy")),
    ]
    for file in files:
        assert imported(file).isdisjoint({"load_table", "protocol_pools", "protocol_rows", "make_suite"}), file
    assert {"VALID", "protocol_pools"} < imported(experiments / "metabo_build.py")


def test_every_source_has_been_tried():
    assert {spec.split("@")[0] for spec in SPECS} == set(SOURCES) == set(sources.SOURCES)


def test_a_bank_of_fewer_tables_has_the_first_ones_alone():
    first = posterior_bank(1).y[:1]
    for number in (1, 2):
        family = make_source(f"xgb-bank@num_draws=1,num_tables={number}", num_candidates=SIZE, horizon=HORIZON)
        y = jax.jit(jax.vmap(lambda key, family=family: family.sample(key).params.y))(
            jax.random.split(jax.random.key(0), 40)
        )
        assert bool(np.isin(np.asarray(y), np.asarray(first)).all()) == (number == 1)
