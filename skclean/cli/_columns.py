"""What the user names as labels, ids and the like: columns, or files with a value a row."""

from pathlib import Path
from typing import Any

import numpy as np

from skclean._labels import short, shown
from skclean.cli._arrays import read_npy
from skclean.cli._tables import is_text, read_table, row_name

_COLUMN_FILES = (".npy", ".txt", ".csv", ".tsv")
_TRUE, _FALSE = {"true", "1", "1.0", "yes", "t", "y"}, {"false", "0", "0.0", "no", "f", "n", ""}


def natural(values: np.ndarray, file: Path) -> np.ndarray:
    """Labels of shape (n,), alike whatever they are from.

    Cells of text that all are whole numbers become these, and those that all are written as
    floats become floats; floats that are not all whole are names, such as "0.5".
    """
    if is_text(file):
        values = _as_numbers(values)
    if values.dtype.kind not in ("f", "O"):
        return values
    present = [v for v in values if v is not None and v == v]
    floats = all(isinstance(v, float | np.floating) and np.isfinite(v) for v in present)
    if not floats or all(float(v).is_integer() for v in present):
        return values
    return _objects(values, lambda v: str(v) if v == v else None)


def as_classes(labels: Any, classes: np.ndarray) -> Any:
    """Labels of a later batch, as text where the classes of the fit are text."""
    if labels is None or classes.dtype.kind not in "US":
        return labels
    return _objects(labels, lambda v: str(v) if _is_number(v) else v)


def as_number_name(text: str, labels: Any) -> str:
    """A label out of an argument: 0 is "0.0" where `natural` made names of floats."""
    try:
        name = str(float(text))
    except ValueError:
        return text
    return name if text not in labels and all(_is_float(v) for v in labels) else text


def _as_numbers(values):
    present = [v for v in values if v is not None]
    for kind, fits in ((int, _is_whole), (float, _is_float)):
        if present and all(fits(v) for v in present):
            return _objects(values, kind)
    return values


def _objects(values, change):
    """Values (n,), each changed but None."""
    out = np.empty(len(values), dtype=object)
    out[:] = [None if v is None else change(v) for v in values]
    return out


def _is_number(value):
    numbers = int | float | np.integer | np.floating
    return isinstance(value, numbers) and not isinstance(value, bool) and value == value


def _is_float(cell):
    """Whether the cell is a float and written as Python writes it: not 1e3 or 0.50."""
    try:
        return cell is None or (str(float(cell)) == cell and np.isfinite(float(cell)))
    except ValueError:
        return False


def _is_whole(cell):
    """Whether the cell is a whole number and written as Python writes it: not 007."""
    digits = cell.removeprefix("-")
    short_enough = 0 < len(digits) < 19
    return short_enough and digits.isascii() and digits.isdigit() and str(int(cell)) == cell


def rows_by_id(ids: list, where: str, do: str = "") -> dict[str, int]:
    """Row of each id by its text; ValueError, which ends with `do`, where one comes twice."""
    rows: dict[str, int] = {}
    for row, value in enumerate(ids):
        first = rows.setdefault("" if value is None else str(value), row)
        if first != row:
            raise ValueError(
                f"--id: expected ids that differ, got {shown(value)} in rows {first} and {row} of "
                f"{where}; do name another column by --id{do}."
            )
    return rows


class Columns:
    """Columns of the table, or files with a value a row, by what the user named."""

    def __init__(self, path: Path, table: Any, n: int, max_bytes: int) -> None:
        self._path, self._table, self._n, self._max_bytes = path, table, n, max_bytes

    def get(self, option: str, name: str) -> tuple[np.ndarray, Path]:
        """Values (n,), None where there is none, and the file they are from."""
        table, n = self._table, self._n
        if name in table.column_names:
            return _values(table.column(name).to_pylist()), self._path
        file = Path(name)
        if file.suffix.lower() not in _COLUMN_FILES or not file.is_file():
            files = f"a file ({', '.join(_COLUMN_FILES)})"
            columns = f"a column of {self._path}, {short(table.column_names)}, or {files}"
            wanted, lacks = (columns, "neither") if table.num_columns else (files, "not there")
            raise ValueError(
                f"{option}: expected {wanted}, got {name!r}, which is {lacks}; do correct the name."
            )
        values = self._read(option, file)
        if len(values) != n:
            hint = " (a .csv has a header line, a .txt none)" if is_text(file) else ""
            raise ValueError(
                f"{option}: expected {n} rows as in {self._path}, got {len(values)} in "
                f"{file}{hint}; do pass one a row."
            )
        return values, file

    def _read(self, option, file):
        if file.suffix.lower() == ".npy":
            values = np.asarray(read_npy(file))
            if values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
            if values.ndim != 1:
                raise ValueError(
                    f"{option}: expected one value a row, got shape {values.shape} in {file}; do "
                    "save an array of shape (n,)."
                )
            return _values(values.tolist()) if values.dtype.kind == "U" else values
        if file.suffix.lower() == ".txt":
            try:
                with file.open(encoding="utf-8-sig") as stream:
                    lines = [*stream]
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{option}: expected UTF-8 in {file}, got other bytes ({error}); do save it "
                    "as UTF-8."
                ) from error
            return _values([line.strip() for line in lines])
        table = read_table(file, self._max_bytes)
        if table.num_columns != 1:
            raise ValueError(
                f"{option}: expected one column in {file}, got {short(table.column_names)}; do "
                "save the one that is meant."
            )
        return _values(table.column(0).to_pylist())


def _values(cells):
    """Cells as objects of shape (n,), None where there is no value: .npz has "" there."""
    values = np.empty(len(cells), dtype=object)
    values[:] = [None if isinstance(cell, str) and cell == "" else cell for cell in cells]
    return values


def as_mask(values: np.ndarray, file: Path) -> np.ndarray:
    """Values (n,) as booleans, false where there is none."""
    out = np.zeros(len(values), dtype=bool)
    for row, value in enumerate(values.tolist()):
        cell = "" if value is None else str(value).strip().lower()
        if cell not in _TRUE and cell not in _FALSE:
            raise ValueError(
                f"--trusted: expected true or false, got {value!r} in {row_name(file, row)} of "
                f"{file}; do correct it."
            )
        out[row] = cell in _TRUE
    return out
