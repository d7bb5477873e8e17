import numpy as np
import pytest
from scipy.linalg import solve

from skclean import _blocks
from skclean._array import array_namespace
from skclean.linalg import least_squares
from skclean.linalg.feature_map import (
    FAR,
    LinearMap,
    draw_rows,
    kernel_map,
    linear_map,
    spanned_map,
)
from skclean.linalg.least_squares import choose_alpha, fit_ridge

ALPHAS = np.logspace(-3, 3, 7)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def problem(rng, n=40, d=5, n_classes=3):
    codes = rng.permutation(np.arange(n) % n_classes)
    X = rng.standard_normal((n, d)) + 3 + np.eye(n_classes, d)[codes]
    return X, codes


def linear(X, codes, alpha, n_classes=3):
    ridge = fit_ridge(linear_map(X), X, codes, n_classes)
    ridge.alpha = alpha
    return ridge


def unit_of(X):
    """Mean square of the centred rows, in whose unit alpha is."""
    return np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1))


def refit(phi, codes, train, test, alpha, n_classes=3, weight=None):
    """Literal twin: ridge regression with a free intercept on some rows, scores of others."""
    A = np.column_stack([phi[train], np.ones(len(train))])
    penalty = alpha * np.eye(A.shape[1])
    penalty[-1, -1] = 0
    Y = (codes if codes.ndim == 2 else np.eye(n_classes)[codes])[train]
    W = np.eye(len(train)) if weight is None else np.diag(weight[train])
    coefficients = solve(A.T @ W @ A + penalty, A.T @ W @ Y)
    return np.column_stack([phi[test], np.ones(len(test))]) @ coefficients


def leave_out_slowly(phi, codes, groups, alpha, n_classes=3, weight=None):
    scores = np.empty((len(codes), n_classes))
    for group in np.unique(groups):
        out, others = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
        scores[out] = refit(phi, codes, others, out, alpha, n_classes, weight)
    return scores


def explicit_features(features, X, jitter=1e-5):
    """Literal twin of the Nyström map: k(x, L) (K + jitter)^-1/2, up to a rotation."""

    def kernel(A, B):
        A = (A - features.center) * features.scale
        return np.exp(-((A[:, None] - B) ** 2).sum(axis=2))

    L = np.asarray(features.landmarks, dtype=np.float64)
    K = np.exp(-((L[:, None] - L) ** 2).sum(axis=2)) + jitter * np.eye(len(L))
    values, vectors = np.linalg.eigh(K)
    return kernel(X, L) @ (vectors / np.sqrt(values))


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("d", [1, 5, 60])
def test_leave_one_out_is_refitting_without_the_row(alpha, d, rng):
    X, codes = problem(rng, d=d)
    found = linear(X, codes, alpha).leave_one_out(X, codes)
    expected = leave_out_slowly(X, codes, np.arange(40), alpha * unit_of(X))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_groups_are_left_out_whole(rng):
    X, codes = problem(rng)
    # Groups of 1, of 2 and of 20 rows: the last is larger than the number of eigenvectors.
    groups = np.concatenate([np.arange(4), np.repeat(np.arange(4, 12), 2), np.full(20, 12)])
    groups = rng.permutation(groups)
    found = linear(X, codes, 0.5).leave_one_out(X, codes, groups)
    expected = leave_out_slowly(X, codes, groups, 0.5 * unit_of(X))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("d", [5, 60])
def test_weighted_rows_and_soft_targets(d, xp, rng):
    X, _ = problem(rng, d=d)
    soft, weight = rng.dirichlet(np.ones(3), size=40), rng.uniform(0.1, 9, 40)
    groups = np.append(np.arange(15), np.full(25, 20))
    mean = weight @ X / weight.sum()
    unit = weight @ np.sum((X - mean) ** 2, axis=1) / weight.sum()
    for targets in (soft, soft.argmax(axis=1)):
        given = xp.asarray(soft) if targets is soft else targets
        ridge = fit_ridge(linear_map(xp.asarray(X)), xp.asarray(X), given, 3, weight)
        ridge.alpha, errors = choose_alpha(ridge, xp.asarray(X), given, ALPHAS, None, weight)
        one = np.eye(3)[targets] if targets.ndim == 1 else targets
        for g, handed in ((np.arange(40), None), (groups, groups)):
            found = ridge.leave_one_out(xp.asarray(X), given, handed, weight)
            slow = leave_out_slowly(X, targets, g, ridge.alpha * unit, weight=weight)
            np.testing.assert_allclose(xp.to_numpy(found), slow, atol=1e-6)
            if handed is None:
                error = np.sum(weight[:, None] * (one - slow) ** 2) / weight.sum()
                assert errors.min() == pytest.approx(error, rel=1e-5)
        alpha, _ = choose_alpha(ridge, xp.asarray(X), given, ALPHAS, groups, weight)
        assert alpha in ALPHAS


