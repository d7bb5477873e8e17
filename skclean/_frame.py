"""Containers to pandas DataFrames and back."""

from typing import Any

import numpy as np

from skclean._array import is_dask, to_numpy
from skclean._blocks import best_class, own_column
from skclean._fields import CORRECTED, UNKNOWN
from skclean._labels import is_missing, short, shown
from skclean._optional import import_optional

_FROM_FRAME = "LabelledSamples.from_frame"
_SINGLE = ("Float32", "float[pyarrow]")


def samples_to_frame(samples: Any, features: bool, cleanlab: bool = False) -> Any:
    """The work of `LabelledSamples.to_frame`, apart because pandas is optional."""
    pd = import_optional("pandas", "report")
    columns: dict[str, Any] = {}
    if features:
        check_in_memory(samples.features, "LabelledSamples.to_frame", "features", "features=False")
        names = samples.feature_names
        names = [f"x{j}" for j in range(samples.n_features)] if names is None else names
        columns.update(zip(names, to_numpy(samples.features).T, strict=True))
    if samples.given is not None:
        columns["given"] = pd.Categorical.from_codes(samples.given, samples.classes)
    if samples.purified:
        codes, status = samples.label_codes, samples.status_codes
        columns["label"] = pd.Categorical.from_codes(samples._known_codes(), samples.classes)
        if status is not None:
            columns["status"] = samples.status
        if samples.proba is not None:
            columns["label_proba"] = own_column(samples.proba, codes)
    probabilities = ("clean_proba", "right_proba", "in_distribution_proba")
    for field in (*probabilities, "weight", "trusted"):
        if getattr(samples, field) is not None:
            columns[field] = getattr(samples, field)
    if cleanlab:
        columns.update(_cleanlab_columns(samples, pd))
    return pd.DataFrame(columns, index=samples.index)


def check_in_memory(x: Any, name: str, what: str, instead: str) -> None:
    """Raise ValueError for a dask array, all of which would have to be held."""
    if is_dask(x):
        raise ValueError(
            f"{name}: expected {what} in memory, got a dask array of shape {x.shape}; do purify "
            f"X.compute() where it fits, or pass {instead}."
        )


def _cleanlab_columns(samples, pd):
    """What CleanLearning (label_quality) and Datalab (label_score) say of each given label."""
    if not samples.purified or samples.status_codes is None or samples.given is None:
        raise ValueError(
            "LabelledSamples.to_frame: expected given labels that a cleaner has judged for "
            f"cleanlab's columns, got {samples!r}; do take what a cleaner's transform returns."
        )
    given, quality = samples.given, samples.clean_proba
    labelled = given >= 0
    if samples.readable is not None:
        labelled = labelled & samples.readable
    if quality is None:
        quality = np.full(len(samples), np.nan)
        if samples.proba is not None:
            quality = own_column(samples.proba, np.maximum(given, 0))
    predicted = samples.label_codes if samples.proba is None else best_class(samples.proba)
    quality = np.where(labelled, quality, np.nan)
    return {
        "is_label_issue": labelled & np.isin(samples.status_codes, (CORRECTED, UNKNOWN)),
        "label_quality": quality,
        "label_score": quality,
        "given_label": pd.Categorical.from_codes(given, samples.classes),
        "predicted_label": pd.Categorical.from_codes(predicted, samples.classes),
    }


def fields_of_frame(
    frame: Any, features: Any, label: Any, trusted: Any, weight: Any, inputs: Any
) -> dict[str, Any]:
    """What `LabelledSamples.from_frame` reads, as arguments of the constructor.

    Parameters are those of `from_frame`. `index` and `feature_names` come along.
    """
    import_optional("pandas", "report")
    if hasattr(frame, "to_pandas"):
        frame = frame.to_pandas()
    if not hasattr(frame, "iloc") or not hasattr(frame, "columns"):
        raise ValueError(
            f"{_FROM_FRAME}: expected a DataFrame, got {type(frame).__name__}; do pass arrays to "
            "LabelledSamples itself."
        )
    names = _feature_columns(frame, features)
    listed = len(names) == 1 and _holds_rows(frame[names[0]])
    return {
        "features": _stacked(frame[names[0]]) if listed else _numbers(frame[names], "features"),
        "y": None if label is None else _column(frame, label, "label"),
        "trusted": None if trusted is None else _mask(_column(frame, trusted, "trusted")),
        "weight": None if weight is None else _numbers(_column(frame, weight, "weight"), "weight"),
        "inputs": None if inputs is None else _column(frame, inputs, "inputs").to_numpy(),
        "index": frame.index,
        "feature_names": None if listed else np.asarray(names, dtype=object),
    }


