"""Acting on given data: whose data they are shows in what agents that copy them do."""

import jax.numpy as jnp
import pytest

from envs.domains import make_domain
from metarl.experiments.acting import act
from metarl.experiments.pretrain_config import ActingConfig
from metarl.incontext.agent import InContextAgent

BANDIT = make_domain("bandit@horizon=20,quadrature=101")
ROOM = make_domain("darkroom@size=3,horizon=5")
BOTH = ("behaviour", "expert")
STAY = 4


def examine(domain, agent, contexts=BOTH, num_tasks=64):
    config = ActingConfig(modes=("offline",), num_tasks=num_tasks, batch_size=num_tasks)
    return act({"copy": lambda weights: agent}, domain, config, seed=0, contexts=contexts)


def copies(start, index):
    """An agent that repeats what was last done where it is, by an index of its memory; before that it does `start`."""

    def observe(memory, transition, is_valid):
        at = index(transition.observation)
        return memory.at[at].set(jnp.where(is_valid, transition.action, memory[at]))

    return InContextAgent(lambda key, capacity: start, lambda memory, at, key: memory[index(at)], observe)


def values_of(findings, protocol, size):
    (row,) = (
        row
        for row in findings.rows
        if (row["setting"].get("protocol", "frozen"), row["setting"]["context"]) == (protocol, size)
    )
    return row["values"]


def test_who_copies_an_expert_of_a_bandit_loses_nothing():
    findings = examine(BANDIT, copies(jnp.zeros((1,), jnp.int32), lambda observation: 0))
    settings = [row["setting"] for row in findings.rows]
    assert settings[0] == {"mode": "offline", "context": 0}
    assert settings[-1] == {"mode": "offline", "protocol": "frozen-expert", "context": 20}
    assert max(values_of(findings, "frozen-expert", 1)) == 0.0 < max(values_of(findings, "frozen", 1))
    assert values_of(findings, "frozen-expert", 0) == values_of(findings, "frozen", 0)  # nothing was given
    assert set(findings.curves) == {"offline/frozen/copy", "offline/frozen-expert/copy"}


def test_who_copies_an_expert_of_a_room_collects_as_much():
    agent = copies(jnp.full((3, 3), STAY, jnp.int32), lambda cell: (cell[0], cell[1]))
    findings = examine(ROOM, agent)
    protocols = dict.fromkeys(row["setting"]["protocol"] for row in findings.rows)
    assert list(protocols) == ["frozen", "stepwise", "frozen-expert", "stepwise-expert"]
    for protocol in ("frozen-expert", "stepwise-expert"):  # the held-out goals are the start and one three steps away
        assert set(values_of(findings, protocol, 50)) == {5.0, 3.0}
        assert set(values_of(findings, protocol, 0)) == {5.0, 0.0}


def test_data_are_those_of_training_unless_asked_for():
    agent = copies(jnp.zeros((1,), jnp.int32), lambda observation: 0)
    alone = examine(BANDIT, agent, contexts=("behaviour",))
    assert alone.rows == [row for row in examine(BANDIT, agent).rows if "protocol" not in row["setting"]]


def unknown(observation, params):
    raise ValueError("nobody knows what to do here")


@pytest.mark.parametrize(
    ("contexts", "domain", "words"),
    [((), BANDIT, "contexts is empty"), (("expert",), ROOM._replace(expert=unknown), "nobody knows")],
)
def test_data_that_nobody_gathers_are_refused(contexts, domain, words):
    with pytest.raises(ValueError, match=words):
        examine(domain, None, contexts=contexts)
