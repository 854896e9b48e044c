"""A soft actor-critic as a student, as in the papers on curriculum teachers."""

import jax.numpy as jnp
from jaxtyping import Array

from metarl.experiments.student import Student, Studied
from metarl.experiments.task_world import finished_episodes, in_box, student_in, task_world, vectors_of
from metarl.experiments.teach_config import SACStudentConfig
from metarl.lifetime.sac import SACSettings, SACState, make_sac
from metarl.progress import Progress


def sac_student(config: SACStudentConfig) -> Student:
    """Returns a soft actor-critic that studies in a family's tasks.

    An update is one unroll and the gradient steps after it. In its test tasks the policy acts without noise.

    Raises:
        ValueError: as `task_world`, and if actions are discrete or observations no arrays.
    """
    world = task_world(config)
    env = world.family.env
    agent = make_sac(
        env,
        SACSettings(**vars(config.agent)),
        observation_space=env.observation_space(world.any_pool),
        action_space=env.action_space(world.any_pool),
        keeps=vectors_of,
    )

    def study(state: SACState, vectors: Array, progress: Progress, key: Array) -> tuple[SACState, Studied]:
        running = state.workers.running_return
        state, seen = agent.update(state, world.pool(vectors), key)
        done = seen.terminated | seen.truncated
        told, returns = finished_episodes(seen.kept, seen.reward, done, running, config.max_finished)
        return state, Studied(in_box(world.box, told), returns, jnp.int32(agent.steps_per_update))

    return student_in(world, config, init=agent.init, study=study, policy=agent.policy, layers=agent.layers)
