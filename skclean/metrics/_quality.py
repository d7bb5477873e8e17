"""Accuracy, coverage and class balance of purified labels."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import column_or_1d

from skclean._array import to_numpy
from skclean._labels import decode_labels, encode_labels, label_array
from skclean.metrics._detection import equal_labels
from skclean.samples import LabelledSamples


class ClassBalance(NamedTuple):
    """Class counts of a set of labels, and how even they are.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        The classes, those without a row included.
    counts : ndarray of shape (C,), int64
        Rows of each class.
    share : ndarray of shape (C,), float64
        The same as shares that sum to 1; NaN where there is no row at all.
    ratio : float in [0, 1]
        Smallest count over largest count: 1 is balanced, 0 has lost a class.
    effective_classes : float in [1, C]
        exp of the entropy of `share`: C for balanced classes, 1 for a single one.
    """

    classes: np.ndarray
    counts: np.ndarray
    share: np.ndarray
    ratio: float
    effective_classes: float


def label_accuracy(y_true: Any, labels: Any, *, known: Any = None) -> float:
    """Share of the known labels that are right.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels.
    labels : LabelledSamples or array-like of shape (n,)
        Labels in the classes of `y_true`. Of a container, the purified labels are scored.
    known : array-like of bool of shape (n,) or None, default=None
        Rows that count. None counts all rows, and of a container those whose label is known.

    Returns
    -------
    accuracy : float in [0, 1]
        NaN where no label is known. Read it together with `label_coverage`.

    Raises
    ------
    ValueError
        If lengths or types differ, or a row that counts has no true label.
    """
    labels, known = _open(labels, known, "label_accuracy")
    right = equal_labels(y_true, labels, known, "label_accuracy")
    return float(right.mean()) if known.any() else float("nan")


def label_coverage(samples: Any) -> float:
    """Share of the rows whose purified label is known.

    Parameters
    ----------
    samples : LabelledSamples or array-like of bool of shape (n,)
        A container, or the mask of the rows with a label.

    Returns
    -------
    coverage : float in [0, 1]
    """
    if isinstance(samples, LabelledSamples):
        samples = samples.known
    return float(_check_mask(samples, None, "label_coverage").mean())


def class_balance(labels: Any, *, known: Any = None, classes: Any = None) -> ClassBalance:
    """Class counts of the known labels, and how even they are.

    Parameters
    ----------
    labels : LabelledSamples or array-like of shape (n,)
        Labels. Of a container, the purified ones, and its classes.
    known : array-like of bool of shape (n,) or None, default=None
        Rows that count. None counts all rows, and of a container those whose label is known.
    classes : array-like of shape (C,) or None, default=None
        Sorted classes. None takes those of the container, or those that are found.

    Returns
    -------
    balance : ClassBalance
        A named tuple.

    Raises
    ------
    ValueError
        If lengths differ, or a label is not in `classes`.

    Examples
    --------
    >>> from skclean.metrics import class_balance
    >>> class_balance([0, 0, 0, 1], classes=[0, 1]).ratio
    0.3333333333333333
    """
    if classes is None and isinstance(labels, LabelledSamples):
        # Without any label there are no classes either.
        classes = labels.classes if labels.classes is not None and len(labels.classes) else None
    labels, known = _open(labels, known, "class_balance")
    codes, classes = encode_labels(
        labels[known], classes=classes, missing_label=None, name="class_balance"
    )
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    if not counts.sum():
        nan = float("nan")
        return ClassBalance(classes, counts, np.full(len(classes), nan), nan, nan)
    share = counts / counts.sum()
    entropy = -(share[counts > 0] * np.log(share[counts > 0])).sum()
    return ClassBalance(
        classes, counts, share, float(counts.min() / counts.max()), float(np.exp(entropy))
    )


def _open(labels, known, name):
    """Labels and the mask of those that count, of a container or an array."""
    if isinstance(labels, LabelledSamples):
        known = labels.known if known is None else known
        codes = labels.label_codes if labels.purified else labels.given
        labels = decode_labels(codes, labels.classes, None)
    labels = column_or_1d(label_array(labels))
    return labels, _check_mask(known, len(labels), name)


def _check_mask(mask, n, name):
    """A boolean array (n,); all rows for None, and any length for n = None."""
    if mask is None:
        return np.ones(n, dtype=bool)
    mask = to_numpy(mask)
    if mask.dtype != bool or mask.ndim != 1 or (n is not None and len(mask) != n) or not len(mask):
        raise ValueError(
            f"{name}: expected a boolean mask with one value a row, got {mask.dtype} of shape "
            f"{mask.shape}; do pass samples.known or the like."
        )
    return mask
