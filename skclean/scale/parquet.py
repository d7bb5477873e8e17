"""Parquet files: a column of embeddings as a dask array, and purified labels written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skclean._array import to_numpy
from skclean._blocks import UNIT_ROWS, few_rows, own_column
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
        A column of lists of d numbers, of fixed size or not.
    label : str or None, default=None
        A column of labels; missing ones become None or NaN, which every cleaner understands.
    columns : sequence of str, default=()
        Other columns to read, such as an id.

    Returns
    -------
    ParquetEmbeddings
        float32, or float64 where that is stored or integers are. A worker holds a row group at a
        time: some ten thousand rows are a good size.

    Raises
    ------
    ValueError
        If there is no such file or column, or the lists are not of one length; rows are looked at
        when they are computed.
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
        kind = stored.schema_arrow.field(embedding).type
        if not hasattr(kind, "value_type") or pa.types.is_dictionary(kind):
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
            width = width or _width(stored, group, embedding)
            read = dask.delayed(_read_group)(str(file), group, embedding, width, dtype)
            parts.append(da.from_delayed(read, (n_rows, width), dtype))
        if wanted:
            tables.append(stored.read(wanted))
    if not parts:
        raise ValueError(f"read_parquet_embeddings: expected rows in {path}, got none.")
    held: Any = pa.concat_tables(tables) if wanted else None
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

    The file appears once it is complete. Of dask arrays, a chunk is computed at a time.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified.
    path : path-like
        The file to be.
    columns : dict of str to array-like of shape (n,), or None, default=None
        Written first, such as the ids of the rows.
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
        trusted that the container has.

    Raises
    ------
    ValueError
        If the labels were not purified, or a column has not n rows.
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
    wrong = [name for name, values in columns.items() if len(values) != len(samples)]
    if wrong:
        raise ValueError(
            f"write_purified: expected columns of {len(samples)} rows, got "
            f"{len(columns[wrong[0]])} in {wrong[0]!r}; do pass one value a row."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"write_purified: {path} is there already; do set overwrite=True.")
    flat = {name: (np.asarray(values), None) for name, values in columns.items()} | _flat(samples)
    lists = {"proba": samples.proba} if proba and samples.proba is not None else {}
    if embedding is not None:
        lists[embedding] = samples.features
    with replacing(path) as temporary:
        writer: Any = None
        for start in range(0, max(len(samples), 1), UNIT_ROWS):
            rows = slice(start, min(start + UNIT_ROWS, len(samples)))
            cells = {
                name: _cells(values[rows], names, pa) for name, (values, names) in flat.items()
            }
            for name, values in lists.items():
                cells[name] = _lists(to_numpy(few_rows(values, rows)), pa)
            table = pa.table(cells)
            writer = writer or pq.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
        writer.close()
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


def _cells(values, names, pa):
    """Values as an arrow array; codes by their names, missing where they are -1."""
    if names is None:
        return pa.array(values)
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


def _width(stored, group, embedding):
    """Number of features, by the first row."""
    kind = stored.schema_arrow.field(embedding).type
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


def _column(column, pa):
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.to_numpy()
