import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox import bank as banks
from envs.blackbox import posterior
from envs.blackbox.bank import PoolBank, bank_family, posterior_bank, random_rows, table_bank
from envs.blackbox.environment import BlackBox
from envs.blackbox.posterior import posterior_draws, standardised
from envs.blackbox.splits import training_table
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL, UNUSED

SIZE = 12


def small_bank():
    """Returns two tables of 40 rows with three objectives; in the second, one dimension is categorical, one unused."""
    law = np.random.default_rng(0)
    x = law.random((2, 40, 3), dtype=np.float32)
    x[1, :, 1], x[1, :, 2] = law.integers(0, 3, 40), 0.0
    kind = np.array([[NUMERIC, NUMERIC, ORDINAL], [NUMERIC, CATEGORICAL, UNUSED]], np.int32)
    y = np.arange(240, dtype=np.float32).reshape(2, 3, 40)
    return PoolBank(jnp.asarray(x), jnp.asarray(kind), jnp.asarray(y))


BANK = small_bank()
FAMILY = bank_family(BANK, SIZE, horizon=6)
DECODE = jax.jit(FAMILY.decode)


def origin(y):
    """Returns (table, objective, row) of values of the small bank, each of which is there once."""
    return np.unravel_index(np.asarray(y).astype(int), (2, 3, 40))


@pytest.fixture(scope="module")
def sampled():
    """Returns 300 pools of the small bank."""
    return jax.jit(jax.vmap(FAMILY.sample))(jax.random.split(jax.random.key(0), 300)).params


def test_samples_are_rows_of_one_objective_of_one_table(sampled):
    params = sampled
    tables, objectives, rows = origin(params.y)
    assert (tables == tables[:, :1]).all() and (objectives == objectives[:, :1]).all()
    assert {(t, o) for t, o in zip(tables[:, 0], objectives[:, 0], strict=True)} == {
        (t, o) for t in range(2) for o in range(3)
    }
    assert all(len(set(row)) == SIZE for row in rows)
    assert np.bincount(rows.ravel(), minlength=40).min() > 0
    np.testing.assert_array_equal(params.y_best, params.y.max(axis=1))
    np.testing.assert_array_equal(params.kind[:, :3], np.asarray(BANK.kind)[tables[:, 0]])


def test_only_numbers_are_warped_and_by_one_power_each(sampled):
    params = sampled
    tables, _, rows = origin(params.y)
    before, after = np.asarray(BANK.x)[tables, rows], np.asarray(params.x)[..., :3]
    first = tables[:, 0] == 0
    np.testing.assert_array_equal(after[first][..., 2], before[first][..., 2])
    np.testing.assert_array_equal(after[~first][..., 1:], before[~first][..., 1:])
    powers = np.log(np.log(after[..., 0]) / np.log(before[..., 0]))  # log p
    assert (np.ptp(powers, axis=1) < 1e-3).all()
    assert -0.7 <= powers.min() < -0.5 < 0.5 < powers.max() <= 0.7


def test_a_vector_is_one_task_in_the_units_told():
    assert FAMILY.num_dimensions == 4
    np.testing.assert_allclose(FAMILY.low, [0, 0, -0.7, -0.7], rtol=1e-6)
    np.testing.assert_allclose(FAMILY.high, [2, 3, 0.7, 0.7], rtol=1e-6)
    params = DECODE(jnp.array([0.2, 0.5, 0.5, 1.0], jnp.float32)).params
    tables, objectives, rows = origin(params.y)
    assert set(tables) == {0} and set(objectives) == {1}
    before = np.asarray(BANK.x)[0, rows]
    np.testing.assert_allclose(params.x[:, 0], before[:, 0], rtol=1e-6)
    np.testing.assert_allclose(params.x[:, 1], before[:, 1] ** np.exp(0.7), rtol=1e-5)
    again = DECODE(jnp.array([0.3, 0.6, 0.0, 0.0], jnp.float32)).params
    np.testing.assert_array_equal(origin(again.y)[2], rows)


