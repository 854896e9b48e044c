"""What a model looks at in a Dark Room: how layers spread their attention over the cells that a context tells of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.colors import PowerNorm
from matplotlib.image import AxesImage

from analysis.figure import INK, Picture, make_figure, style
from analysis.incontext_traces import Trace, Walk, shown_episodes
from envs.domain import Domain
from metarl.incontext.agent import InContextAgent
from metarl.incontext.context import is_first


class Gaze(NamedTuple):
    """Attention before the first action of some episodes, averaged over heads."""

    episodes: list[int]
    """Which, from 0."""
    cells: Float[np.ndarray, "E L S S"]
    """By episode and layer: what falls on transitions that ended in cell [x, y]."""
    nothing: Float[np.ndarray, "E L"]
    """What falls on the slot that holds nothing."""


def gaze(domain: Domain, agent: InContextAgent, walk: Walk, trace: Trace, *, skips_seen: bool) -> Gaze | None:
    """Returns what an agent with attention looked at; None without attention, or if no context held anything.

    Args:
        domain: the Dark Room.
        agent: who walked.
        walk: its episodes.
        trace: what it did in them.
        skips_seen: whether its context leaves out pairs of cell and action that were there before.
    """
    episodes = _episodes(trace)
    if agent.attention is None or not episodes:
        return None
    ends, is_held = _held(domain, walk, skips_seen=skips_seen)
    look, columns = jax.jit(agent.attention), []
    for episode in episodes:
        weights = np.asarray(look(walk.memories[episode], walk.transitions[episode].observation[0])).mean(axis=1)
        past = slice(episode * domain.horizon)
        held = ends[past][is_held[past]]
        cells = np.zeros((len(weights), domain.env.size, domain.env.size), np.float32)
        np.add.at(cells, (slice(None), *held.T), weights[:, 1 : 1 + len(held)])
        columns.append((cells, weights[:, 0]))
    return Gaze(episodes, *(np.stack(column) for column in zip(*columns, strict=True)))


def _episodes(trace: Trace) -> list[int]:
    """Returns the first episode with a context, the one after the goal was found, and the last; from 0."""
    later = [episode for episode in shown_episodes(trace) if episode > 0]
    chosen = {later[0], later[-1]} if later else set()
    chosen |= {trace.found + 1} & set(later) if trace.found is not None else set()
    return sorted(chosen)


def _held(domain: Domain, walk: Walk, *, skips_seen: bool) -> tuple[Int[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Returns where all transitions ended, and which of them contexts hold."""
    transitions = jax.tree.map(lambda *rows: jnp.concatenate(rows), *walk.transitions)
    is_held = is_valid = jnp.concatenate(walk.is_valid)
    if skips_seen and domain.pair_index is not None:
        pairs = jax.vmap(domain.pair_index)(transitions.observation, transitions.action)
        is_held = is_valid & is_first(pairs, is_valid, domain.num_pairs)
    return np.asarray(transitions.next_observation), np.asarray(is_held)


def attention_maps(found: Gaze, trace: Trace, label: str) -> Picture:
    """Returns attention over the room, layer by layer, before some episodes; `label` names who looks."""
    num_episodes, num_layers = found.cells.shape[:2]
    norm = PowerNorm(0.5, vmin=0.0, vmax=1.0)
    with style():
        figure, axes = make_figure(num_layers, num_episodes, height=2.3, sharex=True, sharey=True)
        grid = np.asarray(axes).reshape(num_layers, num_episodes)
        for (layer, column), axis in np.ndenumerate(grid):
            image: AxesImage = axis.imshow(found.cells[column, layer].T, origin="lower", cmap="Blues", norm=norm)
            star = {"marker": "*", "color": "#ffd23f", "edgecolors": INK, "linewidths": 0.8, "s": 60}
            axis.scatter(*trace.goal, zorder=5, **star)
            episode, size = found.episodes[column], len(found.cells[column, layer])
            known = trace.found is not None and episode > trace.found
            title = f"episode {episode + 1}{', goal seen' if known else ''}\n" if layer == 0 else ""
            axis.set_title(f"{title}layer {layer + 1}, on nothing {found.nothing[column, layer]:.0%}", fontsize=8.5)
            axis.set(xticks=[0, size - 1], yticks=[0, size - 1])
            axis.grid(False)
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=40, label="share of attention")
        bar.outline.set_visible(False)
    caption = (
        f"{label} in the same room and episodes: where it looks from the start, before the first step. Each cell has "
        "the attention, averaged over heads, on the transitions of the context that ended there; the rest is on the "
        "slot that holds nothing. Star: the goal."
    )
    numbers = {"episodes": np.array(found.episodes) + 1, "cells": found.cells, "nothing": found.nothing}
    return Picture("attention", "What the model looks at", caption, figure, numbers | {"goal": trace.goal})
