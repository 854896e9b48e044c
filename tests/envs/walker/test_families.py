import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.walker.families import hexagon_tracks, stump_tracks


@pytest.mark.parametrize(("make", "number", "high"), [(stump_tracks, 2, (3.0, 6.0)), (hexagon_tracks, 12, (4.0,) * 12)])
def test_quantiles_are_linear_in_the_bounds(make, number, high):
    family = make()
    assert family.num_dimensions == number
    np.testing.assert_array_equal(family.low, np.zeros(number, np.float32))
    np.testing.assert_array_equal(family.high, np.asarray(high, np.float32))
    for quantile, share in ((0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (-3.0, 0.0), (7.0, 1.0)):
        params = family.decode(jnp.full((number,), quantile, jnp.float32)).params
        np.testing.assert_allclose(params.terrain, share * np.asarray(high), rtol=1e-6)


def test_the_families_say_what_teachers_need_to_know():
    family = stump_tracks()
    assert family.return_range == (-150.0, 350.0) and family.success_return == 230.0
    assert family.max_episode_steps == 2000 == int(family.decode(jnp.zeros(2)).params.max_steps_in_episode)


def test_sampled_tasks_are_uniform_in_the_box():
    family = stump_tracks(high=(9.0, 6.0))
    places = np.asarray(
        jax.vmap(lambda key: family.sample(key).params.terrain)(jax.random.split(jax.random.key(0), 4000))
    )
    # Standard error of the mean of 4000 uniforms: 0.0046 of the range.
    np.testing.assert_allclose(places.mean(0) / np.array([9.0, 6.0]), 0.5, atol=0.02)
    assert (places >= 0.0).all() and (places <= np.array([9.0, 6.0])).all()


def test_bodies_with_as_many_legs_share_an_environment():
    assert stump_tracks(body="default").env is stump_tracks(body="short").env
    assert stump_tracks(body="quadru").env.num_actions == 8
    assert float(stump_tracks(body="quadru").decode(jnp.zeros(2)).params.torque) == 300.0


@pytest.mark.parametrize("bounds", [{"low": (0.0,)}, {"high": (1.0, 2.0, 3.0)}, {"low": (4.0, 0.0)}])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="stumps were given the bounds"):
        stump_tracks(**bounds)


def test_an_unknown_body_is_refused():
    with pytest.raises(ValueError, match="no body called 'fish'; choose one of default, short, quadru"):
        stump_tracks(body="fish")


@pytest.mark.parametrize(
    ("gymnax_id", "num_actions"),
    [("StumpTracks-metarl", 4), ("StumpTracksQuadruped-metarl", 8), ("HexagonTracks-metarl", 8)],
)
def test_gymnax_makes_the_environments(gymnax_id, num_actions):
    env, params = gymnax.make(gymnax_id)
    assert env.action_space(params).shape == (num_actions,)
    assert env.observation_space(params).shape == (4 + 5 * num_actions // 2 + 10,)
