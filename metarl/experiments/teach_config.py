"""What can be configured in teaching: frozen dataclasses, checked when made. Light to import."""

from dataclasses import dataclass, field

from metarl.experiments.agent_config import AgentConfig
from metarl.experiments.config_checks import require, require_counts, require_positive


@dataclass(frozen=True)
class CubesConfig:
    """The toy: cells of a box that mastering their neighbours unlocks. Its table of competences is the student."""

    num_dimensions: int = 2
    """Dimensions that matter."""
    per_dimension: int = 10
    """Cells along each of them."""
    num_useless: int = 0
    """Further dimensions of a task, which do nothing."""
    batch: int = 1
    """Episodes between two proposals of the teacher."""

    def __post_init__(self):
        counts = ("num_dimensions", "per_dimension", "batch")
        require_counts("student.", **{name: getattr(self, name) for name in counts})
        require(self.num_useless >= 0, f"student.num_useless is {self.num_useless}; it must be at least 0")


@dataclass(frozen=True)
class WorldConfig:
    """What students in the environments of a family of tasks have in common."""

    env: str = "stump-tracks"
    """Family of tasks: stump-tracks or hexagon-tracks with options as in stump-tracks@body=short, any environment of
    `metarl pretrain`, or any of `metarl discover` that has several tasks, as ant-physics or Pendulum-v1@g=5..15."""
    pool_size: int = 512
    """Tasks that the teacher proposes before every rollout; every episode that begins in it is in one of them."""
    max_finished: int = 1024
    """Episodes of a rollout that the teacher is told about at most."""
    test_env: str | None = None
    """Family of the test tasks, where they are not those of training: the same environment in another range."""
    grid: int = 10
    """Test tasks along each dimension; with more than two dimensions, grid^2 fixed random tasks."""
    physical_units: bool = False
    """Whether the teacher measures distances in the family's own units instead of shares of their ranges."""
    return_range: tuple[float, float] | None = None
    """Returns that count as rewards 0 and 1 to teachers. None: the family's."""
    success_return: float | None = None
    """A task is mastered above it. None: the family's."""

    def __post_init__(self):
        require_counts("student.", pool_size=self.pool_size, max_finished=self.max_finished, grid=self.grid)
        if self.return_range is not None:
            low, high = self.return_range
            require(low < high, f"student.return_range is {self.return_range}; it must ascend")


@dataclass(frozen=True)
class PPOStudentConfig(WorldConfig):
    """A PPO agent in the environments of a family of tasks."""

    agent: AgentConfig = field(default_factory=AgentConfig)


@dataclass(frozen=True)
class SACConfig:
    """A soft actor-critic with the settings of Portelas et al. 2019."""

    num_envs: int = 50
    """Environments that act in parallel."""
    unroll_length: int = 40
    """Steps of each between two learnings."""
    num_gradients: int = 200
    """Gradient steps of a learning. One for ten environment steps in the paper."""
    hidden: tuple[int, ...] = (400, 300)
    """Widths of the layers of all networks."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    entropy_coefficient: float = 0.005
    """Weight of the entropy, in units of rewards."""
    discount: float = 0.99
    """Of rewards, per step."""
    polyak: float = 0.995
    """Share of the target critics that stays at each gradient step."""
    batch_size: int = 1000
    """Transitions of a gradient step."""
    capacity: int = 2_000_000
    """Transitions of each student's replay buffer, some 200 bytes each on the tracks."""
    random_steps: int = 10_000
    """Environment steps with uniform actions, before anything is learned."""

    def __post_init__(self):
        names = ("num_envs", "unroll_length", "num_gradients", "batch_size", "capacity")
        require_counts("student.agent.", **{name: getattr(self, name) for name in names})
        require_positive("student.agent.", learning_rate=self.learning_rate)
        for name in ("discount", "polyak"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"student.agent.{name} is {value}; it must lie in [0, 1]")
        require(
            self.entropy_coefficient >= 0 and self.random_steps >= 0,
            f"student.agent.entropy_coefficient is {self.entropy_coefficient} and random_steps {self.random_steps}; "
            "neither can be negative",
        )


@dataclass(frozen=True)
class SACStudentConfig(WorldConfig):
    """A soft actor-critic in the environments of a family of tasks, as the students of the papers."""

    agent: SACConfig = field(default_factory=SACConfig)


@dataclass(frozen=True)
class TeachConfig:
    """Teaching: several teachers, each with students of its own, in the same tasks."""

    teachers: tuple[str, ...] = ("alp-gmm", "uniform")
    """Teachers, as name or name@option=value,option=value: uniform, alp-gmm, covar-gmm, riac, adr, oracle, plr, sfl."""
    num_students: int = 8
    """Students of each teacher; a student of one has the same randomness as its counterpart of the others."""
    updates: int = 20_000
    """Updates of every student, a multiple of updates_per_step; of cubes, batches of episodes."""
    updates_per_step: int = 250
    """Updates in one step of the host loop, after which students are examined."""
    checkpoint_every: int = 10
    """Steps that a killed run loses at most."""
    students_at_once: int | None = None
    """Students of a teacher that a device teaches at once; memory is linear in it, and on a CPU fewer are faster where
    a student is large. None: all. Changes nothing but roundings."""
    seed: int = 0
    """Root of all randomness."""
    student: CubesConfig | PPOStudentConfig | SACStudentConfig = field(default_factory=CubesConfig)

    def __post_init__(self):
        counts = ("num_students", "updates", "updates_per_step", "checkpoint_every")
        require_counts("", **{name: getattr(self, name) for name in counts})
        if self.students_at_once is not None:
            require_counts("", students_at_once=self.students_at_once)
        require(
            self.updates % self.updates_per_step == 0,
            f"updates is {self.updates}; it must be a multiple of updates_per_step = {self.updates_per_step}",
        )
        require(0 <= self.seed < 2**32, f"seed is {self.seed}; it must lie in [0, 2^32)")
        require(
            len(self.teachers) > 0 and len(set(self.teachers)) == len(self.teachers),
            f"teachers is {self.teachers}; give at least one, and none of them twice",
        )

    @property
    def at_once(self) -> int:
        """Students that are taught at once."""
        return min(self.students_at_once or self.num_students, self.num_students)

    @property
    def num_steps(self) -> int:
        """Steps of the host loop."""
        return self.updates // self.updates_per_step


TEACH_CONFIG_TYPES: tuple[type, ...] = (
    AgentConfig,
    CubesConfig,
    PPOStudentConfig,
    SACConfig,
    SACStudentConfig,
    TeachConfig,
)
"""Every dataclass that a config file of a teaching run may name."""
