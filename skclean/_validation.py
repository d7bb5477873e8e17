"""Opening what a user passes: a container or an array, checked, as a container."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing as take_any_rows
from sklearn.utils import check_array
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, _check_n_features

from skclean import _labels
from skclean._array import array_namespace, detached, is_dask, is_numpy, to_numpy
from skclean._blocks import all_finite, in_chunks, map_rows
from skclean._features import check_kind, no_number
from skclean._fields import check_trusted
from skclean._labels import short, shown
from skclean._warnings import warn
from skclean.samples import LabelledSamples

#: What features may be in size: beyond, sums of products overflow.
LARGEST = {"float32": 1e15, "float64": 1e70}

# scikit-learn's private names that other modules need are imported from here alone.
__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "attach_trusted",
    "check_given_matches",
    "check_groups",
    "check_names",
    "check_two_classes",
    "copied",
    "open_features",
    "open_samples",
    "take_any_rows",
    "unchanged_if_failed",
    "with_given",
]


def open_samples(
    X: Any,
    y: Any = None,
    *,
    estimator: Any,
    trusted: Any = None,
    missing_label: Any = "auto",
    reset: bool,
    require_labels: bool,
) -> LabelledSamples:
    """Check what an estimator was handed and put it in one container.

    Parameters
    ----------
    X : LabelledSamples, array or DataFrame of shape (n, d)
        Real and finite. Arrays of CuPy and torch stay on their device. float32 and float64 stay
        as they are, without a copy; float16 becomes float32; everything else float64.
    y : array-like of shape (n,) or None
        Given labels. Those that a container carries win; `y` must then agree with them.
    estimator : estimator
        Who speaks in errors, and on whom `n_features_in_` and `feature_names_in_` are set.
    trusted : array-like of bool of shape (n,) or None
        As in `LabelledSamples`.
    missing_label : "auto", None or a label
        As in `LabelledSamples`.
    reset : bool
        True in `fit`: sets `n_features_in_`. False: checks against it, and no row at all is fine.
    require_labels : bool
        Whether labels of at least two classes must be there.

    Returns
    -------
    LabelledSamples

    Raises
    ------
    ValueError
        If anything is not as said above.

    Warns
    -----
    UserWarning
        In a fit of a cleaner that has a use for the features alone, if the user put probabilities
        in the container.
    """
    name = type(estimator).__name__
    features = open_features(X, estimator=estimator, reset=reset)
    if isinstance(X, LabelledSamples):
        samples = X._replace(features=features)
    else:
        if y is None and require_labels:
            raise ValueError(
                f"{name}: expected labels, got none; do pass y or a LabelledSamples that carries "
                f"them. This {name} estimator requires y to be passed, but the target y is None"
            )
        samples = _new_samples(X, features, estimator)
    if samples.given is not None:
        check_given_matches(samples, y, estimator)
    elif y is not None:
        samples = with_given(samples, y, samples.classes, name, missing_label)
    samples = attach_trusted(samples, trusted, name)
    if require_labels:
        check_two_classes(samples, name)
    if reset and samples.proba is not None and not samples.purified:
        _warn_of_unused_proba(estimator)
    return samples


def _warn_of_unused_proba(estimator):
    advice = getattr(estimator, "_proba_advice", "")
    if advice:
        warn(
            f"{type(estimator).__name__}: expected a container without probabilities, got proba, "
            f"which is not used here; do {advice} to have it judge the labels, or leave it out."
        )


def open_features(X: Any, *, estimator: Any, reset: bool) -> Any:
    """The checked features of a container, array or DataFrame: the part of `open_samples` on X."""
    name = type(estimator).__name__
    contained = isinstance(X, LabelledSamples)
    features = X.features if contained else X
    check_kind(features, name)
    if contained and not X.n_features and X.inputs is not None:
        raise ValueError(
            f"{name}: expected features, got a container of inputs but no features; do put "
            "SSLFeaturizer first, or pass embeddings as features. Found array with 0 feature(s)."
        )
    if not is_numpy(features):
        features = _check_device_features(detached(features), name, at_least=int(reset))
        _check_n_features(estimator, features, reset=reset)
        return features
    half = getattr(features, "dtype", None) == np.float16
    checks = {
        "dtype": np.float32 if half else [np.float64, np.float32],
        "ensure_min_samples": int(reset),
        # `_check_size` finds them in the pass that it makes.
        "ensure_all_finite": False,
    }
    if contained:
        # scikit-learn finds feature names on DataFrames alone.
        check_names(estimator, X.feature_names, reset)
    else:
        _check_feature_names(estimator, features, reset=reset)
    try:
        opened = check_array(features, estimator=estimator, input_name="X", **checks)
    except (OverflowError, TypeError, ValueError) as error:
        message = no_number(features, name)
        if message is None:
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error
    _check_n_features(estimator, opened, reset=reset)
    return _check_size(opened, name)


@contextmanager
def unchanged_if_failed(estimator: Any) -> Iterator[None]:
    """A fit that fails, or is interrupted, leaves the estimator as it was."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def copied(part: Any, argument: str, name: str) -> Any:
    """A clone of a user's estimator, or a copy of any other object, that a fit may change."""
    try:
        return clone(part, safe=False)
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name}: expected {argument} to be an object that can be copied, got a "
            f"{type(part).__name__} that cannot ({error}); do make locks, open files and the like "
            "when it is called, or define __deepcopy__."
        ) from error


