"""The fields of a container: how each is opened and checked."""

from functools import partial
from typing import Any

import numpy as np

from skclean._array import is_dask, to_numpy
from skclean._blocks import few_rows, in_chunks, map_rows, on_host
from skclean._features import check_kind
from skclean._labels import (
    check_classes,
    encode_labels,
    is_missing,
    is_missing_label,
    label_array,
    short,
    shown,
)

#: What tables have a column of, beside labels and statuses.
VALUES = ("clean_proba", "right_proba", "in_distribution_proba", "weight", "trusted")
#: What a cleaner says of a row, the label that it was given with it.
RESULTS = ("given", "label_codes", "status_codes", "proba", *VALUES)
#: What has one entry a row.
ROW_FIELDS = ("features", "inputs", *RESULTS, "readable", "index")
FIELDS = (*ROW_FIELDS, "classes", "feature_names")

#: The states of a purified row; a container stores the positions in this tuple.
STATUSES = ("kept", "corrected", "unknown", "trusted", "predicted")
KEPT, CORRECTED, UNKNOWN, TRUSTED, PREDICTED = range(len(STATUSES))

#: Largest distance from 1 of the sum of a row of probabilities that stays as it is.
SUM_TOLERANCE = 1e-3
#: The same of a row of rounded ones, which is divided by its sum.
ROUNDED_TOLERANCE = 0.05

_NAME = "LabelledSamples"


