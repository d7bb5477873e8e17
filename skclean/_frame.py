"""Containers to pandas DataFrames and back."""

from collections import Counter
from typing import Any

import numpy as np

from skclean._array import is_dask, to_numpy
from skclean._blocks import best_class, own_column
from skclean._fields import CORRECTED, UNKNOWN, VALUES
from skclean._labels import is_missing, short, shown
from skclean._optional import import_optional

_FROM_FRAME = "LabelledSamples.from_frame"
_SINGLE = ("Float32", "float[pyarrow]")


class Frames:
    """The part of `LabelledSamples` that goes to DataFrames and comes from them."""

    __slots__ = ()

    def to_frame(self: Any, features: bool = False, *, cleanlab: bool = False) -> Any:
        """The label fields as a pandas DataFrame, one row a sample.

        Parameters
        ----------
        features : bool, default=False
            Whether the features come along, as columns of their own names, else x0, x1, ...
        cleanlab : bool, default=False
            Whether columns named as cleanlab names them come last: is_label_issue (a given label
            that was not kept), label_quality and the same as label_score (`clean_proba`, else the
            given label's `proba`; NaN without a given label), given_label and predicted_label
            (class of greatest `proba`).

        Returns
        -------
        pandas.DataFrame
            Columns given and label (categorical, missing where there is none or the status is
            unknown), status, label_proba, clean_proba, right_proba, in_distribution_proba,
            weight, trusted: those that the container has. Its index is that of the DataFrame the
            features came in.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install skclean[report]``.
        ValueError
            If cleanlab's columns are asked for and no cleaner has judged given labels, or if a
            feature has the name of another column.
        """
        pd = import_optional("pandas", "report")
        columns: dict[str, Any] = {}
        if self.given is not None:
            columns["given"] = pd.Categorical.from_codes(self.given, self.classes)
        if self.purified:
            codes, status = self.label_codes, self.status_codes
            columns["label"] = pd.Categorical.from_codes(self._known_codes(), self.classes)
            if status is not None:
                columns["status"] = self.status
            if self.proba is not None:
                columns["label_proba"] = own_column(self.proba, codes)
        for field in VALUES:
            if getattr(self, field) is not None:
                columns[field] = getattr(self, field)
        if cleanlab:
            columns.update(_cleanlab_columns(self, pd))
        if features:
            columns = _feature_cells(self, columns) | columns
        return pd.DataFrame(columns, index=self.index)

    @classmethod
    def from_frame(
        cls: Any,
        frame: Any,
        features: Any,
        *,
        label: Any = None,
        trusted: Any = None,
        weight: Any = None,
        inputs: Any = None,
        classes: Any = None,
        missing_label: Any = "auto",
    ) -> Any:
        """A container out of columns of a DataFrame, whose index it keeps.

        Parameters
        ----------
        frame : pandas.DataFrame
            With columns of any dtype of pandas, also nullable, categorical and of pyarrow; or a
            table with ``to_pandas()``, such as pyarrow's.
        features : list of column names, or str
            The columns of features, of numbers; a str names one column, whose values may be lists
            of numbers, or else is the prefix of all columns of features, those named below left
            out. float32 stays, all other numbers become float64, and missing ones NaN.
        label : column name or None
            Of the given labels. None, NaN and pandas.NA are missing labels.
        trusted : column name or None
            Of booleans; missing ones are False.
        weight, inputs : column name or None
            Of numbers, and of what the features were computed from, e.g. texts or paths.
        classes, missing_label
            As in the constructor.

        Raises
        ------
        ImportError
            If pandas is not installed: ``pip install skclean[report]``.
        ValueError
            If a column is not there or holds other values, the labels are among the features, and
            as the constructor.

        Examples
        --------
        >>> import pandas as pd
        >>> from skclean.samples import LabelledSamples
        >>> frame = pd.DataFrame({"x0": [0.0, 1.0], "x1": [2.0, 3.0], "animal": ["cat", None]})
        >>> LabelledSamples.from_frame(frame, "x", label="animal")
        LabelledSamples(2 rows, 2 features, float64; 1 classes; given: 1, missing: 1)
        """
        fields = _fields_of_frame(frame, features, label, trusted, weight, inputs)
        kept = {name: fields.pop(name) for name in ("index", "feature_names")}
        return cls(**fields, classes=classes, missing_label=missing_label)._replace(**kept)


def check_in_memory(x: Any, name: str, what: str, instead: str) -> None:
    """Raise ValueError for a dask array, all of which would have to be held."""
    if is_dask(x):
        raise ValueError(
            f"{name}: expected {what} in memory, got a dask array of shape {x.shape}; do purify "
            f"X.compute() where it fits, or pass {instead}."
        )


def _feature_cells(samples, others):
    """The features by their names, which must differ from those of the other columns."""
    check_in_memory(samples.features, "LabelledSamples.to_frame", "features", "features=False")
    names = samples.feature_names
    names = [f"x{j}" for j in range(samples.n_features)] if names is None else list(names)
    twice = [name for name, count in Counter([*names, *others]).items() if count > 1]
    if twice:
        raise ValueError(
            "LabelledSamples.to_frame: expected features of other names than those of the columns "
            f"written, got {', '.join(map(repr, twice))}; do rename them."
        )
    return dict(zip(names, to_numpy(samples.features).T, strict=True))


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


def _fields_of_frame(
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
    names = _feature_columns(frame, features, [label, trusted, weight, inputs])
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


def _feature_columns(frame, features, others):
    """Names of the columns: those of a list, the one of that name, or those of a prefix.

    A prefix leaves out the `others`, the first of which is that of the labels.
    """
    if not isinstance(features, str):
        names = list(features)
    elif features in frame.columns:
        names = [features]
    else:
        names = [c for c in frame.columns if isinstance(c, str) and c.startswith(features)]
        names = [c for c in names if c not in others]
    if not names:
        raise ValueError(
            f"{_FROM_FRAME}: expected columns of features, got none by {features!r} among "
            f"{short(frame.columns)}; do name them, or their prefix."
        )
    if others[0] in names and others[0] is not None:
        raise ValueError(
            f"{_FROM_FRAME}: expected features without the labels, got column "
            f"{shown(others[0])} as both; do leave it out of features."
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
