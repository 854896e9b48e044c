"""Discovery: what a generation measures, and that neither devices nor microbatches change what comes out of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.experiments.build import build_families
from metarl.experiments.config import AgentConfig, DiscoverConfig, FamilyConfig, LPGConfig, LPOConfig, PopulationConfig
from metarl.experiments.discover import generation_metrics, make_discovery
from populations.generation import GenerationResult, draw_trials
from populations.mesh import make_mesh, replicate

P = 16
CONFIG = DiscoverConfig(
    family=FamilyConfig(("gridworld/debug",), (1, 6)),
    objective=LPGConfig(hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=5),
    population=PopulationConfig(size=P, microbatch=2),
)
NUM_GENERATIONS = 3


def evolve(*, mesh=None, microbatch=2):
    """Returns the discovery, its states, and the metrics of its generations."""
    config = replace(CONFIG, population=replace(CONFIG.population, microbatch=microbatch))
    discovery = make_discovery(config, mesh=mesh)
    step = jax.jit(discovery.experiment.step)
    states, metrics = [replicate(jax.jit(discovery.experiment.init)(jax.random.key(0)), mesh)], []
    for _ in range(NUM_GENERATIONS):
        state, measured = step(states[-1])
        states.append(state)
        metrics.append(measured)
    return discovery, states, metrics


@pytest.fixture(scope="module")
def alone():
    return evolve()


def assert_same_course(found, expected, **tolerance):
    for measured, reference in zip(found[2], expected[2], strict=True):
        for name in ("fitness", "fitness_std", "fitness_best", "tied_pairs", "env_steps"):
            np.testing.assert_allclose(measured[name], reference[name], err_msg=name, **tolerance)


def assert_same_mean(found, expected):
    means = [jax.tree.leaves(each[0].experiment.export(each[1][-1])) for each in (found, expected)]
    for x, y in zip(*means, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)  # float32 sums over pairs in another order


def test_evolution_starts_from_a_rule_of_zeros(alone):
    discovery, states, _ = alone
    initial = discovery.experiment.export(states[0])
    assert jax.tree.structure(initial) == jax.tree.structure(discovery.objective.init(jax.random.key(0)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((initial, discovery.initial)))


def test_environment_steps_are_those_of_all_lives_and_their_examinations(alone):
    discovery, states, metrics = alone
    family, agent = build_families(CONFIG.family)[0], CONFIG.agent
    for state, measured in zip(states[:-1], metrics, strict=True):
        key_trials = jax.random.split(jax.random.fold_in(state.key, state.step))[1]
        trials = draw_trials(key_trials, family.sample, P // 2, 1, cost=lambda task: task.lifetime, shares_keys=True)
        updates = 2 * int(jnp.sum(trials.cost))
        examined = P * agent.num_envs * family.max_episode_steps
        assert int(measured["env_steps"]) == updates * agent.num_envs * agent.unroll_length + examined


def test_every_generation_lives_on_new_tasks(alone):
    assert len({(float(m["fitness"]), int(m["env_steps"])) for m in alone[2]}) == NUM_GENERATIONS


def test_eight_devices_do_what_one_does(alone):
    spread = evolve(mesh=make_mesh(8))
    assert spread[2][0]["fitness_best"] == alone[2][0]["fitness_best"]
    assert_same_course(spread, alone, rtol=1e-6)  # the mean over the population is a sum in another order
    assert_same_mean(spread, alone)


def test_the_microbatch_is_a_matter_of_memory_only(alone):
    larger = evolve(microbatch=8)
    assert_same_course(larger, alone, rtol=1e-5)  # wider batches sum products in another order
    assert_same_mean(larger, alone)


def test_metrics_are_over_members_with_finite_fitness(alone):
    strategy, state = alone[0].strategy, alone[1][0].strategy
    moved = state._replace(mean=jax.tree.map(lambda x: x + 0.5, state.mean))
    fitness = jnp.array([1.0, 2.0, jnp.nan, 4.0, 1.0, 0.0, jnp.inf, 2.0])
    metrics = generation_metrics(strategy, state, moved, GenerationResult(fitness, {}))
    finite = [1.0, 2.0, 4.0, 1.0, 0.0, 2.0]
    size = sum(leaf.size for leaf in jax.tree.leaves(state.mean))
    expected = {
        "fitness": np.mean(finite), "fitness_std": np.std(finite), "fitness_best": 4.0, "tied_pairs": 0.25,
        "mean_norm": 0.5 * size**0.5, "move_norm": 0.5 * size**0.5, "num_nonfinite": 2, "num_evaluated": 8,
    }  # fmt: skip
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "num_devices", "words"),
    [
        ({"family": FamilyConfig(("gridworld/unheard-of",))}, 1, "no task family called 'gridworld/unheard-of'"),
        ({"family": FamilyConfig(("Pendulum-v1",))}, 1, "discrete action space"),
        ({"population": PopulationConfig(size=6)}, 2, "population size 6 cannot be dealt in pairs over 2 devices"),
        ({"population": PopulationConfig(size=16, microbatch=8)}, 4, "microbatch is 8 .* divide the 4 members"),
        ({"population": PopulationConfig(size=16, sigma=0.001)}, 1, "sigma is 0.001 .* floor 0.01"),
        ({"agent": AgentConfig(network="mlp")}, 1, "a network of kind mlp needs observations that are arrays"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_compiled(changes, num_devices, words):
    mesh = make_mesh(num_devices) if num_devices > 1 else None
    with pytest.raises(ValueError, match=words):
        make_discovery(replace(CONFIG, **changes), mesh=mesh)


def test_a_drift_starts_as_ppo_and_not_from_zeros():
    config = replace(CONFIG, objective=LPOConfig(hidden_size=4))
    initial, again, other = (make_discovery(replace(config, seed=seed)).initial for seed in (0, 0, 1))
    assert not np.any(initial["output"]["kernel"]) and np.any(initial["hidden"]["kernel"])
    np.testing.assert_array_equal(initial["hidden"]["kernel"], again["hidden"]["kernel"])
    assert np.any(initial["hidden"]["kernel"] != other["hidden"]["kernel"])


@pytest.mark.slow
def test_steps_are_counted_in_all_worlds():
    both = replace(CONFIG, family=FamilyConfig(("gridworld/debug", "probe/constant_reward"), (2, 2)))
    steps = []
    for config in (both, *(replace(both, family=FamilyConfig((env,), (2, 2))) for env in both.family.env)):
        experiment = make_discovery(config).experiment
        steps.append(int(jax.jit(experiment.step)(experiment.init(jax.random.key(0)))[1]["env_steps"]))
    assert steps[0] == steps[1] + steps[2]
