"""The fields of a container: how each is opened and checked."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from skclean._array import detached, is_dask, is_numpy, to_numpy
from skclean._blocks import few_rows, in_chunks, map_rows, on_host
from skclean._labels import is_missing, short, shown

#: The states of a purified row; a container stores the positions in this tuple.
STATUSES = ("kept", "corrected", "unknown", "trusted", "predicted")
KEPT, CORRECTED, UNKNOWN, TRUSTED, PREDICTED = range(len(STATUSES))

#: Largest distance from 1 of the sum of a row of probabilities: rounding to three digits passes.
SUM_TOLERANCE = 1e-3

_NAME = "LabelledSamples"


def open_features(features: Any) -> dict[str, Any]:
    """Features as an array, and the index and column names if they came as a DataFrame."""
    check_kind(features, _NAME)
    features = detached(features)
    index = names = None
    if hasattr(features, "iloc"):
        index = features.index
    columns = getattr(features, "columns", None)
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


def check_kind(features: Any, name: str) -> None:
    """Raise ValueError for sparse matrices, masked values and dask's of unknown number of rows."""
    if sparse.issparse(features):
        raise ValueError(
            f"{name}: expected dense features, got a sparse matrix of shape {features.shape}; do "
            "reduce it first: sklearn.decomposition.TruncatedSVD."
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
    if is_dask(features) and np.isnan(features.shape).any():
        raise ValueError(
            f"{name}: expected a dask array of known chunk sizes, got shape {features.shape}; do "
            "call X.compute_chunk_sizes() first."
        )


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
        missing = is_missing(cells[row : row + 1])[0]
        return (
            f"{name}: expected numbers as features, got {shown(cells[row])} in column "
            f"{shown(column)}, row {row}; do {'impute' if missing else 'encode'} such columns or "
            f"leave them out ({error})"
        )
    return None


def _other_columns(features):
    """Name and cells (n,) of each column that is of no numeric dtype."""
    if hasattr(features, "iloc") and hasattr(features, "columns"):
        for place, column in enumerate(features.columns):
            if features.dtypes.iloc[place].kind not in "biufc":
                yield column, np.asarray(features.iloc[:, place], dtype=object)
        return
    cells = np.asarray(features)
    if cells.ndim == 2 and cells.dtype.kind not in "biufc":
        yield from enumerate(cells.T)


def _failure(cells):
    """What NumPy raises where it makes numbers of the cells, None where it succeeds."""
    try:
        cells.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        return error
    return None


def open_rows(key: Any, n: int) -> slice | np.ndarray:
    """What stands between the brackets as positions of rows, counted from zero."""
    if isinstance(key, tuple):
        # scikit-learn takes rows as X[key, ...].
        if len(key) != 2 or not (key[1] is Ellipsis or key[1] == slice(None)):
            raise IndexError(
                f"{_NAME}: expected rows alone between the brackets, got {key!r}; do take columns "
                "of .features, or transform them by OnFeatures."
            )
        key = key[0]
    if isinstance(key, slice):
        start, stop, step = key.indices(n)
        return slice(start, stop, step) if step > 0 else np.arange(n)[key]
    key = to_numpy(key)
    if key.size == 0:
        key = key.astype(np.int64)
    if key.dtype.kind not in "iub":
        raise IndexError(
            f"{_NAME}: expected rows as a slice, integers or a boolean mask, got {key.dtype}; do "
            "pass positions, not labels of an index."
        )
    return np.atleast_1d(np.arange(n)[key])


def frozen(value: Any) -> Any:
    """A read-only view of a NumPy array; anything else as it is."""
    # An array that is read-only already stays one object: pickle then stores it once.
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value = value.view()
        value.flags.writeable = False
    return value


def checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a container, each in its dtype and with n rows; ValueError otherwise."""
    n, given, proba = fields["features"].shape[0], fields["given"], fields["proba"]
    classes = fields["classes"]
    n_classes = 0 if classes is None else len(classes)
    check_length(given, n, "y")
    if fields["inputs"] is not None and not hasattr(fields["inputs"], "shape"):
        fields["inputs"] = np.asarray(fields["inputs"])
    check_length(fields["inputs"], n, "inputs")
    best = None
    if proba is not None:
        fields["proba"], best = _open_proba(proba, n, n_classes, _NAME)
    for field in ("clean_proba", "right_proba", "in_distribution_proba"):
        if fields[field] is not None:
            fields[field] = check_unit(fields[field], n, field, _NAME)
    if fields["weight"] is not None:
        fields["weight"] = check_weight(fields["weight"], n, _NAME)
    if fields["trusted"] is not None:
        fields["trusted"] = check_trusted(fields["trusted"], given, n, _NAME)
    if fields["readable"] is not None:
        fields["readable"] = _check_mask(fields["readable"], n, "readable", _NAME)
    if fields["status_codes"] is not None:
        fields["status_codes"] = check_status(fields["status_codes"], n, _NAME)
    fields["label_codes"] = _label_codes(fields, best, n, n_classes)
    return with_unreadable(fields)


def with_unreadable(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with status unknown where a row could not be read, if there are statuses."""
    status, readable = fields["status_codes"], fields["readable"]
    if status is not None and readable is not None:
        fields["status_codes"] = np.where(readable, status, UNKNOWN).astype(np.int8)
    return fields


def check_length(values: Any, n: int, field: str) -> None:
    """Raise ValueError unless the field is absent or has n rows."""
    if values is not None and values.shape[0] != n:
        raise ValueError(
            f"{_NAME}: expected {field} of {n} rows, as many as the features, got "
            f"{values.shape[0]}; do pass it for the same rows. Found input variables with "
            f"inconsistent numbers of samples: {[n, values.shape[0]]}"
        )


def check_proba(proba: Any, n: int, n_classes: int, name: str) -> np.ndarray:
    """Class probabilities (n, C) as floats on the host, or on dask; ValueError otherwise."""
    return _open_proba(proba, n, n_classes, name)[0]


def _open_proba(proba, n, n_classes, name):
    """What `check_proba` gives, and the class (n,) of greatest probability."""
    if is_dask(proba):
        check_kind(proba, name)
        proba = in_chunks(proba)
    proba = _as_float(proba)
    if proba.shape != (n, n_classes):
        raise ValueError(
            f"{name}: expected proba of shape {(n, n_classes)} (rows, classes), got "
            f"{proba.shape}; do pass one column for each of the classes."
        )
    if not n_classes:
        raise ValueError(f"{name}: expected classes beside proba, got none; do pass some.")
    good, best = map_rows(_is_distribution, proba)
    if not good.all():
        row = int(np.argmin(good))
        found = few_rows(proba, slice(row, row + 1))[0]
        raise ValueError(
            f"{name}: expected rows of proba that are finite, not negative and sum to 1, got "
            f"{short(found)} in row {row}; do normalise each row."
        )
    return proba, best


def check_unit(values: Any, n: int, field: str, name: str) -> np.ndarray:
    """Values in [0, 1] of shape (n,), NaN where a row was not judged; ValueError otherwise."""
    values = _one_per_row(_as_float(values), n, field, name)
    # Posteriors exceed 1 by a rounding error; more is a mistake.
    bad = (values < 0) | (values > 1 + 1e-6)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name}: expected {field} in [0, 1], got {values[row]} in row {row}; "
            "do pass probabilities."
        )
    return np.minimum(values, 1) if (values > 1).any() else values


