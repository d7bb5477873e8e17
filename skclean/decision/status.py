"""What becomes of each row, by the probability that its given label is right."""

import numpy as np

from skclean._fields import CORRECTED, KEPT, PREDICTED, TRUSTED, UNKNOWN


def judged_status(
    clean: np.ndarray,
    given: np.ndarray,
    trusted: np.ndarray | None,
    threshold: float,
    best: np.ndarray | None = None,
) -> np.ndarray:
    """Status codes: one rule for the rows of the fit and for those of a later batch.

    Parameters
    ----------
    clean : ndarray of shape (n,)
        Probability that the given label is right; any number or NaN in rows without one.
    given : ndarray of shape (n,), int64
        -1 where there is no label.
    trusted : ndarray of shape (n,), bool, or None
    threshold : float
        Labels of greater `clean` are kept.
    best : ndarray of shape (n,), int64, or None
        Labels in place of those that are not kept; None withholds these.

    Returns
    -------
    ndarray of shape (n,), int8
        Trusted; else predicted without a given label; else kept; else corrected where `best` is
        another label; else unknown.
    """
    doubted = UNKNOWN if best is None else np.where(best != given, CORRECTED, UNKNOWN)
    status = np.where(clean > threshold, KEPT, doubted).astype(np.int8)
    status[given < 0] = PREDICTED
    if trusted is not None:
        status[trusted] = TRUSTED
    return status
