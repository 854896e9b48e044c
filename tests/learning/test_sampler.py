"""The model that ships is worth its place in a study of Optuna."""

import numpy as np
import pytest

pytest.importorskip("optuna", reason="the extra optuna is not installed")

from envs.blackbox.lookup import make_lookup  # noqa: E402
from envs.blackbox.tables import load_table  # noqa: E402
from metarl import zoo  # noqa: E402
from metarl.experiments.examine_sampler import regret_curve  # noqa: E402
from metarl.metabo.export import DEFAULT, find_nap  # noqa: E402
from metarl.metabo.optuna_study import make_samplers, run_study  # noqa: E402

pytestmark = pytest.mark.learning

TRIALS, SEEDS = 40, 10


@pytest.mark.skipif(DEFAULT not in zoo.nap_names(), reason=f"the zoo has no model {DEFAULT!r} yet")
def test_forty_trials_on_kc1_are_not_below_random():
    table = load_table("hpobench/kc1")
    samplers = list(make_samplers(find_nap(), num_startup=5, num_trials=TRIALS).items())
    lookup, (random, model) = make_lookup(table), (samplers[0][1], samplers[-1][1])
    last = [
        [regret_curve(table, run_study(make(seed), lookup, TRIALS).rows)[-1] for seed in range(SEEDS)]
        for make in (random, model)
    ]
    by_random, by_model = np.mean(last, axis=1)
    assert by_model <= by_random, (by_model, by_random)