def check_weight(values: Any, n: int, name: str) -> np.ndarray:
    """Finite weights of at least 0, of shape (n,); ValueError otherwise."""
    values = _one_per_row(_as_float(values), n, "weight", name)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name}: expected finite weights of at least 0, got {values[row]} in row {row}; "
            "do pass 0 for rows that shall not count."
        )
    return values


def check_trusted(trusted: Any, given: np.ndarray | None, n: int, name: str) -> np.ndarray:
    """A boolean mask of the rows whose given label is known to be right; ValueError otherwise."""
    trusted = _check_mask(trusted, n, "trusted", name)
    unlabelled = trusted if given is None else trusted & (given < 0)
    if unlabelled.any():
        raise ValueError(
            f"{name}: expected a given label in every trusted row, got none in row "
            f"{int(np.argmax(unlabelled))}; do label it or take it out of trusted."
        )
    return trusted


def _check_mask(mask, n, field, name):
    mask = to_numpy(mask)
    if mask.dtype != bool:
        raise ValueError(
            f"{name}: expected {field} as a boolean mask of {n} rows, got {mask.dtype} of "
            f"shape {mask.shape}; do pass a mask: numpy.isin(numpy.arange({n}), rows)."
        )
    return _one_per_row(mask, n, field, name)


def check_status(status: Any, n: int, name: str) -> np.ndarray:
    """Status names, or their int8 codes, as int8 codes; ValueError otherwise."""
    status = _one_per_row(np.asarray(status), n, "status", name)
    if status.dtype.kind in "iu":
        bad = (status < 0) | (status >= len(STATUSES))
        codes = status
    else:
        order = np.argsort(STATUSES)
        names = np.asarray(STATUSES)[order]
        places = np.minimum(np.searchsorted(names, status.astype(str)), len(names) - 1)
        bad = names[places] != status.astype(str)
        codes = order[places]
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name}: expected a status out of {', '.join(STATUSES)}, got {shown(status[row])} in "
            f"row {row}; do use one of these."
        )
    return codes.astype(np.int8)


