"""In-context learning per CPU-second: data, roll-outs and training steps, against figures of the official code.

The references are those of jon--lee/decision-pretrained-transformer on one thread: gathering contexts, acting
in 200 bandits (every step runs the model on the whole history), and one update of a GPT-2 of width 32 with 4 layers and
1 head. Where torch and transformers are installed, that GPT-2 is measured here too, at equal shape, in the same run.

    python tests/benchmarks/incontext_throughput.py [--out build/bench/incontext.json]
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# One thread does the work: CPU-seconds of waiting threads would count too.
os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()

import jax
import optax

from envs.domains import make_domain
from metarl.incontext.collect import make_collect
from metarl.incontext.deploy import deploy_many, make_deploy
from metarl.incontext.dpt import dpt
from metarl.networks.transformer import ContextTransformer
from tests.benchmarks.incontext_update import make_updates
from tests.benchmarks.measure import cpu_seconds, row, write

BATCH, WIDTH, LAYERS = 64, 32, 4
DATA = (("bandit", 500, 69_700.0, 200.0), ("darkroom", 100, 43_800.0, 100.0))
"""Domain, context length, transitions per CPU-second of the official code, and how many times that we aim for."""
ROLLOUTS = ((100, 2_350.0, 15.0), (200, 1_160.0, 20.0), (500, 460.0, 30.0))
"""Pulls, env-steps per CPU-second of the official code, and how many times that we aim for."""
STEPS = ((100, 1.0 / 0.140, 1.0), (500, 1.0 / 0.940, 1.0))
"""Context length, updates per CPU-second of the official code, and how many times that we aim for."""


def best(function, repeats=3):
    """Returns the fewest CPU-seconds of several calls after a first one, which compiles."""
    jax.block_until_ready(function())
    return min(cpu_seconds(lambda: jax.block_until_ready(function()))[0] for _ in range(repeats))


def official_shape(domain):
    """The model whose work per token is that of the official one."""
    return dpt([domain], ContextTransformer(WIDTH, LAYERS, 1, "causal"), reads_positions=True)


def preset_shape(domain):
    """The model of the CPU presets."""
    return dpt([domain], ContextTransformer(WIDTH, LAYERS, 4, "independent", activation="relu"), counts=True)


def data_rows():
    """Rows of how fast contexts are gathered."""
    for name, length, reference, target in DATA:
        domain = make_domain(name)
        collect = make_collect(domain, domain.behaviour, length)

        def gather(key, domain=domain, collect=collect):
            return collect(domain.family.sample(key).params, key).transitions

        many = 20
        run = jax.jit(lambda keys, gather=gather: jax.lax.map(jax.vmap(gather), keys))
        keys = jax.random.split(jax.random.key(0), (many, BATCH))
        rate = many * BATCH * length / best(lambda run=run, keys=keys: run(keys))
        yield row(f"data {name} B {BATCH} n {length}", rate, "transitions/CPU-s", reference, target * reference)


def rollout_rows(num_tasks=200):
    """Rows of how fast models act."""
    for horizon, reference, target in ROLLOUTS:
        domain = make_domain(f"bandit@horizon={horizon}")
        for name, model in (("equal shape", official_shape(domain)), ("cpu preset", preset_shape(domain))):
            params = model.init(jax.random.key(0))
            deploy = make_deploy(domain, model.agent(params, domain))
            tasks = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(1), num_tasks)).params
            run = jax.jit(lambda key, deploy=deploy, tasks=tasks: deploy_many(deploy, tasks, key))
            rate = num_tasks * horizon / best(lambda run=run: run(jax.random.key(2)))
            yield row(f"rollout T {horizon} {name}", rate, "env-steps/CPU-s", reference, target * reference)


def step_rows():
    """Rows of how fast models are trained."""
    for length, reference, target in STEPS:
        domain = make_domain(f"bandit@horizon={length}")
        for name, model, prefixes in (
            ("equal shape", official_shape(domain), "all"),
            ("cpu preset", preset_shape(domain), "mixed"),
        ):
            rate = 1.0 / _seconds_of_update(domain, model, prefixes, length)
            yield row(f"update B {BATCH} n {length} {name}", rate, "updates/CPU-s", reference, target * reference)
        if (seconds := _seconds_of_gpt2(length)) is not None:
            yield row(f"update B {BATCH} n {length} torch GPT-2", 1.0 / seconds, "updates/CPU-s")


def _seconds_of_update(domain, model, prefixes, length, num_updates=5):
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    sizes = {"length": length, "batch": BATCH, "num_updates": num_updates}
    return best(make_updates(domain, model, optimiser, prefixes=prefixes, **sizes)) / num_updates


def _seconds_of_gpt2(length, num_updates=3):
    """Returns CPU-seconds of one update of a GPT-2 of equal shape, or None where torch or transformers is missing."""
    try:
        import torch
        from transformers import GPT2Config, GPT2Model
    except ImportError:
        return None
    torch.set_num_threads(1)
    config = GPT2Config(
        n_positions=4 * (1 + length), n_embd=WIDTH, n_layer=LAYERS, n_head=1, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    body, embed, head = GPT2Model(config), torch.nn.Linear(8, WIDTH), torch.nn.Linear(WIDTH, 5)
    parameters = [*body.parameters(), *embed.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-4)
    inputs, labels = torch.randn(BATCH, length + 1, 8), torch.randint(5, (BATCH * length,))

    def update():
        logits = head(body(inputs_embeds=embed(inputs)).last_hidden_state)[:, 1:]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits.reshape(-1, 5), labels).backward()
        optimiser.step()

    update()
    return min(cpu_seconds(update)[0] for _ in range(num_updates))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/incontext.json"), help="where rows are written")
    out = parser.parse_args().out
    write([*data_rows(), *rollout_rows(), *step_rows()], out)


if __name__ == "__main__":
    main()
