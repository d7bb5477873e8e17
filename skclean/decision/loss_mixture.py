"""The papers' rule: a label is clean if its loss belongs to the component of small losses."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, take_rows, to_numpy
from skclean._blocks import own_column
from skclean.linalg.mixture import TwoGaussians, fit_two_gaussians

#: A class with fewer rows is judged by the mixture of all classes.
MIN_CLASS_ROWS = 20
#: Probabilities count as at least this in a loss.
LEAST = 1e-12


@dataclass
class LossMixture:
    """Mixtures fitted to losses.

    Attributes
    ----------
    low, high : float
        Range of the losses of the fit, in nats; losses are brought to [0, 1] by it.
    pooled : TwoGaussians
        Mixture of all rows.
    by_class : dict of int to TwoGaussians
        Mixtures of single classes (class-aware), of those that two components were found in; the
        others are judged by `pooled`.
    """

    low: float
    high: float
    pooled: TwoGaussians
    by_class: dict

    @property
    def separated(self) -> bool:
        """Whether two components were found anywhere."""
        return any(m.n_components == 2 for m in (self.pooled, *self.by_class.values()))

    def clean_proba(self, loss: Any, given: np.ndarray) -> np.ndarray:
        """Posterior of the component of small losses, 1 where there was nothing to separate.

        Parameters
        ----------
        loss : array of shape (n,)
            Cross-entropy of the given labels, in nats.
        given : ndarray of shape (n,), int64

        Returns
        -------
        ndarray of shape (n,)
        """
        loss = normalise(loss, self.low, self.high)
        proba = _posterior(self.pooled, loss)
        for k, mixture in self.by_class.items():
            rows = np.flatnonzero(given == k)
            proba[rows] = _posterior(mixture, take_rows(loss, rows))
        return proba


def fit_loss_mixture(loss: Any, given: np.ndarray, class_aware: bool = False) -> LossMixture:
    """Fit the mixture of losses, or one for each class.

    Parameters
    ----------
    loss : array of shape (n,)
        Cross-entropy of the given labels, in nats.
    given : ndarray of shape (n,), int64
    class_aware : bool
        Whether each class of at least `MIN_CLASS_ROWS` rows has a mixture of its own (CPC 5.1). A
        class whose losses one Gaussian explains as well has none: by itself it does not tell
        whether they are those of right labels or of wrong ones.

    Returns
    -------
    LossMixture
    """
    xp = array_namespace(loss)
    low, high = float(xp.min(loss)), float(xp.max(loss))
    scaled = normalise(loss, low, high)
    by_class = {}
    if class_aware:
        counts = np.bincount(given)
        for k in np.flatnonzero(counts >= MIN_CLASS_ROWS):
            mixture = fit_two_gaussians(take_rows(scaled, np.flatnonzero(given == k)))
            if mixture.n_components == 2:
                by_class[int(k)] = mixture
    return LossMixture(low, high, fit_two_gaussians(scaled), by_class)


def cross_entropy(proba: Any, given: np.ndarray) -> Any:
    """-log p_given, shape (n,) and float64, of probabilities (n, C)."""
    own = own_column(proba, given)
    xp = array_namespace(own)
    return -xp.log(xp.clip(xp.astype(own, xp.float64), LEAST, None))


def effective_threshold(threshold: float, proba: np.ndarray) -> float:
    """The threshold moved into the range of `proba`, so that neither side is empty.

    As C2D does for DivideMix: clipped to [min + 1e-5, max - 1e-5].
    """
    low, high = float(proba.min()) + 1e-5, float(proba.max()) - 1e-5
    return float(np.clip(threshold, low, high)) if low < high else min(threshold, high - 1e-5)


def normalise(x: Any, low: float, high: float) -> Any:
    """Values brought from [low, high] to [0, 1], and clipped; 0 where all are equal."""
    xp = array_namespace(x)
    return xp.clip((x - low) / (high - low if high > low else 1.0), 0, 1)


def _posterior(mixture, scaled):
    if mixture.n_components == 1:
        return np.ones(scaled.shape[0])
    return to_numpy(mixture.smaller_proba(scaled)).astype(np.float64)