def open_labels(
    y: Any, classes: Any, proba: Any, labels: Any, missing_label: Any
) -> dict[str, Any]:
    """Given and purified labels as positions in the classes, and the classes."""
    given = codes = None
    if y is not None:
        given, classes = encode_labels(y, classes=classes, missing_label=missing_label, name=_NAME)
    elif classes is not None:
        classes = check_classes(classes, _NAME)
    elif proba is not None:
        names = _column_names(proba)
        named = names is not None and not _are_places(names)
        classes = _named_classes(names) if named else np.arange(np.shape(proba)[-1])
    elif labels is not None:
        raise ValueError(
            f"{_NAME}: expected y or classes beside labels, got neither; do pass classes."
        )
    if labels is not None:
        codes, _ = encode_labels(labels, classes=classes, name=_NAME)
    return {"given": given, "label_codes": codes, "classes": classes}


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
    # A boolean without dimensions would make one, as None does.
    if key.dtype.kind not in "iub" or key.ndim > 1 or key.ndim < (key.dtype.kind == "b"):
        raise IndexError(
            f"{_NAME}: expected rows as a slice, integers or a boolean mask, got {key.dtype} of "
            f"shape {key.shape}; do pass positions, not labels of an index."
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
    fields["inputs"] = open_inputs(fields["inputs"])
    check_length(fields["inputs"], n, "inputs")
    best = None
    if proba is not None:
        proba = _in_order(proba, classes)
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


def in_classes(fields: dict[str, Any], classes: Any, name: str) -> dict[str, Any]:
    """The fields with labels counted in a class list that contains theirs; ValueError otherwise."""
    places, classes = encode_labels(
        fields["classes"], classes=classes, missing_label=None, name=name
    )
    fields = fields | {"classes": classes}
    for field in ("given", "label_codes"):
        codes = fields[field]
        if codes is not None:
            # Code -1 is the last: without any label there are no classes either.
            fields[field] = np.append(places, -1)[codes]
    if fields["proba"] is not None:
        columns = np.zeros((len(places), len(classes)), dtype=fields["proba"].dtype)
        columns[np.arange(len(places)), places] = 1
        fields["proba"] = map_rows(lambda proba: proba @ columns, fields["proba"])
    return fields


def open_inputs(inputs: Any) -> Any:
    """Inputs of which rows are taken by position, as those of pandas are not; None stays None.

    Raises ValueError for a Dataset, whose items may have no end.
    """
    if inputs is None or (hasattr(inputs, "shape") and not hasattr(inputs, "iloc")):
        return inputs
    if not hasattr(inputs, "__array__") and not hasattr(inputs, "__iter__"):
        raise ValueError(
            f"{_NAME}: expected inputs as an array, got {type(inputs).__name__}; do make the "
            "container of a Dataset by skclean.interop.from_torch(dataset, y=y, features=features)."
        )
    return np.atleast_1d(np.asarray(inputs))


def check_length(values: Any, n: int, field: str) -> None:
    """Raise ValueError unless the field is absent or has n rows."""
    if values is not None and values.shape[0] != n:
        raise ValueError(
            f"{_NAME}: expected {field} of {n} rows, as many as the features, got "
            f"{values.shape[0]}; do pass it for the same rows. Found input variables with "
            f"inconsistent numbers of samples: {[n, values.shape[0]]}"
        )


def _in_order(proba, classes):
    """Probabilities whose columns are named after the classes, in the order of the classes."""
    names = _column_names(proba)
    if names is None or classes is None:
        return proba
    wanted = classes.tolist()
    # By value, where 1 is 1.0 and True; else by text, as a file has the names of columns.
    for key in (lambda name: name, str):
        places = {key(name): place for place, name in enumerate(names)}
        found = [places.get(key(k)) for k in wanted]
        if len(places) == len(names) == len(wanted) and None not in found:
            return to_numpy(proba)[:, found]
    if not _are_places(names):
        raise ValueError(
            f"{_NAME}: expected the columns of proba to be named after the {len(wanted)} classes "
            f"{short(wanted)}, got {short(names)}; do rename them, or pass an array with the "
            "columns in the order of the classes."
        )
    return proba


def _column_names(proba):
    """The names of the columns of a DataFrame, or None."""
    names = None if is_dask(proba) else getattr(proba, "columns", None)
    # Those of a table of Arrow are its data.
    if names is None or not (hasattr(proba, "iloc") or all(isinstance(k, str) for k in names)):
        return None
    return list(names)


def _are_places(names):
    return [str(name) for name in names] == [str(j) for j in range(len(names))]


def _named_classes(names):
    odd = any(isinstance(name, tuple) or is_missing_label(name) for name in names)
    if odd or len(set(names)) < len(names):
        raise ValueError(
            f"{_NAME}: expected columns of proba named after one class each, got {short(names)}; "
            "do rename them, or pass classes and an array with the columns in their order."
        )
    return np.unique(names)


def check_proba(
    proba: Any, n: int, n_classes: int, name: str, *, rounded: bool = True
) -> np.ndarray:
    """Class probabilities (n, C) as floats on the host, or on dask; ValueError otherwise.

    Rows that sum to 1 within `SUM_TOLERANCE` stay as they are. Where others do not, all are divided
    by their sums if `rounded`, these are 1 within `ROUNDED_TOLERANCE`, and probabilities rounded to
    two, three or four digits can sum to these.
    """
    return _open_proba(proba, n, n_classes, name, rounded)[0]


def _open_proba(proba, n, n_classes, name, rounded=True):
    """What `check_proba` gives, and the class (n,) of greatest probability."""
    if is_dask(proba):
        check_kind(proba, name)
        proba = in_chunks(proba)
    proba = _as_float(proba, "proba", name)
    if proba.shape != (n, n_classes):
        one = n_classes == 2 and proba.shape in ((n,), (n, 1))
        hint = " (where the labels lack some, LabelledSamples takes classes=)"
        hint = ", here numpy.column_stack([1 - p, p]) for p that of the second" if one else hint
        raise ValueError(
            f"{name}: expected proba of shape {(n, n_classes)} (rows, classes), got "
            f"{proba.shape}; do pass one column for each of the classes{hint}."
        )
    if not n_classes:
        raise ValueError(f"{name}: expected classes beside proba, got none; do pass some.")
    good, best = map_rows(_is_distribution, proba)
    if not good.all():
        explained = good
        for digits in (2, 3, 4) if rounded else ():
            found = map_rows(partial(_is_rounded, digits=digits), proba)
            if found.all():
                return map_rows(lambda rows: rows / rows.sum(axis=1, keepdims=True), proba), best
            explained = explained | found
        row = int(np.argmin(good if explained.all() else explained))
        found = few_rows(proba, slice(row, row + 1))[0]
        raise ValueError(
            f"{name}: expected rows of proba that are finite, not negative and sum to 1, got "
            f"{short(found)} in row {row}; do normalise each row."
        )
    return proba, best


def _is_rounded(proba, digits):
    """Whether rounding to so many digits explains the sum of each row (n, C).

    Each value was within h = 10^-digits / 2 of what is there, and not negative: a row can have
    summed to 1 where sum(max(p - h, 0)) <= 1 <= sum(p + h). Of very many classes that is no bound.
    """
    half = 0.5 * 10.0**-digits
    low, high = np.maximum(proba - half, 0).sum(axis=1), (proba + half).sum(axis=1)
    # NaN makes the comparisons false, so that these also find it.
    sums = (low <= 1 + 1e-6) & (high >= 1 - 1e-6)
    sums &= np.abs(proba.sum(axis=1) - 1) <= ROUNDED_TOLERANCE + 1e-6
    return (
        sums & (np.abs(proba - proba.round(digits)) <= 1e-6).all(axis=1) & (proba >= 0).all(axis=1)
    )


def check_unit(values: Any, n: int, field: str, name: str) -> np.ndarray:
    """Values in [0, 1] of shape (n,), NaN where a row was not judged; ValueError otherwise."""
    values = _one_per_row(_as_float(values, field, name), n, field, name)
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
    values = _one_per_row(_as_float(values, "weight", name), n, "weight", name)
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
    mask = label_array(mask) if np.ma.is_masked(mask) else to_numpy(mask)
    if mask.dtype != bool:
        do = f"pass a mask: {field} == 1"
        if mask.shape != (n,):
            do = f"pass a mask: numpy.isin(numpy.arange({n}), rows)"
        elif (missing := is_missing(mask)).any():
            do = f"fill in False where it is missing: row {int(np.argmax(missing))}"
        raise ValueError(
            f"{name}: expected {field} as a boolean mask of {n} rows, got {mask.dtype} of "
            f"shape {mask.shape}; do {do}."
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
        codes = _one_per_row(np.array(codes), n, "labels or label_codes", _NAME)
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


def _is_distribution(proba):
    """Whether each row is not negative and sums to 1, and the class of its greatest value."""
    sums = proba.sum(axis=1, dtype=np.float64)
    # NaN makes the comparison false, so that this also finds it.
    good = (np.abs(sums - 1) <= SUM_TOLERANCE) & (proba.min(axis=1, initial=1) >= 0)
    return good, proba.argmax(axis=1)


def _as_float(values, field, name):
    values = label_array(values) if np.ma.is_masked(values) else on_host(values)
    if values.dtype in (np.float32, np.float64):
        return values
    try:
        return values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected numbers as {field}, got {values.dtype} ({error}); do convert them."
        ) from error


def _one_per_row(values, n, field, name):
    if values.shape != (n,):
        raise ValueError(
            f"{name}: expected {field} of shape {(n,)}, one value a row, got {values.shape}; "
            "do pass it for the same rows as the features."
        )
    return values
