"""Features as users bring them: opened, and refused where they are no numbers."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from skclean._array import detached, is_dask, is_host, is_numpy, to_numpy
from skclean._labels import is_missing, short, shown
from skclean._optional import import_optional

_NAME = "LabelledSamples"


def open_features(features: Any) -> dict[str, Any]:
    """Features as an array, and the index and column names if they came as a DataFrame."""
    check_kind(features, _NAME)
    features = detached(features)
    index = features.index if hasattr(features, "iloc") else None
    # The columns of a table of Arrow are its data.
    columns = features.schema.names if is_arrow(features) else getattr(features, "columns", None)
    names = None
    if columns is not None and all(isinstance(c, str) for c in columns):
        names = np.asarray(columns, dtype=object)
    if is_numpy(features):
        array = np.asarray(features)
        features = array if array.dtype.kind in "biuf" else _to_numbers(features, array.dtype)
    if len(features.shape) < 2:
        raise ValueError(
            f"{_NAME}: expected features of shape (rows, features), got {tuple(features.shape)}. "
            "Reshape your data either using array.reshape(-1, 1) if it has a single feature or "
            "array.reshape(1, -1) if it contains a single sample."
        )
    return {"features": features, "index": index, "feature_names": names}


def is_arrow(X: Any) -> bool:
    """Whether X is a table or a batch of Arrow."""
    return hasattr(getattr(X, "schema", None), "types")


def held_features(features: Any) -> np.ndarray:
    """The features of a container as NumPy's; TypeError where not held in the host's memory."""
    if is_dask(features):
        raise TypeError(
            f"{_NAME}: expected features in memory, got a dask array of shape "
            f"{tuple(features.shape)}; where it fits, do "
            "samples.with_features(samples.features.compute())."
        )
    if not is_host(features):
        raise TypeError(
            f"{_NAME}: expected features on the host, got {type(features)} on a device; do move "
            "them: samples.with_features(samples.features.get()) for CuPy, .cpu() for torch."
        )
    return to_numpy(features)


def check_kind(features: Any, name: str) -> None:
    """Raise ValueError for sparse matrices, masked values, times, dask's of unknown row number."""
    if sparse.issparse(features):
        raise ValueError(
            f"{name}: expected dense features, got a sparse matrix of shape {features.shape}; do "
            "reduce it first: sklearn.decomposition.TruncatedSVD."
        )
    if is_dask(features) and isinstance(features._meta, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: expected features without masked values, got a dask array of masked ones, "
            "which tells only when computed whether there are any; do call dask.array.ma.filled."
        )
    if np.ma.is_masked(features):
        row = int(np.argwhere(np.ma.getmaskarray(features))[0, 0])
        raise ValueError(
            f"{name}: expected features without masked values, got one in row {row}; do impute "
            "them, or pass X.data where the mask shall not count."
        )
    if hasattr(features, "to_dask_array"):
        raise ValueError(
            f"{name}: expected an array, got a DataFrame of dask; do call "
            "X.to_dask_array(lengths=True)."
        )
    if hasattr(type(features), "collect"):
        raise ValueError(f"{name}: expected an array, got a LazyFrame; do call X.collect().")
    times = _times(features)
    if times:
        raise ValueError(
            f"{name}: expected numbers as features, got dates or times in {times}; do leave them "
            "out, or count them in a unit of yours: (times - first) / numpy.timedelta64(1, 'D')."
        )
    if is_dask(features) and np.isnan(features.shape).any():
        raise ValueError(
            f"{name}: expected a dask array of known chunk sizes, got shape {features.shape}; do "
            "call X.compute_chunk_sizes() first."
        )


def _times(features):
    """The columns of dates or times for a message, which NumPy would read as so many ticks."""
    kinds = getattr(features, "dtypes", None)
    if hasattr(features, "columns") and kinds is not None:
        held = hasattr(features, "iloc") and not hasattr(features, "to_dask_array")
        columns = [
            column
            for place, (column, kind) in enumerate(zip(features.columns, kinds))
            if _of_time(kind) or (held and _holds_times(kind, features.iloc[:, place]))
        ]
        return f"columns {short(columns)}" if columns else None
    if is_arrow(features):
        is_temporal = import_optional("pyarrow.types", "scale").is_temporal
        named = zip(features.schema.names, features.schema.types)
        columns = [name for name, kind in named if is_temporal(getattr(kind, "value_type", kind))]
        return f"columns {short(columns)}" if columns else None
    if not hasattr(features, "dtype"):
        try:
            features = np.asarray(features)
        except (TypeError, ValueError):
            # What makes no array is refused for that.
            return None
    kind = features.dtype
    found = _of_time(kind) or (is_numpy(features) and _holds_times(kind, features))
    return f"an array of {kind}" if found else None


def _holds_times(kind, cells):
    """Whether there are NumPy's dates or times among objects."""
    if not isinstance(kind, np.dtype) or not kind.hasobject:
        return False
    return any(isinstance(v, (np.datetime64, np.timedelta64)) for v in np.asarray(cells).flat)


def _of_time(kind):
    """Whether a dtype of NumPy, pandas or polars is one of dates or times."""
    temporal = getattr(kind, "is_temporal", None)
    return temporal() if callable(temporal) else getattr(kind, "kind", "") in ("m", "M")


def no_number(features: Any, name: str) -> str | None:
    """The message on the first cell, column by column, that NumPy does not read as a number.

    Parameters
    ----------
    features : array-like or DataFrame of shape (n, d)
    name : str
        Who speaks.

    Returns
    -------
    str or None
        None where every cell is a number, or None, which NumPy reads as NaN.
    """
    for column, cells in _other_columns(features):
        if _failure(cells) is None:
            continue
        # Missing values last: in a column of strings they are not what is wrong.
        rows = np.argsort(is_missing(cells), kind="stable")
        row, error = next((i, e) for i in rows if (e := _failure(cells[i : i + 1])) is not None)
        if isinstance(cells[row], (list, tuple, np.ndarray)):
            return (
                f"{name}: expected numbers as features, got {len(cells[row])} values in "
                f"column {shown(column)}, row {row}; do make an array of them: "
                f"numpy.stack(column) ({error})"
            )
        missing = is_missing(cells[row : row + 1])[0]
        return (
            f"{name}: expected numbers as features, got {shown(cells[row])} in column "
            f"{shown(column)}, row {row}; do {'impute' if missing else 'encode'} such columns or "
            f"leave them out ({error})"
        )
    return None


def _to_numbers(features, dtype):
    try:
        return check_array(
            features,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_2d=False,
            allow_nd=True,
            ensure_min_samples=0,
            ensure_min_features=0,
        )
    except (OverflowError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            no_number(features, _NAME)
            or f"{_NAME}: expected real numbers as features, got {dtype} ({reason}); do encode "
            "the columns first."
        ) from error


def _other_columns(features):
    """Name and cells (n,) of each column that is of no numeric dtype."""
    if hasattr(features, "iloc") and hasattr(features, "columns"):
        for place, column in enumerate(features.columns):
            if features.dtypes.iloc[place].kind not in "biufc":
                yield column, np.asarray(features.iloc[:, place], dtype=object)
        return
    cells = np.asarray(features)
    if cells.ndim in (1, 2) and cells.dtype.kind not in "biufc":
        yield from enumerate(cells.T if cells.ndim == 2 else [cells])


def _failure(cells):
    """What NumPy raises where it makes numbers of the cells, None where it succeeds."""
    try:
        cells.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        return error
    return None
