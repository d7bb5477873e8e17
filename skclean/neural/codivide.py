"""DivideMix's division of the rows into labelled and unlabelled ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean.decision.loss_mixture import effective_threshold


@dataclass(frozen=True)
class Division:
    """Rows of the fit, divided.

    Attributes
    ----------
    labelled, unlabelled : ndarray of shape (m,) and (n - m,), int64
        Positions, in order.
    clean : ndarray of shape (m,), float64
        Probability that the label of a labelled row is right.
    threshold : float
        The one in use.
    """

    labelled: np.ndarray
    unlabelled: np.ndarray
    clean: np.ndarray
    threshold: float


def divide(
    cleaner: Any,
    given: np.ndarray,
    proba: Any,
    features: Any = None,
    threshold: float = 0.5,
    *,
    trusted: np.ndarray | None = None,
) -> Division:
    """Divide rows by a cleaner's judgement of their given labels (DivideMix 3.1).

    Parameters
    ----------
    cleaner : object with `assess`
        `GMMCleaner` for DivideMix, `PrototypeCleaner` for CPC, or another. One that trains on from
        call to call belongs to one network.
    given : ndarray of shape (n,), int64
        -1 where missing: such rows are unlabelled.
    proba : array of shape (n, C)
        Class probabilities by the other network; rows sum to 1.
    features : array of shape (n, d) or None
        For cleaners that look at embeddings.
    threshold : float in [0, 1]
        Labels of a greater probability are kept. Moved into the range of the probabilities, so
        that neither part is empty unless all of them are equal: then all rows are labelled.
    trusted : ndarray of shape (n,), bool, or None
        Rows that are labelled whatever the cleaner says, with probability 1.

    Returns
    -------
    Division

    References
    ----------
    Li et al., "DivideMix", ICLR 2020, section 3.1 and algorithm 1.
    """
    judged = np.asarray(given) >= 0
    sure = np.zeros(len(judged), bool) if trusted is None else np.asarray(trusted, bool) & judged
    clean = np.where(judged, cleaner.assess(given, proba, features), 0.0)
    clean[sure] = 1
    doubtful = judged & ~sure
    if doubtful.any():
        threshold = effective_threshold(threshold, clean[doubtful])
    inside = sure | (doubtful & (clean > threshold))
    labelled = np.flatnonzero(inside)
    return Division(labelled, np.flatnonzero(~inside), clean[labelled], threshold)
