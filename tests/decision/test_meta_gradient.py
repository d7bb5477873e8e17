import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import softmax

from skclean.decision import meta_gradient
from skclean.decision.meta_gradient import (
    as_proba,
    entropy_gradient,
    fit_corrections,
    fit_in_batches,
    play,
    validation_gradient,
)
from skclean.linalg.feature_map import draw_rows, kernel_map, linear_map
from skclean.linalg.least_squares import fit_ridge
from skclean.linalg.optim import batches

SETTINGS = {
    "n_periods": 3,
    "period": 4,
    "learning_rate": 0.4,
    "momentum": 0.6,
    "rate": 0.25,
    "classifier_steps": 2,
    "rng": np.random.RandomState(0),
}


def problem(seed=0, n=40, d=5, m=7, n_classes=3, dtype=np.float64):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n + m) % n_classes)
    X = rng.standard_normal((n + m, d)) + 2 * np.eye(n_classes, d)[truth] + 1
    given = np.where(rng.random(n + m) < 0.5, rng.integers(0, n_classes, n + m), truth)
    noisy = np.arange(n + m) < n
    return X.astype(dtype), np.where(noisy, given, truth), noisy


def fitted(X, given, noisy, xp=None, kernel="linear", n_classes=3):
    X = X if xp is None else xp.asarray(X)
    rng = np.random.RandomState(0)
    features = linear_map(X) if kernel == "linear" else kernel_map(draw_rows(X, 12, rng), 0.7)
    ridge = fit_ridge(features, X, given, n_classes, noisy.astype(float))
    ridge.alpha = 0.7
    return ridge


def entropy(p):
    return -np.sum(p * np.log(p), axis=-1)


def slow_equations_7_to_11(ridge, X, given, noisy, settings):
    """Literal twin: Y itself, A itself, and a classifier on explicit features."""
    Q = np.asarray(ridge.project(X), dtype=np.float64)
    F, V = Q[noisy], Q[~noisy]
    n, n_classes = len(F), len(ridge.target_mean)
    T = np.eye(n_classes)[given[~noisy]]
    Y = np.eye(n_classes)[given[noisy]]
    ones = np.ones((n, n)) / n
    # Ridge with a free intercept: w* on centred rows, plus the mean label.
    inverse = np.linalg.inv(F.T @ F + ridge.alpha * np.eye(F.shape[1]))
    A = V @ inverse @ F.T @ (np.eye(n) - ones) + np.ones((len(V), n)) / n
    K = A @ A.T
    eta = settings["learning_rate"] * len(V) / (2 * largest(V, inverse, F, n))
    weights, bias = np.zeros((F.shape[1], n_classes)), np.log(Y.mean(axis=0) + 1e-3)
    velocity = np.zeros_like(T)
    for _ in range(settings["n_periods"]):
        for _ in range(settings["period"]):
            R = np.array([row_gradient(y, t) for y, t in zip(A @ Y, T, strict=True)]) / len(V)
            velocity = settings["momentum"] * velocity + R
            Y = Y - eta * A.T @ velocity
        for _ in range(settings["classifier_steps"]):
            P = softmax(F @ weights + bias, axis=1)
            E = P - Y - P * (np.log(P) + entropy(P)[:, None])
            step = np.diag(1 / (np.diag(F.T @ F) / 2 + ridge.alpha)) @ F.T @ E
            weights, bias = weights - step, bias - 2 * (P - Y).mean(axis=0)
        P = softmax(F @ weights + bias, axis=1)
        Y = (1 - settings["rate"]) * Y + settings["rate"] * P
    assert np.linalg.eigvalsh(K)[-1] <= largest(V, inverse, F, n) + 1e-9
    return Y, softmax(V @ weights + bias, axis=1)


def largest(V, inverse, F, n):
    half = V @ inverse @ F.T
    return np.linalg.eigvalsh(half @ half.T)[-1] + len(V) / n


def row_gradient(y, t, h=1e-6):
    """Finite differences of |y - t|^2 + H(softmax(y)) (equation 8)."""

    def loss(y):
        return np.sum((y - t) ** 2) + entropy(softmax(y))

    return np.array([(loss(y + h * e) - loss(y - h * e)) / 2 / h for e in np.eye(len(y))])


