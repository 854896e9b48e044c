"""RIAC: a tree of boxes that splits where learning progress differs, and proposes in boxes with much progress.

Source: Baranes and Oudeyer 2009; Portelas et al. 2019 and flowersteam/teachDeepRL.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.teachers.base import TaskBox, Teacher, is_present, proportional

NUM_CANDIDATES = 256
"""Cuts drawn at once; the first `num_attempts` of them with enough episodes on both sides compete."""
MUTATION = 0.1
"""Standard deviation of the noise around the worst task of a box, in units of the box of all tasks."""
MARGIN = 1e-5
"""By which mutated tasks stay away from the sides of their box."""


class RIACState(NamedTuple):
    """A tree of N nodes at most, each with the last M episodes that fell into its box."""

    low: Float[Array, "N D"]
    """Smallest tasks of each node's box."""
    high: Float[Array, "N D"]
    """Largest tasks of each node's box."""
    is_leaf: Bool[Array, " N"]
    progress: Float[Array, " N"]
    """Absolute learning progress of each node."""
    num_nodes: Int[Array, ""]
    """Nodes so far; those before have been made."""
    tasks: Float[Array, "N M D"]
    """Ring of each node; episode i of a node lies at place i mod M."""
    rewards: Float[Array, "N M"]
    count: Int[Array, " N"]
    """Episodes that each node has taken in."""
    kept: Int[Array, " N"]
    """How many of the last of them count."""


