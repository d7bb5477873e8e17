"""read_data: whatever DATA is, as features or images, labels, ids and columns."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skclean._array import blocks
from skclean._labels import is_missing, short
from skclean._optional import import_optional
from skclean.cli._arrays import npz_shapes, read_npy, read_npz
from skclean.cli._columns import Columns, as_mask, natural, rows_by_id
from skclean.cli._console import UsageError
from skclean.cli._features import read_features
from skclean.cli._tables import TABLES, read_table, rows_name

#: Files of an image folder, those that torchvision's ImageFolder takes.
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
#: An image has at least so many pixels a side: less is a stack of embeddings.
_LEAST_SIDE = 8


@dataclass
class Roles:
    """What the user says which column or file is, by option; None: find out."""

    labels: str | None = None
    features: list[str] = field(default_factory=list)
    id: str | None = None
    text: str | None = None
    trusted: str | None = None
    groups: str | None = None


@dataclass
class Data:
    """What was read: n rows.

    Attributes
    ----------
    path : Path
    table : pyarrow.Table
        The user's columns, maybe none.
    id_column : str or None
        The column of the table that has the ids; None: they are not in the table.
    ids : sequence
    features : ndarray of shape (n, d) or None
    names : list of str or None
        Columns of the features, where they have names.
    images : ndarray or None
        Where the features are still to be computed.
    labels : ndarray of shape (n,) or None
    trusted : ndarray of bool of shape (n,) or None
    texts, groups : list or None
    """

    path: Path
    table: Any
    ids: Sequence
    id_column: str | None = None
    features: Any = None
    names: list[str] | None = None
    images: Any = None
    labels: Any = None
    trusted: Any = None
    texts: list | None = None
    groups: list | None = None


def read_data(path: Path, roles: Roles, max_bytes: int, note: Any, fitted: Any = None) -> Data:
    """Read DATA.

    Parameters
    ----------
    path : Path
        .npy, .npz, .parquet, .csv, .tsv or a folder of images.
    roles : Roles
    max_bytes : int
        Most bytes to be read into memory.
    note : callable of str
        Told what is left out.
    fitted : sequence of str or None
        Names of the features in the fit of a saved model.

    Raises
    ------
    ValueError
        If the file or a column is not as it must be; the message names option, column and row.
    UsageError
        If an option means nothing for this kind of data.
    OSError
        If a file cannot be read.
    """
    if not path.exists():
        raise ValueError(f"DATA: expected a file or folder, got {path}, which is not there.")
    suffix = path.suffix.lower()
    if path.is_dir():
        data = _read_folder(path, roles, note)
    elif suffix == ".npy":
        if roles.features:
            raise UsageError(f"--features: expected none for {path}, one array; do leave it out.")
        data = _of_array(path, read_npy(path), note)
    elif suffix == ".npz":
        data = _read_npz(path, roles, max_bytes, note)
    elif suffix in TABLES:
        table = read_table(path, max_bytes)
        named = (roles.labels, roles.id or "id", roles.text, roles.trusted, roles.groups)
        others = [name for name in named if name is not None]
        features, names = read_features(table, roles.features, fitted, path, note, others)
        data = Data(path, table, list(range(table.num_rows)), features=features, names=names)
    else:
        raise ValueError(
            f"DATA: expected {', '.join(('.npy', '.npz', *TABLES))} or a folder of images, got "
            f"{path}; do convert it."
        )
    columns = Columns(path, data.table, len(data.ids), max_bytes)
    if roles.labels is not None:
        data.labels = natural(*columns.get("--labels", roles.labels))
    if roles.trusted is not None:
        data.trusted = as_mask(*columns.get("--trusted", roles.trusted))
    if roles.groups is not None:
        data.groups = columns.get("--groups", roles.groups)[0].tolist()
    if roles.text is not None:
        values = columns.get("--text", roles.text)[0]
        data.texts = ["" if value is None else str(value) for value in values]
    _set_ids(data, roles.id, columns)
    if data.features is not None:
        _check_finite(data.features, path)
    return data


def _set_ids(data, name, columns):
    """The ids: of the column that is named, else of one called id, else of the reader."""
    if name is None and "id" in data.table.column_names:
        name = "id"
    if name is None:
        return
    values, file = columns.get("--id", name)
    lost = np.flatnonzero(is_missing(values))
    if len(lost):
        raise ValueError(
            f"--id: expected an id in each row, got none in {rows_name(lost)} of {name!r} in "
            f"{file}; do name another column by --id, or rename this one."
        )
    data.ids = values.tolist()
    rows_by_id(data.ids, f"{name!r} in {file}", ", or rename this one")
    data.id_column = name if name in data.table.column_names else None


def _of_array(path, array, note, table=None):
    """Data whose features, or images, are an array."""
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"{path}: expected features (rows, features) or images (rows, height, width[, "
            f"channels]), got {array.dtype} of shape {array.shape}; do save such an array."
        )
    pa = import_optional("pyarrow", "cli")
    table = pa.table({}) if table is None else table
    if array.ndim > 2:
        _tell_images(path, array.shape, note)
    part = {"features" if array.ndim == 2 else "images": array}
    return Data(path=path, table=table, ids=range(len(array)), **part)


def _tell_images(path, shape, note):
    """Say that an array is taken for images; ValueError where it cannot be meant so."""
    n, *sides = shape
    if len(sides) == 3:
        # (channels, height, width) where the last axis is no channel.
        sides = sides[1:] if sides[2] not in (1, 3) and sides[0] in (1, 3) else sides[:2]
    if min(sides) < _LEAST_SIDE:
        raise ValueError(
            f"{path}: expected embeddings (rows, features), or images of at least {_LEAST_SIDE} × "
            f"{_LEAST_SIDE} pixels, got shape {shape}; do save X.reshape({n}, -1), or the mean "
            "over an axis, if these are embeddings."
        )
    kind = "grey images" if len(shape) == 3 else "images"
    note(f"{path}: read as {n:,} {kind} of {sides[0]} × {sides[1]} pixels")


def _read_npz(path, roles, max_bytes, note):
    heads = npz_shapes(path)
    names = roles.features
    if not names:
        wide = [name for name, (shape, _) in heads.items() if len(shape) > 1]
        names = ["X"] if "X" in heads else wide
    if len(names) != 1 or names[0] not in heads:
        raise ValueError(
            f"--features: expected one array of {path}, {short(list(heads))}, got {short(names)}; "
            "do name it by --features."
        )
    shape = heads[names[0]][0]
    n = shape[0] if shape else 0
    rowwise = [k for k, (s, d) in heads.items() if s == (n,) and not d.hasobject]
    left = [k for k in heads if k not in rowwise and k not in names]
    if roles.labels is None and heads.get("y", ((),))[0] == (n,):
        roles.labels = "y"
    for option in (roles.labels, roles.trusted, roles.groups, roles.id, roles.text):
        if option in left:
            # Objects are refused, and so is what has not a value a row.
            read_npz(path, [option], max_bytes)
            raise ValueError(
                f"{path}: expected one value for each of {n} rows in {option!r}, got shape "
                f"{heads[option][0]}; do save an array of shape ({n},)."
            )
    if left:
        note(f"{path}: {', '.join(left)} not carried over: objects, or not one value a row")
    arrays = read_npz(path, [*names, *rowwise], max_bytes)
    pa = import_optional("pyarrow", "cli")
    table = pa.table({k: pa.array(arrays[k]) for k in rowwise})
    return _of_array(path, arrays[names[0]], note, table)


def _check_finite(features, path):
    if features.dtype.kind != "f":
        return
    for rows in blocks(len(features)):
        good = np.isfinite(features[rows]).all(axis=1)
        if not good.all():
            bad = np.arange(len(features))[rows][~good]
            raise ValueError(
                f"{path}: expected finite features, got NaN or infinity in {rows_name(bad)} and "
                "maybe later; do fill or drop these rows."
            )


def _read_folder(path, roles, note):
    """Images by their place under the folder; the class is the subfolder that they lie in."""
    if roles.features:
        raise UsageError("--features: expected none for a folder of images; do leave it out.")
    found, others, hidden, seen = [], 0, set(), set()
    for folder, subfolders, names in os.walk(path, followlinks=True):
        if os.path.realpath(folder) in seen:
            # A link that leads back.
            subfolders.clear()
            continue
        seen.add(os.path.realpath(folder))
        hidden.update(name for name in (*subfolders, *names) if name.startswith("."))
        subfolders[:] = sorted(name for name in subfolders if name not in hidden)
        here = [Path(folder, name) for name in sorted(names) if name not in hidden]
        images = [file for file in here if file.suffix.lower() in IMAGES]
        found, others = found + images, others + len(here) - len(images)
    if hidden:
        note(f"{path}: hidden files and folders are left out: {short(sorted(hidden))}")
    if not found:
        raise ValueError(
            f"{path}: expected images ({', '.join(IMAGES)}) in a subfolder for each class, got "
            "none; do check the folder."
        )
    if others:
        note(f"{path}: {others} files that are no images are left out")
    inside = [file.relative_to(path) for file in found]
    ids = [file.as_posix() for file in inside]
    for name in ids:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{path}: expected names of files in UTF-8, got {name!r}; do rename it."
            ) from None
    labels = np.empty(len(found), dtype=object)
    labels[:] = [file.parts[0] if len(file.parts) > 1 else None for file in inside]
    pa = import_optional("pyarrow", "cli")
    images = np.array([str(file) for file in found])
    return Data(path=path, table=pa.table({}), ids=ids, images=images, labels=labels)
