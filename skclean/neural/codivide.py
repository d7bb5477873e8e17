"""DivideMix's division of the rows into labelled and unlabelled ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import to_numpy
from skclean.decision.loss_mixture import effective_threshold

#: Epochs that the published code averages over, at 90 % noise.
AVERAGED_EPOCHS = 5


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


def averaged_proba(history: Sequence[Any], given: np.ndarray) -> np.ndarray:
    """Probabilities whose loss is the mean loss over some epochs.

    That of the given class is the geometric mean over the epochs, so that its cross-entropy is the
    mean of theirs; the others share what is left as in their arithmetic mean. Rows without a given
    label have the arithmetic mean.

    Parameters
    ----------
    history : sequence of arrays of shape (n, C)
        Probabilities at the end of the last epochs, `AVERAGED_EPOCHS` of them or fewer.
    given : ndarray of shape (n,), int64
        -1 where missing.

    Returns
    -------
    ndarray of shape (n, C), float64
        Rows sum to 1.
    """
    rows = np.flatnonzero(np.asarray(given) >= 0)
    codes, log, mean = given[rows], np.zeros(len(rows)), np.zeros(history[0].shape)
    for part in history:
        p = to_numpy(part).astype(np.float64)
        mean += p / len(history)
        log += np.log(np.clip(p[rows, codes], 1e-12, None)) / len(history)
    own, kept = mean[rows, codes], np.exp(log)
    # The geometric mean is no greater: where the others have nothing, neither is there any left.
    rest = np.where(own < 1, (1 - kept) / np.where(own < 1, 1 - own, 1), 1)
    mean[rows] *= rest[:, None]
    mean[rows, codes] = kept
    return mean / mean.sum(axis=1, keepdims=True)