@pytest.mark.parametrize("heavy", ["features", "weights"])
def test_estimated_leverages_of_many_rows(heavy, xp, rng, monkeypatch):
    X, codes = problem(rng, n=3000, d=300)
    weight = np.ones(3000)
    if heavy == "features":
        X[::50] *= 10
    else:
        weight[::50] = 30
    ridge = fit_ridge(linear_map(xp.asarray(X)), xp.asarray(X), codes, 3, weight)
    ridge.alpha = 300
    estimated = xp.to_numpy(ridge.leave_one_out(xp.asarray(X), codes, weight=weight))
    monkeypatch.setattr(least_squares, "_SMALL", 0)
    exact = xp.to_numpy(ridge.leave_one_out(xp.asarray(X), codes, weight=weight))
    difference = np.abs(estimated - exact).max(axis=1)
    assert difference[::50].max() < 1e-12
    assert 0 < np.median(difference) < 1e-3
    assert difference.max() < 0.01
    # s = y - (y - f) / (1 - h); the estimate of h - 1 / n has a standard deviation of 18 %.
    y, near = codes == 0, np.arange(3000) % 50 > 0
    residual = y - xp.to_numpy(ridge.predict(xp.asarray(X)))[:, 0]
    h, other = (1 - residual / (y - s[:, 0]) - 1 / weight.sum() for s in (exact, estimated))
    assert np.std((other / h)[near]) == pytest.approx((2 / 64) ** 0.5, rel=0.1)


def test_signs_of_eigenvectors_do_not_matter_to_estimated_leverages(xp, rng):
    X, codes = problem(rng, n=3000, d=300)
    ridge = linear(xp.asarray(X), codes, 300)
    expected = xp.to_numpy(ridge.leave_one_out(xp.asarray(X), codes))
    signs = rng.choice([-1.0, 1.0], 300)
    ridge.vectors, ridge.cross = ridge.vectors * xp.asarray(signs), ridge.cross * signs[:, None]
    found = xp.to_numpy(ridge.leave_one_out(xp.asarray(X), codes))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_more_features_than_rows_are_as_many_as_rows(xp, rng):
    X, codes = problem(rng, n=30, d=80)
    X[0] *= 1e6
    X, new = (xp.asarray(x) for x in (X, X[:9] + rng.standard_normal((9, 80))))
    spanned, plain = (fit_ridge(features(X), X, codes, 3) for features in (spanned_map, linear_map))
    assert spanned.features.width == 30
    for scores in (lambda ridge: ridge.predict(new), lambda ridge: ridge.leave_one_out(X, codes)):
        found, expected = (xp.to_numpy(scores(ridge)) for ridge in (spanned, plain))
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_centre_changes_nothing(rng):
    X, codes = problem(rng, n=1500)
    X[0] = 1e9
    features = linear_map(X)
    assert np.abs(features.center - 3).max() < 1
    X, codes = X[1:], codes[1:]
    found, expected = (fit_ridge(f, X, codes, 3) for f in (features, LinearMap(X.mean(axis=0))))
    np.testing.assert_allclose(found.predict(X), expected.predict(X), atol=1e-9)
    np.testing.assert_allclose(
        found.leave_one_out(X, codes), expected.leave_one_out(X, codes), atol=1e-9
    )


def test_whole_weights_are_repeated_rows(rng):
    X, codes = problem(rng)
    times = rng.integers(1, 4, 40)
    features = linear_map(X)
    weighted = fit_ridge(features, X, codes, 3, times.astype(float))
    repeated = fit_ridge(features, np.repeat(X, times, axis=0), np.repeat(codes, times), 3)
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), atol=1e-9)


