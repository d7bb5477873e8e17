"""What estimators of scikit-learn are handed, out of a container or a bare array."""

from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.utils import check_consistent_length, get_tags

from skclean._array import is_dask, is_numpy, take_rows, to_numpy
from skclean._blocks import own_column
from skclean._fields import CORRECTED, PREDICTED, TRUSTED
from skclean._labels import encode_labels, shown
from skclean._optional import import_optional
from skclean._validation import take_any_rows

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


def check_classifier(estimator: Any) -> None:
    """Raise ValueError for what neither predicts nor will, fitted."""
    if not (hasattr(estimator, "predict") or is_classifier(estimator)):
        raise ValueError(
            "PurifiedClassifier: expected a classifier as estimator, got "
            f"{type(estimator).__name__}, which has no predict; do pass one, or a Pipeline that "
            "ends in one."
        )


def labelled_rows(X: Any, y: Any, missing_label: Any) -> tuple[Any, Any]:
    """The rows of a bare array, and their labels, where a label is given.

    Parameters
    ----------
    X : anything of n rows
    y : array-like of shape (n,) or (n, 1), or anything else, which is handed on with `X`
    missing_label : None, "auto" or a label
        As in `LabelledSamples`.

    Raises
    ------
    ValueError
        If `X` has other rows than `y`, no row has a label, and as `encode_labels`.
    """
    held = None if y is None else to_numpy(y)
    if held is None or held.ndim not in (1, 2) or held[:1].size > 1:
        return X, y
    if missing_label is None and held.dtype.kind not in "fOT" and not np.ma.is_masked(y):
        return X, y
    rows, labels = _present(y, missing_label)
    if len(rows) == len(held):
        return X, y
    _check_rows(X, held)
    if not len(rows):
        raise ValueError(
            f"PurifiedClassifier: expected rows with a label, got none out of {len(held)}; do "
            "pass their labels, or name what marks a missing one as missing_label."
        )
    return take_any_rows(X, rows), labels


def _check_rows(X, y):
    try:
        check_consistent_length(X, y)
    except ValueError as error:
        raise ValueError(
            "PurifiedClassifier: expected one label for each row of X, got another number; do pass "
            f"both for the same rows. {error}"
        ) from error


def _present(y, missing_label):
    """Positions (r,) of the rows of `y` that have a label, and these labels."""
    codes, classes = encode_labels(y, missing_label=missing_label, name="PurifiedClassifier")
    rows = np.flatnonzero(codes >= 0)
    return rows, classes[codes[rows]]


def labels_to_score(X: Any, y: Any, classes: np.ndarray, missing_label: Any) -> tuple[Any, Any]:
    """Positions (r,) of the rows that have a label, and these labels; see `PurifiedClassifier`."""
    name = "PurifiedClassifier"
    given = getattr(X, "given", None) if y is None else None
    if given is not None:
        rows = np.flatnonzero(given >= 0)
        labels = X.classes[given[rows]]
    elif y is None:
        raise ValueError(f"{name}: expected y to score by, got None; do pass the labels.")
    elif to_numpy(y).dtype.kind in "mM" or to_numpy(y)[:1].size > 1:
        return slice(None), y
    else:
        if missing_label is None:
            strings = classes.dtype.kind in "OU"
            missing_label = "auto" if strings else None if -1 in classes else -1
        _check_rows(X, y)
        rows, labels = _present(y, missing_label)
    if not len(rows):
        raise ValueError(f"{name}: expected rows with a label to score by, got none; do pass some.")
    return rows, labels


def named_columns(features: Any, estimator: Any, names: np.ndarray | None, speaker: Any) -> Any:
    """The features of a container, as a DataFrame where the estimator chooses columns by name.

    Parameters
    ----------
    features : array of shape (n, d)
    estimator : estimator
        Maybe with a ColumnTransformer in it.
    names : ndarray of shape (d,) or None
    speaker : estimator
        Who speaks in errors.

    Raises
    ------
    ValueError
        If it does and the features have no names.
    """
    if not any(_chooses_by_name(part) for part in parts(estimator)):
        return features
    if names is None or not is_numpy(features):
        raise ValueError(
            f"{type(speaker).__name__}: expected a container of a DataFrame, as a "
            "ColumnTransformer names columns, got one whose features have no names; do pass "
            "LabelledSamples(frame, y), or choose the columns by position."
        )
    return import_optional("pandas", "report").DataFrame(features, columns=names, copy=False)


def parts(estimator: Any) -> list[Any]:
    """The estimator and the transformers in it, at any depth."""
    inner = (v for v in estimator.get_params().values() if hasattr(v, "transform"))
    return [estimator, *inner]


def learns_from_labels(transformer: Any) -> bool:
    """Whether it cannot be fitted without labels, or a transformer in it cannot."""
    return any(_requires_labels(part) for part in parts(transformer) if hasattr(part, "fit"))


def _requires_labels(transformer):
    y = signature(transformer.fit).parameters.get("y")
    # Those that choose features do not say it by their tags.
    chooses = isinstance(transformer, SelectorMixin)
    return (
        get_tags(transformer).target_tags.required
        or (chooses and not isinstance(transformer, VarianceThreshold))
        or (y is not None and y.default is y.empty)
    )


def _chooses_by_name(transformer):
    if not isinstance(transformer, ColumnTransformer):
        return False
    for *_, chosen in transformer.transformers:
        ends = [chosen.start, chosen.stop] if isinstance(chosen, slice) else chosen
        named = any(isinstance(c, str) for c in np.ravel(np.asarray(ends, object)))
        if named or isinstance(chosen, make_column_selector):
            return True
    return False


def copy_feature_attributes(source: Any, target: Any) -> None:
    """Say of the features what the wrapped estimator says; nothing where it says nothing."""
    for attribute in ("n_features_in_", "feature_names_in_"):
        if hasattr(source, attribute):
            setattr(target, attribute, getattr(source, attribute))
        elif hasattr(target, attribute):
            delattr(target, attribute)
