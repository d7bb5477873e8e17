"""Which rows belong to no class: where given labels have nothing to do with the scores.

A row of a known class, however hard, has a given label that its scores rank high, or one that is
wrong by chance. The label of a row from elsewhere is unrelated to its scores. With a row's share m
of labels in the lowest quarter of its scores, and t whether its own given label is there,

    p(t | row) = pi m + (1 - pi) ((1 - nu) e + nu m),    pi = sigmoid(bias - weights^T typicality),

e is the probability that the right label is there, next to none but with two or three classes, of
which the lowest is the right one of many a row between two of them: see `lowest_expected`. nu is
the share of random labels that shows in typical rows too and pi the probability that the
row is from elsewhere: Storey's estimate of the share of true null hypotheses, the labels' ranks
for p-values, as a function of the row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, softmax

from skclean._array import array_namespace, cast_like, from_numpy, to_numpy
from skclean._blocks import map_rows
from skclean._threads import one_blas_thread

#: With more classes, those of the lowest quarter of a row's scores are never its own.
FEW_CLASSES = 3
#: The temperature of `lowest_expected` is chosen on so many rows.
_MAX_ROWS = 10_000
#: Standardised signals are clipped to this, so that one row far out does not decide the fit.
_MOST = 10.0
_TINY = 1e-12


@dataclass
class OpenSetModel:
    """The probability of being from elsewhere as a function of some signals.

    Attributes
    ----------
    center, scale : ndarray of shape (k,)
        Median and spread of the signals of the fit.
    weights : ndarray of shape (k,)
        At least 0: a greater signal is more typical.
    bias : float
    noise : float
        nu, the share of random labels among rows of the classes.
    """

    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    noise: float

    def open_proba(self, signals: np.ndarray) -> np.ndarray:
        """Pi, shape (n,), of signals (n, k)."""
        return expit(self.bias - self._standardise(signals) @ self.weights)

    def in_distribution_proba(
        self, signals: np.ndarray, label_proba: np.ndarray, label_share: np.ndarray
    ) -> np.ndarray:
        """Probability that each row belongs to a class, by its signals and its given label.

        1 - pi u / (pi u + (1 - pi) ((1 - nu) p + nu u)), u the share of the label, p its
        probability.

        Parameters
        ----------
        signals : ndarray of shape (n, k)
        label_proba : ndarray of shape (n,)
            Probability of the given label by the scores; NaN in rows without one.
        label_share : ndarray of shape (n,)
            Share of the given label among all rows; any number in rows without one.

        Returns
        -------
        ndarray of shape (n,)
        """
        pi = self.open_proba(signals)
        expected = (1 - self.noise) * label_proba + self.noise * label_share
        outside = pi * label_share
        judged = outside / np.maximum(outside + (1 - pi) * expected, _TINY)
        return 1 - np.where(np.isnan(label_proba), pi, judged)

    def _standardise(self, signals):
        return np.clip((signals - self.center) / self.scale, -_MOST, _MOST)


def lowest_quarter(
    scores: Any, given: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the given label is in the lowest quarter of a row's scores, and how likely that was.

    A half would take in classes that a hard row of another class has for its third or fourth guess.

    Parameters
    ----------
    scores : array of shape (n, C)
    given : ndarray of shape (n,), int64
        None missing.
    share : ndarray of shape (C,)
        Share of each label in the data.

    Returns
    -------
    low : ndarray of shape (n,), bool
        Whether the label's score is among the C // 4 smallest of the row, or the smallest.
    mass : ndarray of shape (n,)
        Share of labels of which that holds: the probability for a label drawn at random.
    """
    lowest = max(1, scores.shape[1] // 4)

    def judge(scores, given):
        xp = array_namespace(scores)
        bound = xp.sort(scores, axis=1)[:, lowest]
        own = xp.take_along_axis(scores, from_numpy(given[:, None], scores), axis=1)[:, 0]
        below = xp.astype(scores < bound[:, None], scores.dtype)
        mass = to_numpy(xp.matmul(below, cast_like(share, scores)))
        return to_numpy(own < bound), mass.astype(np.float64)

    return map_rows(judge, scores, given)


def lowest_expected(
    distances: np.ndarray, scores: Any, given: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Probability that the label of lowest score is the right one, by Gaussians of the classes.

    p_k ~ share_k exp(-temperature D_k / 2). The temperature, which distances of few rows in many
    dimensions need, is the likeliest of given labels of which some share is random.

    Parameters
    ----------
    distances : ndarray of shape (n, C)
        Squared Mahalanobis distances D, without a row's own part in the fit.
    scores : array of shape (n, C)
    given : ndarray of shape (n,), int64
        None missing.
    share : ndarray of shape (C,)
        Share of each label in the data.

    Returns
    -------
    ndarray of shape (n,)
    """
    distances, log_share = np.minimum(distances, 1e30), np.log(np.maximum(share, _TINY))
    rows = slice(None, None, -(-len(given) // _MAX_ROWS) or 1)
    some, codes = distances[rows], given[rows]
    random = np.linspace(0, 0.8, 17)

    def log_likelihood(temperature):
        own = softmax(log_share - temperature * some / 2, axis=1)[np.arange(len(codes)), codes]
        mixed = [(1 - nu) * own + nu * share[codes] for nu in random]
        return max(np.log(np.maximum(p, _TINY)).sum() for p in mixed)

    temperature = max(np.logspace(0, -1.3, 9), key=log_likelihood)
    proba = softmax(log_share - temperature * distances / 2, axis=1)
    lowest = map_rows(lambda s: to_numpy(array_namespace(s).argmin(s, axis=1)), scores)
    return proba[np.arange(len(given)), lowest]


def fit_open_set(
    signals: np.ndarray, low: np.ndarray, mass: np.ndarray, expected: np.ndarray | float = 0.0
) -> OpenSetModel:
    """Maximum likelihood of `low` over noise, bias and weights, with weak normal priors.

    Parameters
    ----------
    signals : ndarray of shape (n, k)
        Each the greater the more typical the row is of a class.
    low, mass
        Of `lowest_quarter`.
    expected : ndarray of shape (n,), or 0
        Of `lowest_expected`, for two or three classes.

    Returns
    -------
    OpenSetModel
    """
    center = np.median(signals, axis=0)
    scale = np.quantile(np.abs(signals - center), 0.68, axis=0)
    model = OpenSetModel(center, np.where(scale > 0, scale, 1.0), np.ones(signals.shape[1]), 0, 0)
    F = model._standardise(signals)
    bounds = [(-9, 9), (-9, 9)] + [(0, 50)] * F.shape[1]
    with one_blas_thread():
        fits = [
            minimize(
                open_set_loss,
                [-3, bias, *np.full(F.shape[1], 2 / F.shape[1])],
                (F, low, mass, expected),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
            )
            # The likelihood has a flat end where no row is from elsewhere: start from both sides.
            for bias in (-4, -1)
        ]
    theta = min(fits, key=lambda fit: fit.fun).x
    model.noise, model.bias, model.weights = float(expit(theta[0])), float(theta[1]), theta[2:]
    return model


def open_set_loss(
    theta: np.ndarray,
    F: np.ndarray,
    low: np.ndarray,
    mass: np.ndarray,
    expected: np.ndarray | float = 0.0,
) -> tuple[float, np.ndarray]:
    """Penalised negative log-likelihood per row, and its gradient.

    Parameters
    ----------
    theta : ndarray of shape (2 + k,)
        logit nu, bias and weights.
    F : ndarray of shape (n, k)
        Standardised signals.
    low, mass, expected
        Of `lowest_quarter` and `lowest_expected`.
    """
    nu, pi = expit(theta[0]), expit(theta[1] - F @ theta[2:])
    p = mass + (1 - pi) * (1 - nu) * (expected - mass)
    p = np.clip(p, _TINY, 1 - _TINY)
    slope = np.where(low, 1 / p, -1 / (1 - p)) * (mass - expected)
    by_logit = slope * (1 - nu) * pi * (1 - pi)
    gradient = -np.concatenate(
        [
            [np.mean(slope * (1 - pi)) * nu * (1 - nu), np.mean(by_logit)],
            -(by_logit @ F) / len(F),
        ]
    )
    # Where the labels cannot tell, they are noise, and no row is from elsewhere.
    mean = np.concatenate([[-2, -4], np.zeros(F.shape[1])])
    precision = np.concatenate([[0.1, 0.3], np.full(F.shape[1], 0.1)]) / len(F)
    loss = -np.mean(np.where(low, np.log(p), np.log1p(-p)))
    loss += 0.5 * np.sum(precision * (theta - mean) ** 2)
    return float(loss), gradient + precision * (theta - mean)
