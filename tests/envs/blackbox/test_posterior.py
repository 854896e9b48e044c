import numpy as np
import pytest

from envs.blackbox import posterior
from envs.blackbox.posterior import cached_draws, fitted_process, matern, posterior_draws, standardised
from envs.blackbox.splits import training_table
from envs.blackbox.tables import load_archive

SOURCES = (0, 10)
"""Tables that the tests look at; all of them would take long."""


def evidence(kernel, noise, mean, y):
    """Returns the log marginal likelihood of values, up to a constant."""
    factor = np.linalg.cholesky(kernel + noise * np.eye(len(y)))
    whitened = np.linalg.solve(factor, y - mean)
    return -0.5 * whitened @ whitened - np.log(np.diag(factor)).sum()


def test_matern_is_its_closed_form():
    x = np.array([[0.0, 0.0], [0.3, -0.4], [2.0, 1.0]])
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    expected = (1 + np.sqrt(5) * distance + 5 / 3 * distance**2) * np.exp(-np.sqrt(5) * distance)
    np.testing.assert_allclose(matern(x), expected, atol=1e-12)


@pytest.mark.parametrize("source", SOURCES)
def test_processes_explain_errors_of_inputs_standardised_over_all_tables(source):
    """The data decide between the readings: raw or log inputs, or accuracies instead of errors, are far less likely."""
    archive, some = load_archive("nap_xgb48"), slice(0, 300)
    kernel, noise, mean = fitted_process(source)
    kernel, errors = kernel[some, some], -standardised(source)[some]
    fitted = evidence(kernel, noise, mean, errors)
    raw = archive["X"][source][some].astype(np.float64)
    log = np.where(np.isin(np.arange(6), (2, 4, 5)), np.log(raw), raw)
    for x in (raw, (log - log.mean(axis=0)) / log.std(axis=0)):
        other = archive["gp_outputscale"][source] * matern(x / archive["gp_lengthscale"][source])
        assert fitted - evidence(other, noise, mean, errors) > 100
    assert fitted - evidence(kernel, noise, mean, -errors) > 1
    assert fitted - evidence(kernel, noise, mean, errors * 1.5) > 100


def test_inputs_are_pooled_over_the_training_tables_only():
    archive = load_archive("nap_xgb48")
    raw = archive["X"][:20].astype(np.float64).reshape(-1, 6)
    scaled = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    pairs = scaled.reshape(20, 1000, 6)[3, [11, 640]] / archive["gp_lengthscale"][3]
    distance = np.linalg.norm(pairs[0] - pairs[1])
    expected = (1 + np.sqrt(5) * distance + 5 / 3 * distance**2) * np.exp(-np.sqrt(5) * distance)
    assert fitted_process(3)[0][11, 640] == pytest.approx(archive["gp_outputscale"][3] * expected, rel=1e-9)


def test_objectives_are_standardised_and_maximised():
    y = standardised(4)
    assert y.mean() == pytest.approx(0.0, abs=1e-9) and y.std(ddof=1) == pytest.approx(1.0)
    assert y.argmax() == training_table("xgb/4").y.argmax() == load_archive("nap_xgb48")["err"][4].argmin()


def test_draws_have_the_moments_of_the_posterior():
    """Of 1000 draws, against dense formulas; 5 standard errors allow for a thousand comparisons."""
    source, count = 12, 1000
    kernel, noise, mean = fitted_process(source)
    gain = np.linalg.solve(kernel + noise * np.eye(1000), kernel).T
    expected = -(mean + gain @ (-standardised(source) - mean))
    covariance = kernel - gain @ kernel
    draws = posterior_draws(source, count, has_noise=False)
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(axis=0) - expected) / deviation).max() < 5 / np.sqrt(count)
    assert np.abs(draws.var(axis=0, ddof=1) / deviation**2 - 1).max() < 5 * np.sqrt(2 / count)
    centred = (draws - expected) / deviation
    found, wanted = centred[:, 0] @ centred[:, 1:50] / count, covariance[0, 1:50] / deviation[0] / deviation[1:50]
    np.testing.assert_allclose(found, wanted, atol=5 * np.sqrt(2 / count))


def test_measurements_add_the_noise_that_was_fitted():
    added = posterior_draws(12, 20) - posterior_draws(12, 20, has_noise=False)
    noise = load_archive("nap_xgb48")["gp_noise"][12]
    assert added.var() == pytest.approx(noise, rel=5 * np.sqrt(2 / added.size))
    assert abs(np.corrcoef(added[:2])[0, 1]) < 5 / np.sqrt(1000)


@pytest.fixture
def cheap(monkeypatch):
    """Two sources whose draws cost nothing: what the cache does is not about what it holds."""
    monkeypatch.setattr(posterior, "NUM_SOURCES", 2)
    monkeypatch.setattr(posterior, "posterior_draws", stand_in)


def stand_in(source, num_draws, seed=0):
    return np.random.default_rng((seed, source)).standard_normal((num_draws, 7))


def test_the_cache_gives_back_what_was_drawn_and_mends_itself(tmp_path, monkeypatch, cheap):
    drawn = cached_draws(3, directory=tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    assert drawn.shape == (2, 3, 7) and drawn.dtype == np.float32
    expected = stand_in(1, 3)
    np.testing.assert_array_equal(drawn[1], expected.astype(np.float32))
    monkeypatch.setattr(posterior, "posterior_draws", lambda *a, **k: pytest.fail("drawn again"))
    np.testing.assert_array_equal(cached_draws(3, directory=tmp_path / "new"), drawn)
    monkeypatch.setattr(posterior, "posterior_draws", stand_in)
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(cached_draws(3, directory=tmp_path / "new"), drawn)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [file.name]


def test_seeds_and_numbers_of_draws_have_their_own_places(tmp_path, cheap):
    one, other = cached_draws(2, directory=tmp_path), cached_draws(2, seed=1, directory=tmp_path)
    assert np.abs(one - other).max() > 0.1
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_place_to_write_draws_are_made_all_the_same(tmp_path, cheap):
    (tmp_path / "file").write_text("no directory")
    assert cached_draws(2, directory=tmp_path / "file" / "below").shape == (2, 2, 7)


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert posterior.cache_directory() == tmp_path / "metarl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert posterior.cache_directory().parts[-2:] == (".cache", "metarl")


def test_no_draws_are_refused():
    with pytest.raises(ValueError, match="asked for 0 draws"):
        cached_draws(0)
