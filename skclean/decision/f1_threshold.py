"""The threshold of greatest expected F1."""

import numpy as np


def f1_threshold(clean_proba: np.ndarray) -> float:
    """Where to cut so that the labels below have the greatest expected F1 as the wrong ones.

    Of k flagged labels, the least probable ones, about S_k = sum (1 - p) are wrong, and of all S_n:
    their F1 is near 2 S_k / (k + S_n), by which k is chosen. That flags labels whose probability
    of being wrong is above half of that F1 [1]_.

    Parameters
    ----------
    clean_proba : ndarray of shape (n,)
        Probability that each label is right, none NaN.

    Returns
    -------
    float
        Flagged are probabilities up to this: 0, which flags none, where less than one label is
        expected to be wrong; 0.5 without labels.

    References
    ----------
    .. [1] Lipton, Elkan and Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1
       Measure", 2014, theorem 1.
    """
    if not len(clean_proba):
        return 0.5
    ordered = np.sort(clean_proba).astype(np.float64)
    wrong = np.cumsum(1 - ordered)
    if wrong[-1] < 1:
        return 0.0
    f1 = 2 * wrong / (np.arange(1, len(ordered) + 1) + wrong[-1])
    return float(ordered[np.argmax(f1)])
