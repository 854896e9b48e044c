"""Policies on disk: what is read is what was written, and what is damaged is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from envs.trained_policy import load_policy
from metarl.cli import main
from metarl.exported import save_arrays
from metarl.incontext.export import load_model
from tests.envs.velocity_toy import TOY, toy_in_brax

LAYERS = {
    "0": {"kernel": np.array([[1.0, -1.0]], np.float32), "bias": np.array([0.5, 0.0], np.float32)},
    "1": {"kernel": np.array([[2.0], [1.0]], np.float32), "bias": np.array([-1.0], np.float32)},
}


@pytest.fixture
def written(tmp_path):
    return save_arrays(tmp_path, "policy", {"env": "somewhere@told=true", "record": {}}, LAYERS)


@pytest.mark.parametrize(("observation", "before"), [(1.0, 2.0), (-2.0, 1.0), (-0.5, -0.5)])
def test_layers_are_rectified_and_the_last_is_squashed(written, observation, before):
    policy = load_policy(written)
    assert (policy.env, policy.num_inputs, policy.num_actions) == ("somewhere@told=true", 1, 1)
    np.testing.assert_allclose(policy(jnp.array([observation])), [np.tanh(before)], atol=1e-6)


def test_more_than_ten_layers_keep_their_order(tmp_path):
    """Ten times 0.5 x + 1, and then the identity."""
    layer = {"kernel": np.array([[0.5]], np.float32), "bias": np.array([1.0], np.float32)}
    last = {"kernel": np.array([[1.0]], np.float32), "bias": np.array([-2.0], np.float32)}
    save_arrays(tmp_path, "policy", {"env": "x"}, {str(i): layer for i in range(11)} | {"11": last})
    np.testing.assert_allclose(load_policy(tmp_path)(jnp.ones(1)), [np.tanh(-(0.5**11))], atol=1e-6)


@pytest.mark.parametrize("missing", ["policy.npz", "policy.json"])
def test_half_a_policy_is_refused(written, missing):
    (written / missing).unlink()
    with pytest.raises(ValueError, match="holds no policy .* give export/ of a finished run of metarl teach"):
        load_policy(written)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("policy.npz", b"nothing", "is not the one that policy.json describes"),
        ("policy.json", b"{}", "sha256"),
        ("policy.json", b"[]", "list"),
        ("policy.json", b"{", "Expecting property name"),
    ],
)
def test_a_damaged_policy_is_refused(written, file, content, why):
    (written / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"holds no policy .*{why}"):
        load_policy(written)


@pytest.mark.slow
def test_who_was_taught_while_told_the_goal_answers_for_who_is_not_told(tmp_path, capsys):
    """`metarl teach`, `metarl pretrain` and `metarl evaluate`, one after the other."""
    agent = {"num-envs": 4, "unroll-length": 10, "num-gradients": 2, "batch-size": 8, "capacity": 200}
    words = [word for name, value in agent.items() for word in (f"--student.agent.{name}", str(value))]
    words += ["--student.agent.hidden", "8", "--student.agent.random-steps", "40", "--student.env", f"{TOY},told=true"]
    size = ["--updates", "8", "--updates-per-step", "4", "--student.pool-size", "8", "--student.grid", "3"]
    runs = ["--quiet", "--runs", str(tmp_path)]
    few = ["--updates", "10", "--updates-per-step", "5", "--acting.num-tasks", "4", "--context-length", "20"]
    model = ["--model.width", "16", "--model.num-layers", "1", "--training.batch-size", "4"]
    with toy_in_brax():
        assert main(["teach", "--preset", "velocity-expert", *words, *size, *runs]) == 0
        export = tmp_path / "velocity-expert/export"
        assert f"policy:  {export / 'policy.npz'}\n" in capsys.readouterr().out
        record = json.loads((export / "policy.json").read_text())
        assert record["env"] == f"{TOY},told=true" and record["record"]["run"] == "velocity-expert"
        env = f"{TOY},expert={export}"
        domain, policy = make_domain(env), load_policy(export)
        params, observation = domain.held_out.sample(jax.random.key(0)).params, jnp.array([0.1, 0.2])
        expected = policy(jnp.array([0.1, 0.2, params.velocity]))
        np.testing.assert_array_equal(domain.expert(observation, params), expected)
        learn = ["pretrain", "--preset", "dpt-velocity-cpu", "--env", env, "--learner.on-policy-tasks", "4"]
        assert main([*learn, *few, *model, *runs]) == 0
        run = tmp_path / "dpt-velocity-cpu"
        rows = json.loads((run / "evaluation.json").read_text())["rows"]
        assert {row["arm"] for row in rows} == {"dpt", "uniform", "stranger", "expert"}
        returns = {row["arm"]: row["mean"] for row in rows if row["setting"]["episode"] == "all"}
        assert all(-20 * 3.05 < value < 0.0 for value in returns.values())
        assert "expert" in (run / "report.html").read_text()
        assert load_model(run / "export").env == (env,)
