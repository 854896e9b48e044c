"""Placement of arrays on the eight virtual devices, and what the environment says about processes."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations import mesh as devices


@pytest.fixture
def no_cluster(monkeypatch):
    """An environment that says nothing about other processes."""
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TPU_WORKER_HOSTNAMES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_mesh_has_one_automatic_axis():
    mesh = devices.make_mesh(4)
    assert mesh.axis_names == (devices.POPULATION_AXIS,)
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,)
    assert devices.num_shards(mesh) == 4


def test_a_mesh_takes_all_devices_unless_told():
    assert devices.num_shards(devices.make_mesh()) == jax.device_count()
    assert devices.num_shards(None) == 1


@pytest.mark.parametrize("num_devices", [0, -1, 10_000])
def test_a_mesh_of_devices_that_do_not_exist_is_refused(num_devices):
    with pytest.raises(ValueError, match=f"num_devices is {num_devices} but"):
        devices.make_mesh(num_devices)


def test_split_puts_a_slice_and_replicate_a_copy_on_every_device(key):
    mesh = devices.make_mesh(4)
    tree = {"x": jnp.arange(8.0), "key": jax.random.split(key, 4)}
    split, copied = devices.split(tree, mesh), devices.replicate(tree, mesh)
    assert [shard.data.shape for shard in split["x"].addressable_shards] == [(2,)] * 4
    assert [shard.data.shape for shard in copied["x"].addressable_shards] == [(8,)] * 4
    for placed in (split, copied):
        np.testing.assert_array_equal(placed["x"], tree["x"])
        np.testing.assert_array_equal(jax.random.key_data(placed["key"]), jax.random.key_data(tree["key"]))


def test_without_a_mesh_nothing_is_moved_or_wrapped():
    tree = {"x": jnp.arange(8.0)}

    def function(sharded, replicated):
        return sharded

    assert devices.split(tree, None) is tree
    assert devices.replicate(tree, None) is tree
    assert devices.map_over_devices(function, None) is function


@pytest.mark.parametrize("num_devices", [None, 1, 2, 8])
def test_mapping_over_devices_slices_the_first_and_copies_the_second_argument(num_devices):
    mesh = None if num_devices is None else devices.make_mesh(num_devices)

    def function(sharded, replicated):
        return {"scaled": sharded["x"] * replicated, "share": jnp.full_like(sharded["x"], sharded["x"].shape[0])}

    result = jax.jit(devices.map_over_devices(function, mesh))({"x": jnp.arange(8.0)}, jnp.float32(3.0))
    np.testing.assert_array_equal(result["scaled"], 3.0 * jnp.arange(8.0))
    np.testing.assert_array_equal(result["share"], np.full(8, 8 // (num_devices or 1)))
    assert result["scaled"].is_fully_replicated


def test_arrays_come_to_the_host_whole_and_keys_as_their_data(key):
    mesh = devices.make_mesh(8)
    tree = {"x": devices.split(jnp.arange(8.0), mesh), "key": devices.replicate(key, mesh), "count": 3}
    host = devices.to_host(tree)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(host))
    np.testing.assert_array_equal(host["x"], np.arange(8.0))
    np.testing.assert_array_equal(host["key"], jax.random.key_data(key))


def test_a_process_alone_leads_and_joins_nothing(no_cluster):
    assert devices.initialise() is False
    assert devices.is_lead()


def test_importing_any_module_leaves_devices_alone():
    """Processes can only find each other before the first computation, and that would fail here."""
    modules = "evosax_strategy fitness generation mesh openai_es pairing strategy".split()
    code = "; ".join(f"import populations.{module}" for module in modules)
    environment = os.environ | {"JAX_PLATFORMS": "nonexistent"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "JAX_NUM_PROCESSES is ''"),
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_PROCESS_ID is ''"),
        ({"JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES is 'two'"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID is 2 and JAX_NUM_PROCESSES 2"),
    ],
)
def test_an_incomplete_environment_is_refused(no_cluster, settings, message):
    for name, value in ({"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1"} | settings).items():
        no_cluster.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        devices.initialise()


@pytest.mark.parametrize(
    ("name", "value", "joins"),
    [
        ("TPU_WORKER_HOSTNAMES", "host-0,host-1", True),
        ("TPU_WORKER_HOSTNAMES", "host-0", False),
        ("SLURM_STEP_NUM_TASKS", "4", True),
        ("SLURM_STEP_NUM_TASKS", "1", False),
        ("OMPI_COMM_WORLD_SIZE", "2", True),
    ],
)
def test_clusters_of_several_processes_are_joined(no_cluster, name, value, joins):
    calls = []
    no_cluster.setattr(jax.distributed, "initialize", lambda *given: calls.append(given))
    no_cluster.setenv(name, value)
    devices.initialise()
    assert calls == ([()] if joins else [])


def test_spread_cuts_each_leaf_along_its_first_axis_that_divides():
    tree = {"wide": np.arange(48.0, dtype=np.float32).reshape(3, 16), "odd": np.arange(5.0, dtype=np.float32)}
    placed = devices.spread(tree, devices.make_mesh(8))
    assert placed["wide"].sharding.shard_shape((3, 16)) == (3, 2)
    assert placed["odd"].sharding.is_fully_replicated
    for name, leaf in tree.items():
        np.testing.assert_array_equal(placed[name], leaf)
    assert devices.spread(tree, None) is tree
