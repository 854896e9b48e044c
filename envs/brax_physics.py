"""Task families over the physics of a brax system: gravity, mass, friction and the strength of its actuators."""

import copy
from functools import partial
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import EnvParams
from jaxtyping import Array, Float

from envs.brax_env import MAX_EPISODE_STEPS, BraxEnvironment
from envs.family import Task, TaskFamily, log_uniform

MULTIPLIERS = ("gravity", "mass", "friction", "actuator_strength")
"""What varies, in the order of the dimensions of a task vector."""
SMALLEST, LARGEST = 0.5, 2.0
"""Range of every multiplier, so that the original system is in the middle of the task space."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@partial(struct.dataclass, kw_only=True)
class PhysicsParams(EnvParams):
    """Multipliers of a system's constants, all > 0; 1 is the original. They must not change within an episode."""

    gravity: Float[Array, ""]
    """Of the gravitational acceleration."""
    mass: Float[Array, ""]
    """Of all inertia: masses, moments of inertia and the inertia of rotors. Springs and dampers stay as they are."""
    friction: Float[Array, ""]
    """Of the friction coefficients of all contacts."""
    actuator_strength: Float[Array, ""]
    """Of the force that an action produces, and of its limit."""


class BraxPhysicsEnvironment(BraxEnvironment):
    """A brax system whose `PhysicsParams` are traced, so that one compiled program serves all of them.

    Args:
        system: a name in brax's registry whose system has gravity, contacts and actuators.
        backend: as for `BraxEnvironment`; every backend obeys all multipliers.

    Raises:
        ValueError: as `BraxEnvironment`; and if one of the multipliers could not change anything.
    """

    def __init__(self, system: str, backend: str | None = None):
        super().__init__(system, backend)
        lacking = [multiplier for multiplier, has_effect in self._effects().items() if not has_effect]
        if lacking:
            raise ValueError(
                f"{' and '.join(lacking)} would change nothing in brax's {system!r}; use the plain system, or the "
                "physics of one with gravity, contacts and actuators, such as ant"
            )
        if self.backend in ("positional", "spring"):
            self._brax = _with_system(self._brax, _with_effective_inertia(self._brax.sys))

    @property
    def name(self) -> str:
        """System and backend, such as `brax/ant-physics@positional`."""
        return f"brax/{self.system}-physics@{self.backend}"

    @property
    def default_params(self) -> PhysicsParams:
        """The original system with a time limit of 1000 steps."""
        return physics_params(jnp.ones((len(MULTIPLIERS),), jnp.float32))

    def _effects(self) -> dict[str, bool]:
        """Returns whether there is something to multiply; everything has mass, unless brax simulates nothing at all."""
        system = getattr(self._brax, "sys", None)
        if system is None:
            return dict.fromkeys(MULTIPLIERS, False)
        return {
            "gravity": bool(system.gravity.any()),
            "friction": self.has_contacts,
            "actuator_strength": system.act_size() > 0,
        }

    def _world(self, params: PhysicsParams) -> Any:
        system = _with_gravity(self._brax.sys, params.gravity)
        system = _with_mass(system, params.mass)
        system = _with_friction(system, params.friction)
        return _with_system(self._brax, _with_strength(system, params.actuator_strength))


def physics_params(multipliers: Float[Array, "4"]) -> PhysicsParams:
    """Returns the parameters with these `MULTIPLIERS`, each > 0, and the default time limit."""
    return PhysicsParams(
        max_steps_in_episode=jnp.int32(MAX_EPISODE_STEPS), **dict(zip(MULTIPLIERS, multipliers, strict=True))
    )


def brax_physics_family(system: str, backend: str | None = None, *, lifetime: int) -> TaskFamily:
    """Returns the family in which the physics of a brax system vary.

    D = 4: quantiles of gravity, mass, friction and actuator strength, each a log-uniform multiplier in [0.5, 2], so
    that the centre of the unit cube is the original system. `sample(key)` decodes uniform quantiles.

    Args:
        system, backend: as for `BraxPhysicsEnvironment`.
        lifetime: agent updates of every life.

    Raises:
        ValueError: as `BraxPhysicsEnvironment`.
    """

    def decode(vector: Float[Array, "4"]) -> Task:
        return Task(physics_params(log_uniform(vector, SMALLEST, LARGEST)), jnp.int32(lifetime))

    return TaskFamily(
        name=f"brax/{system}-physics" + (f"@{backend}" if backend else ""),
        env=BraxPhysicsEnvironment(system, backend),
        sample=lambda key: decode(jax.random.uniform(key, (len(MULTIPLIERS),))),
        decode=decode,
        num_dimensions=len(MULTIPLIERS),
        max_lifetime=lifetime,
        max_episode_steps=MAX_EPISODE_STEPS,
    )


def _with_system(env: Any, system: Any) -> Any:
    env = copy.copy(env)
    env.sys = system
    return env


def _with_effective_inertia(system: Any) -> Any:
    """Returns an equal system that says which inertia is simulated.

    The positional and spring engines raise masses to 1 - `spring_mass_scale` and moments to 1 - `spring_inertia_scale`.
    Several systems set these to 1 (`ant`, `hopper`): every link then weighs 1, and multiplying what the system calls
    its masses would change nothing.
    """
    inertia = system.link.inertia
    inertia = inertia.replace(
        mass=inertia.mass ** (1.0 - system.spring_mass_scale), i=inertia.i ** (1.0 - system.spring_inertia_scale)
    )
    zero = jnp.zeros_like(system.spring_mass_scale)
    return system.replace(link=system.link.replace(inertia=inertia), spring_mass_scale=zero, spring_inertia_scale=zero)


# Brax and mjx keep their own copies of every constant, and each engine reads some of them: both are changed.


def _with_gravity(system: Any, factor: Float[Array, ""]) -> Any:
    return system.replace(gravity=factor * system.gravity, opt=system.opt.replace(gravity=factor * system.opt.gravity))


def _with_mass(system: Any, factor: Float[Array, ""]) -> Any:
    """Returns the system with all inertia multiplied, and the inverse inertia that contact solvers read divided."""
    link, dof = system.link, system.dof
    inertia = link.inertia.replace(mass=factor * link.inertia.mass, i=factor * link.inertia.i)
    return system.replace(
        link=link.replace(inertia=inertia, invweight=link.invweight / factor),
        dof=dof.replace(armature=factor * dof.armature, invweight=dof.invweight / factor),
        **{name: factor * getattr(system, name) for name in ("body_mass", "body_subtreemass", "body_inertia")},
        dof_armature=factor * system.dof_armature,
        body_invweight0=system.body_invweight0 / factor,
        dof_invweight0=system.dof_invweight0 / factor,
    )


def _with_friction(system: Any, factor: Float[Array, ""]) -> Any:
    return system.replace(geom_friction=factor * system.geom_friction, pair_friction=factor * system.pair_friction)


def _with_strength(system: Any, factor: Float[Array, ""]) -> Any:
    """Returns the system with its actuators' gain, bias and limits multiplied, hence their force exactly."""
    actuator = system.actuator
    fields = ("gain", "bias_q", "bias_qd", "force_range")
    return system.replace(
        actuator=actuator.replace(**{name: factor * getattr(actuator, name) for name in fields}),
        actuator_gainprm=factor * system.actuator_gainprm,
        actuator_biasprm=factor * system.actuator_biasprm,
        actuator_forcerange=factor * system.actuator_forcerange,
    )