@pytest.mark.parametrize("seed", range(3))
def test_gradients_by_finite_differences(seed, xp):
    rng = np.random.default_rng(seed)
    predicted, targets = rng.standard_normal((6, 4)), np.eye(4)[rng.integers(0, 4, 6)]
    found = xp.to_numpy(validation_gradient(xp.asarray(predicted), xp.asarray(targets)))

    def loss(flat):
        y = flat.reshape(6, 4)
        return (np.sum((y - targets) ** 2) + entropy(softmax(y, axis=1)).sum()) / 6

    assert check_grad(loss, lambda _: found.ravel(), predicted.ravel()) < 1e-5
    z = rng.standard_normal((1, 4))
    slope = entropy_gradient(softmax(z, axis=1), axis=1)[0]
    assert check_grad(lambda z: entropy(softmax(z)), lambda _: slope, z[0]) < 1e-6
    # Labels that sum to 1 keep doing so.
    np.testing.assert_allclose(entropy_gradient(softmax(z, axis=1), axis=1).sum(), 0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("seed", range(3))
def test_closed_form_is_the_literal_iteration(kernel, seed):
    X, given, noisy = problem(seed)
    ridge = fitted(X, given, noisy, kernel=kernel)
    slow, predicted = slow_equations_7_to_11(ridge, X, given, noisy, SETTINGS)
    found = fit_corrections(ridge, X, noisy, X[~noisy], given[~noisy], **SETTINGS)
    labels = play(found, ridge, X, np.where(noisy, given, -1))
    np.testing.assert_allclose(labels[noisy], as_proba(slow), atol=2e-4)
    np.testing.assert_allclose(labels[~noisy], predicted, atol=2e-4)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert len(found) == 3 and labels.dtype == np.float32


@pytest.mark.parametrize("order", ["drawn", "by class"])
def test_steps_on_a_part_of_the_rows_lead_where_those_on_all_do(order, monkeypatch):
    X, given, noisy = problem(n=3000)
    if order == "by class":
        place = np.argsort(given, kind="stable")
        X, given, noisy = X[place], given[place], noisy[place]
    ridge = fitted(X, given, noisy)
    settings = {**SETTINGS, "n_periods": 6, "classifier_steps": 6}

    def labels(**changed):
        rows = (X[~noisy], given[~noisy])
        found = fit_corrections(ridge, X, noisy, *rows, **{**settings, **changed})
        return play(found, ridge, X, given)

    every, fewer_steps = labels(), labels(classifier_steps=1)
    monkeypatch.setattr(meta_gradient, "_FEW_ROWS", 600)
    part = labels()
    assert np.abs(part - every).mean() < 0.005 < 0.03 < np.abs(fewer_steps - every).mean()
    assert np.mean(part.argmax(axis=1) == every.argmax(axis=1)) > 0.99


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, dtype):
    X, given, noisy = problem(dtype=dtype)
    expected = None
    for handed in (None, xp):
        ridge = fitted(X, given, noisy, handed)
        rows = X if handed is None else xp.asarray(X)
        trusted = X[~noisy] if handed is None else xp.asarray(X[~noisy])
        found = fit_corrections(ridge, rows, noisy, trusted, given[~noisy], **SETTINGS)
        labels = play(found, ridge, rows, given)
        batched, _ = fit_in_batches(
            ridge,
            rows,
            given,
            noisy,
            trusted,
            given[~noisy],
            batch_size=16,
            n_epochs=4,
            period=3,
            learning_rate=0.05,
            rate=0.2,
            rng=np.random.RandomState(0),
        )
        if expected is None:
            expected = labels, batched
            continue
        for mine, theirs in zip((labels, batched), expected, strict=True):
            assert type(mine) is type(rows)
            np.testing.assert_allclose(xp.to_numpy(mine), theirs, atol=2e-3)


