"""Mixture of two Gaussians in one dimension, fitted to a histogram."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, histogram_moments

#: Bins of the histogram; each keeps its mean and variance, so little is lost.
N_BINS = 8192


@dataclass
class TwoGaussians:
    """Two Gaussians of different means, the first the smaller.

    Attributes
    ----------
    weights, means, variances : ndarray of shape (2,)
    n_components : int
        1 where one Gaussian explains the values as well (by the Bayesian information criterion),
        or all values are equal: there is nothing to separate.
    n_iter : int
    converged : bool
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    n_components: int
    n_iter: int
    converged: bool

    def smaller_proba(self, x: Any) -> Any:
        """Posterior of the component of the smaller mean, of the shape of `x`."""
        xp = array_namespace(x)
        a, b, c = self._log_ratio()
        log_ratio = a * x
        log_ratio += b
        log_ratio *= x
        log_ratio += c
        # The bounds keep exp finite in float32.
        return 1 / (1 + xp.exp(xp.clip(log_ratio, -80, 80)))

    def _log_ratio(self):
        """Coefficients of the quadratic log(pi_1 N_1(x)) - log(pi_0 N_0(x))."""
        precision = 1 / self.variances
        a = (precision[0] - precision[1]) / 2
        b = precision[1] * self.means[1] - precision[0] * self.means[0]
        const = np.log(self.weights) + (np.log(precision) - precision * self.means**2) / 2
        return float(a), float(b), float(const[1] - const[0])


def fit_two_gaussians(
    x: Any, *, max_iter: int = 10, tol: float = 1e-2, reg_covar: float = 5e-4
) -> TwoGaussians:
    """Fit a mixture of two Gaussians by expectation maximisation.

    The defaults are DivideMix's, which REED follows. EM runs on count, mean and variance of the
    values in each of `N_BINS` bins, so that a step costs the same for any number of values; it
    starts from the two-means clustering, as scikit-learn's GaussianMixture does.

    Parameters
    ----------
    x : array of shape (n,)
        Values in [0, 1].
    max_iter : int
        Most EM steps.
    tol : float
        A step that raises the mean log-likelihood by less ends the fit.
    reg_covar : float
        Added to the variances.

    Returns
    -------
    TwoGaussians
    """
    count, mean, variance = histogram_moments(x, N_BINS)
    total = count.sum()
    resp = _two_means(count, mean)
    if resp is None:
        at = float(mean[0])
        flat = np.full(2, reg_covar)
        return TwoGaussians(np.array([1 - 1e-9, 1e-9]), np.array([at, at + 1]), flat, 1, 0, True)
    last, converged = -np.inf, False
    parameters = _maximise(resp, count, mean, variance, reg_covar)
    n_iter = 0
    while n_iter < max_iter and not converged:
        resp, likelihood = _expect(parameters, count, mean, variance)
        parameters = _maximise(resp, count, mean, variance, reg_covar)
        converged = abs(likelihood - last) < tol
        last, n_iter = likelihood, n_iter + 1
    _, likelihood = _expect(parameters, count, mean, variance)
    centre = np.average(mean, weights=count)
    spread = np.average(variance + (mean - centre) ** 2, weights=count) + reg_covar
    single = -0.5 * (np.log(2 * np.pi * spread) + (spread - reg_covar) / spread)
    # Two components have three parameters more than one.
    gain = 2 * total * (likelihood - single) - 3 * np.log(total)
    weights, means, variances = parameters
    order = np.argsort(means)
    return TwoGaussians(
        weights[order], means[order], variances[order], 1 + int(gain > 0), n_iter, converged
    )


def _two_means(count, mean):
    """Responsibilities (bins, 2) of the best split of the values into two clusters, else None.

    In one dimension the clusters are intervals: Lloyd's steps from the middle of the range.
    """
    if len(mean) < 2:
        return None
    cut = (mean[0] + mean[-1]) / 2
    while True:
        upper = mean > cut
        centres = [np.average(mean[side], weights=count[side]) for side in (~upper, upper)]
        middle = sum(centres) / 2
        if np.array_equal(mean > middle, upper):
            return np.stack([~upper, upper], axis=1).astype(np.float64)
        cut = middle


def _maximise(resp, count, mean, variance, reg_covar):
    mass = resp * count[:, None]
    size = mass.sum(axis=0) + 10 * np.finfo(np.float64).eps
    means = mass.T @ mean / size
    second = np.stack([variance + (mean - m) ** 2 for m in means], axis=1)
    variances = (mass * second).sum(axis=0) / size + reg_covar
    return size / size.sum(), means, variances


def _expect(parameters, count, mean, variance):
    weights, means, variances = parameters
    squares = (mean[:, None] - means) ** 2 + variance[:, None]
    log = np.log(weights) - 0.5 * (np.log(2 * np.pi * variances) + squares / variances)
    top = log.max(axis=1, keepdims=True)
    norm = top[:, 0] + np.log(np.exp(log - top).sum(axis=1))
    return np.exp(log - norm[:, None]), float(np.average(norm, weights=count))
