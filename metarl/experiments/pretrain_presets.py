"""Named configurations of pretraining, as Python values."""

from dataclasses import replace
from typing import NamedTuple

from metarl.experiments.pretrain_config import ActingConfig, ModelConfig, PretrainConfig, TrainingConfig
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig, RL2Config


class PretrainPreset(NamedTuple):
    """A configuration and what it is for."""

    config: PretrainConfig
    """The configuration."""
    purpose: str
    """One line for people."""


CPU_MODEL = ModelConfig(width=32, num_layers=4, num_heads=4, activation="relu")
PAPER_MODEL = ModelConfig(width=64, num_layers=4, num_heads=4, activation="gelu", precision="bfloat16")
PAPER_TRAINING = TrainingConfig(batch_size=1024, learning_rate=2e-3)

CPU_TRAINING = TrainingConfig(batch_size=64, learning_rate=3e-3)
# An update takes a quarter of a second on a core: tasks of full size, small networks, and updates for 20 minutes.
DPT_BANDIT_CPU = PretrainConfig(
    updates=2000,
    updates_per_step=50,
    env=("bandit",),
    learner=DPTConfig(on_policy=0.25),
    model=CPU_MODEL,
    training=CPU_TRAINING,
    acting=ActingConfig(num_tasks=2048),
)
DPT_LINEAR_CPU = replace(DPT_BANDIT_CPU, updates=3000, env=("linear-bandit",), learner=DPTConfig(on_policy=0.5))
# No held-out goal is possible under the prior of the training goals: the exact references hold all goals possible.
DARKROOM_ACTING = ActingConfig(env=("darkroom@prior=all",), num_tasks=256, capacity=256)
# Of all optimal moves as answers: who has learned one way to each goal hardly comes by goals that were never there.
DPT_DARKROOM_CPU = PretrainConfig(
    updates=5000,
    updates_per_step=50,
    env=("darkroom@labels=soft",),
    context_length=200,
    learner=DPTConfig(num_queries=32, on_policy=0.5, on_policy_tasks=32, on_policy_episodes=10),
    model=replace(CPU_MODEL, width=64, num_layers=3),
    training=replace(CPU_TRAINING, learning_rate=2e-3),
    acting=DARKROOM_ACTING,
)
DPT_BANDIT = PretrainConfig(
    updates=6000, env=("bandit",), model=PAPER_MODEL, training=PAPER_TRAINING, learner=DPTConfig(num_queries=32)
)
DPT_LINEAR = replace(DPT_BANDIT, env=("linear-bandit",))
DPT_DARKROOM = PretrainConfig(
    updates=10_000,
    env=("darkroom",),
    context_length=200,
    learner=DPTConfig(num_queries=32, on_policy=0.5, on_policy_tasks=512, on_policy_episodes=10),
    model=PAPER_MODEL,
    training=PAPER_TRAINING,
    acting=replace(DARKROOM_ACTING, num_tasks=4096),
)
DPT_DARKROOM_PERMUTED = replace(
    DPT_DARKROOM,
    env=("darkroom-permuted",),
    learner=replace(DPT_DARKROOM.learner, on_policy_episodes=4),
    acting=ActingConfig(),
)
DPT_DARKROOM_PERMUTED_CPU = replace(
    DPT_DARKROOM_CPU,
    updates=6000,
    env=("darkroom-permuted",),
    context_length=100,
    learner=replace(DPT_DARKROOM_CPU.learner, behaviours=("default", "expert"), on_policy_episodes=3),
    acting=ActingConfig(num_tasks=256, num_episodes=10),
)
DPT_TABULAR = PretrainConfig(
    updates=10_000, env=("tabular-mdp",), context_length=200, model=PAPER_MODEL, training=PAPER_TRAINING
)
DPT_TABULAR_CPU = replace(
    DPT_TABULAR,
    updates=2000,
    updates_per_step=50,
    env=("tabular-mdp@num_states=5,num_actions=3",),
    context_length=100,
    learner=DPTConfig(num_queries=32, on_policy=0.5, on_policy_tasks=64, on_policy_episodes=10),
    model=replace(CPU_MODEL, width=64, num_layers=3),
    training=replace(CPU_TRAINING, learning_rate=2e-3),
    acting=ActingConfig(num_tasks=256, num_episodes=10, modes=("online",), protocols=("stepwise",)),
)
# Contexts of random poses hold few rewards: from them alone a model does not learn to read the target off its context.
DPT_VISUAL_ROOM = PretrainConfig(
    updates=20_000,
    env=("visual-room",),
    learner=DPTConfig(behaviours=("default", "expert"), num_queries=8),
    model=replace(PAPER_MODEL, image_features=64),
    training=TrainingConfig(batch_size=256, learning_rate=1e-3),
    acting=ActingConfig(num_tasks=512, num_episodes=10, skips_seen=False, batch_size=64),
)
DPT_VISUAL_ROOM_CPU = replace(
    DPT_VISUAL_ROOM,
    updates=2000,
    model=replace(CPU_MODEL, width=64, num_layers=3, image_features=64),
    training=replace(CPU_TRAINING, learning_rate=2e-3),
    acting=replace(DPT_VISUAL_ROOM.acting, num_tasks=128, modes=("online",), protocols=("official", "frozen")),
)
DPT_NAVIGATION_CPU = PretrainConfig(
    updates=1500,
    updates_per_step=50,
    env=("navigation",),
    context_length=300,
    learner=DPTConfig(on_policy=0.5, on_policy_tasks=64, on_policy_episodes=10),
    model=replace(CPU_MODEL, num_layers=3, head="mixture", num_parts=16),
    training=replace(CPU_TRAINING, batch_size=32),
    acting=ActingConfig(num_tasks=512, num_episodes=10, modes=("online",), protocols=("stepwise",)),
)
# Half of the batch is what the model does itself: an imitator that errs must have been shown where that leads. Contexts
# are whole episodes, because what is met after a hundred steps is not what is met before.
DPT_VELOCITY_CPU = PretrainConfig(
    updates=1500,
    updates_per_step=25,
    env=("velocity",),
    learner=DPTConfig(num_queries=32, on_policy=0.5, on_policy_tasks=64),
    model=replace(CPU_MODEL, width=64, num_layers=3, head="binned"),
    training=replace(CPU_TRAINING, batch_size=32, learning_rate=2e-3),
    acting=ActingConfig(num_tasks=128, num_episodes=2, modes=("online",), protocols=("stepwise",), capacity=200),
)
AD_DARKROOM = PretrainConfig(
    updates=10_000,
    env=("darkroom",),
    learner=ADConfig(),
    model=replace(PAPER_MODEL, attention="causal", positions="rope", normalises_queries=True),
    training=TrainingConfig(batch_size=256, learning_rate=1e-3),
    acting=ActingConfig(modes=("online",), protocols=("stepwise",), skips_seen=False),
)
AD_DARKROOM_CPU = replace(
    AD_DARKROOM,
    updates=600,
    model=replace(CPU_MODEL, width=64, num_layers=3, positions="rope"),
    training=TrainingConfig(batch_size=16, learning_rate=2e-3),
    acting=replace(AD_DARKROOM.acting, num_tasks=256, env=("darkroom@prior=all",)),
)
RL2_DARKROOM = PretrainConfig(
    updates=5000,
    updates_per_step=5,
    env=("darkroom",),
    learner=RL2Config(num_tasks=256, hidden_size=128),
    training=TrainingConfig(learning_rate=1e-3),
    acting=ActingConfig(modes=("online",), protocols=("stepwise",), skips_seen=False),
)
# As many environment steps as `dpt-darkroom-cpu` draws transitions anew: 32 million.
RL2_DARKROOM_CPU = replace(
    RL2_DARKROOM,
    updates=500,
    learner=RL2Config(),
    training=TrainingConfig(learning_rate=3e-3, max_grad_norm=0.5),
    acting=replace(RL2_DARKROOM.acting, num_tasks=256, env=("darkroom@prior=all",)),
)
SMOKE = PretrainConfig(
    updates=50,
    updates_per_step=10,
    checkpoint_every=2,
    env=("bandit@horizon=20,quadrature=101",),
    learner=DPTConfig(num_queries=4),
    model=ModelConfig(width=16, num_layers=1, num_heads=2, activation="relu"),
    training=TrainingConfig(batch_size=16),
    acting=ActingConfig(num_tasks=64, num_episodes=2),
)

