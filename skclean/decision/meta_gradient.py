"""The least-squares meta label purifier (DMLP): labels moved down the loss on trusted rows.

With F (n, d) the features of the noisy rows, Y (n, C) their labels and V (m, d) the features of the
trusted rows, of labels T (m, C), least squares predicts A Y for the trusted rows,
A = V (F^T F + alpha)^-1 F^T. Intrinsic primary correction (IPC) moves Y down the gradient A^T R of

    L_val = 1/m sum_i |(A Y)_i - t_i|^2 + H(softmax((A Y)_i)),    R = dL_val / d(A Y).

Extrinsic auxiliary correction (EAC) fits a linear softmax classifier p to the labels of the time,
with the entropy of its predictions as a second term, and blends: Y <- (1 - rate) Y + rate p. The
entropy does not move the bias of the classifier, which keeps the mean prediction at the mean label:
without that, or the class prior of great weight in the published script, one class takes all where
the labels are nearly uniform.

`fit_corrections` never holds Y. Gradients add to Y what is linear in the features, so that the
cross-products F^T Y, of shape (d, C), tell all that the next step asks: an IPC step costs m d C
whatever n is. EAC takes one pass over the rows; further steps of the classifier in its period see
some thousand rows, which tell how the gradient has changed since that pass (Johnson and Zhang,
2013), so that they lead to the same labels. What was found is a list of `Correction`, which is
played to any row, of the fit or new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from skclean._array import (
    array_namespace,
    beside,
    cast_like,
    contiguous,
    from_numpy,
    one_hot,
    take_rows,
    to_numpy,
)
from skclean._blocks import few_rows, map_rows, sum_blocks
from skclean._threads import few_blas_threads, one_blas_thread, python_threads
from skclean.linalg.least_squares import Ridge
from skclean.linalg.optim import Adam, batches
from skclean.linalg.softmax import softmax

#: The change of the gradient since the last pass is that of so many rows, or so many times as many
#: as there are features.
_FEW_ROWS, _FEW_PER_FEATURE = 4096, 8


@dataclass
class Correction:
    """One period of IPC and the EAC that ends it, for a row of projected features q (r,).

    Y <- (1 - rate) (Y - (q, 1) shift) + rate softmax((q, 1) weights).

    Attributes
    ----------
    shift, weights : ndarray of shape (r + 1, C)
        `shift` is None where IPC cannot be played to other rows.
    rate : float
    """

    shift: np.ndarray | None
    weights: np.ndarray
    rate: float


def validation_gradient(predicted: Any, targets: Any) -> Any:
    """R = dL_val / d(predicted), shape (m, C).

    Parameters
    ----------
    predicted : array of shape (m, C)
        Least-squares predictions for the trusted rows.
    targets : array of shape (m, C)
        Their one-hot labels.
    """
    p = softmax(predicted, axis=1)
    return (2 * (predicted - targets) + entropy_gradient(p, axis=1)) / predicted.shape[0]


def entropy_gradient(p: Any, axis: int = 0) -> Any:
    """Gradient of the entropy of p = softmax(z) in z: -p (log p + H)."""
    xp = array_namespace(p)
    log = xp.log(xp.clip(p, 1e-30, None))
    return -p * (log - xp.sum(p * log, axis=axis, keepdims=True))


@python_threads()
def fit_corrections(
    ridge: Ridge,
    X: Any,
    noisy: np.ndarray,
    X_trusted: Any,
    trusted: np.ndarray,
    *,
    n_periods: int,
    period: int,
    learning_rate: float,
    momentum: float,
    rate: float,
    classifier_steps: int,
    rng: np.random.RandomState,
) -> list[Correction]:
    """IPC and EAC in turn, over all rows at a time.

    Parameters
    ----------
    ridge : Ridge
        Least squares of the noisy labels on the noisy rows.
    X : array of shape (n, d)
    noisy : ndarray of shape (n,), bool
        The rows that take part, F.
    X_trusted : array of shape (m, d)
    trusted : ndarray of shape (m,), int64
        Labels of the trusted rows.
    n_periods : int
    period : int
        IPC steps before each EAC.
    learning_rate : float
        eta_I, as a share of the step that leads to the minimum along the direction of greatest
        curvature of the squared error.
    momentum : float
    rate : float
        eta_E.
    classifier_steps : int
        Steps of the classifier, each period.
    rng : numpy.random.RandomState
        Draws the rows of the steps between two passes over all rows.

    Returns
    -------
    list of Correction
    """
    n, n_classes = ridge.n_rows, len(ridge.target_mean)
    # Of the constant, the last coefficient, the curvature is n, and it is not regularised.
    w = np.append(ridge.values, n)[:, None]
    d = np.append(ridge.shrinkage(), 1 / n)[:, None]
    Q = to_numpy(_with_constant(ridge, X_trusted)).astype(np.float64)
    T = np.eye(n_classes)[trusted]
    half = Q[:, :-1] * (d * np.sqrt(w))[:-1, 0]
    with few_blas_threads(half.shape[1]):
        curvature = np.linalg.eigvalsh(half.T @ half)[-1] + len(Q) / n
    eta = learning_rate * len(Q) / (2 * curvature)
    velocity = np.zeros_like(T)
    # softmax has no more curvature than half that of least squares (Boehning, 1992).
    most = w / 2 + np.append(np.full(len(w) - 1, ridge.alpha), 0)[:, None]
    moments = partial(_moments, ridge, X, noisy)
    few_moments = moments
    if (rows := _few(noisy, len(w), rng)) is not None:
        share = np.full(len(rows), n / len(rows))
        few_moments = partial(_moments, ridge, few_rows(X, rows), share)
    cross = np.vstack([ridge.cross, n * ridge.target_mean])
    weights, found = np.zeros_like(cross), []
    weights[-1] = np.log(ridge.target_mean + 1e-3)
    # Predictions that are the same in all rows are the sum of no feature but the constant.
    now = np.zeros((2, *cross.shape))
    now[:, -1] = n * softmax(weights[-1])
    for _ in range(n_periods):
        shift = np.zeros_like(cross)
        with one_blas_thread():
            for _ in range(period):
                velocity *= momentum
                velocity += validation_gradient(Q @ (d * cross), T)
                step = eta * d * (Q.T @ velocity)
                shift += step
                cross -= w * step
        # What the few say of a step is added to what all rows said before it.
        start = 0.0 if rows is None or classifier_steps == 1 else now - few_moments(weights)
        for left in reversed(range(classifier_steps)):
            weights = weights - (now[1] - cross) / most
            if left:
                now = start + few_moments(weights)
        found.append(Correction(shift, weights, rate))
        if len(found) < n_periods:
            now = moments(weights)
            cross = (1 - rate) * cross + rate * now[0]
    return found


@python_threads()
def play(corrections: Sequence[Correction], ridge: Ridge, X: Any, given: np.ndarray) -> Any:
    """Labels of rows after the corrections.

    Parameters
    ----------
    corrections : list of Correction
    ridge : Ridge
    X : array of shape (n, d)
    given : ndarray of shape (n,), int64
        -1 where the label is missing: the classifier of the last correction predicts it.

    Returns
    -------
    array of shape (n, C), float32
        Rows are not negative and sum to 1.
    """
    n_classes = len(ridge.target_mean)
    # Share of what comes before a correction that is left of it in the end, from the last one on.
    left, shift, shares = 1.0, np.zeros_like(corrections[0].weights), []
    for c in reversed(corrections):
        shares.append(left * c.rate)
        left *= 1 - c.rate
        if c.shift is not None:
            shift += left * c.shift
    maps = [shift, *(c.weights for c in reversed(corrections))]
    inner, constant = _affine(ridge, np.hstack(maps))
    shares = cast_like(np.array(shares)[:, None, None], inner)

    def corrected(X, given):
        phi = ridge.features(beside(X, ridge.mean))
        xp, b = array_namespace(phi), phi.shape[0]
        z = xp.matmul(inner.T, phi.T) + constant[:, None]
        p = softmax(xp.reshape(z[n_classes:, :], (len(corrections), n_classes, b)), axis=1)
        labels = left * one_hot(np.maximum(given, 0), n_classes, phi)
        labels += (xp.sum(shares * p, axis=0) - z[:n_classes, :]).T
        labels = xp.where(from_numpy(given[:, None] >= 0, phi), labels, p[0, ...].T)
        return xp.astype(as_proba(labels), xp.float32)

    return map_rows(corrected, X, given, width=max(ridge.features.width, inner.shape[1]))


def as_proba(labels: Any) -> Any:
    """Unconstrained labels (n, C) as probabilities: negative entries dropped, rows summing to 1."""
    xp = array_namespace(labels)
    positive = xp.clip(labels, 1e-12, None)
    return positive / xp.sum(positive, axis=1, keepdims=True)


@python_threads()
def fit_in_batches(
    ridge: Ridge,
    X: Any,
    given: np.ndarray,
    noisy: np.ndarray,
    X_trusted: Any,
    trusted: np.ndarray,
    *,
    batch_size: int,
    n_epochs: int,
    period: int,
    learning_rate: float,
    rate: float,
    rng: np.random.RandomState,
) -> tuple[Any, list[Correction]]:
    """IPC and EAC on slices of the rows, each with its own Gram matrix, by Adam (algorithm 1).

    Parameters
    ----------
    ridge : Ridge
        Its features and its regularisation are used, per row of the fit.
    X, noisy, X_trusted, trusted
        As in `fit_corrections`.
    given : ndarray of shape (n,), int64
    batch_size : int
        Rows of a slice; drawn once, so that each keeps the moments of Adam.
    n_epochs : int
        Passes over the slices.
    period : int
        Passes before each EAC.
    learning_rate : float
        Of Adam, for labels and classifier.
    rate : float
        eta_E.
    rng : numpy.random.RandomState

    Returns
    -------
    labels : array of shape (rows in noisy, C), float32
        As of `play`.
    corrections : list of Correction
        The EAC alone: what can be played to rows that were not in the fit.
    """
    xp, n_classes, r = array_namespace(X), len(ridge.target_mean), len(ridge.values)
    rows = np.flatnonzero(noisy)
    order = list(batches(len(rows), batch_size, rng))
    parts = [rows[part] for part in order]
    V = _with_constant(ridge, X_trusted)
    T = one_hot(trusted, n_classes, V)
    labels = [one_hot(given[part], n_classes, V) for part in parts]
    optimizers = [Adam(learning_rate, (0.5, 0.999), weight_decay=3e-4) for _ in parts]
    # The last coefficient belongs to the constant, which is not regularised.
    penalty = cast_like(np.diag(np.append(np.full(r, ridge.alpha), 1e-6)), V)
    coefficients, found = cast_like(np.zeros((r + 1, n_classes)), V), []
    classifier = Adam(learning_rate, (0.5, 0.999))
    for step in range(1, n_epochs * len(parts) + 1):
        i = step % len(parts)
        F = _with_constant(ridge, take_rows(X, parts[i]))
        gram = xp.matmul(F.T, F) + penalty * (len(parts[i]) / ridge.n_rows)
        A = xp.matmul(F, xp.linalg.solve(gram, V.T)).T
        gradient = xp.matmul(A.T, validation_gradient(xp.matmul(A, labels[i]), T))
        (labels[i],) = optimizers[i].step([labels[i]], [gradient])
        p = softmax(xp.matmul(F, coefficients), axis=1)
        slope = p * xp.sum(labels[i], axis=1, keepdims=True) - labels[i]
        without_bias = F * cast_like(np.append(np.ones(r), 0), F)
        gradient = xp.matmul(F.T, slope) + xp.matmul(without_bias.T, entropy_gradient(p, axis=1))
        gradient /= len(parts[i])
        (coefficients,) = classifier.step([coefficients], [gradient])
        if step % (period * len(parts)) == 0:
            found.append(Correction(None, to_numpy(coefficients).astype(np.float64), rate))
            for j, part in enumerate(parts):
                logits = xp.matmul(_with_constant(ridge, take_rows(X, part)), coefficients)
                labels[j] = (1 - rate) * labels[j] + rate * softmax(logits, axis=1)
    back = np.argsort(np.concatenate(order))
    return xp.astype(take_rows(as_proba(xp.concat(labels)), back), xp.float32), found


def _with_constant(ridge, X):
    """Projected features and a constant, (n, r + 1)."""
    Q = ridge.project(X)
    xp = array_namespace(Q)
    return xp.concat([Q, xp.ones_like(Q[:, :1])], axis=1)


def _affine(ridge, weights):
    """Coefficients and constant of the features that give (q, 1) weights."""
    xp = array_namespace(ridge.vectors)
    weights = cast_like(weights, ridge.vectors)
    inner = xp.matmul(ridge.vectors, weights[:-1, :])
    return inner, weights[-1, :] - xp.matmul(ridge.mean[None, :], inner)[0, ...]


def _few(noisy, width, rng):
    """Rows that stand for all between two passes; None where that is all of them."""
    rows, count = np.flatnonzero(noisy), max(_FEW_ROWS, _FEW_PER_FEATURE * width)
    return None if len(rows) <= count else np.sort(rng.choice(rows, count, replace=False))


def _moments(ridge, X, share, weights):
    """Sums over the rows of (q, 1) p, and of (q, 1) times p and the gradient of its entropy.

    Of p = softmax((q, 1) weights), by shares of the rows (n,): (2, r + 1, C), float64, on the host.
    """
    n_classes = weights.shape[1]
    inner, constant = _affine(ridge, weights)

    def products(X, share):
        xp, phi = array_namespace(X), ridge.features(X)
        p = softmax(contiguous((xp.matmul(phi, inner) + constant).T))
        both = xp.concat([p, entropy_gradient(p)])
        both *= cast_like(share, both)
        return xp.matmul(both, phi), xp.sum(both, axis=1)

    sums, total = sum_blocks(products, X, share, width=max(ridge.features.width, 2 * n_classes))
    xp = array_namespace(sums)
    sums -= total[:, None] * xp.astype(ridge.mean, xp.float64)
    cross = xp.matmul(sums, xp.astype(ridge.vectors, xp.float64))
    p, slope = np.split(to_numpy(xp.concat([cross, total[:, None]], axis=1)).T, 2, axis=1)
    slope[-1] = 0
    return np.stack([p, p + slope])
