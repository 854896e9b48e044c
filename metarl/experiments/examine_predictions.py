"""How probable a neural process finds values it has not seen, and whether its intervals cover what they claim."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from envs.blackbox.gp_kernel import affine_gp_nll, exact_gp_nll
from envs.blackbox.sources import make_prior
from envs.blackbox.suites import Suite
from metarl.experiments.evaluate import row_of
from metarl.metabo import gp
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import Belief, believe_in_blocks, named, negative_log_likelihood, scale_of, shown_to
from metarl.metabo.network import Evaluations

CONTEXTS = (5, 20, 45)
"""Evaluations that predictions are made from."""
PRIOR_CONTEXTS = (5, 20, 50)
"""Evaluations that predictions under a known law are made from."""
FIT_EVALUATIONS = 100
"""Evaluations of the posterior of hyper-parameters for the one fit of a Gaussian process."""
COVERAGES = (0.5, 0.9)
"""Probabilities of the central intervals whose coverage is counted."""


def predictions(model: TrainedNAP, suite: Suite, *, seed: int, batch_size: int) -> list[dict[str, Any]]:
    """Returns rows `nll` and `coverage` by the number of evaluations, which are random ones of each pool.

    Values are measured in the spread of the evaluations; `nll` is the median over a pool's candidates, because a few
    values far outside decide every mean.
    """
    rows, arm = [], named(model.nap, "np")
    for count in CONTEXTS:

        def one(case: tuple[Any, Array], count: int = count) -> tuple[Array, Array]:
            task, key = case
            return _predict(model, task, key, count)

        keys = jax.random.split(jax.random.key(seed), len(suite.tasks))
        nll, covered = jax.jit(lambda cases, one=one: jax.lax.map(one, cases, batch_size=batch_size))(
            (suite.params, keys)
        )
        setting = {"context": count}
        rows.append(row_of(arm, suite.name, setting, "nll", np.asarray(nll), {}))
        for index, coverage in enumerate(COVERAGES):
            values = np.asarray(covered)[:, index]
            rows.append(row_of(arm, suite.name, {**setting, "interval": coverage}, "coverage", values, {}))
    return rows


def _predict(model: TrainedNAP, task: Any, key: Array, count: int) -> tuple[Array, Array]:
    """Returns (median negative log-likelihood, [share inside each interval]) over what is not in the context."""
    task = shown_to(model.nap, task)
    order = jnp.argsort(jnp.where(task.is_valid, jax.random.uniform(key, task.y.shape), 2.0))
    x, y, rest = task.x[order], task.y[order], task.is_valid[order][count:]
    seen = Evaluations(x[:count], y[:count], jnp.ones((count,), bool))
    belief = believe_in_blocks(model.nap, model.params, task.kind, seen, x[count:])
    loss = jnp.where(rest, _in_spreads(model, belief, seen, y[count:]), jnp.nan)
    z = belief.scale.standardise(y[count:])
    below = jax.vmap(model.nap.bars.cdf)(belief.reading.bars, z)
    inside = [jnp.mean((jnp.abs(below - 0.5) <= c / 2.0).astype(jnp.float32), where=rest) for c in COVERAGES]
    return jnp.nanmedian(loss), jnp.stack(inside)


def _in_spreads(model: TrainedNAP, belief: Belief, seen: Evaluations, y: Float[Array, " N"]) -> Float[Array, " N"]:
    """Returns minus the log density of values in units of the spread of the evaluations, whatever the model's are."""
    loss = negative_log_likelihood(model.nap, belief, y)
    return loss if model.nap.standardises else loss - jnp.log(scale_of(seen.y, seen.is_seen).std)


def prior_predictions(
    model: TrainedNAP, spec: str, *, num_candidates: int = 110, num_tasks: int, seed: int
) -> list[dict[str, Any]]:
    """Returns rows `nll` of the model (`np`) and of exact inference under the law of each task (`gp-exact`).

    They are means over what is not in the context, in nats and in units of the context's spread. Exact inference knows
    the lengthscales, the noise and which dimensions matter, which the model has to infer, and the level and scale of
    values, of which a model that standardises is shown nothing. Where outputs are not warped, `gp-exact-standardised`
    is the same without that last knowledge. `gp-fitted` knows nothing of all this: it is the Gaussian process of GP-EI
    with its most probable hyper-parameters, what one would use who has no model.

    Args:
        model: a trained model.
        spec: source of the tasks, such as `gp-prior@max_dimensions=4`.
        num_candidates: candidates of a pool, more than the largest context.
        num_tasks: K.
        seed: of tasks and contexts.
    """
    prior = make_prior(spec, num_candidates=num_candidates)
    rows, arms = [], [named(model.nap, "np"), "gp-fitted", "gp-exact"]
    is_warped = prior.output_share > 0.0
    if not is_warped:
        arms.append("gp-exact-standardised")
    for count in PRIOR_CONTEXTS:

        def one(key: Array, count: int = count) -> tuple[Array, ...]:
            task, kernel = prior.sample_with_kernel(key)
            task, is_seen = task.params, jnp.ones((count,), bool)
            x, y, shown = task.x[:count], task.y[:count], shown_to(model.nap, task)
            seen = Evaluations(x, shown.y[:count], is_seen)
            belief = model.nap.believe(model.params, task.kind, seen, task.x[count:])
            own = jnp.mean(_in_spreads(model, belief, seen, shown.y[count:]))
            targets, units = (task.x[count:], task.y[count:]), jnp.log(scale_of(y, is_seen).std)
            others = [fitted_gp_nll(task.kind, (x, y), targets), exact_gp_nll(kernel, (x, y, is_seen), targets)]
            if not is_warped:
                others.append(affine_gp_nll(kernel, (x, y), targets))
            return own, *(jnp.mean(nll) - units for nll in others)

        keys = jax.random.split(jax.random.key(seed), num_tasks)
        found = jax.jit(lambda keys, one=one: jax.lax.map(one, keys, batch_size=64))(keys)
        for arm, values in zip(arms, found, strict=True):
            rows.append(row_of(arm, spec, {"context": count}, "nll", np.asarray(values, np.float64), {}))
    return rows


def fitted_gp_nll(
    kind: Int[Array, " D"],
    context: tuple[Float[Array, "L D"], Float[Array, " L"]],
    targets: tuple[Float[Array, "m D"], Float[Array, " m"]],
) -> Float[Array, " m"]:
    """Returns `-log p(y | x, context)` in nats under the Gaussian process that is most probable given the context.

    Args:
        kind: what each dimension holds.
        context: (points, values), not all the same.
        targets: (points, values), none of them in the context.
    """
    (seen_x, seen_y), (x, y) = context, targets
    is_seen = jnp.ones(seen_y.shape, bool)
    z = gp.standardise(seen_y, is_seen)
    data = gp.Data(gp.squared_differences(seen_x, seen_x, kind), z, is_seen)
    hyper = gp.fit(data, gp.prior_hyper(kind.shape[0]), num_evaluations=FIT_EVALUATIONS)
    mean, std = gp.posterior(hyper, seen_x, z, is_seen, x, kind)
    spread = jnp.std(seen_y)
    variance = std**2 + jnp.exp(hyper.log_noise)
    return jnp.log(spread) - norm.logpdf((y - jnp.mean(seen_y)) / spread, mean, jnp.sqrt(variance))
