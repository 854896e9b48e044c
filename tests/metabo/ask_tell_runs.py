"""A space, an objective and runs of ask and tell, for tests of these and of the search behind them."""

import math

import jax
import jax.numpy as jnp

from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.network import Evaluations
from metarl.metabo.space import Categorical, Fixed, Float, Int

SPACE = {
    "lr": Float(1e-4, 1.0, log=True),
    "depth": Int(1, 8),
    "net": Categorical(["a", "b", "c"]),
    "seed": Fixed(3),
}


def objective(config):
    return -((math.log10(config["lr"]) + 2.0) ** 2) - 0.1 * (config["depth"] - 4) ** 2 + (config["net"] == "b")


def optimizer(checkpoint, space=SPACE, **settings):
    return Optimizer(space, checkpoint, **settings)


def run(opt, count):
    asked = []
    for _ in range(count):
        (config,) = opt.ask()
        asked.append(config)
        opt.tell(config, objective(config))
    return asked


def believed_of(trained, space, context, x):
    evaluations = Evaluations(*map(jnp.asarray, (context.x, context.y, context.is_seen)))
    return jax.jit(trained.nap.believe)(
        trained.params, jnp.asarray(space.kind), evaluations, jnp.asarray(x, jnp.float32)
    )
