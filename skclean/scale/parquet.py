"""A column of embeddings in Parquet files as a dask array."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skclean._blocks import BLOCK_ROWS, UNIT_ROWS
from skclean._optional import import_optional

#: Bytes of a file that are read at a time.
_BUFFER = 1 << 20


class ParquetEmbeddings(NamedTuple):
    """What `read_parquet_embeddings` finds.

    Attributes
    ----------
    features : dask array of shape (n, d)
        One chunk a row group, or a slice of one; read when it is computed.
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
        float32, or float64 where that is stored or integers are. A worker holds a chunk at a time:
        a row group, or slices of one that would be above dask's ``array.chunk-size``, 128 MiB. To
        get to a slice, the rows before it in its group are read and let go: groups of some ten
        thousand rows cost least.

    Raises
    ------
    ValueError
        If there is no such file or column, a file is broken, the types of a column in two files
        have no common one, or the lists are not of one length; rows are looked at when they are
        computed.
    ImportError
        If dask or pyarrow is not installed.
    """
    pa = import_optional("pyarrow", "scale")
    dask, da = import_optional("dask", "scale"), import_optional("dask.array", "scale")
    wanted = [*([] if label is None else [label]), *columns]
    parts, tables, width = [], [], 0
    for file in _files(path):
        stored = _opened(file)
        missing = [c for c in (embedding, *wanted) if c not in stored.schema_arrow.names]
        if missing:
            raise ValueError(
                f"read_parquet_embeddings: expected a column {missing[0]!r} in {file}, got "
                f"{', '.join(stored.schema_arrow.names)}; do name one of these."
            )
        kind = stored.schema_arrow.field(embedding).type
        # Of an extension type, such as a tensor, the one that holds the values.
        kind = getattr(kind, "storage_type", kind)
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
            for start, stop in _slices(n_rows, width * dtype.itemsize):
                where = str(file), group, start, stop
                read = dask.delayed(_read_rows)(*where, embedding, width, dtype)
                parts.append(da.from_delayed(read, (stop - start, width), dtype))
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


def _files(path):
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not files:
        raise ValueError(
            f"read_parquet_embeddings: expected a Parquet file or a folder of some, got {path}; do "
            "name one."
        )
    return [file.resolve() for file in files]


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


def _opened(file):
    """A file of which no more is held than what is asked for."""
    pa, pq = import_optional("pyarrow", "scale"), import_optional("pyarrow.parquet", "scale")
    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"read_parquet_embeddings: expected a whole Parquet file, got {file} ({error}); do "
            "write it again."
        ) from error


def _slices(n_rows, row_bytes):
    """Starts and ends of slices of a row group, each of the size that dask has for chunks."""
    dask = import_optional("dask", "scale")
    most = import_optional("dask.utils", "scale").parse_bytes(dask.config.get("array.chunk-size"))
    size = max(most // (row_bytes * UNIT_ROWS), 1) * UNIT_ROWS
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def _read_rows(file, group, start, stop, embedding, width, dtype):
    """Embeddings (n, d) of the rows from start to stop of a row group."""
    out, first = np.empty((stop - start, width), dtype), 0
    with _opened(file) as stored:
        batches = stored.iter_batches(
            BLOCK_ROWS, row_groups=[group], columns=[embedding], use_threads=False
        )
        for batch in batches:
            last = first + len(batch)
            if last > start:
                at = max(first, start)
                rows = batch.column(0).slice(at - first, min(last, stop) - at)
                where = f"of {embedding!r}", at, f"of row group {group} of {file}"
                out[at - start : at - start + len(rows)] = _values(rows, width, where)
            if last >= stop:
                break
            first = last
    return out


def _values(lists, width, where):
    """Lists of numbers as an array (n, d); `where` has their column, first row and file."""
    pc = import_optional("pyarrow.compute", "scale")
    lists = getattr(lists, "storage", lists)
    sizes = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    if (sizes != width).any():
        row, (column, first, file) = int(np.argmax(sizes != width)), where
        found = "none" if sizes[row] < 0 else f"{sizes[row]}"
        raise ValueError(
            f"read_parquet_embeddings: expected {width} numbers in every row {column}, got "
            f"{found} in row {first + row} {file}; do leave such rows out."
        )
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


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
