"""A tiny real experiment, and a script that runs it in a process of its own, which a test can stop or kill.

Usage: tiny_experiment.py ROOT NAME NUM_STEPS [WORK]; prints one line with the digest of the final state.
"""

import dataclasses
import hashlib
import sys
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl.experiments.base import Experiment


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    size: int = 7
    sizes: tuple[int, ...] = (3, 2)
    learning_rate: float = 0.05


class TinyState(NamedTuple):
    key: Any
    step: Any
    params: Any
    optimiser: Any
    empty: Any


def make_tiny(config=TinyConfig(), *, work=0, nonfinite_at=-1):
    """Returns noisy descent with Adam; `work` matrix products slow a step down, one step may find nothing finite."""
    adam = optax.adam(config.learning_rate)

    def init(key):
        key, key_params = jax.random.split(key)
        params = {"w": jax.random.normal(key_params, config.sizes), "b": jnp.zeros((config.size,), jnp.bfloat16)}
        return TinyState(key, jnp.int32(0), params, adam.init(params), jnp.zeros((0, 4), jnp.float32))

    def step(state):
        key, key_noise = jax.random.split(state.key)
        loss, gradient = jax.value_and_grad(lambda p: jnp.sum(p["w"] ** 2))(state.params)
        gradient["w"] += 0.1 * jax.random.normal(key_noise, config.sizes)
        updates, optimiser = adam.update(gradient, state.optimiser, state.params)
        matrix = jax.lax.fori_loop(0, work, lambda _, m: m @ m / jnp.linalg.norm(m), jnp.eye(256) + loss)
        is_lost = state.step + 1 == nonfinite_at
        metrics = {
            "fitness": jnp.where(is_lost, jnp.nan, -loss) + (0.0 * matrix[0, 0] if work else 0.0),
            "env_steps": jnp.int32(1000),
            "num_nonfinite": jnp.where(is_lost, 4, 1).astype(jnp.int32),
            "num_evaluated": jnp.int32(4),
        }
        params = optax.apply_updates(state.params, updates)
        return TinyState(key, state.step + 1, params, optimiser, state.empty), metrics

    return Experiment(init, step, lambda state: state.params)


def digest(state):
    """Returns a hash of every bit of the state."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        total.update(f"{leaf.dtype}{leaf.shape}".encode() + array.tobytes())
    return total.hexdigest()


def main(root, name, num_steps, work="0"):
    from metarl.run.directory import open_run
    from metarl.run.errors import Interrupted, UserError
    from metarl.run.loop import run
    from populations import mesh

    options = {"seed": 3, "steps_per_dispatch": 5, "checkpoint_every": 15}
    if mesh.initialise():
        options["place"] = partial(mesh.replicate, mesh=mesh.make_mesh())
    config = TinyConfig()
    try:
        with open_run(root, name, config, (TinyConfig,), is_lead=mesh.is_lead()) as directory:
            state = run(make_tiny(config, work=int(work)), directory, num_steps=int(num_steps), **options)
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(digest(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
