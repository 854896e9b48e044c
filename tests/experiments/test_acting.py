"""The examination of agents, with agents whose results are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.experiments.acting import act, longest_context
from metarl.experiments.examine_model import Contestant, contestant, examine_models
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import ActingConfig
from metarl.experiments.pretrain_presets import SMOKE
from metarl.incontext.agent import InContextAgent, uniform_agent
from metarl.incontext.deploy import make_episode
from metarl.incontext.export import load_model, save_model

BANDIT = make_domain("bandit@horizon=20,quadrature=101")
ROOM = make_domain("darkroom@size=3,horizon=5")


def always(action):
    return InContextAgent(
        lambda key, capacity: jnp.int32(0),
        lambda memory, observation, key: jnp.int32(action),
        lambda memory, *_: memory,
    )


def by(rows, **wanted):
    """The rows with this arm, metric or setting."""
    return [row for row in rows if all({**row, **row["setting"]}.get(name) == value for name, value in wanted.items())]


@pytest.fixture(scope="module")
def bandit_findings():
    arms = {"zero": lambda weights: always(0), "uniform": lambda weights: uniform_agent(BANDIT)}
    return act(arms, BANDIT, ActingConfig(num_tasks=600, batch_size=200), seed=0)


def test_regret_of_one_arm_is_what_it_lacks_times_the_pulls(bandit_findings):
    rows = by(bandit_findings.rows, arm="zero", metric="regret")
    assert [row["setting"]["horizon"] for row in rows] == [10, 20]
    for row in rows:
        pulls = row["setting"]["horizon"]
        # E max of five uniforms is 5/6, of one 1/2.
        assert abs(row["mean"] - pulls / 3) < 4 * row["error"] and row["num_tasks"] == 600
    np.testing.assert_allclose(np.array(rows[1]["values"]), 2.0 * np.array(rows[0]["values"]), rtol=1e-3)


def test_a_curve_stands_beside_the_rows(bandit_findings):
    curve = bandit_findings.curves["online/stepwise/uniform"]
    assert curve.mean.shape == curve.error.shape == (20,) and (np.diff(curve.mean) > 0).all()
    row = by(bandit_findings.rows, arm="uniform", metric="regret", horizon=10)[0]
    np.testing.assert_allclose([curve.mean[9], curve.error[9]], [row["mean"], row["error"]], rtol=1e-4)
    assert row["low"] < row["iqm"] < row["high"]


def test_one_arm_lacks_the_same_whatever_the_data_set(bandit_findings):
    rows = by(bandit_findings.rows, arm="zero", metric="suboptimality")
    assert [row["setting"]["context"] for row in rows] == [0, 1, 2, 5, 10, 20]
    assert len({row["mean"] for row in rows}) == 1 and abs(rows[0]["mean"] - 1 / 3) < 4 * rows[0]["error"]


def test_staying_at_the_start_of_a_room_pays_where_the_goal_is_there():
    config = ActingConfig(num_tasks=64, num_episodes=3, batch_size=64)
    findings = act({"stay": lambda weights: always(4)}, ROOM, config, seed=0)
    values = {tuple(row["values"]) for row in by(findings.rows, metric="return")}
    assert len(values) == 1 and set(values.pop()) == {0.0, 5.0}  # the held-out goals are the start and one other
    known = by(findings.rows, metric="return_once_rewarded")
    assert {(row["arm"], row["setting"]["protocol"]) for row in known} == {
        (arm, protocol) for arm in ("stay", "expert") for protocol in ("official", "frozen", "stepwise")
    }
    for row in known:  # whoever stays sees a reward only where the goal is the start; the expert walks to the other
        assert set(row["values"]) == ({5.0} if row["arm"] == "stay" else {5.0, 3.0})
        assert row["num_tasks"] == (64 if row["arm"] == "expert" else sum(value > 0.0 for value in row["values"]))
    protocols = {row["setting"]["protocol"] for row in by(findings.rows, mode="online")}
    assert protocols == {"official", "frozen", "stepwise"}
    assert {row["setting"]["episode"] for row in by(findings.rows, mode="online")} == {1, 2, 3, "all"}


def test_where_nothing_infers_exactly_the_expert_is_shown_in_every_episode():
    config = ActingConfig(num_tasks=16, num_episodes=3, modes=("online",), protocols=("stepwise", "frozen"))
    findings = act({"stay": lambda weights: always(4)}, ROOM._replace(belief=None), config, seed=0)
    for protocol in config.protocols:
        rows = by(findings.rows, arm="expert", protocol=protocol, metric="return")
        assert [row["setting"]["episode"] for row in rows] == [1, 2, 3, "all"]
        assert all(set(row["values"]) == {5.0, 3.0} for row in rows)
        np.testing.assert_allclose(findings.curves[f"online/{protocol}/expert"].mean, rows[0]["mean"], rtol=1e-6)
    exact = act({"stay": lambda weights: always(4)}, ROOM, config, seed=0)
    assert not by(exact.rows, arm="expert", metric="return")


def test_all_agents_meet_the_same_tasks():
    arms = {name: lambda weights: always(1) for name in ("a", "b")}
    rows = act(arms, BANDIT, ActingConfig(num_tasks=32, modes=("online",)), seed=3).rows
    assert by(rows, arm="a")[0]["values"] == by(rows, arm="b")[0]["values"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model, written and read again."""
    pretraining = make_pretraining(SMOKE)
    params = jax.device_get(pretraining.model.init(jax.random.key(0)))
    path = save_model(tmp_path_factory.mktemp("model"), pretraining.settings, SMOKE.env, params, {"made": "here"})
    return load_model(path)


