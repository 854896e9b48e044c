"""Networks: the table against the dense layer it stands for, initial scales, and which parameters feed which head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from envs.index_observation import IndexObservation
from metarl.networks.actor_critic import MIN_STACKED_ROWS, conv, mlp
from metarl.networks.network import KINDS, make_network
from metarl.networks.tabular import tabular

HEADS = {"policy": 5, "prediction": 8}
S = 12
FLOAT32 = 1e-5  # a few dozen float32 multiply-adds
INDEX_SPACE = spaces.Dict({"index": spaces.Discrete(S), "time": spaces.Box(0.0, jnp.inf, ())})
IMAGE_SPACE = spaces.Box(0, 1, (10, 10, 4))


def init(network, key):
    """Compiled as a whole, which is several times faster than one operation after another."""
    return jax.jit(network.init)(key)


def dense_form(params):
    """The matrix [S + 1, size] that multiplies the one-hot vector with the time appended."""
    return jnp.concatenate([params["table"], params["time"][None]])


def dense_observation(observation):
    return jnp.concatenate([jax.nn.one_hot(observation.index, S), observation.time[..., None]], axis=-1)


@pytest.fixture
def observation(key):
    """[20, 3] visits of 12 states, so that rows repeat; two states are never visited."""
    return IndexObservation(jax.random.randint(key, (20, 3), 0, S - 2), jax.random.uniform(key, (20, 3)))


def test_table_equals_dense_layer_on_one_hot_states(key, observation):
    network = tabular(S, HEADS)
    params = init(network, key)
    outputs = network.apply(params, observation)
    for head in HEADS:
        expected = dense_observation(observation) @ dense_form(params[head])
        np.testing.assert_allclose(outputs[head], expected, rtol=FLOAT32, atol=FLOAT32)


def test_gradient_of_the_table_equals_that_of_the_dense_layer(key, observation):
    network = tabular(S, HEADS)
    params = init(network, key)

    def loss(params):
        return jnp.sum(jnp.square(network.apply(params, observation)["policy"]))

    def dense_loss(matrix):
        return jnp.sum(jnp.square(dense_observation(observation) @ matrix))

    gradient, expected = jax.grad(loss)(params), jax.grad(dense_loss)(dense_form(params["policy"]))
    np.testing.assert_allclose(dense_form(gradient["policy"]), expected, rtol=FLOAT32, atol=FLOAT32)
    np.testing.assert_array_equal(gradient["policy"]["table"][S - 2 :], 0.0)
    assert jnp.abs(gradient["policy"]["time"]).min() > 0.0


@pytest.mark.parametrize("index", [-1, S])
def test_an_index_out_of_range_gives_nan(key, index):
    network = tabular(S, HEADS)
    outputs = network.apply(init(network, key), IndexObservation(jnp.int32(index), jnp.float32(0.0)))
    assert jnp.isnan(outputs["policy"]).all()


def test_bare_integers_are_states_at_time_zero(key):
    network = tabular(S, HEADS)
    params, index = init(network, key), jnp.arange(4)
    expected = network.apply(params, IndexObservation(index, jnp.zeros((4,))))
    np.testing.assert_array_equal(network.apply(params, index)["policy"], expected["policy"])


def test_table_is_drawn_with_variance_one_over_its_rows(key):
    params = init(tabular(400, {"policy": 50, "prediction": 50}), key)
    for branch in params.values():
        matrix = np.asarray(dense_form(branch))
        # 20,050 draws: the deviation is known to 0.5 %. Truncated at 2, a normal keeps 0.8796 of its deviation.
        np.testing.assert_allclose(matrix.std(), 1.0 / np.sqrt(401), rtol=0.02)
        assert np.abs(matrix).max() <= 2.0 / 0.87962566 / np.sqrt(401) * (1.0 + FLOAT32)
    np.testing.assert_allclose(
        params["policy"]["time"].std(), 1.0 / np.sqrt(401), rtol=0.4
    )  # 50 draws: 10 %, 4 of them


def test_heads_are_drawn_independently(key):
    params = init(tabular(S, {"policy": 5, "value": 5}), key)
    assert not np.isclose(params["policy"]["table"], params["value"]["table"]).any()


def test_tables_need_a_state():
    with pytest.raises(ValueError, match="0 states"):
        tabular(0, HEADS)


NETWORKS = {
    "tabular": (tabular(S, HEADS), jnp.zeros((), jnp.int32)),
    "mlp": (mlp((4,), HEADS, hidden=(8, 8)), jnp.ones((4,))),
    "conv": (conv((10, 10, 4), HEADS, features=(3,), hidden=(8,)), jnp.ones((10, 10, 4))),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_head_has_parameters_of_its_own(key, kind):
    network, observation = NETWORKS[kind]
    params = init(network, key)
    gradient = jax.jit(jax.grad(lambda params: network.apply(params, observation)["policy"].sum()))(params)
    assert set(params) == set(HEADS)
    assert all((leaf == 0.0).all() for leaf in jax.tree.leaves(gradient["prediction"]))
    assert any((leaf != 0.0).any() for leaf in jax.tree.leaves(gradient["policy"]))


@pytest.mark.parametrize("make", [mlp, conv])
def test_a_shared_torso_is_a_branch_of_its_own_that_every_head_moves(key, make):
    network = make((10, 10, 4), HEADS, hidden=(8,), shares_torso=True)
    params = init(network, key)
    assert set(params) == {"torso", *HEADS}
    for head in HEADS:
        gradient = jax.jit(jax.grad(lambda params, h=head: network.apply(params, jnp.ones((10, 10, 4)))[h].sum()))(
            params
        )
        assert any((leaf != 0.0).any() for leaf in jax.tree.leaves(gradient["torso"]))


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_bodies_computed_as_one_give_what_each_gives_alone(key, kind):
    network, observation = NETWORKS[kind]
    params = init(network, key)
    observation = jax.random.normal(key, (MIN_STACKED_ROWS, *observation.shape))

    @jax.jit
    def loss(params, *batches):
        outputs = jax.tree.map(lambda *x: jnp.concatenate(x), *(network.apply(params, batch) for batch in batches))
        return jnp.mean(jnp.square(outputs["policy"])) + jnp.mean(outputs["prediction"]), outputs

    together = jax.grad(loss, has_aux=True)(params, observation)
    apart = jax.grad(loss, has_aux=True)(params, *jnp.split(observation, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, apart)  # sums of 512


def test_hidden_layers_are_orthogonal_and_the_policy_head_small(key):
    params = init(mlp((32,), HEADS, hidden=(32, 32)), key)
    for head, scale in (("policy", 0.01), ("prediction", 1.0)):
        for layer in params[head]["body"].values():
            np.testing.assert_allclose(layer["kernel"].T @ layer["kernel"], 2.0 * np.eye(32), atol=1e-5)
            np.testing.assert_array_equal(layer["bias"], 0.0)
        kernel = params[head]["Dense_0"]["kernel"]
        np.testing.assert_allclose(kernel.T @ kernel, scale**2 * np.eye(HEADS[head]), atol=1e-5 * scale**2)


def test_mlp_is_the_formula_it_says(key):
    network = mlp((2, 3), HEADS, hidden=(7,), activation="tanh")
    params = init(network, key)
    observation = jax.random.normal(key, (2, 3))
    first, last = params["policy"]["body"]["Dense_0"], params["policy"]["Dense_0"]
    hidden = np.tanh(np.asarray(observation).reshape(-1) @ first["kernel"] + first["bias"])
    expected = hidden @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(network.apply(params, observation)["policy"], expected, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.int32, jnp.uint8])
def test_observations_of_any_type_are_cast(key, dtype):
    network = mlp((4,), HEADS, hidden=(8,))
    params, observation = init(network, key), jnp.array([0, 1, 1, 0])
    expected = network.apply(params, observation.astype(jnp.float32))
    np.testing.assert_array_equal(network.apply(params, observation.astype(dtype))["policy"], expected["policy"])


def test_convolutions_see_neighbourhoods_not_positions(key):
    """Without padding, moving an image moves the feature map: the same maximum is found."""
    network = conv((10, 10, 1), {"policy": 4}, features=(4,), hidden=())
    params = init(network, key)
    kernel = params["policy"]["body"]["Conv_0"]["kernel"]
    assert kernel.shape == (3, 3, 1, 4)
    # A head that reads the sum of each feature map cannot tell where the spot is.
    params["policy"]["Dense_0"]["kernel"] = jnp.tile(jnp.eye(4), (64, 1))
    spots = [jnp.zeros((10, 10, 1)).at[row, column].set(1.0) for row, column in ((3, 3), (5, 6))]
    outputs = [network.apply(params, spot)["policy"] for spot in spots]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=FLOAT32)
    np.testing.assert_allclose(outputs[0], jax.nn.relu(kernel).sum((0, 1, 2)), rtol=FLOAT32)


@pytest.mark.parametrize(
    ("kind", "space", "shape"),
    [("tabular", INDEX_SPACE, (6,)), ("tabular", spaces.Discrete(S), (6,)), ("mlp", IMAGE_SPACE, (6, 10, 10, 4)),
     ("conv", IMAGE_SPACE, (6, 10, 10, 4)), ("mlp", spaces.Box(-1.0, 1.0, ()), (6,))],
)  # fmt: skip
def test_make_network_reads_observations_of_its_space(key, kind, space, shape):
    network = make_network(kind, space, HEADS, hidden=(8,), features=(2,))
    observation = jnp.zeros(shape, jnp.int32)
    if space is INDEX_SPACE:
        observation = IndexObservation(observation, jnp.zeros(shape))
    outputs = network.apply(init(network, key), observation)
    assert {head: x.shape for head, x in outputs.items()} == {"policy": (6, 5), "prediction": (6, 8)}


@pytest.mark.parametrize(
    ("kind", "space", "message"),
    [
        ("tabular", IMAGE_SPACE, "needs observations that are a state index"),
        ("tabular", spaces.Dict({"index": spaces.Discrete(3)}), "needs observations that are a state index"),
        ("mlp", INDEX_SPACE, "needs observations that are arrays.*choose tabular"),
        ("mlp", spaces.Discrete(S), "needs observations that are arrays.*choose tabular"),
        ("conv", spaces.Box(0, 1, (4,)), "shape \\(4,\\).*choose mlp"),
        ("conv", spaces.Box(0, 1, (2, 2, 1)), "sides above 2"),
        ("transformer", IMAGE_SPACE, "unknown; choose one of tabular, mlp, conv"),
    ],
)
def test_make_network_refuses_observations_that_do_not_fit(kind, space, message):
    with pytest.raises(ValueError, match=message):
        make_network(kind, space, HEADS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_made(kind):
    assert make_network(kind, INDEX_SPACE if kind == "tabular" else IMAGE_SPACE, HEADS)


def test_options_reach_the_network(key):
    network = make_network("mlp", IMAGE_SPACE, HEADS, hidden=(3,), activation="tanh", shares_torso=True)
    assert init(network, key)["torso"]["Dense_0"]["kernel"].shape == (400, 3)


def test_unknown_activations_are_refused():
    with pytest.raises(ValueError, match="'gelu' is unknown; choose one of relu, tanh"):
        mlp((4,), HEADS, activation="gelu")


def test_a_head_called_torso_cannot_stand_beside_a_shared_one():
    with pytest.raises(ValueError, match="rename the head"):
        mlp((4,), {"torso": 3}, shares_torso=True)


def test_an_observation_of_another_shape_is_refused(key):
    network = mlp((4,), HEADS, hidden=())
    with pytest.raises(ValueError, match="last axes must be"):
        network.apply(init(network, key), jnp.zeros((3, 5)))
