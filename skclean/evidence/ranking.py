"""Ranks of the rows within their given class, and judges of the given labels from trusted rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skclean._array import array_namespace, beside, from_numpy, to_numpy
from skclean._blocks import map_rows
from skclean._threads import python_threads
from skclean.evidence.leave_one_out import LeaveOneOutRidge

#: Probabilities that differ by this share are equal, and none is nearer to certain.
_FLOOR = 1e-6


def agreement(proba: Any, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the given label, and its share of that and the prediction's.

    Parameters
    ----------
    proba : array of shape (n, C)
    given : ndarray of shape (n,), int64
        None missing.

    Returns
    -------
    own : ndarray of shape (n,), float64
        P(given).
    share : ndarray of shape (n,), float64
        P(given) / (P(given) + max P): 1/2 where the prediction is the given label, else less.
    """

    def both(p, given):
        xp = array_namespace(p)
        own = xp.take_along_axis(p, from_numpy(given[:, None], p), axis=1)[:, 0]
        return to_numpy(own).astype(np.float64), to_numpy(xp.max(p, axis=1)).astype(np.float64)

    own, top = map_rows(both, proba, given)
    return own, own / np.maximum(own + top, 1e-300)


def rank_cutoffs(
    own: np.ndarray,
    agrees: np.ndarray,
    given: np.ndarray,
    n_classes: int,
    confidence: float = 0.9,
    min_share: float = 0.1,
) -> np.ndarray:
    """Smallest P(given) of the labels kept in each class (two-stage approach, section 3.1).

    Of the rows of a class whose prediction agrees with the given label, those of P(given) at least
    `confidence` are kept; if they are fewer than `min_share` of the class, the first of the
    ranking up to that share, and those that are as sure as the last of them to a millionth:
    rounding shall not tell apart rows that are surely of the class.

    Parameters
    ----------
    own : ndarray of shape (n,)
        P(given).
    agrees : ndarray of shape (n,), bool
    given : ndarray of shape (n,), int64
    n_classes : int
    confidence, min_share : float in [0, 1]

    Returns
    -------
    ndarray of shape (C,)
        `confidence` in a class without such rows.
    """
    cutoffs = np.full(n_classes, float(confidence))
    size = np.bincount(given, minlength=n_classes)
    rows = np.flatnonzero(agrees)
    rows = rows[np.lexsort((-own[rows], given[rows]))]
    starts = np.searchsorted(given[rows], np.arange(n_classes + 1))
    for c in range(n_classes):
        ranking = own[rows[starts[c] : starts[c + 1]]]
        least = min(int(np.ceil(min_share * size[c])), len(ranking))
        if least and ranking[least - 1] < confidence:
            cutoffs[c] = ranking[least - 1] * (1 - _FLOOR)
    return cutoffs


def rank_proba(own: np.ndarray, share: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
    """Odds of the given label against those at the cutoff of its class, as a probability.

    sigmoid(logit P(given) - logit cutoff) where the prediction agrees, so above 1/2 exactly in the
    labels kept and rising along the ranking; elsewhere at most `share`.

    Parameters
    ----------
    own, share : ndarray of shape (n,)
        Of `agreement`.
    cutoff : ndarray of shape (n,)
        Cutoff of the class of each row.

    Returns
    -------
    ndarray of shape (n,)
    """
    kept = (share >= 0.5) & (own >= cutoff)
    proba = expit(_logit(own) - _logit(cutoff))
    proba = np.where(share < 0.5, np.minimum(proba, share), proba)
    return np.where(kept, np.maximum(proba, 0.5 + _FLOOR), np.minimum(proba, 0.5))


@dataclass
class TrustedJudges:
    """One binary classifier for each class, trained on the trusted rows.

    All share one regularised least-squares fit of the one-hot labels; a sigmoid, fitted to its
    leave-one-out scores, makes probabilities of them.

    Attributes
    ----------
    model : LeaveOneOutRidge
    scale : tuple of two floats
        Factors of features and scores, that make both parts of unit variance in total.
    slope, bias : float
        P(label c is right) = sigmoid(slope f_c + bias).
    judged : ndarray of shape (C,), bool
        Classes with a trusted row.
    """

    model: LeaveOneOutRidge
    scale: tuple[float, float]
    slope: float
    bias: float
    judged: np.ndarray

    def clean_proba(self, features: Any, scores: Any, given: np.ndarray) -> np.ndarray:
        """Probability (n,) that the label is right, NaN in classes without a trusted row.

        Parameters
        ----------
        features : array of shape (n, d)
        scores : array of shape (n, C)
            The evidence, which comes from the noisy labels.
        given : ndarray of shape (n,), int64
            None missing.
        """

        def own(features, scores, given):
            found = self.model._ridge.predict(_joined(features, scores, self.scale))
            return to_numpy(found).astype(np.float64)[np.arange(len(given)), given]

        proba = map_rows(own, features, scores, given)
        proba = expit(self.slope * proba + self.bias)
        proba[~self.judged[given]] = np.nan
        return proba


@python_threads()
def fit_trusted_judges(
    features: Any, scores: Any, codes: np.ndarray, groups: np.ndarray | None = None
) -> TrustedJudges | None:
    """Train the judges on the trusted rows: positive are those of the class, negative the others.

    Parameters
    ----------
    features : array of shape (m, d)
    scores : array of shape (m, C)
        The evidence, which has not seen the row's own label.
    codes : ndarray of shape (m,), int64
    groups : ndarray of shape (m,), int64, or None
        Rows that are left out together.

    Returns
    -------
    TrustedJudges or None
        None where the rows are too few to judge by: a single class or group, or leave-one-out
        scores that are no higher in a row's own class than elsewhere.
    """
    n_classes = scores.shape[1]
    judged = np.bincount(codes, minlength=n_classes) > 0
    if judged.sum() < 2 or (groups is not None and len(np.unique(groups)) < 2):
        return None
    scale = _unit(features), _unit(scores)
    inputs = _joined(features, scores, scale)
    model = LeaveOneOutRidge()._fit_codes(inputs, codes, n_classes, groups)
    found = to_numpy(model.loo_scores_).astype(np.float64)[:, judged]
    # They are rows of the caller's that nothing asks for again.
    del model.loo_scores_
    own = codes[:, None] == np.flatnonzero(judged)
    sigmoid = LogisticRegression(C=1e4).fit(found.reshape(-1, 1), own.ravel())
    slope, bias = float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0])
    return TrustedJudges(model, scale, slope, bias, judged) if slope > 0 else None


def _joined(features, scores, scale):
    xp = array_namespace(features)
    scores = xp.astype(beside(scores, features), features.dtype)
    return xp.concat([features * scale[0], scores * scale[1]], axis=1)


def _unit(x):
    """Factor that makes the variances of the columns add up to 1."""
    total = float(np.sum(np.var(to_numpy(x).astype(np.float64), axis=0)))
    return total**-0.5 if total > 0 else 1.0


def _logit(p):
    p = np.clip(p, _FLOOR, 1 - _FLOOR)
    return np.log(p) - np.log1p(-p)
