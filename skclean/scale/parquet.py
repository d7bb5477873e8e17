"""Parquet files: a column of embeddings as a dask array, and purified labels written."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skclean._array import is_dask, is_numpy, take_rows, to_numpy
from skclean._blocks import UNIT_ROWS, own_column
from skclean._fields import STATUSES, UNKNOWN
from skclean._files import replacing
from skclean._optional import import_optional
from skclean.samples import LabelledSamples

_VALUES = ("clean_proba", "right_proba", "in_distribution_proba", "weight", "trusted")


class ParquetEmbeddings(NamedTuple):
    """What `read_parquet_embeddings` finds.

    Attributes
    ----------
    features : dask array of shape (n, d)
        One chunk a row group, read when it is computed.
    labels : ndarray of shape (n,) or None
    columns : dict of str to ndarray of shape (n,)
        The other columns that were asked for.
    """

    features: Any
    labels: np.ndarray | None
    columns: dict[str, np.ndarray]


def read_parquet_embeddings(
    path: Any, embedding: str = "embedding", *, label: str | None = None, columns: Sequence = ()
) -> ParquetEmbeddings:
    """Embeddings in Parquet files as a dask array, and the columns beside them in memory.

    Parameters
    ----------
    path : path-like
        A file, or a folder whose .parquet files are read in the order of their names. The workers
        of a cluster must see it under the same name.
    embedding : str, default="embedding"
        A column of lists of d numbers, of fixed size or not, or of tensors of fixed shape, whose
        values are put in a row.
    label : str or None, default=None
        A column of labels; missing ones become None or NaN, which every cleaner understands.
        Integers stay integers: with missing ones they are an array of objects.
    columns : sequence of str, default=()
        Other columns to read, such as an id. Files may hold a column in types that have a common
        one.

    Returns
    -------
    ParquetEmbeddings
        float32, or float64 where that is stored or integers are. A worker holds a row group at a
        time: some ten thousand rows are a good size.

    Raises
    ------
    ValueError
        If there is no such file or column, the types of a column in two files have no common one,
        or the lists are not of one length; rows are looked at when they are computed.
    ImportError
        If dask or pyarrow is not installed.
    """
    pq, pa = import_optional("pyarrow.parquet", "scale"), import_optional("pyarrow", "scale")
    dask, da = import_optional("dask", "scale"), import_optional("dask.array", "scale")
    wanted = [*([] if label is None else [label]), *columns]
    parts, tables, width = [], [], 0
    for file in _files(path):
        stored = pq.ParquetFile(file)
        missing = [c for c in (embedding, *wanted) if c not in stored.schema_arrow.names]
        if missing:
            raise ValueError(
                f"read_parquet_embeddings: expected a column {missing[0]!r} in {file}, got "
                f"{', '.join(stored.schema_arrow.names)}; do name one of these."
            )
        kind = _stored_as(stored.schema_arrow.field(embedding).type)
        if not _holds_numbers(kind, pa.types):
            raise ValueError(
                f"read_parquet_embeddings: expected lists of numbers in column {embedding!r} of "
                f"{file}, got {kind}; do name the column of the embeddings."
            )
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        dtype = np.dtype(np.float32 if dtype in (np.float16, np.float32) else np.float64)
        for group in range(stored.num_row_groups):
            n_rows = stored.metadata.row_group(group).num_rows
            if not n_rows:
                continue
            width = width or _width(stored, kind, group, embedding)
            read = dask.delayed(_read_group)(str(file), group, embedding, width, dtype)
            parts.append(da.from_delayed(read, (n_rows, width), dtype))
        if wanted:
            tables.append(_without_dictionaries(stored.read(wanted), pa))
    if not parts:
        raise ValueError(f"read_parquet_embeddings: expected rows in {path}, got none.")
    try:
        held: Any = pa.concat_tables(tables, promote_options="permissive") if wanted else None
    except pa.ArrowException as error:
        raise ValueError(
            f"read_parquet_embeddings: expected columns of one type in all files, got {error}; do "
            "write them alike."
        ) from error
    values = {name: _column(held[name], pa) for name in wanted}
    labels = None if label is None else values[label]
    others = {name: values[name] for name in columns}
    return ParquetEmbeddings(da.concatenate(parts), labels, others)


def write_purified(
    samples: LabelledSamples,
    path: Any,
    *,
    columns: dict[str, Any] | None = None,
    proba: bool = True,
    embedding: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write purified labels as one Parquet file, a row group at a time.

    The file appears once it is complete. Every chunk of dask features is computed once, with the
    first row group that has rows of it.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified.
    path : path-like
        The file to be.
    columns : dict of str to array-like of shape (n,), or None, default=None
        Written first, such as the ids of the rows; pandas and arrow types are kept.
    proba : bool, default=True
        Whether the soft labels are written, as lists of C numbers in the order of `classes`.
    embedding : str or None, default=None
        Name of a column for the features; None leaves them out.
    overwrite : bool, default=False
        Whether a file that is there is replaced.

    Returns
    -------
    pathlib.Path
        Of a file with the columns given, label (missing where the status is unknown), status,
        label_proba, and those of clean_proba, right_proba, in_distribution_proba, weight and
        trusted that the container has. NaN is written as a missing value.

    Raises
    ------
    ValueError
        If the labels were not purified, a column has not n rows of one dimension and type, the
        features have not two dimensions, or a name is given to two columns.
    FileExistsError
        If the file is there and `overwrite` is False.
    ImportError
        If pyarrow is not installed.
    """
    pa, pq = import_optional("pyarrow", "scale"), import_optional("pyarrow.parquet", "scale")
    path, columns = Path(path), dict(columns or {})
    if not samples.purified:
        raise ValueError(
            "write_purified: expected purified labels, got a container that no cleaner has seen; "
            "do pass what transform gives."
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
    if path.exists() and not overwrite:
        raise FileExistsError(f"write_purified: {path} is there already; do set overwrite=True.")
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
    with replacing(path) as temporary, ExitStack() as opened:
        writer: Any = None
        units = {name: _units(values) for name, values in lists.items()}
        for start in range(0, max(len(samples), 1), UNIT_ROWS):
            rows = slice(start, min(start + UNIT_ROWS, len(samples)))
            cells = {name: _cells(values[rows], of, pa) for name, (values, of) in whole.items()}
            cells |= {name: _lists(next(unit), pa) for name, unit in units.items()}
            table = pa.table(cells)
            writer = writer or opened.enter_context(pq.ParquetWriter(temporary, table.schema))
            writer.write_table(table)
    return path


def _flat(samples):
    """Columns of one value a row, each with the names of its codes or None."""
    codes, status, classes = samples.label_codes, samples.status_codes, samples.classes
    known = codes if status is None else np.where(status == UNKNOWN, -1, codes)
    found = {"given": (samples.given, classes), "label": (known, classes)}
    found["status"] = status, np.asarray(STATUSES)
    if samples.proba is not None:
        found["label_proba"] = own_column(samples.proba, np.maximum(codes, 0)), None
    found |= {name: (getattr(samples, name), None) for name in _VALUES}
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


def _cells(values, names, pa):
    """Values as they are; codes by their names, missing where they are -1."""
    if names is None:
        return values
    positions = pa.array(values.astype(np.int32), mask=values < 0)
    return pa.DictionaryArray.from_arrays(positions, pa.array(names)).dictionary_decode()


def _lists(values, pa):
    """Rows (n, d) as an arrow array of lists of d numbers."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _files(path):
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not files:
        raise ValueError(
            f"read_parquet_embeddings: expected a Parquet file or a folder of some, got {path}; do "
            "name one."
        )
    return [file.resolve() for file in files]


def _stored_as(kind):
    """The type that holds the values of an extension type, such as a tensor; others as they are."""
    return getattr(kind, "storage_type", kind)


def _holds_numbers(kind, types):
    """Whether the type is one of lists of integers or floats."""
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    numbers = (types.is_integer, types.is_floating)
    return any(x(kind) for x in lists) and any(x(kind.value_type) for x in numbers)


def _width(stored, kind, group, embedding):
    """Number of features, by the type or the first row."""
    size = getattr(kind, "list_size", -1)
    if size > 0:
        return size
    batch = next(stored.iter_batches(1, row_groups=[group], columns=[embedding]))
    first = batch.column(0)[0].as_py()
    if not first:
        raise ValueError(
            f"read_parquet_embeddings: expected numbers in the first row of {embedding!r}, got "
            f"{first}; do leave such rows out."
        )
    return len(first)


def _read_group(file, group, embedding, width, dtype):
    """Embeddings (n, d) of a row group."""
    pq, pc = (
        import_optional("pyarrow.parquet", "scale"),
        import_optional("pyarrow.compute", "scale"),
    )
    lists = pq.ParquetFile(file).read_row_group(group, [embedding]).column(0).combine_chunks()
    lists = getattr(lists, "storage", lists)
    sizes = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    if (sizes != width).any():
        row = int(np.argmax(sizes != width))
        found = "none" if sizes[row] < 0 else f"{sizes[row]}"
        raise ValueError(
            f"read_parquet_embeddings: expected {width} numbers in every row of {embedding!r}, got "
            f"{found} in row {row} of row group {group} of {file}; do leave such rows out."
        )
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return values.astype(dtype, copy=False).reshape(-1, width)


def _without_dictionaries(table, pa):
    """The table with values in the place of their codes."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[i].cast(field.type.value_type))
    return table


def _column(column, pa):
    """A column as an array; integers are not made floats where some are missing."""
    if pa.types.is_integer(column.type) and column.null_count:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy()