def test_a_model_that_was_written_acts_as_before(model):
    fresh = make_pretraining(SMOKE)
    params = fresh.model.init(jax.random.key(0))
    task = BANDIT.family.sample(jax.random.key(1)).params
    for greedy in (False, True):
        agents = [model.agent(greedy=greedy), fresh.model.agent(params, fresh.domains[0], greedy=greedy)]
        found = [agent.act(agent.init(jax.random.key(0), 4), task.means[:1], jax.random.key(2)) for agent in agents]
        assert int(found[0]) == int(found[1])
    assert model.kind == "dpt" and model.record == {"made": "here"}


def test_a_model_that_was_written_acts_as_before_over_episodes_that_fill_its_memory(tmp_path):
    """Two episodes of 20 pulls with room for 16: every action, every reward, and all that is remembered."""
    pretraining = make_pretraining(SMOKE)
    params = jax.tree.map(lambda leaf: 4.0 * leaf, pretraining.model.init(jax.random.key(0)))  # so that data matter
    loaded = load_model(save_model(tmp_path, pretraining.settings, SMOKE.env, jax.device_get(params), {}))
    other = jax.tree.map(lambda leaf: 1.1 * leaf, params)
    task = BANDIT.family.sample(jax.random.key(1)).params

    def life(agent):
        play, memory, steps = make_episode(BANDIT, agent, horizon=20), agent.init(jax.random.key(0), 16), []
        for episode in range(2):
            memory, _, trace, _ = play(memory, task, jax.random.key(episode), None, (0, 20))
            steps.append(trace)
        return memory, steps

    agents = loaded.agent(), *(pretraining.model.agent(one, pretraining.domains[0]) for one in (params, other))
    found, expected, different = (jax.jit(lambda agent=agent: life(agent))() for agent in agents)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    memory, steps = found
    assert int(memory.cache.length) == 40 and bool(memory.cache.is_filled.all())
    actions, others = (np.concatenate([one.action for one, _ in life[1]]) for life in (found, different))
    assert len(np.unique(actions)) > 1 and (actions != others).any()


def test_models_and_baselines_are_examined_together(model):
    config = ActingConfig(num_tasks=16, batch_size=16)
    findings = examine_models([contestant(model)], BANDIT, config, seed=0, baselines=("emp", "ucb1.0"))
    assert {row["arm"] for row in by(findings.rows, mode="online")} == {"dpt", "dpt-greedy", "emp", "ucb1.0"}
    with pytest.raises(ValueError, match="no baseline 'luck'"):
        examine_models([contestant(model)], BANDIT, config, seed=0, baselines=("luck",))
    twice = Contestant("dpt", model.model.agent, model.params)
    with pytest.raises(ValueError, match="called alike"):
        examine_models([twice, twice], BANDIT, config, seed=0, baselines=())


def test_greedy_models_act_in_rooms_if_asked_to():
    def agent(weights, domain, *, greedy=False, skips_seen=False):
        return always(4) if greedy else uniform_agent(domain)

    config = ActingConfig(num_tasks=32, num_episodes=2, batch_size=32, modes=("online",), protocols=("stepwise",))
    models, found = [Contestant("stub", agent, ())], {}
    for acts_greedily in (False, True):
        findings = examine_models(models, ROOM, config, seed=0, baselines=(), acts_greedily=acts_greedily)
        found[acts_greedily] = by(findings.rows, metric="return")
    assert {row["arm"] for row in found[False]} == {"stub"}
    assert by(found[True], arm="stub") == found[False]
    for row in by(found[True], arm="stub-greedy"):  # which stays at the start, where the goal is in half of the tasks
        assert set(row["values"]) == {0.0, 5.0}


@pytest.mark.parametrize(
    ("config", "domain", "longest"),
    [
        (ActingConfig(), "bandit@horizon=20", 20),
        (ActingConfig(horizon=70, modes=("online",)), "bandit@horizon=20", 70),
        (ActingConfig(num_episodes=4, modes=("online",)), "darkroom@size=3,horizon=50", 45),  # pairs that differ
        (ActingConfig(num_episodes=4, modes=("online",), skips_seen=False), "darkroom@size=3,horizon=50", 200),
        (ActingConfig(num_episodes=4, modes=("online",), skips_seen=False, capacity=60), "darkroom@size=3", 60),
        (
            ActingConfig(protocols=("official",), modes=("online",), skips_seen=False),
            "darkroom@size=3,horizon=50",
            50,
        ),
    ],
)
def test_the_longest_context_follows_from_protocol_and_room(config, domain, longest):
    assert longest_context(make_domain(domain), config) == longest


def test_contexts_longer_than_in_training_are_announced(model):
    said = []
    for horizon in (20, 40):
        config = ActingConfig(num_tasks=4, batch_size=4, horizon=horizon, modes=("online",))
        known = contestant(model)._replace(context_length=20)
        examine_models([known], BANDIT, config, seed=0, baselines=(), report=said.append)
    assert [line for line in said if "trained on" in line] == [
        "dpt was trained on contexts of up to 20 transitions and will see 40"
    ]
    assert contestant(model).context_length == make_domain(SMOKE.env[0]).context_length


def test_a_model_that_does_not_fit_says_so(model):
    with pytest.raises(ValueError, match="was trained on bandit"):
        examine_models([contestant(model)], ROOM, ActingConfig(num_tasks=4), seed=0, baselines=())


def test_a_damaged_model_is_refused(tmp_path):
    pretraining = make_pretraining(SMOKE)
    params = jax.device_get(pretraining.model.init(jax.random.key(0)))
    save_model(tmp_path, {**pretraining.settings, "width": 32}, SMOKE.env, params, {})
    with pytest.raises(ValueError, match="do not fit its settings"):
        load_model(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="export the model again"):
        load_model(tmp_path)