def test_quantiles_outside_are_clipped():
    for low, high in ((-1.0, 0.0), (2.0, 1.0)):
        ends = [DECODE(jnp.full((4,), value, jnp.float32)) for value in (low, high)]
        jax.tree.map(np.testing.assert_array_equal, *ends)


def test_one_program_takes_the_bank_as_an_argument():
    run = jax.jit(lambda sample, key: sample(key).params.y)
    other = bank_family(BANK, SIZE, horizon=6)
    np.testing.assert_array_equal(run(FAMILY.sample, jax.random.key(2)), run(other.sample, jax.random.key(2)))
    text = run.lower(FAMILY.sample, jax.random.key(2)).as_text()
    assert "tensor<2x3x40xf32>" in text and 'dense<"0x' not in text


@pytest.mark.parametrize(("num_rows", "size"), [(40, 12), (41, 40)])
def test_random_rows_differ_and_are_equally_likely(num_rows, size):
    keys = jax.random.split(jax.random.key(3), 4000)
    rows = np.asarray(jax.jit(jax.vmap(lambda key: random_rows(key, num_rows, size)))(keys))
    assert all(len(set(row)) == size for row in rows)
    counts, expected = np.bincount(rows.ravel(), minlength=num_rows), 4000 * size / num_rows
    assert np.abs(counts - expected).max() <= 4.5 * np.sqrt(expected)


def test_the_posterior_bank_begins_with_what_was_measured(tmp_path, monkeypatch):
    for module in (posterior, banks):
        monkeypatch.setattr(module, "NUM_SOURCES", 2)
    bank = posterior_bank(2, directory=tmp_path)
    assert bank.x.shape == (2, 1000, 6) and bank.y.shape == (2, 3, 1000)
    assert (bank.kind == NUMERIC).all() and jnp.all(jnp.isfinite(bank.y))
    np.testing.assert_array_equal(bank.x[1], training_table("xgb/1").x)
    np.testing.assert_allclose(bank.y[1, 0], standardised(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(bank.y[1, 1:], posterior_draws(1, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_every_table_has_draws_that_resemble_it(tmp_path):
    bank = posterior_bank(2, directory=tmp_path)
    assert bank.x.shape == (20, 1000, 6) and bank.y.shape == (20, 3, 1000) and jnp.all(jnp.isfinite(bank.y))
    correlations = [np.corrcoef(bank.y[i, 0], bank.y[i, 1])[0, 1] for i in range(20)]
    assert min(correlations) > 0.7  # negated, or of another table, they would be near -1 or 0


def test_real_tables_keep_their_kinds_and_values():
    bank = table_bank(num_rows=500)
    assert bank.x.shape == (7, 500, 9) and bank.y.shape == (7, 1, 500)
    family = bank_family(bank, SIZE)
    assert family.num_dimensions == 1
    params = jax.jit(family.decode)(jnp.array([0.99], jnp.float32)).params
    table = training_table("nasbench201/cifar10")
    assert (params.kind[:6] == CATEGORICAL).all() and (params.kind[6:] == UNUSED).all()
    values = {tuple(x): y for x, y in zip(table.x.tolist(), table.y.tolist(), strict=True)}
    assert all(values[tuple(x)] == y for x, y in zip(params.x[:, :6].tolist(), params.y.tolist(), strict=True))


def test_banks_of_tests_and_pools_too_large_are_refused():
    with pytest.raises(ValueError, match="no table to train on"):
        table_bank(["hpobench/kc1"])
    with pytest.raises(ValueError, match="not all have as many"):
        table_bank(num_rows=20000)
    with pytest.raises(ValueError, match="bank of 40 rows"):
        bank_family(BANK, 41)
    with pytest.raises(ValueError, match="cannot hold"):
        bank_family(BANK, SIZE, horizon=6, env=BlackBox(SIZE, max_horizon=5))
