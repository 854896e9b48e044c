"""Test functions in closed form, as families: shifted and scaled at random, and negated, so that they are maximised.

Source: Volpp et al. 2020 (MetaBO), section 5, for the shifts and scales; Dixon and Szegö 1978 (Branin, Goldstein-Price,
Hartmann) and Ackley 1987 for the functions.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.blackbox.designs import key_of, make_design
from envs.blackbox.environment import BlackBox
from envs.blackbox.task import NUM_INIT, NUMERIC, as_task, pool_params
from envs.family import Task, TaskFamily


class TestFunction(NamedTuple):
    """A function to be minimised over a box, in its native units."""

    __test__ = False  # no test case, whatever pytest makes of the name
    value: Callable[[Float[Array, " d"]], Float[Array, ""]]
    """What is minimised."""
    low: tuple[float, ...]
    """Lower corner of the box."""
    high: tuple[float, ...]
    """Upper corner."""
    minimisers: tuple[tuple[float, ...], ...]
    """Where it is smallest."""
    minimum: float
    """Its smallest value."""

    @property
    def num_dims(self) -> int:
        """Dimensions of the box."""
        return len(self.low)


def branin(x: Float[Array, "2"]) -> Float[Array, ""]:
    """Returns Branin's function, of three equal minima."""
    parabola = x[1] - 5.1 / (4.0 * np.pi**2) * x[0] ** 2 + 5.0 / np.pi * x[0] - 6.0
    return parabola**2 + 10.0 * (1.0 - 1.0 / (8.0 * np.pi)) * jnp.cos(x[0]) + 10.0


def goldstein_price(x: Float[Array, "2"]) -> Float[Array, ""]:
    """Returns Goldstein and Price's polynomial, whose values span six orders of magnitude."""
    a, b = x[0], x[1]
    first = 19.0 - 14.0 * a + 3.0 * a**2 - 14.0 * b + 6.0 * a * b + 3.0 * b**2
    second = 18.0 - 32.0 * a + 12.0 * a**2 + 48.0 * b - 36.0 * a * b + 27.0 * b**2
    return (1.0 + (a + b + 1.0) ** 2 * first) * (30.0 + (2.0 * a - 3.0 * b) ** 2 * second)


def hartmann(
    x: Float[Array, " d"], rates: Float[np.ndarray, "4 d"], centres: Float[np.ndarray, "4 d"]
) -> Float[Array, ""]:
    """Returns Hartmann's sum of four wells, with weights 1, 1.2, 3, 3.2."""
    depth = jnp.exp(-jnp.sum(rates * (x[None] - centres) ** 2, axis=-1))
    return -jnp.sum(np.array([1.0, 1.2, 3.0, 3.2], np.float32) * depth)


def ackley(x: Float[Array, " d"]) -> Float[Array, ""]:
    """Returns Ackley's function: a funnel with ripples."""
    funnel = -20.0 * jnp.exp(-0.2 * jnp.sqrt(jnp.maximum(jnp.mean(x**2), 1e-12)))
    return funnel - jnp.exp(jnp.mean(jnp.cos(2.0 * np.pi * x))) + 20.0 + float(np.e)


RATES_3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]], np.float32)
CENTRES_3 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]], np.float32)
RATES_6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]],
    np.float32,
)
CENTRES_6 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ],
    np.float32,
)
FUNCTIONS = {
    "branin": TestFunction(
        branin,
        (-5.0, 0.0),
        (10.0, 15.0),
        ((-np.pi, 12.275), (np.pi, 2.275), (3.0 * np.pi, 2.475)),
        10.0 / (8.0 * np.pi),
    ),
    "goldstein-price": TestFunction(goldstein_price, (-2.0, -2.0), (2.0, 2.0), ((0.0, -1.0),), 3.0),
    "hartmann-3": TestFunction(
        partial(hartmann, rates=RATES_3, centres=CENTRES_3),
        (0.0,) * 3,
        (1.0,) * 3,
        ((0.114614, 0.555649, 0.852547),),
        -3.862782,
    ),
    "hartmann-6": TestFunction(
        partial(hartmann, rates=RATES_6, centres=CENTRES_6),
        (0.0,) * 6,
        (1.0,) * 6,
        ((0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),),
        -3.322368,
    ),
    **{f"ackley-{d}": TestFunction(ackley, (-32.768,) * d, (32.768,) * d, ((0.0,) * d,), 0.0) for d in (2, 3, 5, 10)},
}


def objective(
    function: TestFunction, x: Float[Array, "N d"], shift: Float[Array, " d"], scale: Float[Array, ""]
) -> Float[Array, " N"]:
    """Returns what is maximised: `-scale f` at unit coordinates x, moved by a shift in units of the box.

    What is moved in over the box's edge is the function beyond it; minima moved out are out of reach.
    """
    low, high = jnp.array(function.low, jnp.float32), jnp.array(function.high, jnp.float32)
    native = low[None] + (x - shift[None]) * (high - low)[None]
    return -scale * jax.vmap(function.value)(native)


def analytic_family(
    name: str,
    *,
    num_candidates: int = 100,
    design: str = "uniform",
    shift: float = 0.1,
    scale: tuple[float, float] = (0.9, 1.1),
    horizon: int = 45,
    num_init: int = NUM_INIT,
) -> TaskFamily:
    """Returns the family of one of `FUNCTIONS`, with shifts from U(-shift, shift)^d of the box and scales from U.

    A task vector holds the quantiles of the shift, that of the scale, and an entry whose 32 bits make the key of the
    candidates.

    Raises:
        ValueError: if the name is unknown, the shift is outside [0, 1], or the scales do not ascend from above 0; and
            as `make_design`.
    """
    if name not in FUNCTIONS or not 0.0 <= shift <= 1.0 or not 0.0 < scale[0] <= scale[1]:
        raise ValueError(
            f"an analytic family was given {name!r}, shift={shift} and scale={scale}; use one of "
            f"{', '.join(FUNCTIONS)}, a shift in [0, 1] and scales that ascend from above 0"
        )
    function = FUNCTIONS[name]
    d = function.num_dims
    candidates = make_design(design, num_candidates, d)

    def build(quantiles: Float[Array, " D"], key: Array) -> Task:
        x = candidates(key)
        factor = scale[0] + quantiles[d] * (scale[1] - scale[0])
        y = objective(function, x, shift * (2.0 * quantiles[:d] - 1.0), factor)
        return as_task(pool_params(x, jnp.full((d,), NUMERIC, jnp.int32), y, horizon=horizon, num_init=num_init))

    def sample(key: Array) -> Task:
        key_quantiles, key_candidates = jax.random.split(key)
        return build(jax.random.uniform(key_quantiles, (d + 1,)), key_candidates)

    return TaskFamily(
        name=f"blackbox/{name}",
        env=BlackBox(num_candidates, max_horizon=horizon, max_init=num_init),
        sample=sample,
        decode=lambda vector: build(jnp.clip(vector[: d + 1], 0.0, 1.0), key_of(vector[d + 1])),
        num_dimensions=d + 2,
        max_lifetime=1,
        max_episode_steps=horizon,
    )
