"""CSV and Parquet files as Arrow tables: every column as it is, every fault by its row."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skclean._optional import import_optional
from skclean.cli._arrays import check_size

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLES = (".csv", ".tsv", ".parquet", ".pq")
#: Bytes that a value takes in memory, at least.
_WIDTHS = {"INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
#: Rows that an error names.
_MOST_NAMED = 5


def read_table(path: Path, max_bytes: int) -> Any:
    """A table with all its columns; those of CSV are strings.

    Raises
    ------
    ValueError
        If the file is broken, too large, or its columns have no names of their own.
    """
    if path.suffix.lower() in _DELIMITERS:
        table = _read_csv(path, _DELIMITERS[path.suffix.lower()], max_bytes)
    else:
        table = _read_parquet(path, max_bytes)
    _check_names(path, table.column_names)
    if not table.num_rows:
        raise ValueError(f"{path}: expected rows, got none; do check the file.")
    return table


def _check_names(path, names):
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{path}: expected a name of its own for each column, got {twice} more than once; do "
            "rename them."
        )


def is_text(path: Path) -> bool:
    """Whether the cells of a file are strings that may stand for numbers."""
    return path.suffix.lower() in (*_DELIMITERS, ".txt")


def _read_parquet(path, max_bytes):
    pa, parquet = import_optional("pyarrow", "cli"), import_optional("pyarrow.parquet", "cli")
    try:
        file = parquet.ParquetFile(path)
        meta = file.metadata
        for i in range(meta.num_row_groups):
            # Where columns are described wrongly, this raises, and what is asked next would abort.
            next(file.iter_batches(1, row_groups=[i]), None)
        chunks = [
            meta.row_group(i).column(j)
            for i in range(meta.num_row_groups)
            for j in range(meta.num_columns)
        ]
        # Runs of one value take next to nothing in the file.
        size = sum(
            max(c.total_uncompressed_size, _WIDTHS.get(c.physical_type, 0) * c.num_values)
            for c in chunks
        )
        check_size(f"{path}", size, max_bytes)
        _check_strings(path, file.schema, max_bytes)
        table = file.read()
        # Altered bytes can be strings that are no text, codes without a name.
        table.validate(full=True)
        _ = table.column_names
        return table
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise ValueError(
            f"{path}: expected a whole Parquet file, got a broken one ({error}); do save it again."
        ) from error


def _check_strings(path, schema, max_bytes):
    """Raise ValueError where strings are too large once each row has its own."""
    columns = [schema.column(j) for j in range(len(schema))]
    names = [c.path for c in columns if c.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")]
    if not names:
        return
    parquet = import_optional("pyarrow.parquet", "cli")
    size = 0
    for batch in parquet.ParquetFile(path, read_dictionary=names).iter_batches(columns=names):
        size += sum(_size_of(column) for column in batch.columns)
        check_size(f"{path}", size, max_bytes)


def _size_of(array):
    """Bytes of an array whose dictionaries are written out."""
    pa, compute = import_optional("pyarrow", "cli"), import_optional("pyarrow.compute", "cli")
    if isinstance(array, pa.ExtensionArray):
        return _size_of(array.storage)
    if pa.types.is_dictionary(array.type):
        if pa.types.is_primitive(array.type.value_type):
            return array.type.value_type.bit_width // 8 * len(array)
        lengths = compute.binary_length(array.dictionary)
        return compute.sum(lengths.take(array.indices)).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(_size_of(part) for part in array.flatten())
    if pa.types.is_map(array.type):
        start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return sum(_size_of(part[start:stop]) for part in (array.keys, array.items))
    if pa.types.is_nested(array.type):
        return 8 * len(array) + _size_of(array.flatten())
    return array.nbytes


def _read_csv(path, delimiter, max_bytes):
    pa, arrow_csv = import_optional("pyarrow", "cli"), import_optional("pyarrow.csv", "cli")
    check_size(f"{path}", path.stat().st_size, max_bytes)
    # Arrow takes a quote that is never closed, and the rest of the file with it, for one cell.
    names, n_rows = _scan_csv(path, delimiter)
    try:
        table = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        raise ValueError(f"{path}: expected a CSV file, got {error}; do save it again.") from error
    if table.num_rows != n_rows:
        raise ValueError(
            f"{path}: expected {n_rows} rows, got {table.num_rows}: its quotes or line ends are "
            "mixed; do save it again."
        )
    return table


def _scan_csv(path, delimiter):
    """Names of the columns and number of rows of a CSV file without faults."""
    with _csv_rows(path, delimiter) as rows:
        _, names = next(rows, (0, []))
        if not names:
            raise ValueError(f"{path}: expected a header line, got an empty file; do check it.")
        others = [mark for mark in ";\t|" if mark != delimiter and mark in names[0]]
        if len(names) == 1 and others:
            raise ValueError(
                f"{path}: expected columns separated by {delimiter!r}, got {others[0]!r} in the "
                "header; do save it with commas."
            )
        _check_names(path, names)
        n_rows = 0
        for line, row in rows:
            if len(row) != len(names):
                raise ValueError(
                    f"{path}: expected {len(names)} cells in each row, got {len(row)} in row "
                    f"{n_rows} (line {line}); do put cells with commas in quotes."
                )
            n_rows += 1
    return names, n_rows


@contextmanager
def _csv_rows(path: Path, delimiter: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Pairs of the line at which a row ends and its cells; blank lines are left out."""
    limit = csv.field_size_limit(sys.maxsize)
    line = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)

            def rows():
                nonlocal line
                for row in reader:
                    line = reader.line_num
                    if row:
                        yield line, row

            yield rows()
    except csv.Error as error:
        raise ValueError(
            f"{path}: expected quotes that open and close around a cell, got {error} in the row "
            f"after line {line}; do save it again."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text in UTF-8, got other bytes after line {line}; do save it as "
            "UTF-8."
        ) from error
    finally:
        csv.field_size_limit(limit)


