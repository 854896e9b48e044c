"""What is collected once a reward was seen, by hand; and what one collects who knows the task."""

import jax
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.experiments.rewarded import expert_returns, once_rewarded

RETURNS = np.asarray([[0.0, 4.0, 0.0, 6.0], [0.0, 0.0, 0.0, 3.0], [2.0, 2.0, 8.0, 0.0]])
"""Of three tasks: rewarded in the second and last episode; in the last alone, too late; from the first on."""


@pytest.mark.parametrize(("remembers_one", "expected"), [(True, [0.0, 10.0 / 3.0]), (False, [3.0, 10.0 / 3.0])])
def test_episodes_count_whose_context_holds_a_reward(remembers_one, expected):
    np.testing.assert_allclose(once_rewarded(RETURNS, remembers_one=remembers_one), expected)


def test_without_any_reward_nothing_is_left():
    assert len(once_rewarded(np.zeros((3, 4)), remembers_one=False)) == 0


def test_an_expert_collects_what_the_shortest_way_leaves():
    domain = make_domain("darkroom@size=5,horizon=12")
    params = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(0), 20)).params
    found = expert_returns(domain, params, jax.random.key(1), batch_size=7)
    np.testing.assert_allclose(found, np.minimum(12, 13 - np.asarray(params.goal).sum(axis=1)))