def check_given_matches(samples: LabelledSamples, y: Any, estimator: Any) -> None:
    """Check that a container carries labels, and that its given labels are those of `y`.

    Parameters
    ----------
    samples : LabelledSamples
    y : array-like of shape (n,) or None
        None passes. A label that is no class of the container counts as missing.
    estimator : estimator
        Who speaks in errors.

    Raises
    ------
    ValueError
        If the container has no labels, or other given labels than `y`.
    """
    name = type(estimator).__name__
    if samples.given is None and not samples.purified:
        raise ValueError(
            f"{name}: expected a container with labels, got one of features alone; do put a "
            "cleaner before this step, or pass LabelledSamples(X, y)."
        )
    if y is None:
        return
    if samples.given is None:
        raise ValueError(
            f"{name}: expected y=None for a container that carries purified labels and no given "
            "ones, got y; do leave y out."
        )
    codes, _ = _labels.encode_labels(y, classes=samples.classes, name=name, outside="missing")
    if len(codes) != len(samples):
        raise ValueError(
            f"{name}: expected y of {len(samples)} rows, got {len(codes)}; do pass the y of the "
            "container's rows, or None. Found input variables with inconsistent numbers of "
            f"samples: {[len(samples), len(codes)]}"
        )
    differs = codes != samples.given
    if differs.any():
        raise ValueError(
            f"{name}: expected y equal to the given labels of the container, got other labels in "
            f"{differs.sum()} rows, the first {int(np.argmax(differs))}; do pass the y that the "
            "container was made with, or None."
        )


def check_groups(groups: Any, n: int, estimator: Any) -> np.ndarray | None:
    """Groups of rows as int64 codes of shape (n,); None stays None.

    Raises
    ------
    ValueError
        If there is not one group a row, a group is missing, or they are not of one type.
    """
    if groups is None:
        return None
    name = type(estimator).__name__
    if np.shape(groups) != (n,):
        raise ValueError(
            f"{name}: expected groups of shape {(n,)}, one a row, got {np.shape(groups)}; do pass "
            "them for the same rows as X."
        )
    groups = to_numpy(groups)
    missing = _labels.is_missing(groups)
    if missing.any():
        raise ValueError(
            f"{name}: expected a group in every row, got none in {missing.sum()} rows, the first "
            f"{int(np.argmax(missing))}; do give rows that belong to nobody a group of their own."
        )
    try:
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:
        raise ValueError(
            f"{name}: expected groups of one type, got several ({error}); do convert them."
        ) from error


def _new_samples(X, features, estimator):
    samples = LabelledSamples(features)
    if hasattr(X, "iloc"):
        samples = samples._replace(index=X.index)
    if hasattr(X, "columns"):
        samples = samples._replace(feature_names=getattr(estimator, "feature_names_in_", None))
    return samples


