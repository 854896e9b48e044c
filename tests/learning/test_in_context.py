"""Models that act in context: a small one is trained from three seeds, and one that ships is held against its source.

What a trained model is held against, exact posterior sampling, the Bayes floor, and whoever gathered its data, is
computed in the same run.
"""

from functools import cache

import jax
import numpy as np
import pytest

from envs.domains import make_domain
from metarl import zoo
from metarl.experiments.bayes_gap import make_gap, probe_lengths
from metarl.experiments.pretrain import make_pretraining
from metarl.experiments.pretrain_config import ModelConfig, PretrainConfig, TrainingConfig
from metarl.experiments.pretrain_learners import DPTConfig
from metarl.incontext.agent import posterior_sampling_agent, uniform_agent
from metarl.incontext.baselines import BASELINES
from metarl.incontext.deploy import deploy_many, make_deploy

pytestmark = pytest.mark.learning

LENGTH, NUM_ARMS, NUM_TASKS = 20, 5, 2000
CONFIG = PretrainConfig(
    updates=1500,
    updates_per_step=50,
    env=(f"bandit@horizon={LENGTH},num_arms={NUM_ARMS},quadrature=101",),
    learner=DPTConfig(num_queries=8),
    model=ModelConfig(width=32, num_layers=2, num_heads=2, activation="relu"),
    training=TrainingConfig(batch_size=64, learning_rate=3e-3, warmup=0.1),
)
WARMUP_STEPS = round(CONFIG.training.warmup * CONFIG.updates / CONFIG.updates_per_step)


@cache
def pretraining():
    """Returns the pretraining, its compiled step, and its only domain."""
    made = make_pretraining(CONFIG)
    return made, jax.jit(made.experiment.step), made.domains[0]


@pytest.fixture(scope="module", params=range(3))
def trained(request):
    """Returns (weights at the start, weights at the end, metrics of every step) of one seed."""
    made, step, _ = pretraining()
    state = start = jax.jit(made.experiment.init)(jax.random.key(request.param))
    trace = []
    for _ in range(CONFIG.updates // CONFIG.updates_per_step):
        state, metrics = step(state)
        trace.append(jax.device_get(metrics))
    return start.params, state.params, trace


def regret(domain, agent, horizon, num_tasks=NUM_TASKS):
    """Returns the regret [K] of an agent in held-out tasks that are the same for all agents."""
    tasks = jax.vmap(domain.held_out.sample)(jax.random.split(jax.random.key(7), num_tasks)).params
    deploy = make_deploy(domain, agent, horizon=horizon)
    found = jax.jit(lambda key: deploy_many(deploy, tasks, key).regret)(jax.random.key(8))
    return np.asarray(found, np.float64).sum((1, 2))


def assert_below(lower, higher):
    """Means of paired tasks, four standard errors apart."""
    difference = higher - lower
    assert difference.mean() > 4.0 * difference.std() / np.sqrt(len(difference))


def test_the_loss_leaves_that_of_uniform_answers_within_the_warm_up(trained):
    """After so many updates the answers to full contexts are a tenth of a nat better than no answers."""
    _, _, trace = trained
    assert trace[WARMUP_STEPS - 1][f"cross_entropy/{LENGTH}"] < np.log(NUM_ARMS) - 0.1


def test_answers_are_near_the_floor_at_every_length(trained):
    made, _, domain = pretraining()
    measure = jax.jit(jax.vmap(make_gap(made.model, domain, LENGTH), (None, 0)))
    _, gap = measure(trained[1], jax.random.split(jax.random.key(3), NUM_TASKS))
    gap = dict(zip(probe_lengths(LENGTH), np.asarray(gap).mean(0), strict=True))
    assert max(gap.values()) <= 0.06, gap


def test_a_trained_model_beats_its_own_beginning_and_chance_and_is_near_posterior_sampling(trained):
    made, _, domain = pretraining()
    before, after = (regret(domain, made.model.agent(params, domain), LENGTH) for params in trained[:2])
    uniform, exact = (regret(domain, make(domain), LENGTH) for make in (uniform_agent, posterior_sampling_agent))
    assert_below(after, before)
    assert_below(after, uniform)
    assert after.mean() < 1.25 * exact.mean()


@pytest.mark.parametrize("horizon", [50, 200])
def test_the_linear_model_that_ships_regrets_less_than_half_of_what_its_source_does(horizon):
    """It was shown how Thompson sampling with independent arms learns, and has found out that arms lie in a plane."""
    trained = zoo.load_pretrained("dpt-linear")
    domain = make_domain(trained.env[0])
    model = regret(domain, trained.agent(domain), horizon, 500)
    source = regret(domain, BASELINES["source"](domain), horizon, 500)
    assert_below(model, 0.5 * source)