def row_name(path: Path, row: int) -> str:
    """A row for a message: its position, and for text its line."""
    if path.suffix.lower() not in _DELIMITERS:
        return f"row {row}"
    with _csv_rows(path, _DELIMITERS[path.suffix.lower()]) as rows:
        for position, (line, _) in enumerate(rows, start=-1):
            if position == row:
                return f"row {row} (line {line})"
    return f"row {row}"


def rows_name(rows: np.ndarray) -> str:
    """Some rows for a message."""
    named = ", ".join(str(row) for row in rows[:_MOST_NAMED])
    more = f", ... ({len(rows)} in all)" if len(rows) > _MOST_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more}"


def numbers(column: Any, name: str, path: Path) -> np.ndarray:
    """A column of shape (n,) as floats; an error names the first row that is no number."""
    pa, compute = import_optional("pyarrow", "cli"), import_optional("pyarrow.compute", "cli")
    types, column = pa.types, _storage(column)
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind):
        try:
            return compute.cast(column, pa.float64()).to_numpy()
        except pa.ArrowException:
            return _cells_as_numbers(column, name, path)
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(
            f"{path}: expected numbers in column {name!r}, got {kind}; do name other columns by "
            "--features."
        )
    if column.null_count:
        bad = np.flatnonzero(column.is_null().to_numpy())
        raise ValueError(
            f"{path}: expected numbers in column {name!r}, got nothing in {rows_name(bad)}; do "
            "fill or drop these rows."
        )
    wide = pa.float32() if types.is_float32(kind) or types.is_float16(kind) else pa.float64()
    return compute.cast(column, wide, safe=False).to_numpy()


