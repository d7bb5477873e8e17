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
whatever n is, a step of the classifier one pass over the rows. What was found is a list of
`Correction`, which is played to any row, of the fit or new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import (
    array_namespace,
    beside,
    cast_like,
    from_numpy,
    one_hot,
    take_rows,
    to_numpy,
)
from skclean._blocks import map_rows, sum_blocks
from skclean.linalg.least_squares import Ridge
from skclean.linalg.optim import Adam, batches
from skclean.linalg.softmax import softmax


@dataclass
class Correction:
    """One period of IPC and the EAC that ends it, for a row of projected features q (r,).

    Y <- (1 - rate) (Y - q shift - shift_bias) + rate softmax(q weights + bias).

    Attributes
    ----------
    shift, weights : ndarray of shape (r, C)
        `shift` is None where IPC cannot be played to other rows.
    shift_bias, bias : ndarray of shape (C,)
    rate : float
    """

    shift: np.ndarray | None
    shift_bias: np.ndarray | None
    weights: np.ndarray
    bias: np.ndarray
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
    xp, p = array_namespace(predicted), softmax(predicted, axis=1)
    return (2 * (predicted - targets) + entropy_gradient(p, xp)) / predicted.shape[0]


def entropy_gradient(p: Any, xp: Any) -> Any:
    """Gradient of the entropy of p = softmax(z) in z, shape (n, C): -p (log p + H)."""
    log = xp.log(xp.clip(p, 1e-30, None))
    return -p * (log - xp.sum(p * log, axis=1, keepdims=True))


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
        Passes over the rows with which the classifier is fitted on, each period.

    Returns
    -------
    list of Correction
    """
    d, w = ridge.shrinkage()[:, None], ridge.values[:, None]
    n, n_classes = ridge.n_rows, len(ridge.target_mean)
    Q = to_numpy(ridge.project(X_trusted)).astype(np.float64)
    T = np.eye(n_classes)[trusted]
    cross, mean = ridge.cross.copy(), ridge.target_mean.copy()
    half = Q * (d * np.sqrt(w)).T
    curvature = np.linalg.eigvalsh(half.T @ half)[-1] + len(Q) / n
    eta = learning_rate * len(Q) / (2 * curvature)
    velocity = np.zeros_like(T)
    weights, bias, found = np.zeros_like(cross), np.log(mean + 1e-3), []
    for _ in range(n_periods):
        shift, shift_bias = np.zeros_like(cross), np.zeros(n_classes)
        for _ in range(period):
            velocity *= momentum
            velocity += validation_gradient(Q @ (d * cross) + mean, T)
            step, step_bias = eta * d * (Q.T @ velocity), eta * velocity.sum(axis=0) / n
            shift += step
            shift_bias += step_bias
            cross -= w * step
            mean -= step_bias
        for _ in range(classifier_steps):
            cross_p, mean_p, cross_h = _pass(ridge, X, noisy, weights, bias)
            # softmax has no more curvature than half that of least squares (Boehning, 1992).
            weights = weights - (cross_p + cross_h - cross) / (w / 2 + ridge.alpha)
            bias = bias - 2 * (mean_p - mean)
        cross_p, mean_p, _ = _pass(ridge, X, noisy, weights, bias)
        cross, mean = (1 - rate) * cross + rate * cross_p, (1 - rate) * mean + rate * mean_p
        found.append(Correction(shift, shift_bias, weights, bias, rate))
    return found


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
    steps = [
        (
            None if c.shift is None else _affine(ridge, c.shift, c.shift_bias),
            _affine(ridge, c.weights, c.bias),
            c.rate,
        )
        for c in corrections
    ]

    def corrected(X, given):
        phi = ridge.features(beside(X, ridge.mean))
        xp, labels = array_namespace(phi), one_hot(np.maximum(given, 0), n_classes, phi)
        for shift, (weights, bias), rate in steps:
            if shift is not None:
                labels = labels - xp.matmul(phi, shift[0]) - shift[1]
            p = softmax(xp.matmul(phi, weights) + bias, axis=1)
            labels = (1 - rate) * labels + rate * p
        labels = xp.where(from_numpy(given[:, None] >= 0, phi), labels, p)
        return xp.astype(as_proba(labels), xp.float32)

    return map_rows(corrected, X, given)


def as_proba(labels: Any) -> Any:
    """Unconstrained labels (n, C) as probabilities: negative entries dropped, rows summing to 1."""
    xp = array_namespace(labels)
    positive = xp.clip(labels, 1e-12, None)
    return positive / xp.sum(positive, axis=1, keepdims=True)


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
        gradient = xp.matmul(F.T, slope) + xp.matmul(without_bias.T, entropy_gradient(p, xp))
        gradient /= len(parts[i])
        (coefficients,) = classifier.step([coefficients], [gradient])
        if step % (period * len(parts)) == 0:
            held = to_numpy(coefficients).astype(np.float64)
            found.append(Correction(None, None, held[:-1], held[-1], rate))
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


def _affine(ridge, weights, bias):
    """Coefficients and constant of the features that give Q weights + bias."""
    xp = array_namespace(ridge.vectors)
    inner = xp.matmul(ridge.vectors, cast_like(weights, ridge.vectors))
    return inner, cast_like(bias, inner) - xp.matmul(ridge.mean[None, :], inner)[0, ...]


def _pass(ridge, X, noisy, weights, bias):
    """Q^T p, the mean of p, and Q^T times the gradient of the entropy: float64, on the host."""
    n_classes = weights.shape[1]
    inner, constant = _affine(ridge, weights, bias)

    def moments(X, noisy):
        xp, phi = array_namespace(X), ridge.features(X)
        p = softmax(xp.matmul(phi, inner) + constant, axis=1)
        both = xp.concat([p, entropy_gradient(p, xp)], axis=1)
        both *= cast_like(noisy[:, None], both)
        return xp.matmul(phi.T, both), xp.sum(both, axis=0)

    products, sums = sum_blocks(moments, X, noisy)
    xp = array_namespace(products)
    products -= xp.astype(ridge.mean, xp.float64)[:, None] * sums
    cross = to_numpy(xp.matmul(xp.astype(ridge.vectors, xp.float64).T, products))
    return cross[:, :n_classes], to_numpy(sums)[:n_classes] / ridge.n_rows, cross[:, n_classes:]
