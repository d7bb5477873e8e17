"""What NeuralRetrainer is handed, as a container and, for images, a source of them."""

from typing import Any

import numpy as np

from skclean._labels import check_classes, is_missing, short
from skclean._validation import (
    attach_trusted,
    check_given_matches,
    open_features,
    with_given,
)
from skclean.embeddings.images import ImageSource, open_source
from skclean.samples import LabelledSamples


def takes_features(X: Any, backbone: Any, image_shape: Any) -> bool:
    """Whether a backbone is trained on the features of X, and not on images."""
    if not isinstance(backbone, str) or backbone not in ("auto", "mlp"):
        return False
    matrix = X.inputs is None if isinstance(X, LabelledSamples) else _is_matrix(X)
    return backbone == "mlp" or (matrix and image_shape is None)


def open_rows(
    estimator: Any,
    X: Any,
    y: Any,
    trusted: Any,
    *,
    classes: np.ndarray | None = None,
    like: tuple[int, int, int] | None = None,
    reset: bool = True,
) -> tuple[LabelledSamples, ImageSource | None]:
    """Check what a retrainer is to be trained on.

    Parameters
    ----------
    estimator : NeuralRetrainer
        `_on_features` is read; `n_features_in_`, `feature_names_in_` and, for images,
        `image_shape_` are set, or checked against.
    X, y, trusted
        As in `fit`.
    classes : ndarray of shape (C,) or None, default=None
        To which all labels must belong; None takes those of the container or of y.
    like : tuple of int or None, default=None
        Shape of the images of the fit.
    reset : bool, default=True
        Whether it is the first fit.

    Returns
    -------
    samples : LabelledSamples
    source : ImageSource or None
        None where features are trained on.

    Raises
    ------
    ValueError
        If anything is not as said in `fit`.
    """
    name = type(estimator).__name__
    contained = isinstance(X, LabelledSamples)
    if contained:
        _check_labelled(estimator, X, y)
    elif y is None:
        raise ValueError(
            f"{name}: expected labels, got none; do pass y or a LabelledSamples that carries "
            f"them. This {name} estimator requires y to be passed, but the target y is None"
        )
    if contained and classes is not None and X.classes is not None:
        X = X.with_classes(classes)
    source = None
    if not estimator._on_features:
        source = open_source(estimator, X, like=like)
        source.check()
        samples = X if contained else LabelledSamples(np.empty((source.n, 0)))
    else:
        features = open_features(X, estimator=estimator, reset=reset)
        samples = X._replace(features=features) if contained else LabelledSamples(features)
    if samples.given is None and not samples.purified:
        samples = with_given(samples, y, samples.classes if classes is None else classes, name)
    samples = attach_trusted(samples, trusted, name)
    if source is not None and reset:
        estimator.image_shape_ = source.shape
        estimator.n_features_in_ = int(np.prod(source.shape))
        estimator.__dict__.pop("feature_names_in_", None)
    return samples, source


def all_classes(classes: Any, X: Any, fitted: np.ndarray | None, name: str) -> np.ndarray:
    """The classes of a call of `partial_fit`.

    Parameters
    ----------
    classes : array-like of shape (C,) or None
    X : object
        A container's classes stand for those that are not given in the first call.
    fitted : ndarray of shape (C,) or None
        Those of the calls before; None in the first one.
    name : str
        Who speaks in errors.

    Returns
    -------
    ndarray of shape (C,)
        Sorted.

    Raises
    ------
    ValueError
        If the first call names none, or a later one others.
    """
    if classes is not None:
        classes = np.asarray(classes, dtype=None if hasattr(classes, "dtype") else object)
        if classes.ndim != 1 or is_missing(classes).any():
            raise ValueError(
                f"{name}: expected classes in one dimension and none of them missing, got "
                f"{short(np.atleast_1d(classes))}; do pass the labels that there may be."
            )
        plain = classes.tolist() if classes.dtype == object else classes
        classes = check_classes(np.unique(plain), name)
    elif fitted is None and isinstance(X, LabelledSamples):
        classes = X.classes
    if fitted is None:
        if classes is None:
            raise ValueError(
                f"{name}: expected classes in the first call of partial_fit, got none; do pass "
                "all labels that later calls may have."
            )
        return classes
    if classes is not None and not np.array_equal(classes, fitted):
        raise ValueError(
            f"{name}: expected the classes of the fit, {fitted}, got {classes}; do leave classes "
            "out, or fit anew."
        )
    return fitted


def _check_labelled(estimator, samples, y):
    """Only where labels are judged here are they taken for a container that has none."""
    bare = samples.given is None and not samples.purified
    if estimator.cleaner is None or y is None or not bare:
        check_given_matches(samples, y, estimator)


def _is_matrix(X):
    """Whether X is rows of numbers: an array, DataFrame or list of two dimensions, or fewer."""
    if hasattr(X, "shape"):
        if len(X.shape) == 2 and X.shape[1] == 1 and np.asarray(X).dtype.kind in "OSUT":
            return False
        return len(X.shape) == 2 or (len(X.shape) == 1 and np.asarray(X).dtype.kind in "biufc")
    if hasattr(X, "__array__"):
        return np.asarray(X).ndim <= 2
    if not isinstance(X, list | tuple) or not len(X):
        return False
    try:
        first = np.asarray(X[0])
    except ValueError:
        return False
    return first.ndim <= 1 and first.dtype.kind in "biufc"
