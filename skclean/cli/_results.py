"""Purified samples as columns, files and a summary."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array

from skclean._fields import STATUSES
from skclean._files import naming
from skclean._labels import short
from skclean._optional import import_optional
from skclean.inspection._display import parts
from skclean.inspection.verdicts import verdicts

#: A batch with that much more noise than the fit had may be of another kind.
_MORE_WRONG = 0.1
#: Columns that are added, in their order.
COLUMNS = (
    "given_label",
    "purified_label",
    "label_proba",
    "clean_proba",
    "status",
    "reason",
    "suggested_action",
)
SUFFIXES = (".parquet", ".csv", ".npz")


def check_names(data: Any, prefix: str) -> None:
    """Raise ValueError where the user has columns of the names that are to be added."""
    added = [prefix + name for name in COLUMNS]
    clash = [name for name in added if name in data.table.column_names]
    if clash:
        raise ValueError(
            f"--out: expected no columns named {short(added, len(added))} in {data.path}, got "
            f"{short(clash)}; do rename them, or pass --prefix skclean_."
        )
    if data.id_column is None and "id" in data.table.column_names:
        raise ValueError(
            f"--id: expected no column named id in {data.path} beside ids from elsewhere; do "
            "rename it."
        )


def check_columns(data: Any, suffix: str) -> None:
    """Raise ValueError where a column of the user cannot be written in this format."""
    row = data.table.slice(0, 1)
    if suffix == ".csv":
        _write_csv(row, import_optional("pyarrow", "cli").BufferOutputStream())
    elif suffix == ".npz":
        for name in row.column_names:
            _as_array(row, name)


def result_table(data: Any, samples: Any, prefix: str, **judged: bool) -> Any:
    """The user's table and the columns of the verdict, in the user's order of rows.

    `judged` are `evidence` and `ranking` of `verdicts`.
    """
    pa = import_optional("pyarrow", "cli")
    codes, known = samples.label_codes, np.where(samples.known, samples.label_codes, -1)
    proba = np.full(len(samples), np.nan)
    if samples.proba is not None:
        rows = np.flatnonzero(codes >= 0)
        proba[rows] = samples.proba[rows, codes[rows]]
    if samples.readable is not None:
        proba[~samples.readable] = np.nan
    clean = samples.clean_proba
    if not judged.get("evidence", True):
        # Labels that nothing tells of are neither sure nor doubtful.
        clean, proba[samples._given_codes() >= 0] = None, np.nan
    reasons, actions = verdicts(samples, **judged)
    status = pa.DictionaryArray.from_arrays(
        pa.array(samples.status_codes), pa.array(list(STATUSES))
    ).cast(pa.string())
    values = (
        _label_column(pa, samples._given_codes(), samples.classes),
        _label_column(pa, known, samples.classes),
        pa.array(proba, from_pandas=True),
        pa.array(np.full(len(samples), np.nan) if clean is None else clean, from_pandas=True),
        status,
        pa.array(reasons, type=pa.string()),
        pa.array(actions, type=pa.string()),
    )
    table = data.table
    if data.id_column is None:
        ids = pa.array(data.ids)
        table = table.add_column(0, "id", ids) if table.num_columns else pa.table({"id": ids})
    for name, column in zip(COLUMNS, values, strict=True):
        table = table.append_column(prefix + name, column)
    return table


def _label_column(pa, codes, classes):
    """Labels with null for code -1."""
    if not len(classes):
        return pa.nulls(len(codes), pa.string())
    return pa.array(classes).take(pa.array(codes, mask=codes < 0))


def with_text_ids(table: Any, data: Any) -> Any:
    """The table with its ids as the report writes them: 9.0 and not 9."""
    pa = import_optional("pyarrow", "cli")
    name = data.id_column or "id"
    ids = pa.array([str(value) for value in data.ids], type=pa.string())
    return table.set_column(table.column_names.index(name), name, ids)


def write_table(table: Any, path: Path, suffix: str) -> None:
    """Write a table as the suffix says.

    Raises
    ------
    ValueError
        If a column cannot be written in this format.
    OSError
        Naming the file, where the disk is full.
    """
    with naming(path, path):
        if suffix == ".parquet":
            import_optional("pyarrow.parquet", "cli").write_table(table, path)
        elif suffix == ".csv":
            _write_csv(table, path)
        else:
            # numpy.savez takes columns named file for its own argument.
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in table.column_names:
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                        write_array(stream, _as_array(table, name), allow_pickle=False)


def _write_csv(table, path):
    pa, arrow_csv = import_optional("pyarrow", "cli"), import_optional("pyarrow.csv", "cli")
    for place, field in enumerate(table.schema):
        kind = getattr(field.type, "storage_type", field.type)
        # Labels as the report writes them: True and 1.0.
        label = field.name.endswith("_label") and pa.types.is_floating(kind)
        if pa.types.is_nested(kind) or pa.types.is_boolean(kind) or label:
            cells = [None if v is None else str(v) for v in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(cells, type=pa.string()))
        elif pa.types.is_dictionary(kind):
            table = table.set_column(place, field.name, table.column(place).cast(kind.value_type))
    try:
        arrow_csv.write_csv(table, path)
    except pa.ArrowException as error:
        raise ValueError(
            f"--out: expected columns that CSV can hold, got {error}; do write .parquet."
        ) from error


def _as_array(table, name):
    """A column as an array that needs no pickle: "" and -1 where a string or integer is missing.

    Integers of which some are missing and one is -1, or too great for int64, come as strings.
    """
    pa, compute = import_optional("pyarrow", "cli"), import_optional("pyarrow.compute", "cli")
    column = table.column(name).combine_chunks()
    if pa.types.is_nested(column.type):
        raise ValueError(
            f"--out: expected columns of one value a row for .npz, got {column.type} in {name!r}; "
            "do write .parquet."
        )
    if pa.types.is_integer(column.type) and column.null_count:
        found = {v for v in column.unique().to_pylist() if v is not None}
        if -1 not in found and max(found, default=0) < 2**63:
            return compute.fill_null(column.cast(pa.int64()), -1).to_numpy()
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    elif pa.types.is_boolean(column.type) and not column.null_count:
        return column.to_numpy(zero_copy_only=False)
    return np.array(["" if v is None else str(v) for v in column.to_pylist()])


def audit_of(model: Any) -> Any:
    """The audit of a fitted cleaner; None where it cannot tell."""
    try:
        return model.audit()
    except ValueError:
        return None


def audit_as_dict(audit: Any) -> dict[str, Any] | None:
    """An audit for JSON."""
    if audit is None:
        return None
    return {
        "n_labels": audit.n_labels,
        "n_wrong": audit.n_wrong,
        "interval": list(audit.interval),
        "n_flagged": audit.n_flagged,
        "looks_clean": audit.looks_clean,
        "informative": audit.informative,
        "worst_classes": [{"label": k, "share_wrong": share} for k, share in audit.worst_classes],
    }


def summary_of(command: str, samples: Any, cleaner: Any = None) -> dict[str, Any]:
    """What a command found, for JSON."""
    counts = np.bincount(samples.status_codes, minlength=len(STATUSES))
    return {
        "command": command,
        "rows": len(samples),
        "features": samples.n_features,
        "classes": list(samples.classes.tolist()),
        "status": dict(zip(STATUSES, counts.tolist(), strict=True)),
        "cleaner": None if cleaner is None else type(cleaner).__name__,
        "reason": getattr(cleaner, "reason_", None),
    }


def rates(samples: Any, model: Any) -> dict[str, float | None]:
    """Share of the labels of a batch that are wrong, and of those of the fit, where it is known."""
    fitted = [part.noise_rate_ for part in parts(model) if hasattr(part, "noise_rate_")]
    clean = samples.clean_proba[~np.isnan(samples.clean_proba)]
    return {
        "noise_rate": float(1 - clean.mean()) if len(clean) else None,
        "noise_rate_of_fit": fitted[-1] if fitted else None,
    }


def _told_rates(now, fitted):
    """What is said of the rates; more wrong labels than in the fit may be rows of another kind."""
    said = f"About {100 * now:.1f} % of the labels are wrong"
    if fitted is None:
        return f"{said}."
    said = f"{said}, {100 * fitted:.1f} % in the fit"
    if now <= fitted + _MORE_WRONG:
        return f"{said}."
    return f"{said}: if these rows are of another kind, the cleaner must be fitted anew."


def told(summary: dict[str, Any], audit: Any, ranking: bool = False) -> str:
    """What a command found, for people; `ranking` is that of `verdicts`."""
    counts = ", ".join(f"{name} {n}" for name, n in summary["status"].items() if n)
    size = f"{summary['rows']} rows, {summary['features']} features"
    rate = summary.get("noise_rate")
    lines = [
        summary["reason"] or f"{size}, {len(summary['classes'])} classes.",
        *([str(audit)] if audit is not None else []),
        f"Labels: {counts}.",
        *([_told_rates(rate, summary["noise_rate_of_fit"])] if rate is not None else []),
        *(["clean_proba is a score that ranks the labels, not a probability."] if ranking else []),
    ]
    written = [path for path in summary["outputs"].values() if path is not None]
    if written:
        lines.append(f"Wrote {', '.join(written)}.")
    return "\n".join(lines)
