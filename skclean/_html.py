"""What shells and notebooks show of containers and audits: text, and HTML without scripts."""

from html import escape
from typing import Any

import numpy as np

from skclean._fields import ROW_FIELDS, STATUSES

#: Classes and rows that are listed.
MAX_CLASSES = 10
MAX_ROWS = 5
#: Bytes of the pictures of the rows.
_PICTURES = 60_000
# Half-transparent grey is seen on light and on dark, and text keeps the colour of the page.
_CELL = "padding:.15em .7em;text-align:right;border-bottom:1px solid rgba(128,128,128,.3)"
_LEFT = _CELL.replace("right", "left")
_BOX = "display:inline-block;vertical-align:top;margin:0 2em .8em 0"


def samples_text(samples: Any) -> str:
    """A container in one line: its size, how many labels and statuses, which other fields."""
    width = " x ".join(str(size) for size in samples.shape[1:])
    parts = [f"{len(samples)} rows, {width} features, {samples.dtype}"]
    given, status = samples.given, samples.status_codes
    if samples.classes is not None:
        parts.append(f"{len(samples.classes)} classes")
    if given is not None:
        parts.append(f"given: {(given >= 0).sum()}, missing: {(given < 0).sum()}")
    if status is not None:
        counts = np.bincount(status, minlength=len(STATUSES))
        parts.append(", ".join(f"{s}: {c}" for s, c in zip(STATUSES, counts, strict=True) if c))
    said = ("features", "given", "label_codes", "status_codes", "index")
    held = [f for f in ROW_FIELDS if f not in said and getattr(samples, f) is not None]
    if held:
        parts.append("with " + ", ".join(held))
    return f"{type(samples).__name__}({'; '.join(parts)})"


def samples_html(samples: Any) -> str:
    """A container in a few tables: statuses, classes before and after, first rows.

    Parameters
    ----------
    samples : LabelledSamples of n rows

    Returns
    -------
    html : str
        Every value of the user is escaped.
    """
    width = " × ".join(f"{size:,}" for size in samples.shape[1:])
    said = [f"{len(samples):,} rows", f"{width} features", str(samples.dtype)]
    if samples.classes is not None:
        said.append(f"{len(samples.classes):,} classes")
    if not samples.purified:
        said.append("not purified")
    tables = [_statuses(samples), _classes(samples), _rows(samples)]
    return _page(type(samples).__name__, said, tables)


def audit_html(audit: Any) -> str:
    """A `LabelAudit`: its sentences, and the worst classes in a table."""
    said = str(audit).splitlines()
    if not audit.worst_classes or audit.looks_clean or not audit.informative:
        return _page(type(audit).__name__, said, [])
    rows = [(_text(label), f"{100 * share:.0f} %") for label, share in audit.worst_classes]
    head = ("Given label", "Expected wrong")
    return _page(type(audit).__name__, said[:1], [_table("Worst given labels", head, rows)])


def _page(name, said, tables):
    head = f"<p style='margin:.3em 0'><strong>{escape(name)}</strong> · "
    return f"<div>{head}{escape(' · '.join(said))}</p>{''.join(t for t in tables if t)}</div>"


def _table(caption, head, rows):
    """A table of cells that are HTML already; the first column stands to the left."""
    cells = [f"<th scope='col' style='{_style(j)}'>{c}</th>" for j, c in enumerate(head)]
    lines = [
        "<tr>" + "".join(f"<td style='{_style(j)}'>{c}</td>" for j, c in enumerate(row)) + "</tr>"
        for row in rows
    ]
    return (
        f"<table style='{_BOX};border-collapse:collapse;background:none'>"
        f"<caption style='text-align:left'>{caption}</caption>"
        f"<thead><tr>{''.join(cells)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _style(column):
    return _CELL if column else _LEFT


def _text(value):
    shown = str(value)
    return escape(shown if len(shown) <= 60 else shown[:57] + "...")


def _statuses(samples):
    if samples.status is None:
        return None
    counts = [(status, int(np.sum(samples.status == status))) for status in STATUSES]
    n = max(len(samples), 1)
    rows = [(s, f"{c:,}", f"{100 * c / n:.1f} %") for s, c in counts if c]
    return _table("Status", ("", "Rows", "Share"), rows)


def _classes(samples):
    """Rows of each class before and after: of many classes, those that changed most."""
    if samples.classes is None or (samples.given is None and not samples.purified):
        return None
    n_classes = len(samples.classes)
    columns = []
    if samples.given is not None:
        columns.append(("Given", samples.given))
    if samples.purified:
        columns.append(("Purified", samples._known_codes()))
    counts = [np.bincount(codes[codes >= 0], minlength=n_classes) for _, codes in columns]
    shown = np.arange(n_classes)
    if n_classes > MAX_CLASSES:
        change = np.abs(counts[-1] - counts[0]) if len(counts) > 1 else counts[0]
        shown = np.sort(np.argsort(-change, kind="stable")[:MAX_CLASSES])
    rows = [(_text(samples.classes[k]), *(f"{c[k]:,}" for c in counts)) for k in shown]
    if n_classes > MAX_CLASSES:
        others = [c.sum() - c[shown].sum() for c in counts]
        rows.append((f"{n_classes - MAX_CLASSES:,} others", *(f"{c:,}" for c in others)))
    missing = [int(np.sum(codes < 0)) for _, codes in columns]
    if any(missing):
        rows.append(("<em>none</em>", *(f"{c:,}" for c in missing)))
    return _table("Classes", ("", *(name for name, _ in columns)), rows)


def _rows(samples):
    """The first rows, with small pictures where the inputs are images."""
    n = min(len(samples), MAX_ROWS)
    if not n or (samples.given is None and not samples.purified):
        return None
    part = samples[:n]
    columns = {"Row": [str(i) if part.index is None else _text(part.index[i]) for i in range(n)]}
    pictures = _pictures(samples.inputs, n)
    if pictures:
        columns["Input"] = [_picture(pictures.get(i), i) for i in range(n)]
    if part.given is not None:
        columns["Given"] = _names(part.given, part.classes)
    if part.purified:
        columns["Label"] = _names(part._known_codes(), part.classes)
    if part.status is not None:
        columns["Status"] = [str(status) for status in part.status]
    for field, name in (("clean_proba", "P(given right)"), ("right_proba", "P(predicted right)")):
        values = getattr(part, field)
        if values is not None:
            columns[name] = ["" if np.isnan(v) else f"{v:.2f}" for v in values]
    caption = f"First {n} rows" if n < len(samples) else "Rows"
    return _table(caption, columns, zip(*columns.values(), strict=True))


def _names(codes, classes):
    return ["" if code < 0 else _text(classes[code]) for code in codes]


def _pictures(inputs, n):
    """Data URIs by row; none where the inputs are no arrays of images."""
    if inputs is None or len(getattr(inputs, "shape", ())) not in (3, 4):
        return {}
    from skclean.inspection._thumbnails import thumbnails

    return thumbnails(inputs, list(range(n)), _PICTURES)[0]


def _picture(uri, row):
    if uri is None:
        return ""
    size = "height:2.5em;image-rendering:pixelated;margin:0"
    return f"<img src='{escape(uri)}' alt='Input of row {row}' style='{size}'>"
