"""Models from plain settings, as configurations and files hold them."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp

from envs.domain import Domain
from metarl.incontext.dpt import DPT, dpt
from metarl.incontext.model import IMAGE_FEATURES
from metarl.networks.transformer import ContextTransformer


def make_model(
    domains: Sequence[Domain],
    *,
    width: int,
    num_layers: int,
    num_heads: int,
    attention: Literal["causal", "set", "independent"],
    positions: Literal["none", "rope"],
    activation: Literal["gelu", "relu"],
    normalises_queries: bool,
    reads_positions: bool,
    head: Literal["categorical", "binned", "mixture"],
    num_parts: int,
    precision: Literal["float32", "bfloat16"],
    image_features: int = IMAGE_FEATURES,
) -> DPT:
    """Returns the model with these settings, which are the fields of `ModelConfig`.

    Queries are told how many transitions they know of unless attention is causal, in which tokens can count themselves.

    Raises:
        ValueError: if the pieces do not fit together.
    """
    transformer = ContextTransformer(
        width,
        num_layers,
        num_heads,
        attention,
        positions,
        activation=activation,
        normalises_queries=normalises_queries,
        dtype=jnp.bfloat16 if precision == "bfloat16" else jnp.float32,
    )
    return dpt(
        domains,
        transformer,
        head=head,
        num_parts=num_parts,
        reads_positions=reads_positions,
        counts=attention != "causal",
        image_features=image_features,
    )