def _cells_as_numbers(column, name, path):
    out = np.empty(len(column))
    for row, cell in enumerate(column.to_pylist()):
        try:
            out[row] = _number(cell)
        except (TypeError, ValueError):
            raise ValueError(
                f"{path}: expected a number in column {name!r}, got {cell!r} in "
                f"{row_name(path, row)}; do correct it, or name other columns by --features."
            ) from None
    return out


def _number(cell):
    """A float, of true and false 1 and 0; 1_000, which Python reads as 1000, is none."""
    if "_" in (cell or ""):
        raise ValueError
    truth = {"true": 1.0, "false": 0.0}.get((cell or "").strip().lower())
    return float(cell) if truth is None else truth


def _storage(column):
    """A column of an extension type, such as fixed_shape_tensor, as what it is made of."""
    pa = import_optional("pyarrow", "cli")
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    kind = column.type.storage_type
    return pa.chunked_array([chunk.storage for chunk in column.chunks], type=kind)


def vectors(column: Any, name: str, path: Path) -> np.ndarray:
    """A column of lists, or of strings such as "[0.1, 0.2]", as an array of shape (n, d)."""
    pa = import_optional("pyarrow", "cli")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _cells_as_vectors(column, name, path)
    column = _storage(column)
    kind = column.type
    value = kind.value_type
    if not (pa.types.is_floating(value) or pa.types.is_integer(value)):
        raise ValueError(
            f"{path}: expected lists of numbers in column {name!r}, got {kind}; do name another "
            "by --features."
        )
    _check_lists(column, name, path)
    compute = import_optional("pyarrow.compute", "cli")
    wide = np.float32 if value.bit_width <= 32 and pa.types.is_floating(value) else np.float64
    out: Any = None
    start = 0
    for part in column.chunks:
        if not len(part):
            continue
        flat = part.flatten()
        d = len(flat) // len(part)
        out = np.empty((len(column), d), dtype=wide) if out is None else out
        if flat.null_count:
            bad = np.unique(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False)) // d)
            raise ValueError(
                f"{path}: expected numbers in column {name!r}, got null values in "
                f"{rows_name(bad + start)}; do fill or drop these rows."
            )
        wanted = pa.float32() if wide is np.float32 else pa.float64()
        flat = compute.cast(flat, wanted, safe=False)
        out[start : start + len(part)] = flat.to_numpy().reshape(-1, d)
        start += len(part)
    return out


def _check_lists(column, name, path):
    """Each row has a list, all of one length."""
    compute = import_optional("pyarrow.compute", "cli")
    if column.null_count:
        bad = np.flatnonzero(column.is_null().to_numpy())
        raise ValueError(
            f"{path}: expected an embedding in column {name!r}, got null in {rows_name(bad)}; do "
            "fill or drop these rows."
        )
    lengths = compute.list_value_length(column).to_numpy()
    odd = np.flatnonzero(lengths != lengths[0])
    if len(odd) or not lengths[0]:
        row = odd[0] if len(odd) else 0
        raise ValueError(
            f"{path}: expected embeddings of one length in column {name!r}, got {lengths[0]} "
            f"values in row 0 and {lengths[row]} in row {row}; do correct or drop the row."
        )


def _cells_as_vectors(column, name, path):
    out = None
    for row, cell in enumerate(column.to_pylist()):
        try:
            parts = (cell or "").strip().strip("[]()").replace(",", " ").split()
            values = np.array([_number(part) for part in parts])
        except ValueError:
            values = np.empty(0)
        if out is None and len(values):
            out = np.empty((len(column), len(values)))
        if not len(values) or out is None or len(values) != out.shape[1]:
            d = "" if out is None else f"{out.shape[1]} "
            got = f"{len(values)} of them" if len(values) else repr((cell or "")[:40])
            raise ValueError(
                f"{path}: expected {d}numbers in column {name!r}, such as [0.1, 0.2], got {got} in "
                f"{row_name(path, row)}; do correct or drop the row."
            )
        out[row] = values
    return out
