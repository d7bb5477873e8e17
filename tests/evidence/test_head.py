import numpy as np
import pytest

from skclean.evidence.head import (
    backward,
    calibrated,
    column_limits,
    cross_entropy_gradient,
    fit_scale,
    forward,
    head_proba,
    init_head,
    least_squares_start,
    tangent,
)


def problem(hidden, seed=0, n=7, d=4, n_classes=3, dtype=np.float64):
    rng = np.random.RandomState(seed)
    params = init_head(d, n_classes, hidden, rng, np.empty(0, dtype))
    params = [p + 0.5 * rng.standard_normal(p.shape).astype(dtype) for p in params]
    X = rng.standard_normal((n, d)).astype(dtype)
    targets = rng.dirichlet(np.ones(n_classes), n).astype(dtype)
    return params, X, targets, rng.random_sample(n).astype(dtype)


def slow_loss(params, X, targets, weight):
    """sum_i weight_i CE(targets_i, p(x_i)), by plain loops."""
    total = 0.0
    for x, target, w in zip(X, targets, weight, strict=True):
        h = x
        if len(params) == 4:
            h = [max(0.0, x @ params[0][:, j] + params[1][j]) for j in range(len(params[1]))]
        z = [np.dot(h, params[-2][:, c]) + params[-1][c] for c in range(len(params[-1]))]
        log_sum = np.log(sum(np.exp(v) for v in z))
        total -= w * sum(t * (v - log_sum) for t, v in zip(target, z, strict=True))
    return total


def numeric_gradient(loss, params, h=1e-6):
    grads = []
    for k, p in enumerate(params):
        g = np.zeros_like(p)
        for at in np.ndindex(p.shape):
            moved = [[q.copy() for q in params] for _ in range(2)]
            moved[0][k][at] += h
            moved[1][k][at] -= h
            g[at] = (loss(moved[0]) - loss(moved[1])) / (2 * h)
        grads.append(g)
    return grads


@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_by_finite_differences(hidden, seed):
    params, X, targets, weight = problem(hidden, seed)
    expected = numeric_gradient(lambda p: slow_loss(p, X, targets, weight), params)
    found = cross_entropy_gradient(params, X, targets, weight)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("hidden", [None, 5])
