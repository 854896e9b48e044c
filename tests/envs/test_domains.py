import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domain import posterior
from envs.domains import DOMAINS, make_domain

BANDIT = "bandit@num_arms=3,quadrature=101"


# Names and options


@pytest.mark.parametrize("name", ["bandit", "linear-bandit", "darkroom", "darkroom-permuted"])
def test_a_name_alone_makes_the_domain_with_its_defaults(name):
    domain = make_domain(name)
    assert name in DOMAINS
    assert domain.name == domain.family.name == domain.held_out.name == name
    assert domain.is_bandit == ("bandit" in name)


def test_options_are_parsed_by_the_types_of_their_defaults():
    domain = make_domain("bandit@num_arms=3,noise=1,rewards=bernoulli,horizon=20")
    assert (domain.num_actions, domain.horizon, domain.env.is_bernoulli) == (3, 20, True)
    assert domain.family.sample(jax.random.key(0)).params.noise == 1.0
    for value, expected in (("true", True), ("False", False)):
        assert make_domain(f"darkroom@terminates={value}").env.terminates is expected


def test_the_defaults_are_those_of_the_public_code():
    found = {
        name: (domain.num_actions, domain.horizon, domain.context_length, domain.behaviour, domain.is_ordered)
        for name in ("bandit", "linear-bandit", "darkroom", "darkroom-permuted")
        for domain in [make_domain(name)]
    }
    assert found == {
        "bandit": (5, 500, 500, "tilted", False),
        "linear-bandit": (10, 200, 200, "thompson", True),
        "darkroom": (5, 100, 100, "uniform", False),
        "darkroom-permuted": (5, 100, 100, "uniform", False),
    }


def test_the_same_words_give_the_same_domain():
    assert make_domain(BANDIT) is make_domain(BANDIT)
    assert make_domain(BANDIT).env is not make_domain("bandit@num_arms=3").env
    assert make_domain(BANDIT).name == make_domain(BANDIT).family.name == BANDIT


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("bandits", "no in-context domain called 'bandits'; did you mean bandit"),
        ("dark-room", "no in-context domain called 'dark-room'; did you mean darkroom"),
        ("zzz", "no in-context domain called 'zzz'; choose one of bandit, linear-bandit, darkroom"),
        ("bandit@arms=3", "the option 'arms=3'; bandit takes num_arms, noise, rewards, .* each as option=value"),
        ("bandit@num_arms", "the option 'num_arms'; bandit takes num_arms"),
        ("bandit@num_arms=many", "num_arms='many', which is no int; its default is 5"),
        ("bandit@num_arms=2.5", "num_arms='2.5', which is no int; its default is 5"),
        ("bandit@noise=loud", "noise='loud', which is no float; its default is 0.3"),
        ("darkroom@terminates=1", "terminates='1', which is no bool; its default is False"),
        ("darkroom@size=1", "darkroom was given size=1"),
        ("velocity@expert=x", "x holds no policy .*policy.json.*; give export/ of a finished run of metarl teach"),
    ],
)
def test_what_cannot_be_made_is_refused_with_advice(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_domain(spec)


# Posteriors


def transitions(domain, length, key):
    """Returns independent transitions of one training task, and its first query."""
    key_task, key_query, key_actions, key_steps = jax.random.split(key, 4)
    params = domain.family.sample(key_task).params
    queries = jax.vmap(domain.sample_query, (0, None))(jax.random.split(key_query, length), params)
    actions = jax.random.randint(key_actions, (length,), 0, domain.num_actions)
    uniforms = jax.random.uniform(key_steps, (length, domain.env.num_step_uniforms))
    rewards, after = jax.vmap(domain.transition, (0, 0, 0, None))(uniforms, queries, actions, params)
    return (queries, actions, rewards, after), queries[0]


@pytest.mark.parametrize(
    "spec", [BANDIT, "linear-bandit@num_angles=720", "darkroom@size=4", "darkroom-permuted@size=4"]
)
def test_the_posterior_of_arrays_is_the_belief_folded_over_what_the_mask_keeps(spec):
    domain = make_domain(spec)
    arrays, query = transitions(domain, 12, jax.random.key(0))
    mask = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0], bool)
    belief = domain.belief.init()
    for i in np.flatnonzero(mask):
        belief = domain.belief.update(belief, *(leaf[i] for leaf in arrays))
    expected = domain.belief.probabilities(belief, query)
    found = posterior(domain.belief, *arrays, jnp.asarray(mask), query)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # programs of other shapes sum in other orders
    nothing = posterior(domain.belief, *arrays, jnp.zeros(12, bool), query)
    prior = domain.belief.probabilities(domain.belief.init(), query)
    np.testing.assert_allclose(nothing, prior, atol=1e-6)
    assert np.abs(found - nothing).max() > 1e-3


def test_not_even_nan_leaks_out_of_masked_slots():
    domain = make_domain(BANDIT)
    (queries, actions, rewards, after), query = transitions(domain, 4, jax.random.key(1))
    mask = jnp.array([True, False, True, False])
    spoiled = (queries, actions, jnp.where(mask, rewards, jnp.nan), after)
    np.testing.assert_array_equal(
        posterior(domain.belief, *spoiled, mask, query),
        posterior(domain.belief, queries, actions, rewards, after, mask, query),
    )


def test_a_posterior_sums_to_one_in_every_domain():
    for spec in (BANDIT, "linear-bandit@num_angles=720", "darkroom@size=4", "darkroom-permuted@size=4"):
        domain = make_domain(spec)
        arrays, query = transitions(domain, 12, jax.random.key(2))
        total = posterior(domain.belief, *arrays, jnp.ones(12, bool), query).sum()
        np.testing.assert_allclose(total, 1.0, atol=1e-6)
