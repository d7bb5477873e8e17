"""apply_decisions: what a person decided in the report, written into the table."""

from pathlib import Path
from typing import Any

import numpy as np

from skclean._labels import short
from skclean._optional import import_optional
from skclean.cli._cleaners import parse_classes
from skclean.cli._columns import rows_by_id
from skclean.cli._results import COLUMNS
from skclean.cli._tables import read_table, row_name

HEADER = ("id", "given_label", "suggested_label", "decision", "label")


def apply_decisions(
    table: Any,
    decisions: Path,
    *,
    path: Path,
    id_column: str,
    prefix: str,
    max_bytes: int,
    classes: str | None = None,
) -> tuple[Any, dict[str, int]]:
    """Add the columns decision and final_label to a purified table.

    The final label is the suggested one where it was accepted, the given one where it was
    rejected, the chosen one where it is another, and the purified one in rows without a decision.

    Parameters
    ----------
    table : pyarrow.Table
        What ``skclean purify`` wrote.
    decisions : Path
        CSV with the columns id, given_label, suggested_label, decision (accept, reject or other),
        label.
    path : Path
        Where the table is from, for messages.
    id_column, prefix : str
    max_bytes : int
    classes : str or None, default=None
        Classes beside those of the table, by commas.

    Returns
    -------
    table : pyarrow.Table
    counts : dict
        Rows accepted, rejected, of another label, undecided, and those of these that have none.

    Raises
    ------
    ValueError
        If the decisions are not about this table: an id that is not there or there twice, other
        given labels, a suggestion that was not made, a label that does not follow from the
        decision or is no class.
    """
    pa = import_optional("pyarrow", "cli")
    given, purified = (
        _labels(table, prefix + name, path) for name in ("given_label", "purified_label")
    )
    rows = _rows_by_id(table, id_column, path)
    names = [prefix + "decision", prefix + "final_label"]
    clash = [name for name in names if name in table.column_names]
    if clash:
        raise ValueError(
            f"TABLE: expected no columns named {short(names)} in {path}, got {short(clash)}; do "
            "pass the table that purify wrote."
        )
    found = _read_decisions(decisions, max_bytes)
    labels = [value for value in (*given, *purified) if value is not None]
    named = {_shown(value): value for value in labels}
    more = parse_classes(classes, labels)
    named |= {} if more is None else {_shown(value): value for value in more.tolist()}
    final = list(purified)
    decided = np.full(len(final), None, dtype=object)
    for place, cells in enumerate(found):
        key, was, suggested, decision, label = (cell or "" for cell in cells)

        def fail(expected, got, do, place=place, key=key):
            where = f"{row_name(decisions, place)} of {decisions}, id {key!r}"
            raise ValueError(f"DECISIONS: expected {expected}, got {got} in {where}; do {do}.")

        row = rows.get(key)
        if row is None:
            fail(f"ids of {path}", "one that is not there", "pass the table of this report")
        if decided[row] is not None:
            fail("one decision for each id", "a second one", "leave one of the two out")
        if decision not in ("accept", "reject", "other"):
            fail("accept, reject or other", repr(decision), "correct the decision")
        if was != _shown(given[row]):
            there = repr(_shown(given[row]))
            fail(f"the given label {there}", repr(was), "pass the table of this report")
        offered = purified[row] is None and suggested in named
        if suggested != _shown(purified[row]) and not offered:
            there = repr(_shown(purified[row]))
            fail(f"the suggested label {there}", repr(suggested), "pass the table of this report")
        if decision == "other" and label not in named:
            fail("a class of the table", repr(label), "correct it, or name it by --classes")
        if decision != "other" and label != (suggested if decision == "accept" else was):
            follows = "suggested" if decision == "accept" else "given"
            do = "correct the label, or write other for the decision"
            fail(f"the {follows} label after {decision}", repr(label), do)
        decided[row] = decision
        final[row] = named.get(label) if label else None
    column = table.column(prefix + "purified_label")
    table = table.append_column(names[0], pa.array(decided, type=pa.string()))
    table = table.append_column(names[1], pa.array(final, type=_common(pa, table, column, prefix)))
    told = {"accepted": "accept", "rejected": "reject", "other": "other"}
    counts = {name: int(np.sum(decided == made)) for name, made in told.items()}
    left = [label for label, made in zip(final, decided, strict=True) if made is None]
    return table, {**counts, "undecided": len(left), "withheld": left.count(None)}


def _common(pa, table, column, prefix):
    """The type of the labels; that of the given ones where no row has a purified one."""
    if pa.types.is_null(column.type):
        column = table.column(prefix + "given_label")
    return column.type


def _labels(table, name, path):
    if name not in table.column_names:
        raise ValueError(
            f"TABLE: expected the columns {short(COLUMNS, len(COLUMNS))} of `skclean purify` in "
            f"{path}, got no {name!r}; do pass its output, and its --prefix."
        )
    # The empty cells of a CSV are no labels.
    return [None if value == "" else value for value in table.column(name).to_pylist()]


def _rows_by_id(table, id_column, path):
    if id_column not in table.column_names:
        raise ValueError(
            f"--id: expected a column of {path}, {short(table.column_names)}, got {id_column!r}; "
            "do name the one that has the ids."
        )
    return rows_by_id(table.column(id_column).to_pylist(), f"{path}")


def _read_decisions(path, max_bytes):
    if path.suffix.lower() != ".csv":
        raise ValueError(f"DECISIONS: expected a .csv file of the report, got {path}.")
    try:
        table = read_table(path, max_bytes)
    except ValueError as error:
        if "expected rows, got none" not in str(error):
            raise
        return []
    missing = [name for name in HEADER if name not in table.column_names]
    if missing:
        raise ValueError(
            f"DECISIONS: expected the columns {short(HEADER)} in {path}, got no "
            f"{', '.join(missing)}; do export the decisions from the report again."
        )
    return list(zip(*(table.column(name).to_pylist() for name in HEADER), strict=True))


def _shown(value):
    """A value as the report writes it."""
    return "" if value is None else str(value)
