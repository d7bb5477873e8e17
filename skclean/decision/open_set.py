"""Which rows belong to no class: where given labels have nothing to do with the scores.

A row of a known class, however hard, has a given label that its scores rank high, or one that is
wrong by chance. The label of a row from elsewhere is unrelated to its scores. With a row's share m
of labels in the lowest quarter of its scores, and t whether its own given label is there,

    p(t | row) = pi m + (1 - pi) ((1 - nu) e + nu m),    pi = sigmoid(bias - weights^T typicality),

e is the probability that the right label is there, next to none but with few classes, of which the
lowest is the right one of many a row between two of them: a logistic function of `lowest_signs`. nu
is the share of random labels that shows in typical rows too and pi the probability that the row is
from elsewhere: Storey's estimate of the share of true null hypotheses, the labels' ranks for
p-values, as a function of the row. Where rows from elsewhere do not make the labels surely
likelier, there are none: pi = 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit, softmax

from skclean._array import array_namespace, cast_like, from_numpy, to_numpy
from skclean._blocks import map_rows
from skclean._threads import one_blas_thread

#: With more classes, those of the lowest quarter of a row's scores are hardly ever its own.
FEW_CLASSES = 7
#: Rows from elsewhere are believed in if they make the labels likelier by that many nats.
_SURE_NATS = 3.0
#: The temperature of `lowest_signs` is chosen on so many rows.
_MAX_ROWS = 10_000
#: Standardised signals are clipped to this, so that one row far out does not decide the fit.
_MOST = 10.0
_TINY = 1e-12
#: Probabilities count as at least this before their logit is taken.
_LEAST = 1e-9
#: A bias at which no row is from elsewhere.
_NEVER = -100.0


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
        Minus infinity where no row is from elsewhere.
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


def lowest_signs(
    scores: Any, distances: np.ndarray, given: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """What tells that the label of lowest score is the right one: the greater, the likelier.

    The logit of its probability by Gaussians of the classes, p_k ~ share_k exp(-temperature D_k /
    2). The temperature, which distances of few rows in many dimensions need, is the likeliest of
    given labels of which some share is random. Of two classes, and where the scores predict the
    given labels better than the Gaussians do, also how little it lies below the highest score. Of
    more classes, a row far from all of them has a low margin too, of which Gaussians know better.

    Parameters
    ----------
    scores : array of shape (n, C)
    distances : ndarray of shape (n, C)
        Squared Mahalanobis distances D, without a row's own part in the fit.
    given : ndarray of shape (n,), int64
        None missing.
    share : ndarray of shape (C,)
        Share of each label in the data.

    Returns
    -------
    ndarray of shape (n, 1) or (n, 2)
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
    held = map_rows(lambda s: to_numpy(s).astype(np.float64), scores)
    lowest = np.clip(proba[np.arange(len(given)), held.argmin(axis=1)], _LEAST, 1 - _LEAST)
    by_gaussians = logit(lowest)[:, None]
    better = (held.argmax(axis=1) == given).astype(int) - (proba.argmax(axis=1) == given)
    if held.shape[1] > 2 and better.sum() <= 2 * np.sum(better**2) ** 0.5:
        return by_gaussians
    return np.hstack([by_gaussians, lowest_margin(held)[:, None]])


def lowest_margin(scores: np.ndarray) -> np.ndarray:
    """The lowest less the highest score of each row (n, C), in standard deviations; shape (n,)."""
    margin = scores.min(axis=1) - scores.max(axis=1)
    return margin / (margin.std() or 1.0)


