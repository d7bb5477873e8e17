"""How well wrong labels are found, where the truth is known."""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils import column_or_1d

from skclean._array import to_numpy
from skclean._fields import check_unit
from skclean._labels import decode_labels, is_missing, label_array, shown
from skclean.samples import LabelledSamples


class DetectionScores(NamedTuple):
    """Scores of "this label is wrong"; `_asdict()` makes a dictionary of them.

    Attributes
    ----------
    precision : float
        Share of the flagged labels that are wrong; NaN where none is flagged.
    recall : float
        Share of the wrong labels that are flagged; NaN where none is wrong.
    f1 : float
        2 TP / (2 TP + FP + FN); NaN where none is flagged and none is wrong.
    auc : float
        Probability that a right label has a higher `clean_proba` than a wrong one, ties counted
        half; NaN where all labels are right or all are wrong.
    flagged : float
        Share of the judged labels that are flagged.
    wrong : float
        Share of the judged labels that are wrong.
    n : int
        Number of judged labels.
    """

    precision: float
    recall: float
    f1: float
    auc: float
    flagged: float
    wrong: float
    n: int


def detection_scores(
    y_true: Any, y_given: Any, clean_proba: Any = None, *, threshold: float = 0.5
) -> DetectionScores:
    """Precision, recall, F1 and AUC of the detection of wrong labels.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels.
    y_given : LabelledSamples or array-like of shape (n,)
        Given labels, of the same type; of a container, its own.
    clean_proba : array-like of shape (n,), values in [0, 1] or NaN, or None
        Probability that the given label is right. Rows of NaN were not judged (they have no
        given label) and are left out. None takes that of the container.
    threshold : float in [0, 1], default=0.5
        A label is flagged as wrong where ``clean_proba <= threshold``: the cleaners keep a label
        above their threshold.

    Returns
    -------
    scores : DetectionScores
        A named tuple.

    Raises
    ------
    ValueError
        If lengths or types differ, no label was judged, a judged row has no true label, a value
        is outside [0, 1], or there is no `clean_proba`.

    Examples
    --------
    >>> from skclean.metrics import detection_scores
    >>> scores = detection_scores([0, 0, 1, 1], [0, 1, 1, 0], [0.9, 0.1, 0.4, 0.2])
    >>> scores.recall, round(scores.precision, 2), scores.auc
    (1.0, 0.67, 1.0)
    """
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(
            f"detection_scores: expected threshold in [0, 1], got {shown(threshold)}; do pass a "
            "probability."
        )
    y_given, clean_proba = _open_judged(y_given, clean_proba)
    clean_proba = check_unit(clean_proba, len(y_given), "clean_proba", "detection_scores")
    judged = ~np.isnan(clean_proba)
    wrong = ~equal_labels(y_true, y_given, judged, "detection_scores")
    if not judged.any():
        raise ValueError(
            "detection_scores: expected at least one row with a clean_proba, got none; do pass "
            "the rows that were judged."
        )
    clean_proba = clean_proba[judged]
    flagged = clean_proba <= threshold
    hits, n_flagged, n_wrong = (int(x.sum()) for x in (flagged & wrong, flagged, wrong))
    one_kind = n_wrong in (0, len(wrong))
    return DetectionScores(
        precision=_ratio(hits, n_flagged),
        recall=_ratio(hits, n_wrong),
        f1=_ratio(2 * hits, n_flagged + n_wrong),
        auc=float("nan") if one_kind else float(roc_auc_score(~wrong, clean_proba)),
        flagged=n_flagged / len(wrong),
        wrong=n_wrong / len(wrong),
        n=len(wrong),
    )


def calibration_error(correct: Any, proba: Any, *, n_bins: int = 10) -> float:
    """Expected calibration error: how far probabilities are from the shares they predict.

    The mean over all rows of abs(mean of `correct` − mean of `proba`), both means being taken over
    the bin that the row's probability falls into; bins have equal width.

    Parameters
    ----------
    correct : array-like of shape (n,), bool or values in [0, 1]
        Whether what the probability speaks of is so, such as ``y_given == y_true``.
    proba : array-like of shape (n,), values in [0, 1] or NaN
        Probabilities, such as `clean_proba`. Rows of NaN are left out.
    n_bins : int, default=10
        Bins [0, 1/n_bins), ..., [1 − 1/n_bins, 1].

    Returns
    -------
    error : float in [0, 1]
        0 is calibrated. NaN where no row is left.

    Raises
    ------
    ValueError
        If lengths differ, a value is outside [0, 1], or `n_bins` is no integer of at least 1.

    References
    ----------
    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", AAAI 2015.
    """
    if not isinstance(n_bins, Integral) or n_bins < 1:
        raise ValueError(
            f"calibration_error: expected n_bins as an integer of at least 1, got {shown(n_bins)}; "
            "do pass 10."
        )
    correct = column_or_1d(to_numpy(correct))
    correct = check_unit(correct, len(correct), "correct", "calibration_error")
    proba = check_unit(proba, len(correct), "proba", "calibration_error")
    judged = ~np.isnan(proba)
    correct, proba = correct[judged].astype(np.float64), proba[judged].astype(np.float64)
    if not len(proba):
        return float("nan")
    bins = np.minimum((proba * n_bins).astype(np.int64), n_bins - 1)
    gaps = np.bincount(bins, weights=correct - proba, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(proba))


def equal_labels(y_true, labels, counted, name):
    """Where two lists of labels (n,) of one type agree, among the rows counted, a mask (n,)."""
    y_true, labels = column_or_1d(label_array(y_true)), column_or_1d(label_array(labels))
    if y_true.shape != labels.shape:
        raise ValueError(
            f"{name}: expected as many true labels as labels, got {len(y_true)} and "
            f"{len(labels)}; do pass both for the same rows."
        )
    y_true, labels = y_true[counted], labels[counted]
    unknown = is_missing(y_true)
    if unknown.any():
        raise ValueError(
            f"{name}: expected a true label in every row that counts, got none in "
            f"{unknown.sum()} of them; do leave those rows out."
        )
    there = ~is_missing(labels)
    kinds = [_natural(y[there]) for y in (y_true, labels)]
    texts = [kind.kind if kind.kind in "US" else "" for kind in kinds]
    if there.any() and texts[0] != texts[1]:
        raise ValueError(
            f"{name}: expected labels of one type, got {kinds[0]} and {kinds[1]}; do convert one "
            "of the two."
        )
    equal = np.zeros(len(labels), dtype=bool)
    equal[there] = y_true[there] == labels[there]
    return equal


def _natural(labels):
    """The dtype of labels, or of what stands in an array of objects."""
    return np.asarray(labels.tolist()).dtype if labels.dtype.kind in "OT" else labels.dtype


def _open_judged(y_given, clean_proba):
    """Given labels and `clean_proba`, those of a container where it has them."""
    if isinstance(y_given, LabelledSamples):
        samples = y_given
        if samples.given is None:
            raise ValueError(
                "detection_scores: expected a container with given labels, got one without; do "
                "pass LabelledSamples(X, y)."
            )
        y_given = decode_labels(samples.given, samples.classes, None)
        if clean_proba is None:
            clean_proba = samples.clean_proba
        if clean_proba is not None:
            clean_proba = check_unit(clean_proba, len(samples), "clean_proba", "detection_scores")
            clean_proba = np.where(samples.given < 0, np.nan, clean_proba)
    if clean_proba is None:
        raise ValueError(
            "detection_scores: expected clean_proba, got None; do pass it, or a container that a "
            "cleaner has judged."
        )
    return y_given, clean_proba


def _ratio(part, whole):
    return part / whole if whole else float("nan")