def test_prediction_is_ridge_regression_with_an_intercept(rng):
    X, codes = problem(rng)
    new = rng.standard_normal((7, 5))
    ridge = linear(X, codes, 2.0)
    expected = refit(np.vstack([X, new]), codes, np.arange(40), 40 + np.arange(7), 2 * unit_of(X))
    np.testing.assert_allclose(ridge.predict(new), expected, rtol=1e-9)
    assert ridge.predict(new[:0]).shape == (0, 3)
    # Without much of a fit, the class frequencies are left.
    np.testing.assert_allclose(
        linear(X, codes, 1e15).predict(new), np.tile(np.bincount(codes) / 40, (7, 1)), atol=1e-9
    )


def test_kernel_map(rng):
    X, _ = problem(rng)
    features = kernel_map(draw_rows(X, 15, np.random.RandomState(0)), 0.7)
    L = np.asarray(features.landmarks, dtype=np.float64)
    distance = ((L[:, None] - L) ** 2).sum(axis=2)
    # In the features, the median squared distance of landmarks is gamma.
    np.testing.assert_allclose(np.median(distance[~np.eye(15, dtype=bool)]), 0.7, rtol=1e-5)
    Z = (X - features.center) * features.scale
    expected = np.exp(-((Z[:, None] - L) ** 2).sum(axis=2))
    assert features(X).dtype == X.dtype and features.width == 15
    np.testing.assert_allclose(features(X), expected, atol=1e-5)
    # Landmarks are rows, each at the centre of its own kernel.
    np.testing.assert_allclose(features(X).max(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("n_landmarks", [12, 100])
def test_leave_one_out_in_the_kernel(n_landmarks, rng):
    X, codes = problem(rng)
    features = kernel_map(draw_rows(X, n_landmarks, np.random.RandomState(0)), 0.7)
    ridge = fit_ridge(features, X, codes, 3)
    groups = np.arange(40) // 2
    phi = explicit_features(features, X)
    for alpha in (0.1, 10.0):
        ridge.alpha = alpha
        for g in (np.arange(40), groups):
            found = ridge.leave_one_out(X, codes, None if g is not groups else groups)
            np.testing.assert_allclose(found, leave_out_slowly(phi, codes, g, alpha), atol=2e-3)


@pytest.mark.parametrize("grouped", [False, True])
def test_alpha_of_least_error(grouped, rng):
    X, codes = problem(rng, n=60)
    codes = np.where(rng.random(60) < 0.3, rng.integers(0, 3, 60), codes)
    if grouped:
        X, codes = np.repeat(X[:30], 2, axis=0), np.repeat(codes[:30], 2)
    groups = np.arange(60) // 2 if grouped else np.arange(60)
    ridge = fit_ridge(linear_map(X), X, codes, 3)
    alpha, errors = choose_alpha(ridge, X, codes, ALPHAS, groups if grouped else None)
    Y, unit = np.eye(3)[codes], unit_of(X)
    expected = [
        np.sum((Y - leave_out_slowly(X, codes, groups, a * unit)) ** 2) / 60 for a in ALPHAS
    ]
    np.testing.assert_allclose(errors, expected, rtol=1e-7)
    assert alpha == ALPHAS[np.argmin(expected)]


def test_alpha_from_a_part_of_the_rows(rng):
    X, codes = problem(rng, n=400)
    ridge = fit_ridge(linear_map(X), X, codes, 3)
    _, whole = choose_alpha(ridge, X, codes, ALPHAS)
    for groups in (None, np.arange(400) // 2):
        _, part = choose_alpha(ridge, X, codes, ALPHAS, groups, max_rows=200)
        np.testing.assert_allclose(part, whole, rtol=0.15)


def test_blocks_do_not_show(rng, monkeypatch):
    X, codes = problem(rng)
    whole = linear(X, codes, 1.0).leave_one_out(X, codes)
    monkeypatch.setattr(_blocks, "BLOCK_ROWS", 7)
    blocked = linear(X, codes, 1.0)
    np.testing.assert_allclose(blocked.leave_one_out(X, codes), whole, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(blocked.predict(X[:9]), linear(X, codes, 1.0).predict(X[:9]))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, kernel, dtype, rng):
    X, codes = problem(rng)
    X, groups = X.astype(dtype), np.arange(40) // 3

    def run(X):
        rng = np.random.RandomState(0)
        features = linear_map(X) if kernel == "linear" else kernel_map(draw_rows(X, 30, rng), 0.7)
        ridge = fit_ridge(features, X, codes, 3)
        ridge.alpha, _ = choose_alpha(ridge, X, codes, ALPHAS, groups)
        found = ridge.leave_one_out(X, codes), ridge.leave_one_out(X, codes, groups)
        return (*found, ridge.predict(X[:5, :])), ridge

    found, ridge = run(xp.asarray(X))
    expected, _ = run(X.astype(np.float64))
    for mine, theirs in zip(found, expected, strict=True):
        assert array_namespace(mine) is array_namespace(xp.asarray(X))
        assert mine.dtype == xp.asarray(X).dtype
        tolerance = 1e-6 if dtype == np.float64 else 5e-3
        np.testing.assert_allclose(xp.to_numpy(mine), theirs, atol=tolerance)
    # Rows of another library are scored in that of the fit.
    moved = ridge.predict(X[:5])
    np.testing.assert_allclose(xp.to_numpy(moved), xp.to_numpy(found[2]), atol=1e-6)


def test_shift_and_scale_of_the_features(rng):
    X, codes = problem(rng)
    expected = linear(X, codes, 0.3).leave_one_out(X, codes)
    for changed in (X * 1e-7, X * 1e7, X - 1e4):
        found = linear(changed, codes, 0.3).leave_one_out(changed, codes)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_order_of_rows_and_of_classes(rng):
    X, codes = problem(rng)
    expected = linear(X, codes, 0.3).leave_one_out(X, codes)
    order, names = rng.permutation(40), np.array([2, 0, 1])
    found = linear(X[order], codes[order], 0.3).leave_one_out(X[order], codes[order])
    np.testing.assert_allclose(found, expected[order], rtol=1e-9, atol=1e-11)
    renamed = linear(X, names[codes], 0.3).leave_one_out(X, names[codes])
    np.testing.assert_allclose(renamed[:, names], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1e4, 1e9])
def test_one_row_far_out_hurts_no_other(factor, dtype, rng):
    X, codes = problem(rng, n=120)
    X = (X + 3 * np.eye(3, 5)[codes]).astype(dtype)

    def accuracy(X):
        ridge = fit_ridge(kernel_map(draw_rows(X, 120, np.random.RandomState(0)), 0.7), X, codes, 3)
        return np.mean(ridge.leave_one_out(X, codes)[1:].argmax(axis=1) == codes[1:])

    before = accuracy(X)
    assert before > 0.95
    X[0] *= factor
    assert accuracy(X) > before - 0.03
    features = kernel_map(draw_rows(X, 120, np.random.RandomState(0)), 0.7)
    assert np.all(np.linalg.norm(features.landmarks, axis=1) < FAR * 1.001)
    assert features(X).max() < 1.01


@pytest.mark.parametrize("case", ["duplicates", "constant", "zero", "one column", "few rows"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_degenerate_features(case, kernel, rng):
    X, codes = problem(rng)
    if case == "duplicates":
        X = np.repeat(X[:4], 10, axis=0)
    elif case == "constant":
        X[:, 1:] = 7
    elif case == "zero":
        X[:] = 0
    elif case == "one column":
        X = X[:, :1]
    elif case == "few rows":
        X, codes = X[:3], np.array([0, 1, 2])
    features = (
        linear_map(X)
        if kernel == "linear"
        else kernel_map(draw_rows(X, 99, np.random.RandomState(0)), 0.7)
    )
    ridge = fit_ridge(features, X, codes, 3)
    ridge.alpha, errors = choose_alpha(ridge, X, codes, ALPHAS)
    scores = ridge.leave_one_out(X, codes)
    assert np.isfinite(errors).all() and np.isfinite(scores).all()
    assert np.isfinite(ridge.predict(X)).all()
    if case == "zero":
        # Nothing but the frequencies of the other rows' classes.
        counts = np.bincount(codes) - np.eye(3)[codes]
        np.testing.assert_allclose(scores, counts / 39, atol=1e-6)
