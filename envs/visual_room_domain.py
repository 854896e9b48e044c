"""The visual room as an in-context domain: rooms of two layouts, what a network is shown, and which rooms are held out.

Source: Lee et al. 2023 (DPT), the image-based navigation task.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from envs.domain import Belief, Domain
from envs.family import Task, TaskFamily
from envs.finite_tasks import MAX_LIFETIME, enumerated_belief, split_indices
from envs.visual_room import (
    BOX_RADIUS,
    CORNERS,
    NUM_ACTIONS,
    PALETTE,
    VisualRoom,
    VisualRoomParams,
    corner_params,
    expert_action,
    move,
    pose_of,
    random_pose,
    reward,
)

PLACES = np.array([cell for cell in itertools.product((1.0, 3.0, 5.0), repeat=2) if cell != (3.0, 3.0)], np.float32)
"""Middles of the squares, 2 m wide, that a box may stand in: all but that of the start."""
JITTER = 1.0 - BOX_RADIUS
"""How far from the middle, along x and z, so that boxes neither overlap nor leave the room, however turned."""
IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet, by which networks are shown images."""
LAYOUTS = ("general", "corners")


def place_sets(num_boxes: int) -> Int[np.ndarray, "n N"]:
    """Returns every set of places, as ascending indices into `PLACES`, that this many boxes may stand in."""
    return np.array(list(itertools.combinations(range(len(PLACES)), num_boxes)), np.int32)


def _quantile_index(quantile: Float[Array, ""], count: int) -> Int[Array, ""]:
    return jnp.clip((quantile * count).astype(jnp.int32), 0, count - 1)


def _general_family(env: VisualRoom, num_boxes: int, horizon: int, sets: Int[np.ndarray, "n N"]) -> TaskFamily:
    """Returns the law of rooms whose boxes stand in one of these sets of places.

    A task vector holds quantiles of the set, of the offsets from the middles, and of the target, and as many numbers
    as there are colours: their order is that in which colours are given to boxes.
    """
    num_dimensions = 1 + 2 * num_boxes + 1 + len(PALETTE)

    def decode(vector: Float[Array, " D"]) -> Task:
        vector = jnp.clip(vector, 0.0, 1.0)
        offsets, rest = vector[1 : 1 + 2 * num_boxes].reshape(num_boxes, 2), vector[1 + 2 * num_boxes :]
        places = jnp.asarray(sets)[_quantile_index(vector[0], len(sets))]
        params = VisualRoomParams(
            max_steps_in_episode=jnp.int32(horizon),
            positions=jnp.asarray(PLACES)[places] + (2.0 * offsets - 1.0) * JITTER,
            colours=jnp.argsort(rest[1:])[:num_boxes].astype(jnp.int32),
            target=_quantile_index(rest[0], num_boxes),
        )
        return Task(params, jnp.int32(MAX_LIFETIME))

    def sample(key: Array) -> Task:
        return decode(jax.random.uniform(key, (num_dimensions,)))

    return TaskFamily("visual-room", env, sample, decode, num_dimensions, MAX_LIFETIME, horizon)


def _corner_family(env: VisualRoom, horizon: int) -> TaskFamily:
    """Returns the law of the four original rooms; a task vector holds the target's quantile."""

    def decode(vector: Float[Array, "1"]) -> Task:
        return Task(corner_params(_quantile_index(vector[0], len(CORNERS)), horizon), jnp.int32(MAX_LIFETIME))

    def sample(key: Array) -> Task:
        return decode(jax.random.uniform(key, (1,)))

    return TaskFamily("visual-room", env, sample, decode, 1, MAX_LIFETIME, horizon)


def encode(observation: Float[Array, " D"]) -> Float[Array, " E"]:
    """Returns what a network is shown: the image with ImageNet's mean and deviation taken out, cosine and sine."""
    image = (observation[:-5].reshape(-1, 3) - jnp.asarray(IMAGE_MEAN)[None]) / jnp.asarray(IMAGE_DEVIATION)[None]
    return jnp.concatenate([image.reshape(-1), observation[-5:-3]])


def visual_room(
    *, layout: str = "general", num_boxes: int = 4, image_size: int = 25, horizon: int = 50, samples: int = 1
) -> Domain:
    """Returns the room in which the box of a hidden colour pays, seen as an image and a heading.

    In the `general` layout boxes of random, distinct colours stand in random places, and any of them is as probably
    the target as any other. Four fifths of the sets of squares that boxes can occupy are for training, the rest for
    testing, so that what a room looks like tells nothing about its target, in either.

    The `corners` are the original: four tasks, which leave nothing to hold out, so that test tasks are training tasks.
    Their exact belief is about what a network is shown, rewards but no next images: it does not use that the target
    alone is in the way of going forward.

    Args:
        layout: `general` or `corners`.
        num_boxes: from 2 to 7 in the general layout; 4 in the corners.
        image_size: pixels along a side, at least 8.
        horizon: steps of an episode.
        samples: rays per pixel along a side, 1 or more.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check(layout, num_boxes, image_size, horizon, samples)
    env = VisualRoom(image_size, samples=samples)

    def expert(observation: Float[Array, " D"], params: VisualRoomParams) -> Float[Array, "4"]:
        return jax.nn.one_hot(expert_action(pose_of(observation), params), NUM_ACTIONS, dtype=jnp.float32)

    def transition(uniforms, observation, action, params):
        pose = move(pose_of(observation), action, params)
        return reward(pose, params), env.look(pose, params)

    if layout == "corners":
        family = held_out = _corner_family(env, horizon)
        belief = _corner_belief(horizon, expert)
    else:
        sets = place_sets(num_boxes)
        family, held_out = (_general_family(env, num_boxes, horizon, sets[part]) for part in split_indices(len(sets)))
        belief = None
    return Domain(
        name="visual-room",
        family=family,
        held_out=held_out,
        horizon=horizon,
        context_length=horizon,
        num_actions=NUM_ACTIONS,
        observation_size=image_size**2 * 3 + 2,
        encode=encode,
        transition=transition,
        sample_query=lambda key, params: env.look(random_pose(key), params),
        expert=expert,
        belief=belief,
        image_shape=(image_size, image_size, 3),
        shows_next=False,
    )


def _check(layout: str, num_boxes: int, image_size: int, horizon: int, samples: int) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"visual-room was given layout={layout!r}; choose one of {', '.join(LAYOUTS)}")
    if layout == "corners" and num_boxes != len(CORNERS):
        raise ValueError(f"visual-room was given num_boxes={num_boxes}; the corners hold 4, or choose layout=general")
    if not 2 <= num_boxes < len(PLACES):
        raise ValueError(f"visual-room was given num_boxes={num_boxes}; it can have 2 to {len(PLACES) - 1} boxes")
    if image_size < 8 or horizon < 1 or samples < 1:
        raise ValueError(
            f"visual-room was given image_size={image_size}, horizon={horizon}, samples={samples}; it needs at least 8 "
            "pixels, a step and a sample"
        )


def _corner_belief(horizon: int, expert: Callable[[Any, Any], Float[Array, "4"]]) -> Belief:
    """Returns inference about which corner pays, from what rewards would have been in each of the four rooms."""

    def consistent(observation, action, paid, next_observation, params):
        return (reward(move(pose_of(observation), action, params), params) > 0.5) == (paid > 0.5)

    hypotheses = jax.vmap(lambda target: corner_params(target, horizon))(jnp.arange(len(CORNERS), dtype=jnp.int32))
    return enumerated_belief(hypotheses, consistent, expert)
