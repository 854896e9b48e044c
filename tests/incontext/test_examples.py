import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.agent import Transition
from metarl.incontext.collect import make_collect
from metarl.incontext.context import OrderedContext
from metarl.incontext.examples import draw_prefixes, expert_questions, fresh_examples, history_questions
from metarl.incontext.model import make_codec

ROOM = "darkroom@size=4,horizon=6"


def prefixes(kind, count=16, length=100, num_draws=500):
    keys = jax.random.split(jax.random.key(0), num_draws)
    return np.asarray(jax.vmap(lambda key: draw_prefixes(key, kind, count, length))(keys))


def examples(spec, count=300, length=30, **options):
    domain = make_domain(spec)
    codec = make_codec([domain])
    ask = expert_questions(domain, codec, **options)
    sample = fresh_examples(domain, make_collect(domain, domain.behaviour, length), ask)
    return domain, codec, jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(1), count))


def test_uniform_prefixes_are_uniform_from_none_to_all():
    found = prefixes("uniform")
    counts = np.bincount(found.ravel(), minlength=101)
    assert len(counts) == 101
    np.testing.assert_allclose(counts / counts.sum(), 1 / 101, atol=4 * np.sqrt(1 / 101 / found.size))


def test_mixed_prefixes_are_half_uniform_and_half_logarithmic():
    found = prefixes("mixed")
    assert found.min() == 0 and found.max() == 100
    logarithmic = np.log(2.0) / np.log(102.0)  # P(floor(exp(u ln 102) - 1) = 0)
    np.testing.assert_allclose((found == 0).mean(), 0.5 / 101 + 0.5 * logarithmic, atol=0.01)
    np.testing.assert_allclose((found >= 50).mean(), 0.5 * 51 / 101 + 0.5 * (1 - np.log(51) / np.log(102)), atol=0.02)


def test_all_prefixes_are_each_number_once():
    assert draw_prefixes(jax.random.key(0), "all", 3, 5).tolist() == [0, 1, 2, 3, 4, 5]


def test_unknown_prefixes_are_refused():
    with pytest.raises(ValueError, match="choose one of mixed, uniform, all"):
        draw_prefixes(jax.random.key(0), "some", 3, 5)


def test_answers_are_the_experts_about_the_asked_observation():
    domain, codec, batch = examples(ROOM, num_queries=4)
    cells = np.asarray(batch.queries).reshape(-1, 2, 4).argmax(-1)
    labels = np.asarray(batch.labels).reshape(-1, 5)
    assert set(labels.ravel()) == {0.0, 1.0} and (labels.sum(1) == 1).all()
    # Where the answer is to stay, the cell is the goal; a room has one, so all such cells of a context agree.
    stays = labels[:, 4] == 1
    assert stays.any()
    for task in range(300):
        own = slice(4 * task, 4 * task + 4)
        assert len({tuple(cell) for cell in cells[own][stays[own]]}) <= 1


def test_where_only_walks_lead_what_was_visited_is_asked_about():
    domain = make_domain(ROOM)._replace(asks_visited=True, sample_query=lambda key, params: jnp.full((2,), -7))
    codec = make_codec([domain])
    ask, collect = expert_questions(domain, codec, num_queries=40), make_collect(domain, "walk", 9)

    def one(key):
        params = domain.family.sample(key).params
        context = collect(params, key)
        context = context._replace(length=jnp.int32(4))
        return params, context, ask(params, context, key)

    params, context, example = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 30))
    visited = jax.vmap(jax.vmap(lambda seen: codec.query(domain, seen)))(context.transitions.observation[:, :4])
    is_visited = (example.queries[:, :, None] == visited[:, None]).all(-1)
    assert is_visited.any(-1).all()
    assert is_visited.any(1).all()  # each of the four, and none of the places without a transition
    labels = jax.vmap(jax.vmap(domain.expert, (0, None)))(context.transitions.observation[:, :4], params)
    answered = jnp.take_along_axis(labels, jnp.argmax(is_visited, axis=-1)[..., None], axis=1)
    np.testing.assert_array_equal(example.labels, answered)


def test_a_transition_is_written_as_what_it_consists_of():
    domain = make_domain(ROOM)
    codec = make_codec([domain])
    step = Transition(jnp.array([1, 2]), jnp.int32(3), jnp.float32(1.0), jnp.array([1, 1]))
    expected = np.zeros(8 + 5 + 1 + 8)
    expected[[1, 4 + 2, 8 + 3, 13, 14 + 1, 14 + 4 + 1]] = 1.0
    np.testing.assert_array_equal(codec.transition(domain, step), expected)


def test_noise_replaces_answers_at_its_rate():
    _, _, clean = examples(ROOM, num_queries=8)
    _, _, noisy = examples(ROOM, num_queries=8, label_noise=0.5)
    np.testing.assert_array_equal(clean.queries, noisy.queries)
    agree = float((clean.labels * noisy.labels).sum() / (300 * 8))
    assert abs(agree - 0.6) < 4 * np.sqrt(0.24 / 2400)  # a random action is the expert's one time in five


