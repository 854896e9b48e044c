"""A PPO agent as a student: every episode is in another task of those that the teacher proposed last."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from metarl.experiments.build import build_agent, build_objective
from metarl.experiments.student import Student, Studied
from metarl.experiments.task_world import finished_episodes, in_box, student_in, task_world, vectors_of
from metarl.experiments.teach_config import PPOStudentConfig
from metarl.lifetime.agent import AgentState
from metarl.progress import Progress


def ppo_student(config: PPOStudentConfig) -> Student:
    """Returns a PPO agent that studies in a family's tasks.

    An update is one rollout and what is learned from it. In its test tasks the policy acts without noise.

    Raises:
        ValueError: as `task_world`, and if agent and tasks do not fit together.
    """
    world = task_world(config)
    objective = build_objective("ppo", config.agent, world.family.env.action_space(world.any_pool))
    agent = build_agent(config.agent, world.family, objective, world.any_pool, keeps=vectors_of)

    def study(state: AgentState, vectors: Array, progress: Progress, key: Array) -> tuple[AgentState, Studied]:
        key_rollout, key_learn = jax.random.split(key)
        running = state.workers.running_return
        workers, seen = agent.rollout(state, world.pool(vectors), key_rollout)
        told, returns = finished_episodes(seen.kept, seen.reward, seen.done, running, config.max_finished)
        state, _ = agent.learn((), state, workers, seen, progress, key_learn)
        return state, Studied(in_box(world.box, told), returns, jnp.int32(agent.steps_per_update))

    return student_in(world, config, init=agent.init, study=study, policy=agent.policy)