def riac(
    box: TaskBox,
    *,
    region_size: int = 200,
    num_attempts: int = 50,
    min_share: float = 1.0 / 15.0,
    max_nodes: int = 256,
    refit_every: int = 10,
    leaves_only: bool = False,
    faithful: bool = False,
) -> Teacher:
    """Returns RIAC.

    A node's absolute learning progress is the difference of the mean rewards of the older and the newer half of its
    last episodes. A leaf with more than `region_size` of them is cut where `n1 n2 |progress1 - progress2|` is largest,
    among `num_attempts` random cuts that leave a twentieth of `region_size` on both sides; if none keeps both boxes
    long enough, the oldest quarter of the leaf is forgotten. A tenth of the tasks lies near the worst one of a node
    drawn by progress, a fifth is uniform, the rest uniform in a node drawn by progress.

    Args:
        box: where tasks live.
        region_size: episodes in a leaf before it is cut.
        num_attempts: random cuts that compete.
        min_share: shortest side of a new box along the cut, as a share of the box of all tasks.
        max_nodes: nodes that there is room for, leaves and inner ones; then no leaf is cut any more.
        refit_every: episodes between two looks at progress and cuts; a look cuts one leaf at most. Once an episode in
            the original.
        leaves_only: whether tasks are drawn from leaves alone.
        faithful: the score ignores n1 and n2, as in the original code.

    Raises:
        ValueError: if a setting is out of range.
    """
    if region_size < 20 or num_attempts < 1 or max_nodes < 3 or refit_every < 1 or not 0.0 <= min_share < 0.5:
        raise ValueError(
            f"riac was given region_size={region_size}, num_attempts={num_attempts}, min_share={min_share}, "
            f"max_nodes={max_nodes} and refit_every={refit_every}; give region_size >= 20, num_attempts >= 1, "
            "min_share in [0, 0.5), max_nodes >= 3 and refit_every >= 1"
        )
    capacity = region_size + 1
    find_cut = _cut_finder(box, region_size, num_attempts, min_share, weighs_counts=not faithful)

    def init(key: Array) -> RIACState:
        dimensions = box.num_dimensions
        return RIACState(
            low=jnp.broadcast_to(jnp.asarray(box.low)[None], (max_nodes, dimensions)),
            high=jnp.broadcast_to(jnp.asarray(box.high)[None], (max_nodes, dimensions)),
            is_leaf=jnp.arange(max_nodes) == 0,
            progress=jnp.zeros((max_nodes,), jnp.float32),
            num_nodes=jnp.int32(1),
            tasks=jnp.zeros((max_nodes, capacity, dimensions), jnp.float32),
            rewards=jnp.zeros((max_nodes, capacity), jnp.float32),
            count=jnp.zeros((max_nodes,), jnp.int32),
            kept=jnp.zeros((max_nodes,), jnp.int32),
        )

    def observe(state: RIACState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> RIACState:
        def insert(state: RIACState, row: tuple[Array, Array, Array]) -> tuple[RIACState, None]:
            return _insert(state, *row), None

        rows = (vectors, box.reward(returns), is_present(returns))
        return jax.lax.scan(insert, state, rows)[0]

    def refit(key: Array, state: RIACState) -> RIACState:
        state = state._replace(progress=node_progress(state, region_size))
        fullest = jnp.argmax(jnp.where(state.is_leaf, state.kept, -1))
        is_due = (state.kept[fullest] > region_size) & (state.num_nodes + 2 <= max_nodes)
        cut = find_cut(key, state, fullest)
        split, shortened = _split(state, fullest, cut, region_size), _forget(state, fullest, region_size // 4)
        changed = jax.tree.map(lambda a, b: jnp.where(cut.is_valid, a, b), split, shortened)
        return jax.tree.map(lambda new, old: jnp.where(is_due, new, old), changed, state)

    def portrait(state: RIACState) -> dict[str, Array]:
        return {"low": state.low, "high": state.high, "is_used": state.is_leaf, "utility": state.progress}

    return Teacher(init, _sampler(box, leaves_only), observe, refit, refit_every, portrait)


def _sampler(box: TaskBox, leaves_only: bool) -> Callable[[Array, RIACState, int], Float[Array, "n D"]]:
    def sample(key: Array, state: RIACState, num: int) -> Float[Array, "n D"]:
        key_kind, key_node, key_place, key_root, key_noise = jax.random.split(key, 5)
        is_made = jnp.arange(state.is_leaf.shape[0]) < state.num_nodes
        open_to = is_made & (state.is_leaf | (not leaves_only))
        node = jax.random.categorical(key_node, proportional(state.progress, open_to), shape=(num,))
        low, high = state.low[node], state.high[node]
        inside = low + jax.random.uniform(key_place, low.shape) * (high - low)
        mutated = worst_task(state, node) + MUTATION * jax.random.normal(key_noise, low.shape)
        mutated = jnp.clip(mutated, low + MARGIN, high - MARGIN)
        has_episodes = (state.kept[node] > 0)[:, None]
        kind = jax.random.uniform(key_kind, (num, 1))
        proposed = jnp.where((kind < 0.1) & has_episodes, mutated, inside)
        return jnp.where((kind >= 0.1) & (kind < 0.3), box.uniform(key_root, num), proposed)

    return sample


def worst_task(state: RIACState, node: Int[Array, " n"]) -> Float[Array, "n D"]:
    """Returns the task of the lowest reward that each of these nodes remembers."""
    is_kept = _age(state.count[node], state.rewards.shape[1]) < state.kept[node][:, None]
    worst = jnp.argmin(jnp.where(is_kept, state.rewards[node], jnp.inf), axis=1)
    return state.tasks[node, worst]


def _age(count: Int[Array, " n"], capacity: int) -> Int[Array, "n M"]:
    """Returns how many episodes came after the one at each place of a node, if all its places are filled."""
    place = jnp.arange(capacity, dtype=jnp.int32)[None]
    return jnp.mod(count[:, None] - 1 - place, capacity)


def node_progress(state: RIACState, region_size: int) -> Float[Array, " N"]:
    """Returns the absolute learning progress of each node over its last `region_size` episodes; 0 for 2 or fewer."""
    age = _age(state.count, state.rewards.shape[1])
    return _progress(state.rewards, age, jnp.minimum(state.kept, region_size))


def _progress(
    rewards: Float[Array, "*batch M"], age: Int[Array, "*batch M"], num: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Returns |mean of the older half - mean of the newer half| of the `num` newest; the older has one more if odd."""
    newer = num // 2
    is_newer, is_older = age < newer[..., None], (age >= newer[..., None]) & (age < num[..., None])

    def mean(mask: Bool[Array, "*batch M"], amount: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        return jnp.sum(jnp.where(mask, rewards, 0.0), axis=-1) / jnp.maximum(amount, 1).astype(jnp.float32)

    difference = jnp.abs(mean(is_older, num - newer) - mean(is_newer, newer))
    return jnp.where(num > 2, difference, 0.0)


def _insert(state: RIACState, task: Float[Array, " D"], reward: Array, present: Bool[Array, ""]) -> RIACState:
    """Returns the tree with an episode added to every node on its path; one on a threshold takes both."""
    num_nodes, capacity = state.rewards.shape
    node = jnp.arange(num_nodes)
    inside = jnp.all((task[None] >= state.low) & (task[None] <= state.high), axis=1) & (node < state.num_nodes)
    taken = inside & present
    place = jnp.where(taken, jnp.mod(state.count, capacity), capacity)
    added = taken.astype(jnp.int32)
    return state._replace(
        tasks=state.tasks.at[node, place].set(task[None], mode="drop"),
        rewards=state.rewards.at[node, place].set(reward, mode="drop"),
        count=state.count + added,
        kept=jnp.minimum(state.kept + added, capacity),
    )


class Cut(NamedTuple):
    """How a leaf could be cut in two."""

    is_valid: Bool[Array, ""]
    """Whether any attempt was good."""
    axis: Int[Array, ""]
    threshold: Float[Array, ""]


def _cut_finder(
    box: TaskBox, region_size: int, num_attempts: int, min_share: float, *, weighs_counts: bool
) -> Callable[[Array, RIACState, Array], Cut]:
    fewest = region_size // 20

    def find(key: Array, state: RIACState, leaf: Int[Array, ""]) -> Cut:
        key_axis, key_place = jax.random.split(key)
        low, high = state.low[leaf], state.high[leaf]
        axis = jax.random.randint(key_axis, (NUM_CANDIDATES,), 0, box.num_dimensions)
        threshold = low[axis] + jax.random.uniform(key_place, (NUM_CANDIDATES,)) * (high - low)[axis]
        tasks, rewards, is_kept, age = _oldest_first(state, leaf)
        is_left = (tasks.T[axis] <= threshold[:, None]) & is_kept[None]
        is_right = (tasks.T[axis] >= threshold[:, None]) & is_kept[None]
        (num_left, progress_left), (num_right, progress_right) = (
            _side(rewards, side, region_size) for side in (is_left, is_right)
        )
        has_enough = (num_left >= fewest) & (num_right >= fewest)
        attempt = jnp.cumsum(has_enough.astype(jnp.int32))
        shortest = jnp.minimum(threshold - low[axis], high[axis] - threshold)
        is_valid = has_enough & (attempt <= num_attempts) & (shortest >= min_share * jnp.asarray(box.size)[axis])
        score = jnp.abs(progress_left - progress_right)
        score = score * (num_left * num_right).astype(jnp.float32) if weighs_counts else score
        score = jnp.where(is_valid, score, -1.0)
        best = NUM_CANDIDATES - 1 - jnp.argmax(score[::-1])  # of equal ones the last
        return Cut(jnp.any(is_valid), axis[best], threshold[best])

    return find


def _oldest_first(state: RIACState, leaf: Int[Array, ""]) -> tuple[Array, Array, Array, Array]:
    """Returns (tasks [M, D], rewards [M], which are kept [M], age [M]) of a node in the order of its episodes."""
    capacity = state.rewards.shape[1]
    age = jnp.arange(capacity - 1, -1, -1, dtype=jnp.int32)
    place = jnp.mod(state.count[leaf] - 1 - age, capacity)
    return state.tasks[leaf, place], state.rewards[leaf, place], age < state.kept[leaf], age


def _side(
    rewards: Float[Array, " M"], mask: Bool[Array, "n M"], region_size: int
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Returns (how many episodes, learning progress) of these subsets of episodes, oldest first."""
    amount = jnp.cumsum(mask.astype(jnp.int32), axis=1)
    total = amount[:, -1]
    age = jnp.where(mask, total[:, None] - amount, rewards.shape[0])
    return total, _progress(jnp.broadcast_to(rewards[None], mask.shape), age, jnp.minimum(total, region_size))


def _split(state: RIACState, leaf: Int[Array, ""], cut: Cut, region_size: int) -> RIACState:
    """Returns the tree in which a leaf has two children with its episodes and their progress."""
    tasks, rewards, is_kept, _ = _oldest_first(state, leaf)
    along = jnp.take(tasks, cut.axis, axis=1)
    left, right = state.num_nodes, state.num_nodes + 1
    low, high = state.low[leaf], state.high[leaf]
    for child, mask, bounds in (
        (left, is_kept & (along <= cut.threshold), (low, high.at[cut.axis].set(cut.threshold))),
        (right, is_kept & (along >= cut.threshold), (low.at[cut.axis].set(cut.threshold), high)),
    ):
        order = jnp.argsort(~mask, stable=True)
        num, progress = _side(rewards, mask[None], region_size)
        state = state._replace(
            low=state.low.at[child].set(bounds[0]),
            high=state.high.at[child].set(bounds[1]),
            tasks=state.tasks.at[child].set(tasks[order]),
            rewards=state.rewards.at[child].set(rewards[order]),
            count=state.count.at[child].set(num[0]),
            kept=state.kept.at[child].set(num[0]),
            progress=state.progress.at[child].set(progress[0]),
            is_leaf=state.is_leaf.at[child].set(True),
        )
    return state._replace(is_leaf=state.is_leaf.at[leaf].set(False), num_nodes=state.num_nodes + 2)


def _forget(state: RIACState, leaf: Int[Array, ""], num: int) -> RIACState:
    return state._replace(kept=state.kept.at[leaf].add(-num))
