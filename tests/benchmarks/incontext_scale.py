"""Tokens per second of training a large causal model on long contexts, and the share of the peak.

Made for an accelerator; other sizes make it run anywhere. A token takes `6 (12 W² L + n W L)` floating-point operations
forwards and backwards: its products with the weights, and those with half of a context's n keys and values.

    python tests/benchmarks/incontext_scale.py [--layers 8 --width 512 --length 4096 --batch 8 --peak 989]
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import optax

from envs.domains import make_domain
from metarl.incontext.dpt import dpt
from metarl.networks.transformer import ContextTransformer
from tests.benchmarks.incontext_update import make_updates
from tests.benchmarks.measure import row, write

HEAD_SIZE = 64
"""Numbers of an attention head."""


def seconds_of_update(layers, width, length, batch, num_updates=5):
    """Returns wall-clock seconds of one update in bfloat16, data included, the fastest of three times `num_updates`."""
    domain = make_domain(f"bandit@horizon={length}")
    transformer = ContextTransformer(
        width, layers, max(width // HEAD_SIZE, 1), "causal", "rope", normalises_queries=True, dtype=jnp.bfloat16
    )
    model = dpt([domain], transformer, reads_positions=True)
    sizes = {"length": length, "batch": batch, "num_updates": num_updates}
    updates, taken = make_updates(domain, model, optax.adamw(1e-4), prefixes="all", **sizes), []
    for _ in range(4):  # the first compiles
        begin = time.perf_counter()
        jax.block_until_ready(updates())
        taken.append((time.perf_counter() - begin) / num_updates)
    return min(taken[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8, help="L")
    parser.add_argument("--width", type=int, default=512, help="W, a multiple of 64 unless it is smaller")
    parser.add_argument("--length", type=int, default=4096, help="n, transitions of a context")
    parser.add_argument("--batch", type=int, default=8, help="contexts of an update")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the device in bfloat16; 989 of an H100")
    parser.add_argument("--out", type=Path, default=Path("build/bench/incontext_scale.json"), help="where rows go")
    given = parser.parse_args()
    rate = given.batch * given.length / seconds_of_update(given.layers, given.width, given.length, given.batch)
    per_token = 6.0 * given.layers * given.width * (12.0 * given.width + given.length)
    name = f"{given.layers} layers, width {given.width}, n {given.length}, B {given.batch}, {jax.devices()[0].platform}"
    rows = [row(name, rate, "tokens/s"), row(f"{name}: of the peak", rate * per_token / (given.peak * 1e12), "")]
    write(rows, given.out)


if __name__ == "__main__":
    main()