def fit_open_set(
    signals: np.ndarray, low: np.ndarray, mass: np.ndarray, signs: np.ndarray | None = None
) -> OpenSetModel:
    """Maximum likelihood of `low` over noise, bias and weights, with weak normal priors.

    Parameters
    ----------
    signals : ndarray of shape (n, k)
        Each the greater the more typical the row is of a class.
    low, mass
        Of `lowest_quarter`.
    signs : ndarray of shape (n, q) or None
        Of few classes, what tells that the label of lowest score is the right one, such as
        `lowest_signs`. None where it never is.

    Returns
    -------
    OpenSetModel
    """
    center = np.median(signals, axis=0)
    scale = np.quantile(np.abs(signals - center), 0.68, axis=0)
    model = OpenSetModel(center, np.where(scale > 0, scale, 1.0), np.ones(signals.shape[1]), 0, 0)
    F = model._standardise(signals)
    k, q = F.shape[1], 0 if signs is None else 1 + signs.shape[1]
    own = np.zeros(q)
    own[:1] = -1

    def likeliest(starts, bias_bounds):
        """Parameters of least loss, and the log-likelihood by them."""
        bounds = [(-9, 9), bias_bounds, *[(0, 50)] * k, *[(-9, 9)] * min(q, 1), *[(0, 9)] * (q - 1)]
        fits = [
            minimize(
                open_set_loss,
                [noise, bias, *np.full(k, 2 / k), *own],
                (F, low, mass, signs),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
            )
            for noise, bias in starts
        ]
        theta = min(fits, key=lambda fit: fit.fun).x
        p = _low_proba(theta, F, mass, signs)[0]
        return theta, np.log(np.where(low, p, 1 - p)).sum()

    with one_blas_thread():
        # The likelihood has a flat end where no row is from elsewhere: start from both sides.
        theta, likelihood = likeliest([(-3, -4), (-3, -1)], (-9, 9))
        alone, without = likeliest([(-3, _NEVER), (0, _NEVER)], (_NEVER, _NEVER))
    if likelihood - without < _SURE_NATS:
        theta = alone
        theta[1] = -np.inf
    model.noise, model.bias = float(expit(theta[0])), float(theta[1])
    model.weights = theta[2 : 2 + k]
    return model


def open_set_loss(
    theta: np.ndarray,
    F: np.ndarray,
    low: np.ndarray,
    mass: np.ndarray,
    signs: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Penalised negative log-likelihood per row, and its gradient.

    Parameters
    ----------
    theta : ndarray of shape (2 + k,), or (3 + k + q,) with signs
        logit nu, bias and weights; then e = sigmoid(theta[2 + k] + signs @ theta[3 + k:]).
    F : ndarray of shape (n, k)
        Standardised signals.
    low, mass, signs
        Of `fit_open_set`.
    """
    p, nu, pi, e = _low_proba(theta, F, mass, signs)
    slope = np.where(low, 1 / p, -1 / (1 - p))
    by_logit = slope * (mass - e) * (1 - nu) * pi * (1 - pi)
    gradient = [
        [np.mean(slope * (mass - e) * (1 - pi)) * nu * (1 - nu), np.mean(by_logit)],
        -(by_logit @ F) / len(F),
    ]
    if signs is not None:
        by_own = slope * (1 - pi) * (1 - nu) * e * (1 - e)
        gradient += [[np.mean(by_own)], by_own @ signs / len(F)]
    # Where the labels cannot tell, they are noise, and no row is from elsewhere.
    rest = len(theta) - 2
    mean = np.concatenate([[-2, -4], np.zeros(rest)])
    precision = np.concatenate([[0.1, 0.3], np.full(rest, 0.1)]) / len(F)
    loss = -np.mean(np.log(np.where(low, p, 1 - p)))
    loss += 0.5 * np.sum(precision * (theta - mean) ** 2)
    return float(loss), -np.concatenate(gradient) + precision * (theta - mean)


def _low_proba(theta, F, mass, signs):
    """Probability that the label is in the lowest quarter, nu, pi and e."""
    k = F.shape[1]
    nu, pi = expit(theta[0]), expit(theta[1] - F @ theta[2 : 2 + k])
    e = 0.0 if signs is None else expit(theta[2 + k] + signs @ theta[3 + k :])
    p = mass + (1 - pi) * (1 - nu) * (e - mass)
    return np.clip(p, _TINY, 1 - _TINY), nu, pi, e