PRETRAIN_PRESETS: dict[str, PretrainPreset] = {
    "dpt-bandit-cpu": PretrainPreset(
        DPT_BANDIT_CPU, "five Gaussian arms, 500 pulls; a real result in 20 minutes on CPU"
    ),
    "dpt-linear-cpu": PretrainPreset(
        DPT_LINEAR_CPU, "ten arms in a plane, 200 pulls; a real result in 20 minutes on CPU"
    ),
    "dpt-darkroom-cpu": PretrainPreset(DPT_DARKROOM_CPU, "a 10 x 10 Dark Room; a real result in 20 minutes on CPU"),
    "dpt-bandit": PretrainPreset(DPT_BANDIT, "five Gaussian arms, 500 pulls, as in Lee et al. 2023; an accelerator"),
    "dpt-linear": PretrainPreset(DPT_LINEAR, "ten arms in a plane, 200 pulls, as in Lee et al. 2023; an accelerator"),
    "dpt-darkroom": PretrainPreset(DPT_DARKROOM, "the 10 x 10 Dark Room of Lee et al. 2023; an accelerator"),
    "dpt-darkroom-permuted": PretrainPreset(DPT_DARKROOM_PERMUTED, "hidden meanings of the actions; an accelerator"),
    "dpt-visual-room": PretrainPreset(DPT_VISUAL_ROOM, "a room seen through pixels, many tasks; an accelerator"),
    "dpt-visual-room-cpu": PretrainPreset(DPT_VISUAL_ROOM_CPU, "the same, small; 20 minutes on CPU"),
    "dpt-tabular": PretrainPreset(DPT_TABULAR, "random tabular MDPs; an accelerator"),
    "dpt-tabular-cpu": PretrainPreset(DPT_TABULAR_CPU, "MDPs of 5 states and 3 actions; minutes on CPU"),
    "dpt-navigation-cpu": PretrainPreset(
        DPT_NAVIGATION_CPU, "a hidden platform in a plane, continuous actions; two minutes on CPU"
    ),
    "dpt-velocity-cpu": PretrainPreset(
        DPT_VELOCITY_CPU, "a cheetah that is not told how fast to run, continuous actions; ten minutes on CPU"
    ),
    "ad-darkroom": PretrainPreset(AD_DARKROOM, "algorithm distillation in the Dark Room; an accelerator"),
    "rl2-darkroom": PretrainPreset(RL2_DARKROOM, "RL² in the Dark Room; an accelerator"),
    "dpt-darkroom-permuted-cpu": PretrainPreset(DPT_DARKROOM_PERMUTED_CPU, "the same, small; minutes on CPU"),
    "ad-darkroom-cpu": PretrainPreset(AD_DARKROOM_CPU, "the same, small; 20 minutes on CPU"),
    "rl2-darkroom-cpu": PretrainPreset(RL2_DARKROOM_CPU, "the same, small; 6 minutes on CPU"),
    "smoke": PretrainPreset(SMOKE, "everything once, tiny; under a minute"),
}
"""Presets of `metarl pretrain` by name."""
