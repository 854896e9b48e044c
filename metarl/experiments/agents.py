"""How agents are built where a rule meets an environment that it does not come from: the settings in common use."""

from dataclasses import replace

from metarl.experiments.agent_config import AgentConfig

BRAX_STEPS = {"ant": 3e-4, "humanoid": 3e-4, "walker2d": 1e-3, "hopper": 8e-4}
"""Adam's step size for proximal objectives in brax tasks, by name."""
MINATAR_STEPS = {"Asterix": 3e-3, "Breakout": 1e-2, "SpaceInvaders": 7e-3, "Freeway": 1e-3}
"""Adam's step size for proximal objectives in MinAtar games, by name."""

LPG_NETWORKS = AgentConfig(num_envs=64, optimiser="adam", policy_learning_rate=5e-4, value_learning_rate=5e-4)
"""Agents with networks under LPG and A2C, as in EmptyJackson/groove."""
PROXIMAL = AgentConfig(
    network="mlp",
    activation="tanh",
    num_envs=4,
    unroll_length=128,
    optimiser="adam",
    policy_learning_rate=1e-3,
    value_learning_rate=1e-3,
    joint_clip=True,
    anneals=True,
    num_epochs=4,
    num_minibatches=4,
    clips_value=True,
)
"""Agents under PPO and its relatives in classic control, as in AlexGoldie/learn-rl-algorithms."""
MINATAR = replace(PROXIMAL, activation="relu", num_envs=64, num_minibatches=8)
BRAX = replace(
    PROXIMAL,
    num_envs=2048,
    unroll_length=10,
    num_minibatches=32,
    entropy_coefficient=0.0,
    normalises_observation=True,
    normalises_reward=True,
)


def default_agent(env: str, objective: str, recorded: AgentConfig | None) -> AgentConfig:
    """Returns how agents are built for an objective in an environment.

    On tabular grid-worlds as in the rule's own run (`recorded`); elsewhere the published settings of the objective's
    kind, since table learning rates of grid-worlds would destroy a network.

    Source: EmptyJackson/groove for LPG and A2C; AlexGoldie/learn-rl-algorithms for proximal objectives.
    """
    if env.startswith("gridworld/") and not env.startswith("gridworld/rand"):
        return recorded or AgentConfig()
    if objective not in ("ppo", "dpo", "lpo"):
        return LPG_NETWORKS
    if env.endswith("-MinAtar"):
        game = env.removesuffix("-MinAtar")
        betas = (0.9, 0.99) if game == "Freeway" else (0.9, 0.999)
        return _with_step(replace(MINATAR, adam_betas=betas), MINATAR_STEPS.get(game, 3e-3))
    task = env.removeprefix("brax/").partition("@")[0].removesuffix("-physics")
    if env.startswith("brax/") or task in BRAX_STEPS:
        betas = (0.99, 0.99) if task == "ant" else (0.9, 0.999)
        return _with_step(replace(BRAX, adam_betas=betas), BRAX_STEPS.get(task, 3e-4))
    return replace(PROXIMAL, network="auto")


def _with_step(agent: AgentConfig, step: float) -> AgentConfig:
    return replace(agent, policy_learning_rate=step, value_learning_rate=step)