def test_the_same_gradient_serves_the_divergence_of_views(hidden):
    params, X, _, weight = problem(hidden)
    fixed = head_proba(params, X + 0.1)

    def divergence(p):
        q = head_proba(p, X)
        return float(np.sum(weight[:, None] * fixed * np.log(fixed / q)))

    expected = numeric_gradient(divergence, params)
    for a, b in zip(cross_entropy_gradient(params, X, fixed, weight), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("hidden", [None, 5])
def test_gradient_of_torch(hidden):
    torch = pytest.importorskip("torch")
    params, X, targets, weight = problem(hidden)
    leaves = [torch.tensor(p, requires_grad=True) for p in params]
    h = torch.tensor(X)
    if hidden:
        h = torch.relu(h @ leaves[0] + leaves[1])
    log_p = torch.log_softmax(h @ leaves[-2] + leaves[-1], dim=1)
    (-(torch.tensor(weight)[:, None] * torch.tensor(targets) * log_p).sum()).backward()
    for a, leaf in zip(cross_entropy_gradient(params, X, targets, weight), leaves, strict=True):
        np.testing.assert_allclose(a, leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("hidden", [None, 5])
def test_tangent_is_a_difference_of_logits(hidden):
    params, X, _, _ = problem(hidden)
    direction = problem(hidden, seed=3)[0]
    h = 1e-6
    up = forward([p + h * q for p, q in zip(params, direction, strict=True)], X)[0]
    down = forward([p - h * q for p, q in zip(params, direction, strict=True)], X)[0]
    found = tangent(params, direction, X, forward(params, X)[1])
    np.testing.assert_allclose(found, (up - down) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, hidden, dtype):
    params, X, targets, weight = problem(hidden, dtype=dtype)
    direction = problem(hidden, seed=3, dtype=dtype)[0]
    there = [xp.asarray(p) for p in params]
    rows = xp.asarray(X)
    logits, H = forward(there, rows)
    found = [
        logits,
        tangent(there, [xp.asarray(p) for p in direction], rows, H),
        *backward(there, rows, H, xp.asarray(targets)),
        *cross_entropy_gradient(there, rows, xp.asarray(targets), xp.asarray(weight)),
    ]
    logits, H = forward(params, X)
    expected = [
        logits,
        tangent(params, direction, X, H),
        *backward(params, X, H, targets),
        *cross_entropy_gradient(params, X, targets, weight),
    ]
    for a, b in zip(found, expected, strict=True):
        assert xp.to_numpy(a).dtype == dtype
        np.testing.assert_allclose(xp.to_numpy(a), b, atol=1e-5)


@pytest.mark.parametrize("hidden", [None, 5])
def test_classes_and_rows_in_another_order(hidden):
    params, X, targets, weight = problem(hidden)
    order, rows = np.array([2, 0, 1]), np.random.RandomState(0).permutation(len(X))
    grads = cross_entropy_gradient(params, X, targets, weight)
    renamed = [*params[:-2], params[-2][:, order], params[-1][order]]
    other = cross_entropy_gradient(renamed, X[rows], targets[rows][:, order], weight[rows])
    expected = [*grads[:-2], grads[-2][:, order], grads[-1][order]]
    for a, b in zip(other, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_the_unit_of_the_features_is_no_matter(xp):
    X = np.random.RandomState(0).standard_normal((1100, 3)) * [1, 2, 5]
    found = xp.to_numpy(fit_scale(xp.asarray(X), 16.0)(xp.asarray(X)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.square(found).sum(axis=1).mean(), 16, rtol=1e-5)
    moved = 1e3 * X + 7
    np.testing.assert_allclose(fit_scale(moved, 16.0)(moved), found, atol=1e-5)
    np.testing.assert_array_equal(fit_scale(np.ones((3, 2)), 16.0)(np.ones((3, 2))), 0)


def test_features_of_another_unit_do_not_hide_the_others(xp):
    columns = np.array([0, 1, 2, 3, 5, 1000.0])
    np.testing.assert_allclose(column_limits(columns), [1, 1, 1, 1, 1, 1000 / 30])
    np.testing.assert_array_equal(column_limits(np.zeros(3)), 1)
    np.testing.assert_allclose(column_limits(np.array([1000.0, 1])), [100, 1])
    X = np.random.RandomState(0).standard_normal((900, 4)) * [1, 1, 2, 1e5]
    found = xp.to_numpy(fit_scale(xp.asarray(X), 16.0)(xp.asarray(X)))
    size = np.sqrt(np.mean(found**2, axis=0))
    assert size[3] == pytest.approx(10 * size[0], rel=0.1)
    assert np.square(found).sum(axis=1).mean() == pytest.approx(16, rel=1e-4)


@pytest.mark.parametrize("hidden", [None, 20])
def test_least_squares_start_by_its_definition(xp, hidden):
    rng = np.random.RandomState(0)
    codes = np.arange(300) % 3
    X = (2 * np.eye(3, 5)[codes] + rng.standard_normal((300, 5))).astype(np.float32)
    scale = fit_scale(xp.asarray(X), 16.0)
    start = init_head(5, 3, hidden, rng, xp.asarray(X))
    params = least_squares_start(start, scale, xp.asarray(X), codes)
    logits = xp.to_numpy(forward(params, scale(xp.asarray(X)))[0])
    assert np.mean(logits.argmax(axis=1) == codes) > 0.85
    if hidden is None:
        # Up to a factor, ridge regression on one-hot labels at some regularisation.
        F = xp.to_numpy(scale(xp.asarray(X))).astype(np.float64)
        gram, Y = F.T @ F, np.eye(3)[codes]
        unit = np.trace(gram) / len(F)
        fits = []
        for alpha in np.logspace(-3, 5, 17):
            W = np.linalg.solve(gram + alpha * unit * np.eye(5), F.T @ (Y - Y.mean(axis=0)))
            fits.append(F @ W + Y.mean(axis=0))
        errors = []
        for fit in fits:
            factor = np.sum(logits * fit) / np.sum(fit * fit)
            errors.append(np.abs(logits - factor * fit).max())
        assert min(errors) < 1e-3


def test_calibration_finds_the_factor_of_the_logits(xp):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((4000, 4)).astype(np.float32)
    scale = fit_scale(X, 4.0)
    params = [rng.standard_normal((4, 3)).astype(np.float32), np.zeros(3, np.float32)]
    proba = head_proba([3 * p for p in params], scale(X))
    codes = (rng.random_sample((4000, 1)) > proba.cumsum(axis=1)).sum(axis=1)
    rows, there = xp.asarray(X), [xp.asarray(p) for p in params]
    found = calibrated(there, fit_scale(rows, 4.0), rows, codes)
    np.testing.assert_allclose(xp.to_numpy(found[0]), 3 * params[0], rtol=0.1)
