"""What a model does in Dark Rooms, shown: its policy in every cell, and what it looks at."""

from collections.abc import Sequence

from analysis.figure import Picture, arm_label
from analysis.incontext_attention import attention_maps, gaze
from analysis.incontext_results import named
from analysis.incontext_traces import follow, policy_maps, trace_agent, typical_task
from analysis.page import Html, picture_block, section
from envs.domains import make_domain
from metarl.incontext.export import TrainedModel

NUM_EPISODES = 10
"""Episodes that a model is watched for in a Dark Room."""


def room_pictures(model: TrainedModel) -> list[Picture]:
    """Returns policy and attention of a model in a room of every Dark Room that it was trained on.

    The seed is that of its training, and its contexts leave out what was seen if they did so when it was examined, as
    far as its record tells.
    """
    config = model.record.get("config") or {}
    acting, seed = config.get("acting") or {}, int(config.get("seed") or 0)
    pictures, label = [], arm_label(model.kind)
    for env in (env for env in model.env if env.startswith("darkroom")):
        domain = make_domain(env)
        skips_seen = bool(acting.get("skips_seen")) and domain.pair_index is not None
        agent, params = model.agent(domain, skips_seen=skips_seen), typical_task(domain, seed)
        walk = follow(domain, agent, params, num_episodes=NUM_EPISODES, seed=seed)
        trace = trace_agent(domain, agent, params, walk, seed=seed)
        pictures.append(named(policy_maps(trace, label), env, model.env))
        looks = gaze(domain, agent, walk, trace, skips_seen=skips_seen)
        if looks is not None:
            pictures.append(named(attention_maps(looks, trace, label), env, model.env))
    return pictures


def rooms_section(pictures: Sequence[Picture]) -> Html | str:
    """Returns the section of these pictures; nothing if there are none."""
    return section("What the policy does", *map(picture_block, pictures)) if pictures else ""
