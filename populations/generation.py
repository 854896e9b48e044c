"""One generation: ask, give every antithetic pair its tasks, live all lives on all devices, tell.

Work is counted in *trials*: one trial is one task that both partners of a pair live through. Trials are sorted by how
long they take, dealt like cards to the devices and cut into chunks, and each chunk runs as long as its longest trial.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from populations.fitness import z_scores
from populations.mesh import map_over_devices, num_shards, replicate
from populations.pairing import pair_index, partner_keys, to_members, to_pairs, trial_keys
from populations.strategy import Strategy

UNBOUNDED = jnp.iinfo(jnp.int32).max
"""The bound given to `evaluate` when trials have no cost."""


class TrialResults(NamedTuple):
    """What came of each trial, ordered by pair and then by repetition."""

    task: Any
    """Pytree of tasks with a leading axis of trials."""
    fitness: Float[Array, "trials 2"]
    """Of both partners."""


class GenerationResult(NamedTuple):
    """What one generation measured, in member order: partners are i and i + P/2."""

    fitness: Float[Array, " P"]
    """Fitness of each member, averaged over its tasks; not shaped and possibly not finite."""
    info: dict[str, Float[Array, " P"]]
    """The scalars `evaluate` reported for each member, as float32, averaged over its tasks."""
    trials: Any = None
    """`TrialResults`; of several worlds, a dictionary of them."""


Measure = Callable[[Array, Any, Any], GenerationResult]
"""`measure(key, state, population) -> GenerationResult`: how good every member is; consumes the key."""


class Trials(NamedTuple):
    """All trials of a generation, ordered by pair and then by repetition."""

    pair: Int[Array, " trials"]
    """Which pair lives through the trial."""
    task: Any
    """Pytree of tasks with a leading axis of trials."""
    key: Shaped[Array, "trials ..."]
    """Life keys: one per trial, or `[trials, 2]` where partners have their own."""
    cost: Int[Array, " trials"]
    """Upper limit on the length of the trial, in whatever unit `evaluate` takes its bound."""


def make_generation(
    strategy: Strategy,
    evaluate: Callable[[Any, Any, Array, Array], tuple[Array, dict[str, Array]]],
    sample_task: Callable[[Array], Any],
    *,
    mesh: Any = None,
    **options: Any,
) -> Callable[[Array, Any], tuple[Any, GenerationResult]]:
    """Returns the generation of a population that is measured in one world; arguments as in `make_measure`."""
    return generation_from(strategy, make_measure(strategy, evaluate, sample_task, mesh=mesh, **options), mesh=mesh)


def generation_from(
    strategy: Strategy, measure: Measure, *, mesh: Any = None
) -> Callable[[Array, Any], tuple[Any, GenerationResult]]:
    """Returns `generation(key, state) -> (state, GenerationResult)`, a pure function to be jitted; it consumes the key.

    Args:
        strategy: what is asked and told.
        measure: from `make_measure` or `joint_measure`.
        mesh: that of the measure.
    """

    def generation(key: Array, state: Any) -> tuple[Any, GenerationResult]:
        key_ask, key_measure = jax.random.split(key)
        population = strategy.ask(key_ask, state)
        result = measure(key_measure, state, population)
        return replicate((strategy.tell(state, population, result.fitness), result), mesh)

    return generation


def joint_measure(measures: Mapping[str, Measure]) -> Measure:
    """Returns the measure of a population that lives in several worlds: the mean of its standard scores in each.

    Worlds thus count alike, whatever their units. A member that is not finite in one of them is not finite. `info`
    holds `<world>/fitness` and `<world>/<name>`.
    """

    def measure(key: Array, state: Any, population: Any) -> GenerationResult:
        keys = jax.random.split(key, len(measures))
        results = {
            name: measure(key, state, population) for key, (name, measure) in zip(keys, measures.items(), strict=True)
        }
        fitness = jnp.stack([result.fitness for result in results.values()])
        score = jnp.mean(jax.vmap(z_scores)(fitness), axis=0)
        info = {f"{world}/{name}": x for world, result in results.items() for name, x in result.info.items()}
        info |= {f"{world}/fitness": result.fitness for world, result in results.items()}
        trials = {world: result.trials for world, result in results.items()}
        return GenerationResult(jnp.where(jnp.isfinite(fitness).all(axis=0), score, jnp.nan), info, trials)

    return measure


def make_measure(
    strategy: Strategy,
    evaluate: Callable[[Any, Any, Array, Array], tuple[Array, dict[str, Array]]],
    sample_task: Callable[[Array], Any],
    *,
    mesh: Any = None,
    microbatch: int | None = None,
    cost: Callable[[Any], Int[Array, ""]] | None = None,
    tasks_per_pair: int = 1,
    shares_keys: bool = True,
) -> Measure:
    """Returns how a population is measured in one world, a family of tasks.

    Partners i and i + P/2 get the same tasks and, if `shares_keys`, the same randomness in them. Tasks and life keys
    depend on the key and the pair only: for a given `microbatch` the number of devices changes no fitness at all, and
    `microbatch` changes it by rounding at most. Only fitness and info travel between devices.

    Args:
        strategy: what made the population.
        evaluate: `evaluate(params, task, key, bound) -> (fitness, info)` for one candidate: a scalar to maximise and a
            dictionary of scalars. `bound` is an int32 scalar, the same for a whole chunk so that a loop up to it stays
            one loop under `vmap`; the result must be the same for every bound >= cost(task).
        sample_task: `sample_task(key) -> task`, any pytree of arrays.
        mesh: from `populations.mesh.make_mesh`; None runs on one device. P must be a multiple of twice its size.
        microbatch: how many members live at once on a device: even, a divisor of P / devices; memory is linear in it.
            None means the whole share of the device.
        cost: `cost(task)`, an int32 scalar such as `task.lifetime`; None gives every chunk the largest int32 as bound.
        tasks_per_pair: how many tasks each pair lives through; at least 1.
        shares_keys: whether partners share their life key; False gives them their own (as EmptyJackson/groove does).

    Raises:
        ValueError: if the sizes do not divide as said above.
    """
    num_pairs, num_devices = strategy.population_size // 2, num_shards(mesh)
    microbatch = _checked_microbatch(strategy.population_size, num_devices, microbatch, tasks_per_pair)
    live = partial(_evaluate_share, strategy, evaluate, microbatch // 2, shares_keys=shares_keys)
    live_everywhere = map_over_devices(live, mesh)

    def measure(key: Array, state: Any, population: Any) -> GenerationResult:
        trials = draw_trials(key, sample_task, num_pairs, tasks_per_pair, cost=cost, shares_keys=shares_keys)
        order = replicate(deal(trials.cost, num_devices), mesh)
        fitness, info = live_everywhere(order, (state, to_pairs(population), trials))
        fitness, info = jax.tree.map(lambda dealt: dealt[jnp.argsort(order)], (fitness, info))
        average = partial(_average_tasks, tasks_per_pair=tasks_per_pair)
        result = TrialResults(trials.task, fitness)
        return GenerationResult(average(fitness), jax.tree.map(average, info), result)

    return measure


def draw_trials(
    key: Array,
    sample_task: Callable[[Array], Any],
    num_pairs: int,
    tasks_per_pair: int,
    *,
    cost: Callable[[Any], Int[Array, ""]] | None,
    shares_keys: bool,
) -> Trials:
    """Returns the tasks and life keys of all pairs; consumes the key."""
    key_task, key_life = jax.random.split(key)
    task = jax.vmap(sample_task)(trial_keys(key_task, num_pairs, tasks_per_pair))
    life = trial_keys(key_life, num_pairs, tasks_per_pair)
    num_trials = num_pairs * tasks_per_pair
    return Trials(
        pair=jnp.arange(num_trials, dtype=jnp.int32) // tasks_per_pair,
        task=task,
        key=life if shares_keys else partner_keys(life),
        cost=jnp.full(num_trials, UNBOUNDED, jnp.int32) if cost is None else jax.vmap(cost)(task).astype(jnp.int32),
    )


def deal(cost: Int[Array, " trials"], num_devices: int) -> Int[Array, " trials"]:
    """Returns trial indices, first those of device 0, then of device 1, ...: sorted by cost and dealt round-robin.

    Each device's indices ascend in cost, so consecutive ones make chunks of similar length, and the chunks that devices
    run at the same time are of similar length too. The number of trials must be a multiple of the number of devices.
    """
    return jnp.argsort(cost, stable=True).astype(jnp.int32).reshape(-1, num_devices).T.reshape(-1)


def _evaluate_share(
    strategy: Strategy, evaluate: Callable, trials_per_chunk: int, order: Array, replicated: Any, *, shares_keys: bool
) -> Any:
    """Returns (fitness, info) of one device's trials, leaves `[trials, 2]` in the order given, a chunk at a time."""
    state, pairs, trials = replicated

    def live(member: Any, task: Any, key: Array, bound: Array) -> Any:
        fitness, info = evaluate(strategy.expand(state, member), task, key, bound)
        return jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), (fitness, info))

    # Partners are an inner axis over which tasks and shared keys are not batched: what depends on them is made once.
    live_pair = jax.vmap(live, (0, None, None if shares_keys else 0, None))
    live_chunk = jax.vmap(live_pair, (0, 0, 0, None))

    def chunk(indices: Int[Array, " chunk"]) -> Any:
        mine = jax.tree.map(lambda x: x[indices], trials)
        members = jax.tree.map(lambda x: x[mine.pair], pairs)
        return live_chunk(members, mine.task, mine.key, jnp.max(mine.cost))

    results = jax.lax.map(chunk, order.reshape(-1, trials_per_chunk))
    return jax.tree.map(lambda x: x.reshape(-1, 2), results)


def _average_tasks(values: Float[Array, "trials 2"], *, tasks_per_pair: int) -> Float[Array, " P"]:
    """Returns per-member means over tasks."""
    return to_members(jnp.mean(values.reshape(-1, tasks_per_pair, 2), axis=1))


def _checked_microbatch(population_size: int, num_devices: int, microbatch: int | None, tasks_per_pair: int) -> int:
    pair_index(population_size)  # refuses a population that has no pairs
    if tasks_per_pair < 1:
        raise ValueError(f"tasks_per_pair is {tasks_per_pair} but a pair needs at least 1 task; raise it")
    if (population_size // 2) % num_devices:
        raise ValueError(
            f"population size {population_size} cannot be dealt in pairs over {num_devices} devices; "
            f"choose a multiple of {2 * num_devices}"
        )
    share = population_size // num_devices
    microbatch = share if microbatch is None else microbatch
    if microbatch < 2 or microbatch % 2 or share % microbatch:
        raise ValueError(
            f"microbatch is {microbatch} but must be even and divide the {share} members of each device "
            f"(population {population_size} over {num_devices} devices); choose such a number"
        )
    return microbatch