@pytest.mark.parametrize("batch_size", [40, 16])
def test_batches_are_steps_of_adam_along_autograd(batch_size):
    torch = pytest.importorskip("torch")
    X, given, noisy = problem()
    ridge = fitted(X, given, noisy)
    found, corrections = fit_in_batches(
        ridge,
        X,
        given,
        noisy,
        X[~noisy],
        given[~noisy],
        batch_size=batch_size,
        n_epochs=5,
        period=2,
        learning_rate=0.02,
        rate=0.3,
        rng=np.random.RandomState(0),
    )
    parts = list(batches(40, batch_size, np.random.RandomState(0)))

    def with_constant(rows):
        return torch.tensor(np.column_stack([ridge.project(rows), np.ones(len(rows))]))

    F = [with_constant(X[noisy][part]) for part in parts]
    V, eye = with_constant(X[~noisy]), torch.eye(3, dtype=torch.float64)
    T = eye[torch.tensor(given[~noisy])]
    Y = [eye[torch.tensor(given[noisy][part])].requires_grad_() for part in parts]
    W = torch.zeros((V.shape[1], 3), dtype=torch.float64, requires_grad=True)
    labels = [torch.optim.Adam([y], 0.02, (0.5, 0.999), weight_decay=3e-4) for y in Y]
    classifier = torch.optim.Adam([W], 0.02, (0.5, 0.999))
    penalty = torch.diag(torch.tensor([0.7] * (V.shape[1] - 1) + [1e-6], dtype=torch.float64))
    for step in range(1, 5 * len(parts) + 1):
        i = step % len(parts)
        gram = F[i].T @ F[i] + penalty * len(parts[i]) / 40
        predicted = V @ torch.linalg.inv(gram) @ F[i].T @ Y[i]
        p = torch.softmax(predicted, dim=1)
        loss = ((predicted - T) ** 2).sum() - (p * p.log()).sum()
        labels[i].zero_grad()
        (loss / len(V)).backward()
        labels[i].step()
        p = torch.softmax(F[i] @ W, dim=1)
        q = torch.softmax(F[i][:, :-1] @ W[:-1] + W[-1].detach(), dim=1)
        loss = -(Y[i].detach() * p.log()).sum() - (q * q.log()).sum()
        classifier.zero_grad()
        (loss / len(F[i])).backward()
        classifier.step()
        if step % (2 * len(parts)) == 0:
            with torch.no_grad():
                for f, y in zip(F, Y, strict=True):
                    y.copy_(0.7 * y + 0.3 * torch.softmax(f @ W, dim=1))
    expected = np.empty((40, 3))
    for part, y in zip(parts, Y, strict=True):
        expected[part] = as_proba(y.detach().numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # What can be played to other rows is the auxiliary correction.
    assert [c.shift for c in corrections] == [None, None]
    p = [torch.softmax(V @ c, dim=1).numpy() for c in [coefficients(c, torch) for c in corrections]]
    later = 0.7 * (0.7 * T.numpy() + 0.3 * p[0]) + 0.3 * p[1]
    np.testing.assert_allclose(
        play(corrections, ridge, X[~noisy], given[~noisy]), as_proba(later), atol=1e-4
    )


def coefficients(correction, torch):
    return torch.tensor(correction.weights)


def test_a_permutation_of_the_classes_and_of_the_rows():
    X, given, noisy = problem()
    swap, order = np.array([2, 0, 1]), np.random.default_rng(1).permutation(len(X))
    first = fit_corrections(fitted(X, given, noisy), X, noisy, X[~noisy], given[~noisy], **SETTINGS)
    labels = play(first, fitted(X, given, noisy), X, given)
    X2, given2, noisy2 = X[order], swap[given][order], noisy[order]
    ridge = fitted(X2, given2, noisy2)
    found = fit_corrections(ridge, X2, noisy2, X2[~noisy2], given2[~noisy2], **SETTINGS)
    np.testing.assert_allclose(play(found, ridge, X2, given2)[:, swap], labels[order], atol=1e-4)


@pytest.mark.parametrize("case", ["one trusted row", "empty class", "duplicates", "no blend"])
def test_degenerate(case):
    X, given, noisy = problem()
    settings = dict(SETTINGS)
    if case == "one trusted row":
        noisy = np.arange(len(X)) > 0
    elif case == "empty class":
        given = np.where(given == 2, 1, given)
    elif case == "duplicates":
        X[:] = X[:1]
    else:
        settings["rate"] = 0.0
    ridge = fitted(X, given, noisy)
    found = fit_corrections(ridge, X, noisy, X[~noisy], given[~noisy], **settings)
    labels = play(found, ridge, X, given)
    assert np.isfinite(labels).all()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
