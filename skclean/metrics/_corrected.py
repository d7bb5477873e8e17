"""Accuracy on the true labels, estimated from the noisy ones and the noise's transition matrix."""

from typing import Any

import numpy as np
from scipy.optimize import nnls

from skclean._fields import check_proba
from skclean._labels import encode_labels

#: Above this condition number of T the exact solution is too noisy, and a non-negative one is
#: taken: at 47 % pair noise (17) both err alike, at 49.9 % (500) the first by more than 1.
CONDITION_LIMIT = 30.0


def noise_corrected_accuracy(
    y_given: Any, y_pred: Any, transition: Any, *, classes: Any = None, missing_label: Any = "auto"
) -> float:
    """Estimate the accuracy on the true labels, without any of them.

    With N_kj = P(given = k, predicted = j) counted over the rows and given and predicted labels
    independent once the true class is known, N = Tᵀ M for M_yj = P(true = y, predicted = j), so
    that the accuracy is

        trace M = trace(T⁻ᵀ N) = mean over rows of (T⁻¹)[given_i, predicted_i].

    This is unbiased for rows that the predictor was not fitted on: on the rows of its fit a
    predictor knows the given label beyond what the true class says, and the figure is too high.
    Where T is nearly singular (condition number above 30) each column of M is the non-negative
    least-squares solution instead: of bounded variance, at the price of a bias.

    Parameters
    ----------
    y_given : array-like of shape (n,)
        Noisy labels of rows that the predictor was not fitted on.
    y_pred : array-like of shape (n,)
        Predicted classes of the same rows.
    transition : array-like of shape (C, C)
        T, P(given = column | true = row), classes in sorted order.
    classes : array-like of shape (C,) or None, default=None
        The sorted classes that T's rows and columns stand for. None takes those that are found
        in `y_given` and `y_pred` together, which must be C.
    missing_label : "auto", None or a label, default="auto"
        Given labels that mean that there is none: None and NaN always; "auto" adds -1.

    Returns
    -------
    accuracy : float in [0, 1]
        The estimate, clipped to [0, 1]. Rows without a given label, or with one outside
        `classes`, are left out; NaN where no row remains.

    Raises
    ------
    ValueError
        If lengths or shapes differ, a row of T does not sum to 1, or a prediction is not in
        `classes`.

    References
    ----------
    The weights are those of the backward correction of Patrini et al., "Making Deep Neural
    Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017, theorem 1.

    Examples
    --------
    >>> from skclean.metrics import noise_corrected_accuracy
    >>> transition = [[0.8, 0.2], [0.2, 0.8]]
    >>> y_given = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]  # 20 % of each class are wrong
    >>> y_pred = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    >>> round(noise_corrected_accuracy(y_given, y_pred, transition), 2)
    1.0
    """
    name = "noise_corrected_accuracy"
    n_classes = len(transition)
    whose = f"{name} (transition)"
    transition = check_proba(transition, n_classes, n_classes, whose, rounded=False)
    if classes is None:
        found = [
            encode_labels(y, missing_label=m, name=name)[1]
            for y, m in ((y_given, missing_label), (y_pred, None))
        ]
        classes = np.unique(np.concatenate(found))
    if len(classes) != n_classes:
        raise ValueError(
            f"{name}: expected as many classes as transition has rows ({n_classes}), got "
            f"{len(classes)}; do pass classes."
        )
    given, _ = encode_labels(
        y_given, classes=classes, missing_label=missing_label, name=name, outside="missing"
    )
    predicted, _ = encode_labels(y_pred, classes=classes, missing_label=None, name=name)
    if given.shape != predicted.shape:
        raise ValueError(
            f"{name}: expected as many given as predicted labels, got {len(given)} and "
            f"{len(predicted)}; do pass both for the same rows."
        )
    labelled = given >= 0
    if not labelled.any():
        return float("nan")
    return float(np.clip(corrected_trace(given[labelled], predicted[labelled], transition), 0, 1))


def corrected_trace(given, predicted, transition):
    """Trace of the joint distribution of true and predicted class.

    Parameters
    ----------
    given, predicted : ndarray of shape (n,), int64 in [0, C)
        Codes.
    transition : ndarray of shape (C, C), float
        T, rows sum to 1.

    Returns
    -------
    trace : float
        Not clipped: below 0 or above 1 by chance.
    """
    transition = np.asarray(transition, dtype=np.float64)
    if np.linalg.cond(transition) <= CONDITION_LIMIT:
        return np.linalg.inv(transition)[given, predicted].mean()
    counts = np.zeros(transition.shape)
    np.add.at(counts, (given, predicted), 1 / len(given))
    return sum(nnls(transition.T, column)[0][j] for j, column in enumerate(counts.T))