def _label_codes(fields, best, n, n_classes):
    """The purified label of each row, from what the fields tell; None before purification.

    `best` is the class of greatest probability, None without `proba`.
    """
    codes, status = fields["label_codes"], fields["status_codes"]
    given = fields["given"]
    if codes is None and status is None:
        return None
    if codes is not None:
        codes = _one_per_row(np.array(codes), n, "label_codes", _NAME)
        if codes.dtype.kind not in "iu" or (n and not -1 <= codes.min() <= codes.max() < n_classes):
            raise ValueError(
                f"{_NAME}: expected label_codes from -1 to {n_classes - 1}, got {short(codes)}; do "
                "pass positions in .classes."
            )
        codes = codes.astype(np.int64)
    else:
        codes = np.full(n, -1, dtype=np.int64)
        if given is not None:
            codes = np.where(np.isin(status, (KEPT, TRUSTED)), given, codes)
    if status is None:
        return codes
    if best is not None:
        codes = np.where((codes < 0) | (status == UNKNOWN), best, codes)
    without = (codes < 0) & (status != UNKNOWN)
    if without.any():
        row = int(np.argmax(without))
        raise ValueError(
            f"{_NAME}: expected a label or probabilities in every row that is not of status "
            f"unknown, got neither in row {row}, status {STATUSES[status[row]]}; do pass labels or "
            "proba."
        )
    return codes


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


def _is_distribution(proba):
    """Whether each row is not negative and sums to 1, and the class of its greatest value."""
    sums = proba.sum(axis=1, dtype=np.float64)
    # NaN makes the comparison false, so that this also finds it.
    good = (np.abs(sums - 1) <= SUM_TOLERANCE) & (proba.min(axis=1, initial=1) >= 0)
    return good, proba.argmax(axis=1)


def _as_float(values):
    values = on_host(values)
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


def _one_per_row(values, n, field, name):
    if values.shape != (n,):
        raise ValueError(
            f"{name}: expected {field} of shape {(n,)}, one value a row, got {values.shape}; "
            "do pass it for the same rows as the features."
        )
    return values
