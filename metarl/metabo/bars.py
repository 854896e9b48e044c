"""A distribution over the real line made of bars: a categorical over intervals, with half-normal tails or none.

Source: Müller et al. 2022 (PFNs, Riemann distribution) and 2023 (PFNs4BO, full support by half-normal tails).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc, log_ndtr, logsumexp
from jaxtyping import Array, Float

HALF_NORMAL_MEAN = float(np.sqrt(2.0 / np.pi))
"""Mean of a half-normal of scale 1."""
TINY, NOTHING = 1e-30, -1e9
"""A positive number to take logarithms of in branches not taken, and the logarithm that stands for that of 0."""


class Bars(NamedTuple):
    """M bars between M + 1 ascending edges.

    Mass within an inner bar is uniform. The first and the last have no outer end: their mass falls off as half of a
    normal, away from their inner edge, with a scale such that half of it lies within the bar's width. Without tails
    they are like the others, and beyond the outer edges there is nothing.

    All methods take logits [..., M], and other arguments that broadcast against [...].
    """

    edges: Float[np.ndarray, " M+1"]
    """Ends of the bars."""
    has_tails: bool = True
    """Whether the first and the last bar reach to infinity."""

    @property
    def num_bars(self) -> int:
        """M."""
        return self.edges.shape[0] - 1

    @property
    def widths(self) -> Float[np.ndarray, " M"]:
        """Widths of the bars."""
        return np.diff(self.edges)

    @property
    def tails(self) -> tuple[float, float]:
        """Scales of the half-normals at the lower and the upper end."""
        median = 0.6744897501960817  # of a half-normal of scale 1
        return float(self.widths[0]) / median, float(self.widths[-1]) / median

    def log_prob(self, logits: Float[Array, "... M"], z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the log density at z, finite everywhere; a large negative number where there is nothing."""
        place = jnp.clip(jnp.searchsorted(jnp.asarray(self.edges), z, side="right") - 1, 0, self.num_bars - 1)
        mass = jnp.take_along_axis(jax.nn.log_softmax(logits), place[..., None], axis=-1)[..., 0]
        inner = -jnp.log(jnp.asarray(self.widths))[place]
        if not self.has_tails:
            is_inside = (z >= float(self.edges[0])) & (z <= float(self.edges[-1]))
            return jnp.where(is_inside, mass + inner, NOTHING)
        low, high = self.tails
        below = _log_half_normal(float(self.edges[1]) - z, low)
        above = _log_half_normal(z - float(self.edges[-2]), high)
        return mass + jnp.where(place == 0, below, jnp.where(place == self.num_bars - 1, above, inner))

    def mean(self, logits: Float[Array, "... M"]) -> Float[Array, "..."]:
        """Returns the mean."""
        return jax.nn.softmax(logits) @ jnp.asarray(self._moments()[0])

    def std(self, logits: Float[Array, "... M"]) -> Float[Array, "..."]:
        """Returns the standard deviation."""
        first, second = self._moments()
        probability = jax.nn.softmax(logits)
        mean = probability @ jnp.asarray(first)
        return jnp.sqrt(jnp.maximum(probability @ jnp.asarray(second) - mean**2, 1e-12))

    def cdf(self, logits: Float[Array, "... M"], z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the probability of values up to z."""
        return jnp.sum(jax.nn.softmax(logits) * self._shares_below(z), axis=-1)

    def quantile(self, logits: Float[Array, "... M"], probability: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the value below which this probability in (0, 1) lies."""
        mass = jax.nn.softmax(logits)
        upto = jnp.cumsum(mass, axis=-1)
        place = jnp.sum((upto < probability[..., None]).astype(jnp.int32), axis=-1)
        place = jnp.minimum(place, self.num_bars - 1)
        here = jnp.take_along_axis(mass, place[..., None], axis=-1)[..., 0]
        before = jnp.take_along_axis(upto, place[..., None], axis=-1)[..., 0] - here
        share = jnp.clip((probability - before) / jnp.maximum(here, 1e-12), 1e-6, 1.0 - 1e-6)
        inner = jnp.asarray(self.edges[:-1])[place] + share * jnp.asarray(self.widths)[place]
        if not self.has_tails:
            return inner
        low, high = self.tails
        below = float(self.edges[1]) - low * jnp.sqrt(2.0) * jax.scipy.special.erfinv(1.0 - share)
        above = float(self.edges[-2]) + high * jnp.sqrt(2.0) * jax.scipy.special.erfinv(share)
        return jnp.where(place == 0, below, jnp.where(place == self.num_bars - 1, above, inner))

    def sample(self, key: Array, logits: Float[Array, "... M"]) -> Float[Array, "..."]:
        """Returns one draw for each row; consumes the key."""
        uniform = jax.random.uniform(key, logits.shape[:-1], minval=1e-6, maxval=1.0 - 1e-6)
        return self.quantile(logits, uniform)

    def log_ei(self, logits: Float[Array, "... M"], incumbent: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the log of the expected improvement `E[max(z - incumbent, 0)]`, finite however far away it is."""
        log_gain = self._log_gains(incumbent)
        return logsumexp(jax.nn.log_softmax(logits) + log_gain, axis=-1)

    def ei(self, logits: Float[Array, "... M"], incumbent: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the expected improvement over the incumbent."""
        return jnp.exp(self.log_ei(logits, incumbent))

    def _moments(self) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
        """Returns the first and second moment of every bar."""
        middle = (self.edges[:-1] + self.edges[1:]) / 2.0
        second = middle**2 + self.widths**2 / 12.0
        ends = ((0, 1, self.tails[0], -1.0), (-1, -2, self.tails[1], 1.0)) if self.has_tails else ()
        for place, inner, scale, sign in ends:
            edge = self.edges[inner]
            middle[place] = edge + sign * scale * HALF_NORMAL_MEAN
            second[place] = edge**2 + 2.0 * sign * edge * scale * HALF_NORMAL_MEAN + scale**2
        return middle.astype(np.float32), second.astype(np.float32)

    def _shares_below(self, z: Float[Array, "..."]) -> Float[Array, "... M"]:
        """Returns which share of every bar's mass lies below z."""
        inner = jnp.clip((z[..., None] - _row(self.edges[:-1], z)) / _row(self.widths, z), 0.0, 1.0)
        if not self.has_tails:
            return inner
        low, high = self.tails
        below = erfc(jnp.maximum(float(self.edges[1]) - z, 0.0) / (low * np.sqrt(2.0)))
        above = erf(jnp.maximum(z - float(self.edges[-2]), 0.0) / (high * np.sqrt(2.0)))
        return jnp.concatenate([below[..., None], inner[..., 1:-1], above[..., None]], axis=-1)

    def _log_gains(self, incumbent: Float[Array, "..."]) -> Float[Array, "... M"]:
        """Returns the log of every bar's expected improvement over the incumbent, given that z lies in it.

        Where a bar lies below the incumbent it is a large negative number and not minus infinity.
        """
        start, end = _row(self.edges[:-1], incumbent), _row(self.edges[1:], incumbent)
        excess = jnp.maximum(end - jnp.maximum(start, incumbent[..., None]), 0.0)
        mid = (end + jnp.maximum(start, incumbent[..., None])) / 2.0 - incumbent[..., None]
        inner = excess / _row(self.widths, incumbent) * mid
        log_inner = jnp.where(inner > 0.0, jnp.log(jnp.maximum(inner, TINY)), NOTHING)
        if not self.has_tails:
            return log_inner
        low, high = self.tails
        # The lower tail: mirrored, so that the gain is what lies between the incumbent and the edge.
        distance = jnp.maximum(float(self.edges[1]) - incumbent, 0.0)
        below = distance - low * HALF_NORMAL_MEAN + _half_normal_excess(distance, low)
        log_below = jnp.where(distance > 0.0, jnp.log(jnp.maximum(below, TINY)), NOTHING)
        log_above = _log_upper_gain(incumbent - float(self.edges[-2]), high)
        return jnp.concatenate([log_below[..., None], log_inner[..., 1:-1], log_above[..., None]], axis=-1)


def make_bars(num_bars: int = 128, limit: float = 10.0) -> Bars:
    """Returns bars between -limit and limit, narrow around 0 and ever wider outwards; tails reach beyond.

    Edges are evenly spaced in `asinh(z)`.

    Raises:
        ValueError: unless there are 4 or more bars and the limit is positive.
    """
    if num_bars < 4 or limit <= 0:
        raise ValueError(f"bars were asked for with num_bars={num_bars}, limit={limit}; give 4 or more and a limit > 0")
    return Bars(np.sinh(np.linspace(-1.0, 1.0, num_bars + 1) * np.arcsinh(limit)).astype(np.float32))


def bounded_bars(num_bars: int = 1000, low: float = -0.1, high: float = 1.1) -> Bars:
    """Returns bars of equal width from low to high, without tails: what lies beyond is impossible.

    Source: the defaults are those of the public code of Maraval et al. 2023 (huawei-noah/HEBO), for values in [0, 1].

    Raises:
        ValueError: unless there are 2 or more bars and low < high.
    """
    if num_bars < 2 or not low < high:
        raise ValueError(
            f"bounded bars were asked for with num_bars={num_bars}, low={low}, high={high}; give 2 or more, low < high"
        )
    return Bars(np.linspace(low, high, num_bars + 1).astype(np.float32), has_tails=False)


def _row(numbers: Float[np.ndarray, " M"], like: Float[Array, "..."]) -> Float[np.ndarray, "... M"]:
    """Returns one number for each bar with a leading axis of size 1 for each of another array's."""
    return numbers.reshape((1,) * like.ndim + numbers.shape)


def _log_half_normal(distance: Float[Array, "..."], scale: float) -> Float[Array, "..."]:
    """Returns the log density of a half-normal at a distance >= 0 from its start."""
    return float(np.log(HALF_NORMAL_MEAN / scale)) - 0.5 * (distance / scale) ** 2


def _half_normal_excess(distance: Float[Array, "..."], scale: float) -> Float[Array, "..."]:
    """Returns `E[max(u - distance, 0)]` of a half-normal u, for a distance >= 0."""
    ratio = distance / scale
    return scale * (HALF_NORMAL_MEAN * jnp.exp(-0.5 * ratio**2) - ratio * erfc(ratio / np.sqrt(2.0)))


def _log_upper_gain(distance: Float[Array, "..."], scale: float) -> Float[Array, "..."]:
    """Returns `log E[max(u - distance, 0)]` of a half-normal u; below its start that is the mean minus the distance.

    With r = distance / scale it is `log(scale sqrt(2 / pi)) - r²/2 + log(1 - r m(r))`, m being Mills' ratio; far out
    `1 - r m(r)` is `1/r² - 3/r⁴ + 15/r⁶ - …`.
    """
    ratio = jnp.maximum(distance, 0.0) / scale
    near, far = jnp.minimum(ratio, 9.0), jnp.maximum(ratio, 9.0)
    mills = jnp.exp(log_ndtr(-near) + 0.5 * near**2) * np.sqrt(2.0 * np.pi).astype(np.float32)
    rest = jnp.where(ratio < 9.0, 1.0 - near * mills, (1.0 - (3.0 - 15.0 / far**2) / far**2) / far**2)
    beyond = float(np.log(scale * HALF_NORMAL_MEAN)) - 0.5 * ratio**2 + jnp.log(jnp.maximum(rest, TINY))
    before = jnp.log(scale * HALF_NORMAL_MEAN - jnp.minimum(distance, 0.0))
    return jnp.where(distance <= 0.0, before, beyond)
