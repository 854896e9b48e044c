"""What a model does in a Dark Room as it learns: its policy in every cell, before one episode after another.

Looks only at what acts (`InContextAgent`), so that every kind of model can be shown.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from analysis.figure import INK, Picture, hide_unused, make_figure, style
from envs.cells import MOVES
from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, absorb
from metarl.incontext.deploy import make_episode

SHOWN_EPISODES = (1, 2, 3, 5)
"""Episodes before which the policy is shown, beside the one after the goal was first found and the last."""
NUM_DRAWS = 4096
"""Actions drawn in every cell to see how probable each is; the standard error of a probability is at most 0.008."""
NUM_CANDIDATES = 64
"""Held-out tasks of which the one with the median distance to the goal is shown."""
PATH_COLOUR = "#d9730d"
SHADES = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.4}
"""Pale enough for arrows on top; the colour bar ends at probability 1."""


class Walk(NamedTuple):
    """Episodes of one agent in one room, with a context that grows after each."""

    memories: list[Any]
    """What the agent remembers before each episode."""
    transitions: list[Transition]
    """Of each episode, [T]."""
    is_valid: list[Bool[np.ndarray, " T"]]
    """Which of them happened before the episode ended."""


class Trace(NamedTuple):
    """What an agent did and would have done in one room."""

    goal: Int[np.ndarray, "2"]
    """Cell (x, y)."""
    moves: Int[np.ndarray, " A"]
    """What each action does, as an index into `MOVES`."""
    action: Int[np.ndarray, "E S S"]
    """The most frequent action in cell [x, y] before each episode."""
    probability: Float[np.ndarray, "E S S"]
    """How probable it is."""
    visited: Bool[np.ndarray, "E S S"]
    """Cells that earlier episodes acted in or came to, which the context tells about."""
    path: Float[np.ndarray, "E T1 2"]
    """Cells of each episode, the start included; NaN after its end."""
    found: int | None
    """The first episode, from 0, that came to the goal; None if none did."""


def typical_task(domain: Domain, seed: int) -> Any:
    """Returns the params of the held-out task, among 64, whose goal is at the median distance from the start."""
    keys = jax.random.split(jax.random.key(seed), NUM_CANDIDATES)
    params = jax.vmap(domain.held_out.sample)(keys).params
    start = jax.vmap(lambda key, task: domain.env.reset_env(key, task)[0])(keys, params)
    distance = np.abs(np.asarray(start) - np.asarray(params.goal)).sum(axis=1)
    index = int(np.argsort(distance, kind="stable")[NUM_CANDIDATES // 2])
    return jax.tree.map(lambda leaf: leaf[index], params)


def follow(domain: Domain, agent: InContextAgent, params: Any, *, num_episodes: int, seed: int) -> Walk:
    """Returns episodes of an agent in a Dark Room, in each of which its context stays as it was at the beginning.

    Args:
        domain: a Dark Room, of any options.
        agent: who acts, drawing its actions.
        params: the room.
        num_episodes: E, at least 1.
        seed: of all that is drawn.

    Raises:
        ValueError: if there is no episode.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes is {num_episodes}; a trace has at least 1")
    key_init, key_play, _ = jax.random.split(jax.random.key(seed), 3)
    memory, play = agent.init(key_init, num_episodes * domain.horizon), _make_play(domain, agent)
    walk = Walk([], [], [])
    for index in range(num_episodes):
        walk.memories.append(memory)
        memory, (transitions, is_valid) = play(memory, params, jax.random.fold_in(key_play, index))
        walk.transitions.append(jax.tree.map(np.asarray, transitions))
        walk.is_valid.append(np.asarray(is_valid))
    return walk


def trace_agent(domain: Domain, agent: InContextAgent, params: Any, walk: Walk, *, seed: int) -> Trace:
    """Returns the policy of who walked in every cell before each episode, and the walk; `seed` as in `follow`."""
    key_draw = jax.random.split(jax.random.key(seed), 3)[2]
    look, seen = _make_look(domain, agent), np.zeros((domain.env.size, domain.env.size), bool)
    columns: list[tuple] = []
    for index, (memory, *steps) in enumerate(zip(*walk, strict=True)):
        frequency = np.asarray(look(memory, jax.random.fold_in(key_draw, index)), np.float64)
        path = _path(*steps)
        columns.append((frequency.argmax(-1), frequency.max(-1), seen.copy(), path))
        cells = path[np.isfinite(path[:, 0])].astype(int)
        seen[cells[:, 0], cells[:, 1]] = True
    action, probability, visited, paths = (np.stack(column) for column in zip(*columns, strict=True))
    goal = np.asarray(params.goal)
    came = np.flatnonzero((paths[:, 1:] == goal).all(axis=-1).any(axis=-1))
    return Trace(
        goal, np.asarray(params.moves), action, probability, visited, paths, int(came[0]) if len(came) else None
    )


def _make_play(domain: Domain, agent: InContextAgent) -> Callable:
    """Returns `play(memory, params, key) -> (memory, (transitions, is_valid))` over an episode, absorbed at its end."""
    episode = make_episode(domain, agent, horizon=domain.horizon, updates="episode")

    @jax.jit
    def play(memory: Any, params: Any, key: jax.Array) -> tuple[Any, tuple]:
        memory, _, trace, _ = episode(memory, params, key, None, (0, domain.horizon))
        return absorb(agent, memory, *trace), trace

    return play


