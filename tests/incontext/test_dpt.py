import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.build import make_model
from metarl.incontext.dpt import dpt
from metarl.networks.transformer import ContextTransformer
from tests.incontext.dpt_variants import ROOM, SETTINGS, VARIANTS, attention_of, example_of, make


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
