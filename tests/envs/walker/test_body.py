import numpy as np
import pytest

from envs.walker.body import BUILDS, make_body, polygon_mass

BOX2D = {  # as Box2D computes them: hull mass, centre of mass, inertia; upper and lower mass and inertia
    "default": (5.42222, (-0.020036, -0.005647), 1.999395, 0.302222, 0.0341399, 0.241778, 0.0267961),
    "short": (5.42222, (-0.020036, -0.005647), 1.999395, 0.151111, 0.0049391, 0.120889, 0.0036934),
    "quadru": (12.355556, (-0.021263, -0.009273), 10.612644, 0.566667, 0.1417191, 0.453333, 0.1118642),
}


@pytest.mark.parametrize("name", BUILDS)
def test_masses_and_inertias_are_those_of_box2d(name):
    body = make_body(BUILDS[name])
    mass, centre, inertia, *legs = BOX2D[name]
    # Rounded to what is printed: six or seven digits.
    np.testing.assert_allclose(body.hull_mass, mass, rtol=1e-6)
    np.testing.assert_allclose(body.hull_centre, centre, atol=6e-7)
    np.testing.assert_allclose(body.hull_inertia, inertia, rtol=1e-6)
    found = (body.upper_mass, body.upper_inertia, body.lower_mass, body.lower_inertia)
    np.testing.assert_allclose(found, legs, rtol=1e-5)


@pytest.mark.parametrize("clockwise", [False, True])
def test_a_rectangle_has_the_mass_and_inertia_of_the_books(clockwise):
    corners = np.array([[1.0, 2.0], [4.0, 2.0], [4.0, 4.0], [1.0, 4.0]])
    mass, centre, inertia = polygon_mass(corners[::-1] if clockwise else corners, 2.0)
    assert mass == pytest.approx(12.0)
    np.testing.assert_allclose(centre, [2.5, 3.0])
    assert inertia == pytest.approx(12.0 * (9.0 + 4.0) / 12.0)


def test_motors_and_costs_are_the_official_ones():
    found = {name: (build.torque, build.action_cost) for name, build in BUILDS.items()}
    assert found == {
        "default": (80.0, pytest.approx(0.028)),
        "short": (80.0, pytest.approx(0.028)),
        "quadru": (300.0, pytest.approx(0.013125)),
    }
