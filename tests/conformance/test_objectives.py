"""Every learning rule keeps the same promises, whether it was written down or is to be discovered."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from jax.test_util import check_grads

from metarl.objectives.a2c import a2c
from metarl.objectives.base import Rollout
from metarl.objectives.dpo import dpo
from metarl.objectives.lpg import lpg
from metarl.objectives.lpo import lpo
from metarl.objectives.ppo import ppo
from metarl.objectives.registry import OBJECTIVES, make_objective
from metarl.progress import ENCODINGS, Progress

SPACE = spaces.Discrete(3)
T, B = 4, 3
FUSED = {"rtol": 1e-5, "atol": 1e-6}  # float32 sums over a dozen numbers, which jit and vmap may reorder
EARLY, LATE = (Progress(jnp.int32(n), jnp.int32(20)) for n in (1, 19))

ta_lpg = partial(lpg, temporal=True, hidden_size=4)
CASES = {
    "a2c": a2c,
    "ppo": ppo,
    "ppo_clipped_value": partial(ppo, clips_value=True, clip=0.1),
    "dpo": dpo,
    "lpo": partial(lpo, hidden_size=4),
    "lpo_alone": partial(lpo, hidden_size=4, ppo_init=False),
    "ta_lpo": partial(lpo, hidden_size=4, temporal=True),
    "ta_lpo_log_horizon": partial(lpo, hidden_size=4, temporal=True, log_horizon=True),
    "lpg": partial(lpg, hidden_size=4),
    **{f"ta_lpg_{name}": partial(ta_lpg, encoding=name) for name in ENCODINGS if name != "none"},
}


@pytest.fixture(params=CASES, scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def objective(name):
    return CASES[name](SPACE)


@pytest.fixture(scope="module")
def compiled(objective):
    """The objective with its functions jitted once for all tests of a case."""
    return objective._replace(targets=jax.jit(objective.targets), loss=jax.jit(objective.loss))


@pytest.fixture(scope="module")
def meta_params(objective):
    """Parameters drawn away from zero everywhere, biases included."""
    leaves, treedef = jax.tree.flatten(objective.init(jax.random.key(1)))
    keys = jax.random.split(jax.random.key(2), max(1, len(leaves)))
    noisy = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=False)]
    return treedef.unflatten(noisy)


def make_rollout(objective, seed=0):
    """A rollout in which one worker terminates at (1, 0) and another is cut off at (2, 1)."""
    key = jax.random.key(seed)
    sizes = enumerate(objective.heads(SPACE).items())
    drawn = {head: jax.random.normal(jax.random.fold_in(key, index), (T + 1, B, n)) for index, (head, n) in sizes}
    none = jnp.zeros((T, B), bool)
    return Rollout(
        observation=jnp.zeros((T, B), jnp.int32),
        action=jax.random.randint(jax.random.fold_in(key, 10), (T, B), 0, SPACE.n),
        reward=jax.random.normal(jax.random.fold_in(key, 11), (T, B)),
        terminated=none.at[1, 0].set(True),
        truncated=none.at[2, 1].set(True),
        outputs={head: x[:-1] for head, x in drawn.items()},
        next_outputs={head: x[1:] for head, x in drawn.items()},
    )


@pytest.fixture(scope="module")
def rollout(objective):
    return make_rollout(objective)


@pytest.fixture(scope="module")
def outputs(objective):
    """What the network says some gradient steps after the rollout."""
    return make_rollout(objective, seed=1).outputs


def evaluate(objective, meta_params, outputs, rollout, progress=EARLY):
    targets = objective.targets(meta_params, rollout, progress)
    return targets, objective.loss(meta_params, outputs, rollout, targets, progress)


def assert_close(found, expected):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **FUSED), found, expected)


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def changed(rollout, index, *parts):
    """The rollout with these parts moved by 1 where `index` says."""
    moved = {part: jax.tree.map(lambda x: x.at[index].add(1.0), getattr(rollout, part)) for part in parts}
    return rollout._replace(**moved)


def test_heads_are_sizes_with_a_policy_among_them(objective):
    heads = objective.heads(SPACE)
    assert heads["policy"] == SPACE.n and len(heads) == 2
    assert all(type(size) is int and size >= 1 for size in heads.values())


def test_parameters_are_strong_float32_and_determined_by_the_key(objective):
    first, again = (objective.init(jax.random.key(5)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in jax.tree.leaves(first))


def test_targets_have_the_axes_of_the_rollout_and_the_loss_has_none(compiled, meta_params, rollout, outputs):
    targets, (loss, info) = evaluate(compiled, meta_params, outputs, rollout)
    assert all(leaf.shape[:2] == (T, B) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(targets))
    assert all(x.shape == () and x.dtype == jnp.float32 and not x.weak_type for x in (loss, *info.values()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((targets, loss, info)))


def test_jit_changes_nothing(objective, compiled, meta_params, rollout, outputs):
    eager = evaluate(objective, meta_params, outputs, rollout)
    assert_close(evaluate(compiled, meta_params, outputs, rollout), eager)
    jax.tree.map(np.testing.assert_array_equal, eager, evaluate(objective, meta_params, outputs, rollout))


def test_vmap_over_candidates_and_agents_is_a_loop(objective, compiled, meta_params):
    candidates = [jax.tree.map(lambda x, i=i: x * (1.0 + i), meta_params) for i in range(2)]
    rollouts = [make_rollout(objective, seed) for seed in (3, 4)]
    inputs = [make_rollout(objective, seed).outputs for seed in (5, 6)]
    batched = jax.jit(jax.vmap(partial(evaluate, objective)))(stack(*candidates), stack(*inputs), stack(*rollouts))
    alone = [evaluate(compiled, *each) for each in zip(candidates, inputs, rollouts, strict=True)]
    assert_close(batched, stack(*alone))


def test_the_loss_is_a_mean_over_transitions_whatever_their_axes(compiled, meta_params, rollout, outputs):
    """So that minibatches are slices of the flattened rollout and its targets."""
    targets, (loss, info) = evaluate(compiled, meta_params, outputs, rollout)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (outputs, rollout, targets))
    assert_close(compiled.loss(meta_params, *flat, EARLY), (loss, info))


def test_the_gradient_reaches_every_head_and_each_head_by_its_own_outputs_alone(
    objective, compiled, meta_params, rollout, outputs
):
    targets = compiled.targets(meta_params, rollout, EARLY)
    gradient = jax.jit(jax.grad(lambda outputs: objective.loss(meta_params, outputs, rollout, targets, EARLY)[0]))
    reference = gradient(outputs)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in reference.values())
    for head in outputs:
        moved = gradient({**outputs, head: outputs[head] - 0.5 * reference[head]})
        assert np.any(moved[head] != reference[head]), f"the loss is linear in {head}"
        for other in set(outputs) - {head}:
            np.testing.assert_allclose(moved[other], reference[other], **FUSED)


def test_the_gradient_agrees_with_finite_differences(objective, compiled, meta_params, rollout):
    """Near the acting policy, where no ratio is at a clip."""
    near = jax.tree.map(
        lambda x: x + 0.02 * jnp.sin(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), rollout.outputs
    )
    targets = compiled.targets(meta_params, rollout, EARLY)
    loss = jax.jit(lambda outputs: objective.loss(meta_params, outputs, rollout, targets, EARLY)[0])
    # float32: central differences with a step of 1e-2 are good to about 1e-4 / 1e-2.
    check_grads(loss, (near,), 1, ("rev",), 1e-2, 2e-2, 1e-2)


def test_only_a_rule_with_time_inputs_hears_the_time(name, compiled, meta_params, rollout, outputs):
    early, late = (evaluate(compiled, meta_params, outputs, rollout, progress) for progress in (EARLY, LATE))
    is_equal = all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (early, late)), strict=True))
    assert is_equal != name.startswith("ta_")


def test_what_follows_an_end_is_not_looked_at(objective, compiled, meta_params, rollout):
    """Where an episode terminated nothing follows; where it was cut, only rules that ask for it see the successor."""
    targets = compiled.targets(meta_params, rollout, EARLY)
    after_end = compiled.targets(meta_params, changed(rollout, (1, 0), "next_outputs"), EARLY)
    jax.tree.map(np.testing.assert_array_equal, after_end, targets)
    after_cut = compiled.targets(meta_params, changed(rollout, (2, 1), "next_outputs"), EARLY)
    differs = any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (after_cut, targets)), strict=True))
    assert differs == objective.uses_final_observation


def test_workers_do_not_see_each_other(compiled, meta_params, rollout):
    targets = compiled.targets(meta_params, rollout, EARLY)
    other = compiled.targets(meta_params, changed(rollout, (slice(None), 2), "reward"), EARLY)
    for found, expected in zip(*map(jax.tree.leaves, (other, targets)), strict=True):
        np.testing.assert_array_equal(found[:, :2], expected[:, :2])
        assert np.any(found[:, 2] != expected[:, 2])


def test_extreme_outputs_stay_finite(compiled, meta_params, rollout):
    """A policy that is certain, as at the end of a long life with a step size of 40."""
    certain = jax.tree.map(lambda x: 100.0 * jnp.sign(x), rollout.outputs)
    result = evaluate(compiled, meta_params, certain, rollout._replace(outputs=certain, next_outputs=certain))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


def test_name_and_settings_rebuild_the_objective(objective, compiled, meta_params, rollout, outputs):
    settings = json.loads(json.dumps(objective.settings, allow_nan=False))
    again = make_objective(objective.name, SPACE, **settings)
    assert again.settings == objective.settings and again.heads(SPACE) == objective.heads(SPACE)
    rebuilt = evaluate(again, meta_params, outputs, rollout)
    assert_close(rebuilt, evaluate(compiled, meta_params, outputs, rollout))


def test_every_registered_objective_is_in_the_table():
    assert {CASES[name](SPACE).name for name in CASES} == set(OBJECTIVES)
