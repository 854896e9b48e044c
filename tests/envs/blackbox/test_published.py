import numpy as np
import pytest

from envs.blackbox.published import NAP_SPACES, published_curves

CURVES = published_curves()
STEPS = (5, 10, 25, 50, 100)
# Mean over 430 runs of 1 - value at these steps, and over all steps: aggregated from the published files before.
ALL_SPACES = {
    "hpob__FSBO2": (0.0814, 0.0553, 0.0286, 0.0182, 0.0105, 0.0284),
    "hpob__FSBO": (0.0874, 0.0602, 0.0356, 0.0210, 0.0125, 0.0326),
    "hpob__BOHAMIANN": (0.1176, 0.0767, 0.0461, 0.0280, 0.0158, 0.0412),
    "hpob__DGP": (0.0994, 0.0733, 0.0480, 0.0281, 0.0173, 0.0408),
    "hpob__DNGO": (0.0989, 0.0702, 0.0449, 0.0285, 0.0224, 0.0415),
    "hpob__GP": (0.1059, 0.0799, 0.0511, 0.0345, 0.0258, 0.0471),
    "hpob__TAF": (0.1011, 0.0717, 0.0467, 0.0359, 0.0254, 0.0453),
    "hpob__TST": (0.1040, 0.0749, 0.0510, 0.0389, 0.0278, 0.0485),
    "hpob__RGPE": (0.1036, 0.0763, 0.0562, 0.0464, 0.0278, 0.0514),
    "hpob__Random": (0.1419, 0.1120, 0.0864, 0.0722, 0.0540, 0.0804),
}
SIX_SPACES = {
    "nap__NAP": (0.0687, 0.0381, 0.0164, 0.0048, 0.0292),
    "nap__OptFormer": (0.0726, 0.0535, 0.0229, 0.0084, 0.0366),
    "hpob__FSBO2": (0.0635, 0.0324, 0.0183, 0.0131, 0.0321),
    "hpob__BOHAMIANN": (0.0833, 0.0467, 0.0251, 0.0092, 0.0414),
    "hpob__FSBO": (0.0683, 0.0428, 0.0280, 0.0139, 0.0382),
    "hpob__RGPE": (0.0828, 0.0467, 0.0384, 0.0237, 0.0500),
    "hpob__GP": (0.1013, 0.0581, 0.0397, 0.0221, 0.0566),
    "hpob__Random": (0.1531, 0.1115, 0.0865, 0.0624, 0.0994),
}


def summary(method, steps, spaces=None):
    curve = CURVES.regret(method, spaces).mean(axis=(0, 1))
    return [*curve[list(steps)], curve.mean()]


def test_there_are_forty_methods_on_eighty_six_tasks():
    assert (len(CURVES.values), len(CURVES.tasks), len(set(CURVES.tasks))) == (40, 86, 86)
    assert len({task.partition("/")[0] for task in CURVES.tasks}) == 16
    assert {curve.shape for curve in CURVES.values.values()} == {(86, 5, 101)}


@pytest.mark.parametrize("method", ALL_SPACES)
def test_regrets_in_all_spaces_are_reproduced(method):
    np.testing.assert_allclose(summary(method, STEPS), ALL_SPACES[method], atol=1e-4)


@pytest.mark.parametrize("method", SIX_SPACES)
def test_regrets_in_the_spaces_of_nap_are_reproduced(method):
    np.testing.assert_allclose(summary(method, STEPS[1:], NAP_SPACES), SIX_SPACES[method], atol=1e-4)


def test_values_are_missing_where_nothing_was_published_and_nowhere_else():
    runs = {name: np.isfinite(curve).all(axis=2).sum() for name, curve in CURVES.values.items()}
    expected = {"nap__NAP": 115, "nap__OptFormer": 115, "hpob__RF": 67}
    assert runs == {name: expected.get(name, 430) for name in CURVES.values}
    assert np.isfinite(CURVES.regret("nap__NAP", NAP_SPACES)).all()


def test_methods_compared_with_nap_begin_where_it_began():
    starts = [CURVES.regret(f"{name}", NAP_SPACES)[..., 0] for name in ("nap__NAP", "nap__OptFormer", "hpob__FSBO")]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])


def test_unknown_methods_and_spaces_are_refused():
    with pytest.raises(ValueError, match="no curves of 'NAP'"):
        CURVES.regret("NAP")
    with pytest.raises(ValueError, match=r"no spaces \['1'\]"):
        CURVES.regret("nap__NAP", ["1"])
