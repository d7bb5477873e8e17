"""Labels of any type into codes and back."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d

from skclean._array import is_numpy, to_numpy
from skclean._warnings import warn


def encode_labels(
    y: Any,
    *,
    classes: Any = None,
    missing_label: Any = "auto",
    name: str = "LabelledSamples",
    outside: str = "raise",
) -> tuple[np.ndarray, np.ndarray]:
    """Write labels as positions in the sorted list of classes.

    Parameters
    ----------
    y : array-like of shape (n,)
        Integers, integral floats, booleans or strings, with missing values.
    classes : array-like of shape (C,) or None
        Sorted class list without repeats; None takes the classes found in `y`.
    missing_label : "auto", None or a label
        None, NaN and pandas.NA are always missing. "auto" also reads -1 as missing if `classes`
        is None and at least two other classes remain, with a UserWarning. None adds nothing. Any
        other value is missing too, silently.
    name : str
        Who speaks in errors and warnings.
    outside : {"raise", "missing"}
        What becomes of a label that is not in `classes`.

    Returns
    -------
    codes : ndarray of shape (n,), int64
        From -1 (missing) to C - 1.
    classes : ndarray of shape (C,)

    Raises
    ------
    ValueError
        If `y` is not one column of labels of one type, is continuous or infinite, or holds a
        label outside `classes`.
    """
    if np.ndim(missing_label):
        raise ValueError(
            f"{name}: expected one label as missing_label, got {missing_label!r}; do write None "
            "in the rows of the others."
        )
    missing_label = None if is_missing_label(missing_label) else missing_label
    labels, missing = _open_labels(y, missing_label, name)
    if _is_auto(missing_label):
        missing = _read_minus_one(labels, missing, classes, name)
    found = labels[~missing]
    codes = np.full(len(labels), -1, dtype=np.int64)
    if classes is None:
        classes, codes[~missing] = np.unique(found, return_inverse=True)
        return codes, classes
    classes = check_classes(classes, name)
    if not len(found):
        return codes, classes
    if _family(found) != _family(classes):
        raise ValueError(
            f"{name}: expected labels of the type of the classes ({classes.dtype}), "
            f"got {found.dtype}; do convert one of the two."
        )
    places = np.minimum(np.searchsorted(classes, found), len(classes) - 1)
    strangers = classes[places] != found
    if strangers.any() and outside == "raise":
        row = np.flatnonzero(~missing)[strangers][0]
        raise ValueError(
            f"{name}: expected labels of the {len(classes)} classes {short(classes)}, got "
            f"{shown(labels[row])} in row {row}; do correct it, or name it as missing_label."
        )
    codes[~missing] = np.where(strangers, -1, places)
    return codes, classes


def check_classes(classes: Any, name: str) -> np.ndarray:
    """The class list as a sorted array without repeats; ValueError otherwise."""
    classes = np.asarray(classes)
    if classes.dtype.kind in "OT":
        classes = np.asarray(classes.tolist())
    plain = classes.dtype.kind != "O" and classes.ndim == 1 and len(classes)
    if not plain or not np.array_equal(classes, np.unique(classes)):
        raise ValueError(
            f"{name}: expected classes sorted and without repeats, got {short(classes.ravel())}; "
            "do pass numpy.unique(classes), and order the columns of proba alike."
        )
    return classes


def decode_labels(codes: np.ndarray, classes: np.ndarray, missing_label: Any = -1) -> np.ndarray:
    """Codes as labels, with `missing_label` (-1 or None) for code -1.

    Numeric classes stay numeric beside -1. Strings and booleans come in an object array as soon as
    a label is missing: scikit-learn's convention for semi-supervised labels.

    Raises
    ------
    ValueError
        If a label is missing and is to be -1, which is a class.
    """
    missing = codes < 0
    if not missing.any():
        return classes[codes]
    if missing_label is not None and has_minus_one(classes):
        raise ValueError(
            "LabelledSamples: expected classes other than -1, which marks the "
            f"{missing.sum()} rows without a label, got {short(classes)}; do rename the class, "
            "or read .labels together with .known."
        )
    kind = classes.dtype.kind
    numeric = missing_label is not None and kind in "iuf"
    dtype = object if not numeric else np.int64 if kind == "u" else classes.dtype
    labels = np.full(len(codes), missing_label, dtype=dtype)
    labels[~missing] = classes[codes[~missing]]
    return labels


def has_minus_one(classes: np.ndarray) -> bool:
    """Whether -1 is a class."""
    return _family(classes) == "number" and bool(np.any(classes == -1))


def label_array(y: Any) -> np.ndarray:
    """Labels as an array in which missing ones are still missing."""
    if isinstance(y, np.ma.MaskedArray):
        mask, y = np.ma.getmaskarray(y), np.ma.getdata(y).astype(object)
        y[mask] = None
    if hasattr(y, "to_pylist"):
        # Integers of arrow would become floats where one is missing, and large ones the same.
        y = (y.column(0) if getattr(y, "num_columns", 0) == 1 else y).to_pylist()
    if is_numpy(y) and not isinstance(getattr(y, "dtype", None), np.dtype):
        # Lists and pandas' own types go through objects: NumPy would write the NaN of
        # ["a", NaN] as a label, and turns integers with pandas.NA into nothing useful.
        # Categories of integers stay so beside missing values by astype alone.
        y = np.asarray(y.astype(object) if hasattr(y, "astype") else y, dtype=object)
    y = to_numpy(y)
    return y.astype(object) if y.dtype.kind == "T" else y


def _open_labels(y, missing_label, name):
    """One column of labels in its natural dtype, and the mask of the missing ones."""
    y = label_array(y)
    if y.ndim == 0:
        raise ValueError(f"{name}: expected y with one label a row, got {y!r}; do pass an array.")
    if y.ndim == 2 and y.shape[1] == 1:
        warn(
            f"A column-vector y was passed when a 1d array was expected by {name}; do y.ravel().",
            DataConversionWarning,
        )
    y = column_or_1d(y)
    missing = np.zeros(len(y), dtype=bool)
    if y.dtype == object:
        missing = np.fromiter((is_missing_label(v, missing_label) for v in y), bool, len(y))
        y = _natural(y, missing, missing_label, name)
    if y.dtype.kind == "f":
        # pandas has no index of other floats.
        y = y if y.dtype.itemsize in (4, 8) else y.astype(np.float64)
        missing = missing | np.isnan(y)
        found = y[~missing]
        if np.isinf(found).any():
            raise ValueError(f"{name}: Input y contains infinity; do pass class labels.")
        if (found != np.floor(found)).any():
            raise ValueError(
                f"{name}: Unknown label type: continuous. Expected class labels, got "
                f"{short(found[found != np.floor(found)])}; do round or bin the targets."
            )
    elif y.dtype.kind not in "biuU":
        raise ValueError(
            f"{name}: Unknown label type: {y.dtype}. Expected integers, booleans or strings; "
            "do convert the labels."
        )
    same_family = isinstance(missing_label, str) == (y.dtype.kind == "U")
    if missing_label is not None and not _is_auto(missing_label) and same_family:
        missing = missing | (y == missing_label)
    return y, missing


def _natural(y, missing, missing_label, name):
    """An object array of labels in the dtype of the labels that are present."""
    strings = np.fromiter((isinstance(v, str) for v in y), bool, len(y))
    if strings.any() and _is_auto(missing_label):
        # scikit-learn marks unlabelled rows among strings by the integer -1.
        missing |= np.fromiter((isinstance(v, Integral) and v == -1 for v in y), bool, len(y))
    if strings.any() and not strings[~missing].all():
        row = int(np.argmax(~strings & ~missing))
        raise ValueError(
            f"{name}: expected labels of one type, got strings and {shown(y[row])} in row {row}; "
            "do convert them, or name the one that means missing as missing_label."
        )
    try:
        values = np.asarray(y[~missing].tolist())
    except ValueError:
        # Sequences of several lengths.
        values = y[~missing]
    if values.ndim != 1 or values.dtype.kind not in "biufU":
        _refuse_odd(y, missing, name)
    labels = np.zeros(len(y), dtype=values.dtype if len(values) else np.float64)
    labels[~missing] = values
    return labels


def _refuse_odd(y, missing, name):
    """Raise ValueError by the first of the labels that is no number or string."""
    rows = np.flatnonzero(~missing)
    known = (str, bool, np.bool_, Integral, float, np.floating)
    odd = next((row for row in rows if not isinstance(y[row], known)), None)
    if odd is not None:
        raise ValueError(
            f"{name}: Unknown label type: {type(y[odd]).__name__}. Expected integers, booleans or "
            f"strings, got {shown(y[odd])} in row {odd}; do convert it, or pass one column."
        )
    row = max(rows, key=lambda row: abs(y[row]))
    raise ValueError(
        f"{name}: expected integers that fit int64, got {shown(y[row])} in row {row}; do pass "
        "such labels as strings."
    )


def _read_minus_one(labels, missing, classes, name):
    """The mask of the missing rows, those of label -1 included unless -1 is a class."""
    if labels.dtype.kind not in "if":
        return missing
    minus_one = (labels == -1) & ~missing
    if not minus_one.any():
        return missing
    if classes is not None:
        return missing if np.any(np.asarray(classes) == -1) else missing | minus_one
    if len(np.unique(labels[~missing & ~minus_one])) < 2:
        return missing
    warn(
        f"{name}: {minus_one.sum()} rows of y hold -1 and are read as missing labels; do set "
        "missing_label=-1 (of a cleaner, or of LabelledSamples) to say so without this warning, "
        "or missing_label=None if -1 is a class.",
    )
    return missing | minus_one


def is_missing(values: np.ndarray) -> np.ndarray:
    """Mask of the values that are None, NaN, NaT or pandas.NA."""
    if values.dtype.kind in "OT":
        return np.fromiter((is_missing_label(v) for v in values), bool, len(values))
    return values != values if values.dtype.kind in "fmM" else np.zeros(len(values), dtype=bool)


def is_missing_label(value: Any, missing_label: Any = None) -> bool:
    """Whether a value is None, NaN, NaT, pandas.NA or the label that means missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (float, np.floating)) and np.isnan(value):
        return True
    if missing_label is None or _is_auto(missing_label):
        return False
    return isinstance(value, str) == isinstance(missing_label, str) and value == missing_label


def _is_auto(missing_label):
    return isinstance(missing_label, str) and missing_label == "auto"


def _family(labels):
    return "text" if labels.dtype.kind in "US" else "number"


def short(values: Any, most: int = 6) -> str:
    """The first few values, for a message."""
    shown = ", ".join(str(v) for v in values[:most])
    return f"[{shown}{', ...' if len(values) > most else ''}]"


def shown(value: Any) -> str:
    """A value for a message: 0.5 and not np.float64(0.5)."""
    return repr(value.item() if isinstance(value, np.generic) else value)
