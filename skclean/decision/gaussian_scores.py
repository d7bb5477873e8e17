"""Classes that stand apart: scores of each are Gaussian, whatever labels the rows were given.

The likelihood of the given labels cannot tell whether a place with labels of two classes is one
where these overlap, or one of a single class whose labels are often wrong. The scores can: rows of
one class lie around one place, and between two classes that stand apart there are few rows. With
scores s_i and the given label g_i independent given the true class y_i,

    p(s_i, g_i) = sum_y pi_y N(s_i; mu_y, S) T_y,g_i,

fitted by EM; q_i = p(y | s_i) is then linear discriminant analysis of classes that nobody has seen.
"""

import numpy as np
from scipy.special import logsumexp, softmax

from skclean.decision.transition_model import TransitionModel
from skclean.decision.transition_prior import TransitionPrior, dominant

#: Share of the greatest variance below which a direction of the scores says nothing.
_FLAT = 1e-4
#: Share of noise that T starts from.
_START = 0.3


def fit_gaussian_scores(
    scores: np.ndarray,
    given: np.ndarray,
    trusted: np.ndarray | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-5,
) -> TransitionModel:
    """Fit classes, T and the classes' places to scores and given labels.

    It starts from the class of the greatest score.

    Parameters
    ----------
    scores : ndarray of shape (n, C), float64
        Evidence that has not seen the row's own label.
    given : ndarray of shape (n,), int64
        Labels in 0 to C - 1, none missing.
    trusted : ndarray of shape (n,), bool, or None
        Rows whose label is right, and which do not count in T.
    max_iter : int
        Most rounds of EM.
    tol : float
        A round that changes the mean log-likelihood of scores and labels by less ends the fit.

    Returns
    -------
    TransitionModel
        Linear in the scores; `trace` is the mean log-likelihood of scores and labels, that of the
        scores up to a constant.
    """
    n, n_classes = scores.shape
    center, scale = scores.mean(axis=0), float(scores.std()) or 1.0
    standard = (scores - center) / scale
    variance, directions = np.linalg.eigh(standard.T @ standard / n)
    wide = variance > _FLAT * variance[-1]
    basis = directions[:, wide] / variance[wide] ** 0.5
    Z, eye = standard @ basis, np.eye(n_classes)
    sure = np.zeros(n, bool) if trusted is None else trusted
    noise = _START / n_classes + (1 - _START) * eye
    gamma, prior, trace = eye[scores.argmax(axis=1)], TransitionPrior(), []
    for _ in range(max_iter):
        weight = gamma.sum(axis=0) + 1e-9
        means = gamma.T @ Z / weight[:, None]
        within = (Z.T @ Z - (means * weight[:, None]).T @ means) / n + 1e-6 * np.eye(Z.shape[1])
        linear = np.linalg.solve(within, means.T)
        bias = np.log(weight / n) - 0.5 * np.sum(means.T * linear, axis=0)
        logits = Z @ linear + bias
        factor = np.where(sure[:, None], eye[given], noise.T[given])
        gamma = softmax(logits, axis=1) * factor
        likelihood = gamma.sum(axis=1) + 1e-300
        gamma /= likelihood[:, None]
        of_scores = logsumexp(logits, axis=1)
        of_scores -= 0.5 * np.sum(Z * np.linalg.solve(within, Z.T).T, axis=1)
        of_labels = float(np.mean(np.log(likelihood)))
        width = 0.5 * float(np.linalg.slogdet(within)[1])
        trace.append(of_labels + float(np.mean(of_scores)) - width)
        # (C, C): rows of each true class and given label.
        counts = gamma[~sure].T @ eye[given[~sure]]
        prior.fit(counts)
        noise = dominant(prior.transition(counts))
        converged = len(trace) > 1 and abs(trace[-1] - trace[-2]) < tol
        if converged:
            break
    return TransitionModel(
        transition=noise,
        center=center,
        scale=scale,
        square_center=np.zeros((n_classes, 1)),
        square_scale=1.0,
        linear=basis @ linear,
        curve=np.zeros(n_classes),
        bias=bias,
        log_likelihood=of_labels,
        n_iter=len(trace),
        converged=converged,
        trace=trace,
    )