def with_given(
    samples: LabelledSamples, y: Any, classes: Any, name: str, missing_label: Any = "auto"
) -> LabelledSamples:
    """A container without labels with those of y; see `encode_labels`.

    Raises
    ------
    ValueError
        If `y` has other rows, and as `encode_labels` raises.
    """
    given, classes = _labels.encode_labels(
        y, classes=classes, missing_label=missing_label, name=name
    )
    if len(given) != len(samples):
        raise ValueError(
            f"{name}: expected y of {len(samples)} rows, as many as X, got {len(given)}; do pass "
            "the labels of the same rows. Found input variables with inconsistent numbers of "
            f"samples: {[len(samples), len(given)]}"
        )
    return samples._replace(given=given, classes=classes)


def attach_trusted(samples: LabelledSamples, trusted: Any, name: str) -> LabelledSamples:
    """The container with a mask of trusted rows; ValueError if it has another one."""
    if trusted is None:
        return samples
    trusted = check_trusted(trusted, samples.given, len(samples), name)
    if samples.trusted is not None and not np.array_equal(samples.trusted, trusted):
        raise ValueError(
            f"{name}: expected trusted equal to that of the container, got another mask; do pass "
            "it in one of the two."
        )
    return samples._replace(trusted=trusted)


def check_two_classes(samples: LabelledSamples, name: str) -> None:
    """Raise ValueError unless there are given labels of at least two classes."""
    if samples.given is None:
        raise ValueError(
            f"{name}: expected a container with given labels, got one without; do pass y. "
            f"This {name} estimator requires y to be passed, but the target y is None"
        )
    labelled = samples.given >= 0
    if samples.readable is not None:
        labelled = labelled & samples.readable
    present = np.unique(samples.given[labelled])
    if len(present) < 2:
        found = f"one class, {shown(samples.classes[present[0]])}" if len(present) else "no label"
        raise ValueError(
            f"{name}: expected labels of at least two classes, got {found} in {len(samples)} "
            "sample(s); do pass labels to compare, or missing_label if one is read as missing."
        )


def check_names(estimator: Any, names: np.ndarray | None, reset: bool) -> None:
    """Set `feature_names_in_` by those of a container, or raise ValueError if they differ."""
    expected = getattr(estimator, "feature_names_in_", None)
    if reset and names is not None:
        estimator.feature_names_in_ = names
    elif reset and expected is not None:
        del estimator.feature_names_in_
    elif names is not None and expected is not None and not np.array_equal(expected, names):
        raise ValueError(
            f"{type(estimator).__name__}: expected the features {short(expected)}, got "
            f"{short(names)}; do order them so. The feature names should match those that were "
            "passed during fit."
        )


def _check_device_features(features, name, at_least):
    """What `check_array` does, in array API operations, for arrays that NumPy does not hold."""
    xp = array_namespace(features)
    shape = tuple(features.shape)
    if len(shape) != 2:
        raise ValueError(
            f"{name}: expected features of shape (rows, features), got {shape}; Reshape your data."
        )
    if shape[0] < at_least or shape[1] < 1:
        raise ValueError(
            f"{name}: expected at least {at_least} sample(s) and 1 feature(s), got shape {shape}; "
            "do pass rows."
        )
    if xp.isdtype(features.dtype, ("integral", "bool")):
        return xp.astype(features, xp.float64)
    if not xp.isdtype(features.dtype, "real floating"):
        raise ValueError(
            f"{name}: expected real features, got {features.dtype}; Complex data not supported."
        )
    if features.dtype not in (xp.float32, xp.float64):
        features = xp.astype(features, xp.float32 if features.dtype.itemsize < 4 else xp.float64)
    features = in_chunks(features) if is_dask(features) else features
    return _check_size(features, name)


def _check_size(features, name):
    """The features, if they are finite and small enough for sums of their products."""
    dtype = str(features.dtype).rpartition(".")[-1]
    if all_finite(features, LARGEST[dtype]):
        return features
    finite = map_rows(_is_finite, features)
    if not finite.all():
        raise ValueError(
            f"{name}: expected finite features, got NaN or infinity in {(~finite).sum()} rows, "
            f"the first {int(np.argmin(finite))}; do impute or drop those rows."
        )
    raise ValueError(
        f"{name}: expected features of at most {LARGEST[dtype]:g} in size as {dtype}, got greater "
        "ones; do scale the columns, and leave out ids and times."
    )


def _is_finite(features):
    xp = array_namespace(features)
    return to_numpy(xp.all(xp.isfinite(features), axis=1))
