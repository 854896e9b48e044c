import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.build import make_model
from metarl.incontext.collect import make_collect
from metarl.incontext.dpt import dpt
from metarl.incontext.examples import expert_questions, fresh_examples
from metarl.incontext.heads import make_head
from metarl.networks.transformer import ContextTransformer

SETTINGS = {
    "width": 16,
    "num_layers": 2,
    "num_heads": 2,
    "attention": "independent",
    "positions": "none",
    "activation": "gelu",
    "normalises_queries": False,
    "reads_positions": False,
    "head": "categorical",
    "num_parts": 8,
    "precision": "float32",
}
ROOM = "darkroom@size=4,horizon=6"
VARIANTS = {
    "independent": ("bandit@horizon=12", {}),
    "causal": ("bandit@horizon=12", {"attention": "causal"}),
    "positions": ("bandit@horizon=12", {"attention": "causal", "reads_positions": True}),
    "room": (ROOM, {}),
    "room causal rope": (ROOM, {"attention": "causal", "positions": "rope"}),
    "set": ("bandit@horizon=12", {"attention": "set"}),
    "room set": (ROOM, {"attention": "set"}),
}


def make(variant):
    spec, options = VARIANTS[variant]
    domain = make_domain(spec)
    model = make_model([domain], **{**SETTINGS, **options})
    return domain, model, model.init(jax.random.key(0))


def attention_of(variant):
    return VARIANTS[variant][1].get("attention", "independent")


def example_of(domain, model, length=12, **options):
    ask = expert_questions(domain, model.codec, num_queries=6, **options)
    sample = fresh_examples(domain, make_collect(domain, domain.behaviour, length), ask)
    return sample(jax.random.key(3))


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("spec", "num_layers", "expected"), [("linear-bandit", 3, 37_792), ("bandit", 4, 49_824)])
def test_the_published_recipes_have_their_numbers_of_parameters(spec, num_layers, expected):
    transformer = ContextTransformer(32, num_layers, 1, "causal")
    model = dpt([make_domain(spec)], transformer, reads_positions=True)
    assert count(model.init(jax.random.key(0))) == expected


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_heads_share_the_width(num_heads):
    models = [make_model([make_domain("bandit")], **{**SETTINGS, "num_heads": n}) for n in (num_heads, 1)]
    assert count(models[0].init(jax.random.key(0))) == count(models[1].init(jax.random.key(0)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_untrained_model_knows_nothing(variant):
    """Its head starts small: the loss is that of the uniform distribution."""
    domain, model, params = make(variant)
    losses = model.losses(params, example_of(domain, model, shares_prefix=attention_of(variant) == "set"))
    np.testing.assert_allclose(losses, np.log(5.0), atol=0.5)
    np.testing.assert_allclose(jnp.mean(losses), np.log(5.0), atol=0.2)


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


ORDERED = {"causal": ("causal", "none"), "rope": ("independent", "rope")}
UNORDERED = {"set": ("set", "none"), "independent": ("independent", "none")}


@pytest.mark.parametrize("variant", [*ORDERED, *UNORDERED])
def test_the_order_of_a_context_matters_to_who_is_shown_it_and_to_nobody_else(variant):
    """Probabilities of actions over twenty orders of one context, the whole of which is known."""
    attention, positions = (ORDERED | UNORDERED)[variant]
    domain = make_domain("bandit@horizon=12")
    model = make_model([domain], **{**SETTINGS, "attention": attention, "positions": positions})
    params = jax.tree.map(lambda leaf: leaf * 3.0, model.init(jax.random.key(0)))
    example = example_of(domain, model)
    example = example._replace(queries=example.queries[:1], prefix=jnp.array([12]), is_valid=jnp.ones((12,), bool))

    def answer(key):
        shuffled = example.transitions[jax.random.permutation(key, 12)]
        return jax.nn.softmax(model.outputs(params, example._replace(transitions=shuffled))[0])

    spread = np.std(jax.jit(jax.vmap(answer))(jax.random.split(jax.random.key(6), 20)), axis=0).max()
    assert spread > 1e-3 if variant in ORDERED else spread < 1e-6  # float32 sums in another order


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


def test_missing_arms_are_never_pulled():
    domain, model, params = make("independent")
    fewer = make_domain("bandit@num_arms=3,horizon=12")
    agent = model.agent(params, fewer)
    memory = agent.init(jax.random.key(0), 4)
    observation = fewer.sample_query(jax.random.key(0), fewer.env.default_params)
    actions = jax.vmap(agent.act, (None, None, 0))(memory, observation, jax.random.split(jax.random.key(1), 500))
    assert set(np.unique(actions)) == {0, 1, 2}


def test_greedy_actions_are_the_most_probable():
    domain, model, params = make("room")
    params = jax.tree.map(lambda leaf: leaf * 3.0, params)
    agent, greedy = (model.agent(params, domain, greedy=is_greedy) for is_greedy in (False, True))
    memory = agent.init(jax.random.key(0), 4)
    query = jnp.array([1, 2])
    actions = jax.vmap(agent.act, (None, None, 0))(memory, query, jax.random.split(jax.random.key(1), 2000))
    assert int(greedy.act(memory, query, jax.random.key(9))) == np.bincount(np.asarray(actions)).argmax()


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("bandit", {"head": "binned"}, "discrete ones categorical"),
        (ROOM, {"attention": "causal", "reads_positions": True}, "a constant observation"),
        ("bandit", {"reads_positions": True}, "needs causal attention"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(spec, options, words):
    with pytest.raises(ValueError, match=words):
        make_model([make_domain(spec)], **{**SETTINGS, **options})


@pytest.mark.slow
def test_pixels_go_through_products_with_patches():
    model = make_model([make_domain("visual-room")], **SETTINGS)
    params = model.init(jax.random.key(0))
    assert [params["look"][f"Dense_{i}"]["kernel"].shape for i in (0, 1)] == [(27, 16), (144, 16)]
    domain = model.codec.domains[0]
    example = example_of(domain, model, length=3)
    outputs = model.outputs(params, example)
    changed = example._replace(queries=example.queries.at[0, :600].set(1.0))
    assert not np.allclose(outputs[0], model.outputs(params, changed)[0])
    np.testing.assert_array_equal(outputs[1:], model.outputs(params, changed)[1:])
