import numpy as np
import pytest
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from skclean._array import array_namespace, histogram_moments
from skclean.linalg.mixture import TwoGaussians, fit_two_gaussians


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def two_groups(rng, n=3000, low=0.15, high=0.65):
    x = np.where(rng.random(n) < 0.6, rng.normal(low, 0.05, n), rng.normal(high, 0.12, n))
    return np.clip(x, 0, 1)


def em_slowly(x, max_iter=10, tol=1e-2, reg_covar=5e-4):
    """Literal twin: EM on the values themselves, from the best split of them into two clusters."""
    cut = (x.min() + x.max()) / 2
    for _ in range(100):
        cut = (x[x > cut].mean() + x[x <= cut].mean()) / 2
    resp, last = np.stack([x <= cut, x > cut]).astype(float), -np.inf
    converged = False
    for _ in range(max_iter + 1):
        weights = resp.mean(axis=1)
        means = resp @ x / resp.sum(axis=1)
        variances = [r @ (x - m) ** 2 / r.sum() + reg_covar for r, m in zip(resp, means)]
        if converged:
            break
        density = np.stack(
            [w * norm.pdf(x, m, v**0.5) for w, m, v in zip(weights, means, variances)]
        )
        likelihood = np.log(density.sum(axis=0)).mean()
        converged, last = abs(likelihood - last) < tol, likelihood
        resp = density / density.sum(axis=0)
    return weights, means, np.array(variances)


def posterior_slowly(x, weights, means, variances):
    density = [w * norm.pdf(x, m, v**0.5) for w, m, v in zip(weights, means, variances)]
    return density[0] / (density[0] + density[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [{}, {"tol": 0, "max_iter": 40, "reg_covar": 1e-6}])
def test_em_on_the_histogram_is_em_on_the_values(settings, seed):
    x = two_groups(np.random.default_rng(seed))
    found = fit_two_gaussians(x, **settings)
    weights, means, variances = em_slowly(x, **settings)
    np.testing.assert_allclose(found.weights, weights, atol=1e-5)
    np.testing.assert_allclose(found.means, means, atol=1e-5)
    np.testing.assert_allclose(found.variances, variances, atol=1e-6)
    np.testing.assert_allclose(
        found.smaller_proba(x), posterior_slowly(x, weights, means, variances), atol=1e-4
    )


def test_at_convergence_it_is_the_mixture_of_scikit_learn(rng):
    x = two_groups(rng)
    found = fit_two_gaussians(x, max_iter=1000, tol=1e-12)
    theirs = GaussianMixture(2, reg_covar=5e-4, max_iter=1000, tol=1e-12, random_state=0)
    theirs.fit(x[:, None])
    order = np.argsort(theirs.means_.ravel())
    np.testing.assert_allclose(found.means, theirs.means_.ravel()[order], atol=1e-4)
    np.testing.assert_allclose(
        found.smaller_proba(x), theirs.predict_proba(x[:, None])[:, order[0]], atol=1e-3
    )
    assert found.converged and found.n_components == 2


def test_it_says_when_it_did_not_converge(rng):
    found = fit_two_gaussians(two_groups(rng), max_iter=3, tol=0)
    assert not found.converged and found.n_iter == 3


def test_histogram_moments(xp, rng):
    x = np.concatenate([two_groups(rng, 500), [0.0, 1.0, -3.0, 4.0]])
    count, mean, variance = histogram_moments(xp.asarray(x), 16)
    x = np.clip(x, 0, 1)
    bins = np.minimum((x * 16).astype(int), 15)
    held = np.unique(bins)
    np.testing.assert_array_equal(count, [np.sum(bins == b) for b in held])
    np.testing.assert_allclose(mean, [x[bins == b].mean() for b in held], rtol=1e-12)
    np.testing.assert_allclose(variance, [x[bins == b].var() for b in held], atol=1e-15)


def test_histogram_in_parts(rng, monkeypatch):
    x = two_groups(rng, 500)
    whole = histogram_moments(x, 32)
    monkeypatch.setattr("skclean._array._CHUNK", 37)
    for mine, theirs in zip(histogram_moments(x, 32), whole, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, dtype, rng):
    x = two_groups(rng).astype(dtype)
    found, expected = fit_two_gaussians(xp.asarray(x)), fit_two_gaussians(x)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-12)
    proba = found.smaller_proba(xp.asarray(x))
    assert array_namespace(proba) is array_namespace(xp.asarray(x))
    assert proba.dtype == xp.asarray(x).dtype
    np.testing.assert_allclose(
        xp.to_numpy(proba), expected.smaller_proba(x.astype(np.float64)), atol=1e-4
    )


def test_order_does_not_matter_and_mirroring_mirrors(rng):
    x = two_groups(rng)
    found = fit_two_gaussians(x, tol=0)
    shuffled = fit_two_gaussians(rng.permutation(x), tol=0)
    np.testing.assert_allclose(shuffled.means, found.means, rtol=1e-9)
    mirrored = fit_two_gaussians(1 - x, tol=0)
    np.testing.assert_allclose(mirrored.means, 1 - found.means[::-1], atol=1e-6)
    np.testing.assert_allclose(mirrored.smaller_proba(1 - x), 1 - found.smaller_proba(x), atol=1e-4)


@pytest.mark.parametrize("x", [np.zeros(50), np.ones(3), np.full(1, 0.4), np.full(9, 1 / 3)])
def test_equal_values_have_nothing_to_separate(x):
    found = fit_two_gaussians(x)
    assert found.n_components == 1 and found.converged
    assert np.all(found.smaller_proba(x) > 0.99)


def test_one_group_has_one_component(rng):
    assert fit_two_gaussians(np.clip(rng.normal(0.5, 0.1, 2000), 0, 1)).n_components == 1
    assert fit_two_gaussians(two_groups(rng)).n_components == 2
    assert fit_two_gaussians(np.array([0.0, 1.0])).n_components in (1, 2)


def test_far_values_do_not_overflow():
    mixture = TwoGaussians(np.full(2, 0.5), np.array([0.0, 1.0]), np.full(2, 1e-5), 2, 1, True)
    with np.errstate(over="raise", invalid="raise"):
        found = mixture.smaller_proba(np.array([-1e3, 0, 0.5, 1, 1e3], dtype=np.float32))
    np.testing.assert_allclose(found, [1, 1, 0.5, 0, 0], atol=1e-3)


def test_a_rare_group_is_found(rng):
    x = np.concatenate([rng.normal(0.1, 0.02, 20_000), rng.normal(0.9, 0.02, 20)])
    found = fit_two_gaussians(x)
    np.testing.assert_allclose(found.means, [0.1, 0.9], atol=0.01)
    assert (found.smaller_proba(x[-20:]) < 1e-3).all()


def test_coarse_bins_keep_mean_and_variance(rng, monkeypatch):
    monkeypatch.setattr("skclean.linalg.mixture.N_BINS", 8)
    x = two_groups(rng)
    found = fit_two_gaussians(x, reg_covar=1e-3)
    mean = found.weights @ found.means
    np.testing.assert_allclose(mean, x.mean(), rtol=1e-9)
    variance = found.weights @ (found.variances - 1e-3 + (found.means - mean) ** 2)
    np.testing.assert_allclose(variance, x.var(), rtol=1e-9)
