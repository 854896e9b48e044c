"""Devices and processes: the one file that knows the word mesh. Everywhere else `mesh=None` means one device."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

POPULATION_AXIS = "population"
"""Name of the only mesh axis."""


def initialise() -> bool:
    """Returns whether this process is one of several, after joining them; call it before anything else touches JAX.

    Processes find each other through JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID. Without
    the first, a Cloud TPU pod, a Slurm job or an Open MPI job of more than one process is detected from its own
    variables, and a process that is in none of these runs alone.

    Raises:
        ValueError: if the address is set but a number is missing or out of range.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        num_processes, process_id = _environment_int("JAX_NUM_PROCESSES"), _environment_int("JAX_PROCESS_ID")
        if not 0 <= process_id < num_processes:
            raise ValueError(
                f"JAX_PROCESS_ID is {process_id} and JAX_NUM_PROCESSES {num_processes}; number the processes from 0"
            )
        jax.distributed.initialize(address, num_processes, process_id)
    elif _in_a_cluster():
        jax.distributed.initialize()
    return jax.process_count() > 1


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Returns a mesh over the first `num_devices` devices of all processes together, or over all of them.

    Raises:
        ValueError: if fewer than 1 or more devices are asked for than exist.
    """
    devices = jax.devices()
    num_devices = len(devices) if num_devices is None else num_devices
    if not 1 <= num_devices <= len(devices):
        raise ValueError(
            f"num_devices is {num_devices} but {len(devices)} devices exist; choose from 1 to {len(devices)}"
        )
    # Explicit axes, the default type, refuse the sharding constraints and indexing that a strategy's `tell` needs.
    return jax.make_mesh((num_devices,), (POPULATION_AXIS,), axis_types=(AxisType.Auto,), devices=devices[:num_devices])


def num_shards(mesh: Mesh | None) -> int:
    """Returns over how many devices the population is dealt; 1 without a mesh."""
    return 1 if mesh is None else mesh.size


def split(tree: Any, mesh: Mesh | None) -> Any:
    """Returns the pytree with the leading axis of every leaf spread evenly over the devices; works inside jit too."""
    return _place(tree, mesh, Spec(POPULATION_AXIS))


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Returns the pytree with a full copy of every leaf on every device; works inside jit too."""
    return _place(tree, mesh, Spec())


def spread(tree: Any, mesh: Mesh | None) -> Any:
    """Returns the pytree with each leaf cut along its first axis that divides evenly, so that no device holds it whole.

    For parameters and optimiser states that are too large to copy; computations gather what they need. Leaves without
    such an axis are replicated. Works inside jit too.
    """
    if mesh is None:
        return tree

    def place(leaf: Any) -> Any:
        axes = [axis for axis, size in enumerate(leaf.shape) if size and size % mesh.size == 0]
        spec = Spec(*(POPULATION_AXIS if axis == axes[0] else None for axis in range(axes[0] + 1))) if axes else Spec()
        return _place(leaf, mesh, spec)

    return jax.tree.map(place, tree)


def map_over_devices(function: Callable[[Any, Any], Any], mesh: Mesh | None) -> Callable[[Any, Any], Any]:
    """Returns `mapped(sharded, replicated)`, with which each device applies `function` to its slice of `sharded`.

    Slices are cut along axis 0, and `replicated` is whole everywhere. Results must have a leading axis; they are
    gathered along it, so that every device ends up with all of them, and nothing else is communicated. Without a mesh
    the function itself is returned.
    """
    if mesh is None:
        return function

    def on_one_device(sharded: Any, replicated: Any) -> Any:
        result = function(sharded, replicated)
        return jax.tree.map(lambda x: jax.lax.all_gather(x, POPULATION_AXIS, tiled=True), result)

    # The varying-axes check rejects the loop carries that start as constants in environment states.
    return jax.shard_map(
        on_one_device, mesh=mesh, in_specs=(Spec(POPULATION_AXIS), Spec()), out_specs=Spec(), check_vma=False
    )


def to_host(tree: Any) -> Any:
    """Returns the pytree as NumPy arrays, whole on every process; typed keys become their raw uint32 data.

    All processes must call it together, because leaves that are spread over processes are gathered.
    """
    return jax.tree.map(_leaf_to_host, tree)


def is_lead() -> bool:
    """Returns whether this process is the one that logs and writes files."""
    return jax.process_index() == 0


def _place(tree: Any, mesh: Mesh | None, spec: Spec) -> Any:
    if mesh is None:
        return tree
    # jit, because `device_put` refuses typed keys when the mesh spans several processes.
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, spec))(tree)


def _leaf_to_host(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _environment_int(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdecimal():
        raise ValueError(f"JAX_COORDINATOR_ADDRESS is set but {name} is {value!r}; set it to a whole number")
    return int(value)


def _in_a_cluster() -> bool:
    tpu_hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    sizes = (os.environ.get("SLURM_STEP_NUM_TASKS", "1"), os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    return "," in tpu_hosts or any(int(size) > 1 for size in sizes)
