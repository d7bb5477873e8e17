"""What a classifier is trained on, out of a container."""

from typing import Any

import numpy as np

from skclean._array import is_dask, take_rows
from skclean._blocks import own_column
from skclean._fields import CORRECTED, PREDICTED, TRUSTED
from skclean._labels import shown

#: Soft labels below this probability are left out of the training, unless they are the greatest.
LEAST_SOFT_LABEL = 0.01


def hard_training_data(samples: Any, weighted: bool) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """The rows whose label is known.

    Parameters
    ----------
    samples : LabelledSamples
    weighted : bool
        Whether rows are weighted: by the container's weight, else by the probability that their
        label is right.

    Returns
    -------
    features : array of shape (n', d)
    codes : ndarray of shape (n',), int64
        Labels as positions in the classes.
    weight : ndarray of shape (n',) or None
        None unless `weighted`.

    Raises
    ------
    ValueError
        If the container has neither weight nor `clean_proba` to weight by.
    """
    codes = samples.label_codes if samples.purified else samples.given
    known = samples.known
    # No copy of features that may fill the memory where nothing is left out.
    rows = slice(None) if known.all() else np.flatnonzero(known)
    weight = _label_weight(samples, codes)[rows] if weighted else None
    return take_rows(samples.features, rows), codes[rows], weight


def _label_weight(samples, codes):
    """The container's weight, or the probability that the label of each row is right."""
    if samples.weight is not None:
        return samples.weight
    if samples.clean_proba is None:
        raise ValueError(
            "PurifiedClassifier: expected weight or clean_proba in the container for "
            "use='weights', got neither; do put a cleaner that gives one before this step, or set "
            "use='labels'."
        )
    weight = samples.clean_proba
    if samples.status_codes is not None:
        replaced = np.isin(samples.status_codes, (CORRECTED, PREDICTED))
        right = samples.right_proba
        if right is None and samples.proba is not None:
            right = own_column(samples.proba, np.maximum(codes, 0))
        if right is not None:
            weight = np.where(replaced, right, weight)
        weight = np.where(samples.status_codes == TRUSTED, 1.0, weight)
    # A row that nobody judged counts in full, as it does without weights.
    return np.where(np.isnan(weight), 1.0, weight)


def soft_training_data(samples: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """The rows whose label is known, once for each class that is probable enough.

    Parameters
    ----------
    samples : LabelledSamples

    Returns
    -------
    features : array of shape (n', d)
    codes : ndarray of shape (n',), int64
        The class of each of these rows.
    weight : ndarray of shape (n',)
        Its probability, times the container's weight.

    Raises
    ------
    ValueError
        If the container has no `proba`, or one of dask.
    """
    if samples.proba is None:
        raise ValueError(
            "PurifiedClassifier: expected proba in the container for use='soft', got none; do put "
            "a cleaner that gives it before this step, or set use='labels'."
        )
    if is_dask(samples.proba):
        raise ValueError(
            "PurifiedClassifier: expected proba in memory for use='soft', got a dask array; do "
            "purify X.compute() where it fits, or set use='labels'."
        )
    known = np.flatnonzero(samples.known)
    proba = samples.proba[known]
    used = proba >= LEAST_SOFT_LABEL
    used[np.arange(len(known)), proba.argmax(axis=1)] = True
    rows, codes = np.nonzero(used)
    total = np.where(used, proba, 0).sum(axis=1)
    weight = proba[rows, codes] / total[rows]
    if samples.weight is not None:
        weight = weight * samples.weight[known[rows]]
    return take_rows(samples.features, known[rows]), codes, weight


def check_trainable(codes: np.ndarray, weight: np.ndarray | None, classes: np.ndarray) -> None:
    """Check that labels of at least two classes count.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
    weight : ndarray of shape (n,) or None
    classes : ndarray of shape (C,)

    Raises
    ------
    ValueError
        If they do not.
    """
    present = np.unique(codes if weight is None else codes[weight > 0])
    if not len(present):
        raise ValueError(
            "PurifiedClassifier: expected rows to train on, got none: every row has status "
            "unknown or weight 0; do lower the thresholds of the steps before."
        )
    if len(present) == 1:
        raise ValueError(
            "PurifiedClassifier: expected labels of at least two classes after purification, got "
            f"one class, {shown(classes[present[0]])}; do lower the thresholds of the steps before."
        )
