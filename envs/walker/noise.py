"""Noise that is computed where it is needed: a hash of a seed and an index instead of a stored table.

A track has up to 180 stumps and an episode meets few of them, so drawing all of them at every reset would be waste.

Source: the finaliser of MurmurHash3 (Appleby 2011), a bijection of 32-bit words in which every bit of the input flips
every bit of the output with probability near 1/2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

GOLDEN = 0x9E3779B9
"""The golden ratio as a 32-bit fraction: spreads consecutive indices over all words."""
SEED_BITS = 23
"""Random bits in a uniform float32 of jax."""


def seed_from(uniforms: Float[Array, "2 *#batch"]) -> UInt32[Array, "2 *#batch"]:
    """Returns the seed that two numbers in [0, 1) stand for."""
    return (uniforms * 2.0**SEED_BITS).astype(jnp.uint32)


def normal_noise(seed: UInt32[Array, "2 *#batch"], index: Int[Array, "n *#batch"]) -> Float[Array, "n *#batch"]:
    """Returns the standard normal number of every index; equal seeds give equal numbers."""
    word = _mixed(index.astype(jnp.uint32) * jnp.uint32(GOLDEN) + seed[0][None])
    word = _mixed(word ^ (seed[1][None] * jnp.uint32(GOLDEN) + jnp.uint32(1)))
    uniform = ((word >> 9).astype(jnp.float32) + 0.5) * 2.0**-SEED_BITS
    return jnp.sqrt(2.0) * jax.scipy.special.erfinv(2.0 * uniform - 1.0)


def _mixed(word: UInt32[Array, "n *#batch"]) -> UInt32[Array, "n *#batch"]:
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