def test_answers_weigh_the_exponential_of_the_reward_they_bring():
    """Of a task that is known: the logarithm of a weight is the pulled arm's reward over the temperature."""
    domain, temperature = make_domain("bandit@horizon=5,noise=0.1"), 0.25
    params = domain.family.sample(jax.random.key(0)).params
    ask = expert_questions(
        domain, make_codec([domain]), num_queries=4000, label_noise=1.0, reward_temperature=temperature
    )
    context = make_collect(domain, "tilted", 5)(params, jax.random.key(1))
    example = jax.jit(ask)(params, context, jax.random.key(2))
    arms, reward = np.asarray(example.labels).argmax(-1), temperature * np.log(np.asarray(example.weight))
    noise = reward - np.asarray(params.means)[arms]
    np.testing.assert_allclose([noise.mean(), noise.std()], [0.0, 0.1], atol=4 * 0.1 / np.sqrt(4000))
    better = np.argsort(params.means)
    assert (np.diff([np.asarray(example.weight)[arms == arm].mean() for arm in better]) > 0).all()


def test_only_answers_that_reach_the_goal_weigh_more_than_one():
    _, _, batch = examples(ROOM, num_queries=8, label_noise=1.0, reward_temperature=0.5)
    weight = np.asarray(batch.weight)
    np.testing.assert_allclose(np.unique(weight), [1.0, np.exp(1.0 / 0.5)], rtol=1e-6)
    # An action from a cell leads to a uniform cell where walls are as likely from either side: the goal is one of 16.
    assert abs((weight > 1.0).mean() - 1 / 16) < 4 * np.sqrt(1 / 16 / 300)  # the eight of a task share its goal


def test_without_a_temperature_answers_weigh_alike():
    _, _, equal = examples("bandit@horizon=30", num_queries=2)
    assert (np.asarray(equal.weight) == 1.0).all()


def test_a_set_is_asked_about_one_prefix_and_shows_nothing_else():
    _, _, batch = examples(ROOM, num_queries=4, shares_prefix=True)
    prefix, valid = np.asarray(batch.prefix), np.asarray(batch.is_valid)
    assert (prefix == prefix[:, :1]).all() and len(np.unique(prefix)) > 10
    np.testing.assert_array_equal(valid.sum(1), prefix[:, 0])


def test_a_short_context_is_never_asked_about_more_than_it_holds():
    domain = make_domain(ROOM)
    codec = make_codec([domain])
    context = make_collect(domain, "walk", 30)(domain.family.sample(jax.random.key(0)).params, jax.random.key(1))
    short = OrderedContext(context.transitions, jnp.int32(7))
    ask = expert_questions(domain, codec, num_queries=64)
    example = ask(domain.family.sample(jax.random.key(0)).params, short, jax.random.key(2))
    assert int(example.prefix.max()) == 7 and int(example.is_valid.sum()) == 7


def test_histories_are_asked_what_was_done_next():
    domain = make_domain(ROOM)
    codec = make_codec([domain])
    params = domain.family.sample(jax.random.key(0)).params
    context = make_collect(domain, "walk", 30)(params, jax.random.key(1))
    example = history_questions(domain, codec, num_queries=50)(params, context, jax.random.key(2))
    prefix = np.asarray(example.prefix)
    assert prefix.min() >= 0 and prefix.max() <= 29 and len(np.unique(prefix)) > 15
    np.testing.assert_array_equal(example.labels.argmax(-1), context.transitions.action[prefix])
    np.testing.assert_array_equal(example.queries, jax.vmap(domain.encode)(context.transitions.observation[prefix]))


def test_domains_of_one_model_are_padded_and_told_apart():
    small, large = make_domain("darkroom@size=3,horizon=4"), make_domain("bandit@num_arms=7,horizon=9")
    codec = make_codec([small, large])
    assert (codec.observation_size, codec.num_actions, codec.query_size) == (6, 7, 8)
    sizes = {
        make(domain).shape
        for domain in (small, large)
        for make in [
            lambda domain: jax.vmap(lambda one: codec.transition(domain, one))(
                make_collect(domain, domain.behaviour, 4)(
                    domain.family.sample(jax.random.key(0)).params, jax.random.key(1)
                ).transitions
            )
        ]
    }
    assert sizes == {(4, codec.transition_size)}
    assert codec.allowed_actions(small).tolist() == [True] * 5 + [False] * 2
    queries = [
        codec.query(domain, domain.sample_query(jax.random.key(0), domain.env.default_params))
        for domain in (small, large)
    ]
    assert [query[6:].tolist() for query in queries] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("linear-bandit", "was trained on bandit and not on 'linear-bandit'"),
        ("bandit@num_arms=9", "9 actions and observations of 1 numbers"),
    ],
)
def test_a_domain_that_does_not_fit_is_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        make_codec([make_domain("bandit")]).index(make_domain(spec))


def test_questions_without_an_answer_are_not_asked():
    """Whether the key was found is hidden: two experts, of whom no context can tell which answers."""
    hidden = make_domain("key-to-door@size=3,shows_key=false")
    queries = [make_codec([hidden]).query(hidden, jnp.array([1, 1, has_key])) for has_key in (0, 1)]
    np.testing.assert_array_equal(*queries)
    with pytest.raises(ValueError, match="algorithm distillation or RL²"):
        expert_questions(hidden, make_codec([hidden]))


def test_fewer_arms_or_other_noise_fit():
    codec = make_codec([make_domain("bandit")])
    assert codec.index(make_domain("bandit@num_arms=3,noise=0.5")) == 0


@pytest.mark.parametrize("other", ["visual-room", "velocity"])
def test_pixels_and_vectors_and_discrete_and_continuous_actions_are_not_mixed(other):
    domains = [make_domain(ROOM), make_domain(other)]
    for order in (domains, domains[::-1]):
        with pytest.raises(ValueError, match="mix discrete and continuous actions, or images and vectors"):
            make_codec(order)


def test_a_model_of_no_domain_is_refused():
    with pytest.raises(ValueError, match="no domain was given"):
        make_codec([])