def _column(frame, name, field):
    found = [c for c in frame.columns if c == name]
    if len(found) != 1:
        raise ValueError(
            f"{_FROM_FRAME}: expected one column {shown(name)} as {field}, got {len(found)} among "
            f"{short(frame.columns)}; do name a column."
        )
    return frame[name]


def _feature_columns(frame, features):
    """Names of the columns: those of a list, the one of that name, or those of a prefix."""
    if not isinstance(features, str):
        names = list(features)
    elif features in frame.columns:
        names = [features]
    else:
        names = [c for c in frame.columns if isinstance(c, str) and c.startswith(features)]
    if not names:
        raise ValueError(
            f"{_FROM_FRAME}: expected columns of features, got none by {features!r} among "
            f"{short(frame.columns)}; do name them, or their prefix."
        )
    for name in names:
        _column(frame, name, "features")
    return names


def _holds_rows(column):
    """Whether the values of a column are rows of numbers."""
    first = next((v for v in column if v is not None), None)
    return np.ndim(first) == 1 and not isinstance(first, str)


def _stacked(column):
    """A column of rows of numbers as an array (n, d), float32 or float64."""
    rows = [None if v is None or np.ndim(v) == 0 else np.asarray(v) for v in column]
    width = next(len(row) for row in rows if row is not None)
    for i, row in enumerate(rows):
        if row is None or row.shape != (width,) or row.dtype.kind not in "biuf":
            found = "nothing" if row is None else f"{row.dtype} of shape {row.shape}"
            raise ValueError(
                f"{_FROM_FRAME}: expected {width} numbers in every row of column "
                f"{shown(column.name)}, got {found} in row {i}; do leave that row out."
            )
    single = all(row.dtype == np.float32 for row in rows)
    return np.stack(rows).astype(np.float32 if single else np.float64, copy=False)


def _numbers(values, field):
    """A column or columns of numbers of any dtype of pandas as float32 or float64, NaN missing."""
    columns = [values] if values.ndim == 1 else [values[name] for name in values]
    single = all(c.dtype == np.float32 or str(c.dtype) in _SINGLE for c in columns)
    for column in columns:
        kind = column.dtype.kind
        if kind not in "biufO" or (kind == "O" and any(isinstance(v, str) for v in column)):
            raise ValueError(
                f"{_FROM_FRAME}: expected numbers as {field}, got {column.dtype} in column "
                f"{shown(column.name)}; do convert it, or name other columns."
            )
    try:
        dtype = np.float32 if single else np.float64
        return np.ascontiguousarray(values.to_numpy(dtype=dtype, na_value=np.nan))
    except (TypeError, ValueError) as error:
        found = [f"{c.name} of {c.dtype}" for c in columns]
        raise ValueError(
            f"{_FROM_FRAME}: expected numbers as {field}, got {short(found)} ({error}); do convert "
            "them, or name other columns."
        ) from error


def _mask(column):
    """A column of booleans of any dtype of pandas; missing ones are False."""
    values = np.array(column, dtype=object)
    values[is_missing(values)] = False
    strange = [v for v in values if not isinstance(v, bool | np.bool_)]
    if strange:
        raise ValueError(
            f"{_FROM_FRAME}: expected booleans in column {shown(column.name)} as trusted, got "
            f"{shown(strange[0])}; do compare it with what means trusted."
        )
    return values.astype(bool)
