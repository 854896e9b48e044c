"""Evolution discovers a learning rule: from one under which nothing is learned to one that teaches new levels."""

import jax
import pytest

from envs.registry import make_family
from metarl.experiments.build import build_families
from metarl.experiments.config import AgentConfig, DiscoverConfig, FamilyConfig, LPGConfig, PopulationConfig
from metarl.experiments.discover import make_discovery
from metarl.experiments.evaluate import evaluate_arms
from metarl.experiments.lives import Arm
from metarl.objectives.a2c import a2c
from metarl.objectives.lpg import lpg

pytestmark = pytest.mark.learning

NUM_GENERATIONS, STEPS_PER_DISPATCH, K = 300, 20, 64
CONFIG = DiscoverConfig(
    family=FamilyConfig(("gridworld/debug",), (5, 20)),
    objective=LPGConfig(encoding="fraction", hidden_size=16),
    population=PopulationConfig(size=32, sigma_floor=0.1, learning_rate=0.03, microbatch=8),
)


def intervals(rows, arm):
    """Returns {horizon: (low, high)} of the optimal-normalised return."""
    mine = (row for row in rows if row["arm"] == arm and row["metric"] == "normalised_return")
    return {row["setting"]["horizon"]: (row["low"], row["high"]) for row in mine}


def assert_beats(rows, better, worse):
    """The 95 % intervals do not overlap at any horizon."""
    highs = {horizon: high for horizon, (_, high) in intervals(rows, worse).items()}
    lows = {horizon: low for horizon, (low, _) in intervals(rows, better).items()}
    assert lows.keys() == highs.keys() and len(lows) > 0
    assert all(lows[horizon] > highs[horizon] for horizon in lows), (lows, highs)


@pytest.fixture(scope="module")
def rows():
    """Held-out levels of the initial and the discovered rule, at horizons within and beyond the trained lifetimes."""
    discovery = make_discovery(CONFIG)
    step = discovery.experiment.step
    dispatch = jax.jit(lambda state: jax.lax.scan(lambda state, _: step(state), state, length=STEPS_PER_DISPATCH)[0])
    state = jax.jit(discovery.experiment.init)(jax.random.key(CONFIG.seed))
    for _ in range(NUM_GENERATIONS // STEPS_PER_DISPATCH):
        state = dispatch(state)
    assert int(state.step) == NUM_GENERATIONS
    arms = [
        Arm("initial", discovery.objective, discovery.initial),
        Arm("discovered", discovery.objective, discovery.experiment.export(state)),
    ]
    family = build_families(CONFIG.family)[0]
    return evaluate_arms(arms, family, CONFIG.agent, horizons=(10, 20, 40), num_tasks=K, seed=CONFIG.seed)


def test_the_discovered_rule_teaches_agents_on_levels_that_it_has_never_seen(rows):
    assert_beats(rows, "discovered", "initial")


def test_the_discovered_rule_gets_most_of_what_there_is_to_get(rows):
    """After lives as long as the longest trained ones; four seeds gave 0.92 to 0.98 of the optimum."""
    assert intervals(rows, "initial")[20][1] < 0.5 < 0.7 < intervals(rows, "discovered")[20][0]


def test_a_longer_life_under_the_discovered_rule_ends_no_worse(rows):
    """It goes on teaching, or at least does no harm, beyond the lifetimes it was discovered on."""
    discovered = intervals(rows, "discovered")
    assert discovered[40][1] > discovered[10][0]
    assert discovered[40][0] > 0.7


def test_actor_critic_beats_a_rule_that_teaches_nothing():
    family = make_family("gridworld/small")
    space = family.env.action_space()
    silent = lpg(space, hidden_size=4)
    zeros = jax.tree.map(lambda x: 0.0 * x, silent.init(jax.random.key(0)))
    arms = [Arm("initial", silent, zeros), Arm("a2c", a2c(space), ())]
    rows = evaluate_arms(arms, family, AgentConfig(), horizons=(10, 50), num_tasks=K, seed=0)
    assert_beats(rows, "a2c", "initial")