def _make_look(domain: Domain, agent: InContextAgent) -> Callable:
    """Returns `look(memory, key) -> [S, S, A]`, how often each action is drawn in cell [x, y]."""
    size, num_actions = domain.env.size, domain.num_actions
    cells = jnp.asarray(np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij"), axis=-1).reshape(-1, 2), jnp.int32)

    @jax.jit
    def look(memory: Any, key: jax.Array) -> jax.Array:
        def frequency(cell: jax.Array, key: jax.Array) -> jax.Array:
            drawn = jax.vmap(lambda key: agent.act(memory, cell, key))(jax.random.split(key, NUM_DRAWS))
            return jnp.mean(jax.nn.one_hot(drawn, num_actions, dtype=jnp.float32), axis=0)

        found = jax.vmap(frequency)(cells, jax.random.split(key, cells.shape[0]))
        return found.reshape(size, size, num_actions)

    return look


def _path(transitions: Any, is_valid: np.ndarray) -> Float[np.ndarray, "T1 2"]:
    """Returns the start and the cell after every step, NaN after the end."""
    after = np.where(is_valid[:, None], transitions.next_observation, np.nan)
    return np.concatenate([transitions.observation[:1].astype(np.float64), after])


def shown_episodes(trace: Trace) -> list[int]:
    """Returns which episodes are drawn, from 0: the first few, the one after the goal was found, and the last."""
    last = len(trace.path) - 1
    chosen = {episode - 1 for episode in SHOWN_EPISODES} | {last}
    chosen |= {trace.found + 1} if trace.found is not None else set()
    return sorted(episode for episode in chosen if episode <= last)


def policy_maps(trace: Trace, label: str) -> Picture:
    """Returns the policy in every cell before some episodes, and the walk that followed; `label` names who acts."""
    episodes = shown_episodes(trace)
    with style():
        figure, axes = make_figure(-(-len(episodes) // 3), 3, height=2.75, sharex=True, sharey=True)
        for axis, episode in zip(axes.flat, episodes, strict=False):
            image = _draw_policy(axis, trace, episode)
            known = trace.found is not None and episode > trace.found
            axis.set_title(f"episode {episode + 1}{', goal seen' if known else ''}", fontsize=8.5)
        hide_unused(axes, len(episodes))
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30, label="probability of the most probable action")
        bar.ax.set_ylim(0.0, 1.0)
        bar.outline.set_visible(False)
    ends = "never found it" if trace.found is None else f"first came to it in episode {trace.found + 1}"
    caption = (
        f"{label} in one held-out room, drawn at random but for a goal of median distance; weights are frozen, and the "
        "context grows by each episode at its end. Arrows: the most probable action in every cell before the episode, "
        "as the move that it makes (dot: staying); blue: how probable it is. Squares: cells that the context tells of. "
        f"Star: the goal, which the agent cannot see; it {ends}. Orange: the walk in the episode, from the circle."
    )
    return Picture("policy", "How the policy changes in a room", caption, figure, _numbers(trace, episodes))


def _numbers(trace: Trace, episodes: list[int]) -> dict[str, np.ndarray]:
    numbers = {name: np.asarray(value) for name, value in trace._asdict().items() if name != "found"}
    return numbers | {"episodes": np.array(episodes) + 1}


def _draw_policy(axis: Axes, trace: Trace, episode: int) -> AxesImage:
    """Draws one panel: colours, arrows, visited cells, goal and walk."""
    image = axis.imshow(trace.probability[episode].T, origin="lower", **SHADES)
    dx, dy = np.moveaxis(MOVES[trace.moves[trace.action[episode]]], -1, 0)
    x, y = np.indices(dx.shape)
    goes = (dx != 0) | (dy != 0)
    arrows = {"pivot": "mid", "units": "xy", "angles": "xy", "scale_units": "xy", "scale": 1.9, "width": 0.07}
    axis.quiver(x[goes], y[goes], dx[goes], dy[goes], color=INK, headwidth=4.0, headlength=4.5, zorder=3, **arrows)
    axis.plot(x[~goes], y[~goes], ".", color=INK, markersize=5.0, zorder=3)
    cell = 185.0 / len(dx)
    seen = trace.visited[episode]
    edge = {"marker": "s", "facecolors": "none", "edgecolors": INK, "linewidths": 0.7}
    axis.scatter(x[seen], y[seen], s=(0.55 * cell) ** 2, zorder=2, **edge)
    _draw_walk(axis, trace.path[episode], cell)
    star = {"marker": "*", "color": "#ffd23f", "edgecolors": INK, "linewidths": 0.8}
    axis.scatter(*trace.goal, s=(0.45 * cell) ** 2, zorder=5, **star)
    axis.set(xticks=[0, len(dx) - 1], yticks=[0, len(dx) - 1])
    axis.grid(False)
    return image


def _draw_walk(axis: Axes, path: Float[np.ndarray, "T1 2"], cell: float) -> None:
    """Draws the walk through the lower left of cells, so that arrows stay visible."""
    shifted = path - 0.22
    outline = [withStroke(linewidth=3.0, foreground="white")]
    axis.plot(*shifted.T, color=PATH_COLOUR, linewidth=1.4, zorder=4, path_effects=outline, solid_joinstyle="round")
    axis.plot(*shifted[0], "o", color=PATH_COLOUR, markersize=max(2.5, 0.11 * cell), markeredgecolor="white", zorder=4)
