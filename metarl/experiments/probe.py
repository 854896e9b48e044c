"""The fixed-batch probe: one agent, one rollout, and only the time that the rule is told differs.

Over a life, statistics change because the agent changes; this isolates what time alone does to the rule (claim C3).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from envs.family import TaskFamily
from metarl.experiments.config import AgentConfig
from metarl.experiments.lives import Arm, agent_for, held_out
from metarl.objectives.base import Rollout
from metarl.objectives.lpg import LPGTargets
from metarl.progress import Progress

NUM_FRACTIONS = 21
"""Points along a life at which the rule is asked."""
WARM_UP = 10
"""Updates that the probed agents have had, so that their policies and predictions are no longer those of birth."""


def probe_rule(
    arm: Arm, family: TaskFamily, config: AgentConfig, *, seed: int, num_lives: int, lifetimes: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Returns what an LPG rule says about one fixed batch as it is told different times, `{"probe/<quantity>": [L, F]}`.

    The batch holds the next rollout of `num_lives` agents after 10 updates. Lifetimes N are as given, fractions n/N go from 0 to 1 in 21
    steps with n rounded down, and stay below N. Changes are root mean square differences to the answer at n = 0.
    """
    batch = _collect(arm, family, config, seed, num_lives)

    @jax.jit
    def answer(step: Int[Array, ""], lifetime: Int[Array, ""]) -> LPGTargets:
        return jax.vmap(lambda rollout: arm.objective.targets(arm.meta_params, rollout, Progress(step, lifetime)))(batch)

    fractions = np.linspace(0.0, 1.0, NUM_FRACTIONS)
    rows: list[list[dict[str, Array]]] = []
    for lifetime in lifetimes:
        steps = np.minimum((fractions * lifetime).astype(np.int32), lifetime - 1)
        start = answer(jnp.int32(0), jnp.int32(lifetime))
        rows.append([_summary(answer(jnp.int32(step), jnp.int32(lifetime)), start) for step in steps])
    table = {f"probe/{name}": np.asarray([[float(cell[name]) for cell in row] for row in rows]) for name in rows[0][0]}
    return {"probe/lifetimes": np.asarray(lifetimes), "probe/fractions": fractions, **table}


def _collect(arm: Arm, family: TaskFamily, config: AgentConfig, seed: int, num_lives: int) -> Rollout:
    """Returns rollouts `[K, T, B]` of agents that have learned under the rule for a little while."""
    agent = agent_for(arm.objective, family, config)
    examinees = held_out(family, seed, num_lives)

    @jax.jit
    @jax.vmap
    def collect(examinee: Any) -> Rollout:
        key_init, key_updates, key_rollout = jax.random.split(examinee.key, 3)
        params = examinee.task.params

        def update(state: Any, step: Int[Array, ""]) -> tuple[Any, None]:
            progress = Progress(step, jnp.int32(2 * WARM_UP))
            return agent.update(arm.meta_params, state, params, progress, jax.random.fold_in(key_updates, step))[0], None

        state, _ = jax.lax.scan(update, agent.init(key_init, params), jnp.arange(WARM_UP, dtype=jnp.int32))
        return agent.rollout(state, params, key_rollout)[1]

    return collect(examinees)


def _summary(answer: LPGTargets, start: LPGTargets) -> dict[str, Float[Array, ""]]:
    entropy = -jnp.sum(answer.y_hat * jnp.log(answer.y_hat + 1e-8), axis=-1)
    return {
        "pi_hat_mean": jnp.mean(answer.pi_hat),
        "pi_hat_abs": jnp.mean(jnp.abs(answer.pi_hat)),
        "pi_hat_change": jnp.sqrt(jnp.mean(jnp.square(answer.pi_hat - start.pi_hat))),
        "y_hat_entropy": jnp.mean(entropy),
        "y_hat_change": jnp.sqrt(jnp.mean(jnp.sum(jnp.square(answer.y_hat - start.y_hat), axis=-1))),
    }
