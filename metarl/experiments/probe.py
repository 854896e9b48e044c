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
from metarl.experiments.lives import Arm, Examinees, agent_for
from metarl.objectives.base import Rollout
from metarl.objectives.lpg import LPGTargets
from metarl.progress import Progress

NUM_FRACTIONS = 21
"""Points along a life at which the rule is asked."""


def probe_rule(
    arm: Arm, family: TaskFamily, config: AgentConfig, params: Any, examinees: Examinees, *, lifetimes: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Returns what an LPG rule says about one fixed batch at different told times, `{"probe/<quantity>": [L, F]}`.

    Lifetimes N are as given; fractions n/N go from 0 to 1 in 21 steps with n rounded down and kept below N. Changes are
    root mean square differences to the answer at n = 0.

    Args:
        params: network parameters of K agents, leading axis K; the batch is one fresh rollout of each.
        examinees: the K tasks they live in.
    """
    batch = _collect(arm, family, config, params, examinees)
    fractions = np.linspace(0.0, 1.0, NUM_FRACTIONS)
    steps = np.stack([np.minimum((fractions * n).astype(np.int32), n - 1) for n in lifetimes])

    def answer(step: Int[Array, ""], lifetime: Int[Array, ""]) -> LPGTargets:
        return jax.vmap(lambda rollout: arm.objective.targets(arm.meta_params, rollout, Progress(step, lifetime)))(
            batch
        )

    @jax.jit
    def life(lifetime: Int[Array, ""], steps: Int[Array, " F"]) -> dict[str, Float[Array, " F"]]:
        # All answers come out of one loop body, the one at n = 0 among them: equal inputs then give equal bits.
        answers = jax.lax.map(lambda step: answer(step, lifetime), steps)
        start = jax.tree.map(lambda x: x[0], answers)
        return jax.lax.map(lambda now: _summary(now, start), answers)

    rows = [jax.device_get(life(np.int32(n), row)) for n, row in zip(lifetimes, steps, strict=True)]
    table = {f"probe/{name}": np.stack([row[name] for row in rows]) for name in rows[0]}
    return {"probe/lifetimes": np.asarray(lifetimes), "probe/fractions": fractions, **table}


def _collect(arm: Arm, family: TaskFamily, config: AgentConfig, params: Any, examinees: Examinees) -> Rollout:
    """Returns rollouts `[K, T, B]` of agents with these parameters."""
    agent = agent_for(arm.objective, family, config)

    @jax.jit
    @jax.vmap
    def collect(examinee: Examinees, params: Any) -> Rollout:
        key_init, key_rollout = jax.random.split(examinee.key)
        state = agent.init(key_init, examinee.task.params)._replace(params=params)
        return agent.rollout(state, examinee.task.params, key_rollout)[1]

    return collect(examinees, params)


def _summary(answer: LPGTargets, start: LPGTargets) -> dict[str, Float[Array, ""]]:
    entropy = -jnp.sum(answer.y_hat * jnp.log(answer.y_hat + 1e-8), axis=-1)
    return {
        "pi_hat_mean": jnp.mean(answer.pi_hat),
        "pi_hat_abs": jnp.mean(jnp.abs(answer.pi_hat)),
        "pi_hat_change": jnp.sqrt(jnp.mean(jnp.square(answer.pi_hat - start.pi_hat))),
        "y_hat_entropy": jnp.mean(entropy),
        "y_hat_change": jnp.sqrt(jnp.mean(jnp.sum(jnp.square(answer.y_hat - start.y_hat), axis=-1))),
    }
