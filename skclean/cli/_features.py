"""read_features: which columns of a table are the features, and their values."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skclean._labels import short
from skclean._optional import import_optional
from skclean.cli._tables import numbers, vectors

_EMBEDDING_NAMES = ("embedding", "embeddings", "features")


def read_features(
    table: Any,
    asked: Sequence[str],
    fitted: Sequence[str] | None,
    path: Path,
    note: Any,
    others: Sequence[str] = (),
) -> tuple[np.ndarray, list[str] | None]:
    """The features of a table.

    Parameters
    ----------
    table : pyarrow.Table
    asked : sequence of str
        Names, patterns or prefixes of columns; empty: find out.
    fitted : sequence of str or None
        Names of the features in the fit of a saved model; None where it has none.
    path : Path
        For messages.
    note : callable of str
    others : sequence of str
        Columns that are labels, ids or the like: no pattern or prefix takes them for features.

    Returns
    -------
    features : ndarray of shape (n, d)
        In the order of `fitted`.
    names : list of str or None
        None for a column of lists.

    Raises
    ------
    ValueError
        If the columns are not there, are not those of the fit, or hold no numbers.
    """
    there = table.column_names
    if asked:
        names = _matched(list(asked), there, set(others), path)
    elif fitted is not None and not _only_lists(table, fitted):
        names = _of_fit(there, fitted, path, note)
    else:
        names = [_find_list(table, path)]
    if len(names) == 1 and _holds_vectors(table.column(names[0])):
        return vectors(table.column(names[0]), names[0], path), None
    if fitted is not None:
        names = _in_order(names, fitted, path)
    first = numbers(table.column(names[0]), names[0], path)
    features = np.empty((table.num_rows, len(names)), dtype=first.dtype)
    for j, name in enumerate(names):
        features[:, j] = numbers(table.column(name), name, path)
    return features, names


def check_width(got: int, model: Any, names: list[str] | None, path: Path, note: Any) -> None:
    """Raise ValueError unless the features are as many as in the fit of a saved model.

    Parameters
    ----------
    got : int
        Features a row.
    model : fitted estimator
    names : list of str or None
        Their columns; None where they have no names.
    path : Path
    note : callable of str
        Told where nothing but their number can be compared.
    """
    fitted = getattr(model, "feature_names_in_", None)
    wanted = getattr(model, "n_features_in_", got)
    if got != wanted:
        where = f"{path}" if names is None else f"the columns {short(names)} of {path}"
        order = "" if fitted is None else f", {short(fitted)}"
        raise ValueError(
            f"NEW: expected {wanted} features as in the fit{order}, got {got} in {where}; do "
            "pass embeddings of the same kind."
        )
    if fitted is not None and names is None:
        note(
            f"{path}: its features have no names; they are taken in the order of the fit, "
            f"{short(fitted)}"
        )


def _matched(asked, there, others, path):
    """Columns by name, by a pattern, or by a prefix."""
    found: list[str] = []
    free = [column for column in there if column not in others]
    for name in asked:
        parts = [name] if name in there else [p.strip() for p in name.split(",")]
        for part in parts:
            if part in others:
                raise ValueError(
                    f"--features: expected columns that nothing else is, got {part!r}, which holds "
                    "the labels, ids or the like; do leave it out."
                )
            hits = [part] if part in there else fnmatch.filter(free, part)
            if not hits and part:
                hits = [column for column in free if column.startswith(part)]
            if not hits:
                raise ValueError(
                    f"--features: expected columns of {path}, {short(there)}, got {part!r}, which "
                    "none matches; do correct the name, or use a pattern such as 'emb_*'."
                )
            found += [hit for hit in hits if hit not in found]
    return found


def _of_fit(there, fitted, path, note):
    """The columns that the fit had; others that are named alike are told of."""
    _in_order([name for name in there if name in set(fitted)], fitted, path)
    stems = {name.rstrip("0123456789") for name in fitted} - {""}
    others = [n for n in there if n.rstrip("0123456789") in stems and n not in set(fitted)]
    if others:
        note(f"{path}: {short(others)} left out: not among the features of the fit")
    return list(fitted)


def _in_order(names, fitted, path):
    """The names as the fit had them."""
    lost = [name for name in fitted if name not in set(names)]
    new = [name for name in names if name not in set(fitted)]
    if not lost and not new:
        return list(fitted)
    got = [f"no {short(lost)}"] * bool(lost) + [f"{short(new)} beside them"] * bool(new)
    do = "rename or add them" if lost else "leave --features out, which takes those of the fit"
    raise ValueError(
        f"--features: expected the {len(fitted)} columns of the fit, {short(fitted)}, in {path}, "
        f"got {' and '.join(got)}; do {do}."
    )


def _only_lists(table, fitted):
    """Whether the table has a column of lists and none of those of the fit."""
    there = table.column_names
    return not set(fitted) & set(there) and any(_holds_list(table.column(n)) for n in there)


def _holds_vectors(column):
    types = import_optional("pyarrow", "cli").types
    kind = getattr(column.type, "storage_type", column.type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return True
    if not (types.is_string(kind) or types.is_large_string(kind)):
        return False
    first = (column[0].as_py() or "").strip()
    return (first[:1] in "[(" and first != "") or len(first.replace(",", " ").split()) > 1


def _find_list(table, path):
    """Name of the only column of lists."""
    there = table.column_names
    named = [n for n in _EMBEDDING_NAMES if n in there]
    found = named or [n for n in there if _holds_list(table.column(n))]
    if len(found) != 1:
        raise ValueError(
            f"--features: expected to find one column of lists in {path}, got "
            f"{short(found) if found else 'none'} among {short(there)}; do name the column, "
            "or the columns by a pattern such as --features 'emb_*'."
        )
    return found[0]


def _holds_list(column):
    """As `_holds_vectors`, but of strings only those in brackets: others may be texts."""
    types = import_optional("pyarrow", "cli").types
    if not _holds_vectors(column):
        return False
    is_string = types.is_string(column.type) or types.is_large_string(column.type)
    if not is_string:
        return True
    first = column[0].as_py().strip().strip("[]()").replace(",", " ").split()
    try:
        return len(np.array(first, dtype=np.float64)) > 0
    except ValueError:
        return False
