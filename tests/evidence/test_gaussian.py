import numpy as np
import pytest

from skclean.evidence.gaussian import fit_shared_gaussian

RNG = np.random.default_rng(0)
CODES = np.concatenate([np.arange(40) % 3, [4]])
X = 2 * np.eye(5, 6)[CODES] + RNG.standard_normal((41, 6)) @ RNG.standard_normal((6, 6))


def equation_23(covariance, n):
    """OAS of Chen et al. 2010."""
    d = len(covariance)
    trace, energy = np.trace(covariance), np.trace(covariance @ covariance)
    top = (1 - 2 / d) * energy + trace**2
    share = min(1, top / ((n + 1 - 2 / d) * (energy - trace**2 / d)))
    return (1 - share) * covariance + share * trace / d * np.eye(d)


def parts(X, codes, shrinkage=None, targets=None, n=None):
    """Means, Sigma, Sigma_0 by their definition; shrinkage and target fixed where named."""
    n, d = len(X) if n is None else n, X.shape[1]
    means = {c: X[codes == c].mean(axis=0) for c in np.unique(codes)}
    within = sum(np.outer(x - means[c], x - means[c]) for x, c in zip(X, codes, strict=True)) / n
    total = sum(np.outer(x - X.mean(axis=0), x - X.mean(axis=0)) for x in X) / n
    shrunk = []
    for i, S in enumerate((within, total)):
        mu = np.trace(S) / d if targets is None else targets[i]
        shrunk.append((1 - shrinkage[i]) * S + shrinkage[i] * mu * np.eye(d))
    return means, *shrunk, (np.trace(within) / d, np.trace(total) / d)


def mahalanobis(x, means, within, total, mean):
    nearest = min((x - m) @ np.linalg.solve(within, x - m) for m in means.values())
    return nearest, nearest - (x - mean) @ np.linalg.solve(total, x - mean)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_by_their_definition(xp, dtype):
    model = fit_shared_gaussian(xp.asarray(X.astype(dtype)), CODES, 6)
    shares = model.shrinkage, model.total_shrinkage
    means, within, total, _ = parts(X, CODES, shares)
    new = X[:9] + 0.3
    found = model.distances(xp.asarray(new.astype(dtype)))
    expected = np.array([mahalanobis(x, means, within, total, X.mean(axis=0)) for x in new]).T
    tolerance = 1e-3 if dtype is np.float32 else 1e-9
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_rows_are_left_out_by_refitting_without_them(xp):
    model = fit_shared_gaussian(xp.asarray(X), CODES, 6)
    shares = model.shrinkage, model.total_shrinkage
    targets = parts(X, CODES, shares)[3]
    nearest, relative = model.distances(xp.asarray(X), CODES)
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        means, within, _, _ = parts(X[rest], CODES[rest], shares, targets, n=len(X))
        _, _, total, _ = parts(X[rest], CODES[rest], shares, targets, n=len(X) - 1)
        # The common scatter without the row, by the number of rows before.
        total = (total - shares[1] * targets[1] * np.eye(6)) * (len(X) - 1) / len(X)
        total += shares[1] * targets[1] * np.eye(6)
        expected = mahalanobis(X[i], means, within, total, X[rest].mean(axis=0))
        np.testing.assert_allclose((nearest[i], relative[i]), expected, rtol=1e-8)
    to_class = model.class_distances(xp.asarray(X), CODES)
    assert to_class.shape == (41, 6) and np.isinf(to_class[:, 3]).all()
    np.testing.assert_array_equal(to_class.min(axis=1), nearest)


def test_shrinkage_by_equation_23():
    d, n = 6, len(X)
    model = fit_shared_gaussian(X, CODES, 5)
    _, within, total, _ = parts(X, CODES, (0, 0))
    V = model.vectors
    np.testing.assert_allclose(V.T @ equation_23(within, n) @ V, np.eye(d), atol=1e-9)
    np.testing.assert_allclose(
        V.T @ equation_23(total, n) @ V, np.diag(model.spread), atol=1e-9 * model.spread.max()
    )


def test_rows_without_a_label_take_no_part():
    codes = np.concatenate([CODES, np.full(5, -1)])
    more = np.vstack([X, RNG.standard_normal((5, 6)) * 100])
    with_them, without = fit_shared_gaussian(more, codes, 6), fit_shared_gaussian(X, CODES, 6)
    for a, b in zip(with_them.distances(X), without.distances(X), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(
        with_them.distances(more, codes)[0][:41], without.distances(X, CODES)[0], atol=1e-12
    )


def test_every_row_is_the_mean_of_its_class():
    X = 1e-12 * np.repeat(RNG.standard_normal((2, 8)), 6, axis=0)
    own, _ = fit_shared_gaussian(X, np.arange(12) // 6, 2).distances(X, np.arange(12) // 6)
    assert np.isfinite(own).all()


def test_order_of_rows_and_names_of_classes_do_not_matter():
    order, names = RNG.permutation(41), np.array([3, 0, 5, 2, 1, 4])
    model = fit_shared_gaussian(X, CODES, 6)
    other = fit_shared_gaussian(X[order], names[CODES][order], 6)
    expected = model.distances(X, CODES)
    found = other.distances(X[order], names[CODES][order])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b[order], rtol=1e-8)


def test_constant_and_duplicated_columns_and_few_rows():
    flat = fit_shared_gaussian(np.ones((6, 3)), np.arange(6) % 2, 2)
    np.testing.assert_allclose(flat.distances(np.ones((6, 3)), np.arange(6) % 2), 0)
    wide = np.hstack([X[:10]] * 20)
    for values in fit_shared_gaussian(wide, CODES[:10], 5).distances(wide, CODES[:10]):
        assert np.isfinite(values).all()
    pair = np.array([[0.0, 1.0], [1.0, 0.0]])
    nearest, _ = fit_shared_gaussian(pair, np.array([0, 1]), 2).distances(pair, np.array([0, 1]))
    assert np.isfinite(nearest).all() and (nearest > 0).all()


def test_an_outlier_does_not_hide_by_its_own_part_in_the_covariance():
    far = np.vstack([X, [[1e3] * 6]])
    codes = np.append(CODES, 0)
    nearest, _ = fit_shared_gaussian(far, codes, 6).distances(far, codes)
    assert nearest.argmax() == 41 and nearest[41] > 100 * np.median(nearest)
