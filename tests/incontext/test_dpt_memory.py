"""What a model remembers of a task while it acts, against what it was trained to read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.incontext.collect import make_collect
from metarl.incontext.heads import make_head
from tests.incontext.dpt_variants import VARIANTS, attention_of, example_of, make


@pytest.mark.parametrize("variant", VARIANTS)
def test_acting_reads_what_training_reads(variant):
    """The cache, filled one transition at a time, against the whole context, at every prefix.

    Of a set, which has no prefixes, against the transitions up to there as a context of their own.
    """
    domain, model, params = make(variant)
    params = jax.tree.map(lambda leaf: leaf * 3.0, params)  # far from the small outputs of the start
    task = domain.family.sample(jax.random.key(1)).params
    context = make_collect(domain, domain.behaviour, 12)(task, jax.random.key(2))
    query = domain.sample_query(jax.random.key(4), task)
    example = example_of(domain, model)._replace(
        transitions=jax.vmap(lambda one: model.codec.transition(domain, one))(context.transitions),
        queries=jnp.stack([model.codec.query(domain, query)] * 13),
        prefix=jnp.arange(13),
    )
    expected = jax.nn.softmax(model.outputs(params, example))
    if attention_of(variant) == "set":
        cut = lambda t: example._replace(is_valid=jnp.arange(12) < t, prefix=jnp.full((13,), t))  # noqa: E731
        expected = jax.nn.softmax(jax.vmap(lambda t: model.outputs(params, cut(t))[0])(jnp.arange(13)))
    agent = model.agent(params, domain)
    draw = jax.jit(jax.vmap(agent.act, (None, None, 0)))
    observe = jax.jit(agent.observe)
    memory = agent.init(jax.random.key(0), 12)
    keys = jax.random.split(jax.random.key(5), 4000)
    for t in range(13):
        if t in (0, 1, 6, 12):
            shares = np.bincount(np.asarray(draw(memory, query, keys)), minlength=5) / 4000
            np.testing.assert_allclose(shares, expected[t], atol=4 * np.sqrt(0.25 / 4000))
        if t < 12:
            memory = observe(memory, jax.tree.map(lambda leaf, t=t: leaf[t], context.transitions), jnp.bool_(True))


@pytest.fixture
def telling_agent(monkeypatch):
    """Returns a maker of agents which, asked for an action, tell the outputs that they would draw it from."""

    def make_telling_head(*args, **options):
        return make_head(*args, **options)._replace(sample=lambda outputs, key: outputs)

    monkeypatch.setattr("metarl.incontext.dpt.make_head", make_telling_head)

    def agent_of(variant):
        domain, model, params = make(variant)
        params = jax.tree.map(lambda leaf: leaf * 3.0, params)  # far from the small outputs of the start
        return domain, model, params, model.agent(params, domain)

    return agent_of


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_while_acting_are_those_of_training_whatever_other_tasks_do(variant, telling_agent):
    """The whole model, from transitions to masked logits, in four tasks side by side: they start in different steps,
    one begins anew while the others go on, and at every step each is what it would be in training, all at once."""
    domain, model, params, agent = telling_agent(variant)
    length, starts, again = 12, jnp.array([0, 2, 5, 9]), 7
    tasks = jax.vmap(domain.family.sample)(jax.random.split(jax.random.key(1), 4)).params
    steps = jax.vmap(make_collect(domain, domain.behaviour, length))(tasks, jax.random.split(jax.random.key(2), 4))
    steps = steps.transitions
    queries = jax.vmap(domain.sample_query)(jax.random.split(jax.random.key(4), 4), tasks)

    def trained(steps, query):
        example = example_of(domain, model)._replace(
            transitions=jax.vmap(lambda one: model.codec.transition(domain, one))(steps),
            queries=jnp.stack([model.codec.query(domain, query)] * (length + 1)),
            prefix=jnp.arange(length + 1),
        )
        if attention_of(variant) != "set":
            return model.outputs(params, example)

        def known_alone(count):  # all that there is of a set is seen by all of it
            one = example._replace(is_valid=jnp.arange(length) < count, queries=example.queries[:1], prefix=count[None])
            return model.outputs(params, one)[0]

        return jax.vmap(known_alone)(jnp.arange(length + 1))

    expected = jax.jit(jax.vmap(trained))(steps, queries)
    fresh = jax.vmap(lambda key: agent.init(key, length))(jax.random.split(jax.random.key(0), 4))
    act, observe = jax.jit(jax.vmap(agent.act, (0, 0, None))), jax.jit(jax.vmap(agent.observe))
    memory, known = fresh, np.zeros(4, int)
    for t in range(length):
        if t == again:  # the first task is reset
            memory = jax.tree.map(lambda new, old: old.at[0].set(new[0]), fresh, memory)
            known[0] = 0
        place = (np.arange(4), known.copy())
        now = jax.tree.map(lambda leaf, place=place: leaf[place], steps)
        memory = observe(memory, now, t >= starts)
        known += np.asarray(t >= starts)
        # float32 sums of a dozen terms in another order, of tokens that are such sums themselves in a set; outputs are
        # of order 1.
        atol = 5e-5 if attention_of(variant) == "set" else 1e-5
        np.testing.assert_allclose(
            act(memory, queries, jax.random.key(0)), expected[np.arange(4), known], atol=atol, rtol=1e-5
        )
    assert known.tolist() == [5, 10, 7, 3]


@pytest.mark.parametrize("variant", ["independent", "causal", "room", "set"])
def test_many_transitions_at_once_are_as_one_by_one(variant):
    domain, model, params = make(variant)
    task = domain.family.sample(jax.random.key(1)).params
    context = make_collect(domain, domain.behaviour, 12)(task, jax.random.key(2))
    is_valid = jnp.arange(12) != 4
    agent = model.agent(params, domain)
    at_once = agent.absorb(agent.init(jax.random.key(0), 12), context.transitions, is_valid)
    memory = agent.init(jax.random.key(0), 12)
    for t in range(12):
        memory = agent.observe(memory, jax.tree.map(lambda leaf, t=t: leaf[t], context.transitions), is_valid[t])
    assert int(memory.cache.length) == 11
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), at_once, memory)


def test_more_transitions_than_room_are_taken_in_pieces():
    domain, model, params = make("independent")
    task = domain.family.sample(jax.random.key(1)).params
    context = make_collect(domain, "tilted", 12)(task, jax.random.key(2))
    agent = model.agent(params, domain)
    small = agent.absorb(agent.init(jax.random.key(0), 5), context.transitions, jnp.ones(12, bool))
    assert int(small.cache.length) == 12 and small.cache.num_slots == 6 and bool(small.cache.is_filled.all())


def test_what_was_seen_is_skipped_and_nothing_else():
    domain, model, params = make("room")
    task = domain.family.sample(jax.random.key(1)).params
    context = make_collect(domain, "uniform", 12)(task, jax.random.key(2))
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), context.transitions)
    agent = model.agent(params, domain, skips_seen=True)
    at_once = agent.absorb(agent.init(jax.random.key(0), 24), twice, jnp.ones(24, bool))
    pairs = np.unique(np.asarray(jax.vmap(domain.pair_index)(twice.observation, twice.action)))
    assert int(at_once.cache.length) == len(pairs) and set(np.asarray(at_once.held)) - {-1} == set(pairs)
    memory = agent.init(jax.random.key(0), 24)
    for t in range(24):
        memory = agent.observe(memory, jax.tree.map(lambda leaf, t=t: leaf[t], twice), jnp.bool_(True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), at_once, memory)
    with pytest.raises(ValueError, match="cannot be skipped"):
        model_of_bandit = make("independent")
        model_of_bandit[1].agent(model_of_bandit[2], model_of_bandit[0], skips_seen=True)


def test_what_was_overwritten_can_be_learned_again():
    domain, model, params = make("room")
    context = make_collect(domain, "uniform", 12)(domain.family.sample(jax.random.key(1)).params, jax.random.key(2))
    pairs = np.asarray(jax.vmap(domain.pair_index)(context.transitions.observation, context.transitions.action))
    _, first = np.unique(pairs, return_index=True)
    different = jax.tree.map(lambda leaf: leaf[np.sort(first)[:5]], context.transitions)
    agent, forgetful = (model.agent(params, domain, skips_seen=skips) for skips in (True, False))
    memory = agent.absorb(agent.init(jax.random.key(0), 4), different, jnp.ones(5, bool))
    memory = agent.observe(memory, jax.tree.map(lambda leaf: leaf[0], different), jnp.bool_(True))
    assert int(memory.cache.length) == 6  # the first had made room for the fifth
    last_four = jax.tree.map(lambda leaf: jnp.concatenate([leaf[2:], leaf[:1]]), different)
    expected = forgetful.absorb(forgetful.init(jax.random.key(0), 4), last_four, jnp.ones(4, bool))
    query = domain.sample_query(jax.random.key(3), domain.env.default_params)
    acting = jax.vmap(agent.act, (None, None, 0))
    keys = jax.random.split(jax.random.key(4), 1000)
    same = acting(memory, query, keys) == acting(expected._replace(held=memory.held), query, keys)
    assert np.mean(same) > 0.99  # the same tokens in other places: sums are rounded in another order
