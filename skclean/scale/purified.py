"""Purified labels as a Parquet file, or as a folder of files that the workers of dask write."""

import re
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from skclean._array import is_dask, is_numpy, take_rows, to_numpy
from skclean._blocks import UNIT_ROWS, own_column
from skclean._features import is_arrow
from skclean._fields import STATUSES, VALUES
from skclean._files import replacing, replacing_folder
from skclean._optional import import_optional
from skclean.samples import LabelledSamples

_FILES = (".parquet", ".pq")
_PART = re.compile(r"part-\d{5,}\.parquet")
#: In the metadata of the schema of what is written here.
_MARK = {b"skclean": b"purified"}


def write_purified(
    samples: LabelledSamples,
    path: Any,
    *,
    columns: Any = None,
    proba: bool = True,
    embedding: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write purified labels as a Parquet file, or as a folder of such files.

    Either appears once it is complete, or not at all. A file is written by the process that calls,
    a row group at a time; every chunk of dask features is computed once, with the first row group
    that has rows of it.
    The files of a folder are written by the scheduler of dask where probabilities or features are
    on it, each by the worker that has its rows.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified.
    path : path-like
        The file to be, which ends in .parquet or .pq. A name without a suffix, or with one that
        begins with no letter, such as run-1.5, is that of a folder, whose files
        ``part-00000.parquet`` and so on hold 16,384 rows each, in order; the workers of a cluster
        must see it under the same name.
    columns : dict of str to array-like of shape (n,), DataFrame or None, default=None
        Written first, such as the ids of the rows; pandas and arrow types are kept. A table of
        pandas, polars or Arrow gives all of its columns, without an index.
    proba : bool, default=True
        Whether the soft labels are written, as lists of C numbers in the order of `classes`.
    embedding : str or None, default=None
        Name of a column for the features; None leaves them out.
    overwrite : bool, default=False
        Whether a file, or a folder that is empty or holds only what this function wrote, is
        replaced. A file is replaced at once. A folder is so on Linux where the file system can
        exchange two names; elsewhere (network file systems, other systems) it is away for a
        moment, and a process killed just then leaves the old and the new one beside it under
        hidden names, which the next complete write there removes. A folder behind a link is
        replaced, not the link. Whoever reads a folder file by file meanwhile may see files of
        both, or miss one. Of several writers at once the last one wins; of writers of a folder
        without `overwrite` the first one, and the others get FileExistsError.

    Returns
    -------
    pathlib.Path
        Of the file or folder, with the columns given, label (missing where the status is unknown),
        status, label_proba, and those of clean_proba, right_proba, in_distribution_proba, weight
        and trusted that the container has. NaN is written as a missing value.

    Raises
    ------
    ValueError
        If the labels were not purified, a column has not n rows of one dimension and type, the
        features have not two dimensions, a name is given to two columns, the path ends in
        another suffix, is a link to nothing or the working folder, or a folder is to be replaced
        that holds anything else.
    FileExistsError
        If the file or folder is there and `overwrite` is False.
    ImportError
        If pyarrow is not installed.
    """
    pa, pq = import_optional("pyarrow", "scale"), import_optional("pyarrow.parquet", "scale")
    path, columns = Path(path), _columns(columns)
    _check(samples, columns, embedding)
    _check_free(path, overwrite)
    flat = _flat(samples)
    lists = {"proba": samples.proba} if proba and samples.proba is not None else {}
    names = [*columns, *flat, *lists, *([] if embedding is None else [embedding])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "write_purified: expected other names than those of the columns written, got "
            f"{', '.join(map(repr, twice))}; do rename them."
        )
    if embedding is not None:
        lists[embedding] = samples.features
    # Whole columns first: the type of a row group would be that of its own values.
    whole = {name: (_whole(name, values, pa), None) for name, values in columns.items()}
    for name, (values, classes) in flat.items():
        whole[name] = (_whole(name, values, pa) if classes is None else values), classes
    coded = [name for name, (_, names) in whole.items() if names is not None]
    starts = range(0, max(len(samples), 1), UNIT_ROWS)
    tables = (_cells(whole, slice(start, start + UNIT_ROWS), pa) for start in starts)
    if not _is_file(path):
        _write_parts(path, tables, coded, lists, overwrite)
        return path
    with replacing(path) as temporary, ExitStack() as opened:
        writer: Any = None
        units = {name: _units(values) for name, values in lists.items()}
        for table in tables:
            table = _complete(table, coded, {name: next(unit) for name, unit in units.items()})
            writer = writer or opened.enter_context(pq.ParquetWriter(temporary, table.schema))
            writer.write_table(table)
    return path


def _columns(columns):
    """The columns of a dict or table by their names."""
    if columns is None:
        return {}
    names = columns.schema.names if is_arrow(columns) else getattr(columns, "columns", columns)
    return {name: columns[name] for name in names}


def _check(samples, columns, embedding):
    contained = isinstance(samples, LabelledSamples)
    if not contained or not samples.purified:
        got = "a container that no cleaner has seen" if contained else type(samples).__name__
        raise ValueError(
            f"write_purified: expected purified labels, got {got}; do pass what transform of a "
            "cleaner gives."
        )
    for name, values in columns.items():
        shape = getattr(values, "shape", None) or (len(values),)
        if tuple(shape) != (len(samples),):
            raise ValueError(
                f"write_purified: expected columns of {len(samples)} rows, got "
                f"{' x '.join(map(str, shape))} in {name!r}; do pass one value a row."
            )
    if embedding is not None and len(samples.features.shape) != 2:
        raise ValueError(
            f"write_purified: expected features of shape (n, d), got {samples.features.shape}; do "
            "flatten them, or leave them out by embedding=None."
        )


def _is_file(path):
    """Whether a name is that of a file rather than a folder."""
    is_file = path.suffix.lower() in _FILES
    if not is_file and path.suffix[1:2].isalpha():
        raise ValueError(
            f"write_purified: expected the name of a file, .parquet or .pq, or of a folder, "
            f"without a suffix, got {path}; do name another."
        )
    return is_file


def _check_free(path, overwrite):
    is_file = _is_file(path)
    if not path.exists():
        if path.is_symlink():
            raise ValueError(
                f"write_purified: expected a {'file' if is_file else 'folder'}, got {path}, a "
                "link to nothing; do remove it, or name another."
            )
        return
    if not overwrite:
        raise FileExistsError(f"write_purified: {path} is there already; do set overwrite=True.")
    wanted = "a file" if is_file else "a folder that write_purified wrote"
    found = (path if path.is_dir() else None) if is_file else _foreign(path)
    if found is not None:
        raise ValueError(
            f"write_purified: expected {wanted} in the place of {path}, got {found}; do name "
            "another: one that ends in .parquet is a file, one without a suffix a folder."
        )


def _foreign(folder):
    """What is in the place of a folder and was not written here, or None."""
    try:
        if folder.samefile("."):
            return folder
        files = sorted(folder.iterdir())
    except NotADirectoryError:
        return folder
    except FileNotFoundError:
        # Another writer replaces it.
        return None
    return next((file for file in files if not _is_ours(file)), None)


def _is_ours(file):
    pa, pq = import_optional("pyarrow", "scale"), import_optional("pyarrow.parquet", "scale")
    try:
        if not _PART.fullmatch(file.name) or not stat.S_ISREG(file.lstat().st_mode):
            return False
        found = pq.read_schema(file).metadata or {}
    except FileNotFoundError:
        return True
    except (pa.ArrowInvalid, OSError):
        return False
    return found.items() >= _MARK.items()


def _flat(samples):
    """Columns of one value a row, each with the names of its codes or None."""
    codes, classes = samples.label_codes, samples.classes
    found = {"given": (samples.given, classes), "label": (samples._known_codes(), classes)}
    found["status"] = samples.status_codes, np.asarray(STATUSES)
    if samples.proba is not None:
        found["label_proba"] = own_column(samples.proba, np.maximum(codes, 0)), None
    found |= {name: (getattr(samples, name), None) for name in VALUES}
    return {name: pair for name, pair in found.items() if pair[0] is not None}


def _whole(name, values, pa):
    """A column as an arrow array, of one type."""
    if isinstance(values, pa.ChunkedArray):
        return values
    try:
        return pa.array(to_numpy(values) if not is_numpy(values) else values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"write_purified: expected values of one type in column {name!r}, got: {error}; do "
            "convert them."
        ) from error


def _cells(whole, rows, pa):
    """Rows of the columns as a table; of codes with names, the names, missing where they are -1."""
    cells = {}
    for name, (values, names) in whole.items():
        cells[name] = values[rows]
        if names is not None:
            positions = pa.array(values[rows].astype(np.int32), mask=values[rows] < 0)
            cells[name] = pa.DictionaryArray.from_arrays(positions, pa.array(names))
    return pa.table(cells)


def _complete(table, coded, lists):
    """The table with names in the place of codes, and rows (n, d) as lists of d numbers."""
    pa = import_optional("pyarrow", "scale")
    for name in coded:
        column = table[name].cast(table[name].type.value_type)
        table = table.set_column(table.column_names.index(name), name, column)
    for name, values in lists.items():
        flat = pa.array(values.ravel())
        table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    return table.replace_schema_metadata(_MARK)


def _units(x):
    """Rows of an array (n, d), `UNIT_ROWS` at a time; every chunk of dask is computed once."""
    n, block = x.shape[0], 0
    ends = np.cumsum(x.chunks[0]) if is_dask(x) else None
    left = np.empty((0, x.shape[1]), x.dtype) if is_dask(x) else None
    for start in range(0, max(n, 1), UNIT_ROWS):
        stop = min(start + UNIT_ROWS, n)
        if ends is None:
            yield to_numpy(take_rows(x, slice(start, stop)))
            continue
        needed = int(np.searchsorted(ends, stop)) + 1
        if needed > block:
            read = to_numpy(x.blocks[block:needed])
            left, block = np.concatenate([left, read]) if len(left) else read, needed
        yield left[: stop - start]
        left = left[stop - start :]


def _write_parts(path, tables, coded, lists, overwrite):
    """A folder of files of `UNIT_ROWS` rows, written by tasks of dask where lists are on it."""
    on_dask = any(is_dask(x) for x in lists.values())
    dask: Any = import_optional("dask", "scale") if on_dask else None
    write = dask.delayed(_write_part) if on_dask else _write_part
    units = [
        x.rechunk({0: UNIT_ROWS, 1: -1}).to_delayed().ravel() if is_dask(x) else _units(x)
        for x in lists.values()
    ]
    with replacing_folder(path, overwrite) as folder:
        parts = [
            write(f"{folder}/part-{i:05d}.parquet", _packed(table), coded, dict(zip(lists, rows)))
            for i, (table, *rows) in enumerate(zip(tables, *units))
        ]
        if on_dask:
            dask.compute(*parts)
        # Of workers that were killed.
        for left in folder.glob(".*"):
            left.unlink()
        # Somebody else may have been quicker.
        _check_free(path, overwrite)


def _packed(table):
    """A table as bytes, which of slices hold no more than their rows."""
    pa = import_optional("pyarrow", "scale")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _write_part(file, packed, coded, lists):
    pa, pq = import_optional("pyarrow", "scale"), import_optional("pyarrow.parquet", "scale")
    table = _complete(pa.ipc.open_stream(packed).read_all(), coded, lists)
    with replacing(file) as temporary:
        pq.write_table(table, temporary)
