"""RESULTS.md out of the files in results/."""

import json
import os
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import _plots, _results
from benchmarks.papers import published
from skclean._files import replacing

PATH = Path(__file__).parent / "RESULTS.md"
_HEAD = """# Results

Written by `python -m benchmarks report` from the files in `results/`, which hold every figure per
seed. Mean ± standard deviation over the seeds where there are several. `python -m benchmarks list`
names the benchmarks.
"""


def write(folder=None, path=PATH):
    """Write the report, and the plots beside the results; the path."""
    folder = _results.FOLDER if folder is None else Path(folder)
    parts = [_HEAD]
    for file in sorted(folder.glob("*.json"), key=lambda f: (_order(f.stem), f.stem)):
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not content.get("records"):
            continue
        parts += [f"## {file.stem}\n", _circumstances(content)]
        parts += section(file.stem, content["records"])
        if file.stem.startswith("growth"):
            plot = _plots.growth(content["records"], folder / f"{file.stem}.svg")
            if plot is not None:
                parts.append(f"![{file.stem}]({_relative(plot, path)})\n")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    return Path(path)


def section(name, records):
    """Tables, in Markdown, of the records of a benchmark.

    Parameters
    ----------
    name : str
        Of the file: that of the benchmark, or beginning with it.
    records : list of dict
    """
    if "published" in records[0]:
        return [_paper(name, records)]
    for prefix, layout in LAYOUTS.items():
        if name.startswith(prefix):
            return [text for make in layout for text in make(records)]
    keys = [k for k, v in records[0].items() if isinstance(v, str)]
    return list(long(records, keys))


def long(records, keys):
    """A line for each combination of some keys, a column for each value."""
    groups = _grouped(records, keys)
    values = list(dict.fromkeys(k for r in records for k, v in r.items() if _is_number(v)))
    values = [k for k in values if k not in (*keys, "seed")]
    rows = [
        [*(_word(k) for k in key), *(cell([r.get(v) for r in group]) for v in values)]
        for key, group in groups.items()
    ]
    yield table([*keys, *values], rows)


def pivot(records, keys, column, value, title=None):
    """A line for each combination of some keys, a column for each value of another key."""
    columns = list(dict.fromkeys(r[column] for r in records if column in r))
    rows = []
    for key, group in _grouped(records, keys).items():
        cells = [cell([r.get(value) for r in group if r.get(column) == c]) for c in columns]
        rows.append([*(_word(k) for k in key), *cells])
    yield table([*keys, *columns], rows, title or value)


def growth(records):
    """Exponents of each suite along each axis."""
    rows = []
    for suite, group in _grouped(records, ["suite"]).items():
        by_axis = {r["axis"]: r for r in group}
        n = by_axis.get("n", {})
        rows.append(
            [
                suite[0],
                *(_exponent(by_axis.get(axis)) for axis in ("n", "d", "C")),
                {True: "yes", False: "no"}.get(n.get("linear"), ""),
                _figure(n["bytes a row"]) if "bytes a row" in n else "",
                str(n.get("bytes of a row of X", "")),
                f"{n['sizes'][-1][0]:,}" if n else "",
                _figure(n["seconds"][-1]) if n else "",
            ]
        )
    head = ["suite", "n", "d", "C", "linear in n", "memory, bytes a row", "a row of X"]
    yield table([*head, "rows at most", "seconds there"], rows, "Exponents of processor time")


def table(head, rows, title=None):
    """A table in Markdown."""
    lines = [f"**{title}**\n"] if title else []
    lines.append("| " + " | ".join(head) + " |")
    lines.append("|" + "---|" * len(head))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(values):
    """Mean, and deviation where there are several values, in few digits."""
    values = [v for v in values if _is_number(v) and np.isfinite(v)]
    if not values:
        return ""
    mean = _figure(np.mean(values))
    return mean if len(values) < 2 else f"{mean} ± {_figure(np.std(values), like=np.mean(values))}"


def _paper(name, records):
    """Published figures, ours and the difference, a line a method, column and report."""
    rows = []
    for (method, column, report), group in _grouped(
        records, ["method", "column", "report"]
    ).items():
        difference = cell([r["difference"] for r in group])
        signed = difference if difference.startswith("-") or not difference else f"+{difference}"
        values = [r["share"] for r in group]
        rows.append(
            [
                method,
                column,
                report,
                *(cell([r[k] for r in group]) for k in ("published", "ours")),
                signed,
                f"{100 * np.mean(values):.2g} %",
                cell([r["seconds"] for r in group]),
                str(len({r["seed"] for r in group})),
            ]
        )
    head = ["method", "column", "epoch", "published", "ours", "difference", "share", "s", "seeds"]
    known = published.tables().get(name, {})
    notes = list(dict.fromkeys(n for r in records for n in r["notes"])) + known.get("notes", [])
    text = table(head, rows, known.get("caption") and f"{known['paper']}, {known['caption']}")
    return text + "".join(f"\n- {note}" for note in notes) + "\n"


def _circumstances(content):
    settings = {k: v for k, v in content.get("settings", {}).items() if v not in (None, [""])}
    versions = ", ".join(f"{k} {v}" for k, v in content.get("versions", {}).items())
    machine = content.get("machine", {})
    return (
        f"{machine.get('cores', '?')} cores ({machine.get('processor', '?')}), Python "
        f"{content.get('python', '?')}, {versions}; commit {str(content.get('commit'))[:12]}; "
        + (", ".join(f"{k} {_word(v)}" for k, v in settings.items()) or "no settings")
        + ".\n"
    )


def _grouped(records, keys):
    groups = defaultdict(list)
    for record in records:
        groups[tuple(record.get(k, "") for k in keys)].append(record)
    return groups


def _exponent(record):
    if record is None:
        return ""
    return f"{record['exponent of processor time']:.2f}"


def _figure(value, like=None):
    """A number in about three digits."""
    size = abs(value if like is None else like)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def _word(value):
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _relative(target, path):
    return Path(os.path.relpath(target, Path(path).parent)).as_posix()


def _order(name):
    prefixes = list(LAYOUTS)
    return next((i for i, p in enumerate(prefixes) if name.startswith(p)), len(prefixes))


_by_method = partial(pivot, keys=["setting"], column="method")
#: Name of a file, or how it begins -> what makes its tables.
LAYOUTS = {
    "scale": [partial(long, keys=["method", "kernel", "device", "rows"])],
    "growth": [growth],
    "memory": [partial(long, keys=["name"])],
    "speed": [partial(long, keys=["data", "what"])],
    "detection": [
        partial(_by_method, value="f1", title="F1 of the flagged labels"),
        partial(_by_method, value="labels", title="Accuracy of the purified labels"),
        partial(_by_method, value="seconds", title="Seconds"),
    ],
    "peers_small": [
        partial(long, keys=["method"]),
        partial(_by_method, value="f1", title="F1 of the flagged labels"),
        partial(_by_method, value="labels", title="Accuracy of the labels afterwards"),
    ],
    "peers": [
        partial(_by_method, value="f1", title="F1 of the flagged labels"),
        partial(_by_method, value="labels", title="Accuracy of the labels afterwards"),
        partial(_by_method, value="seconds", title="Seconds"),
    ],
    "purifiers": [
        partial(
            pivot,
            keys=["setting", "trusted"],
            column="method",
            value=value,
            title=title,
        )
        for value, title in (
            ("labels", "Accuracy of the purified labels"),
            ("test", "Test accuracy of a classifier trained on them"),
        )
    ],
    "dmlp": [partial(long, keys=["noise", "method"])],
    "features": [partial(long, keys=["method"])],
    "retraining": [
        partial(pivot, keys=["method"], column="setting", value="accuracy", title="Test accuracy")
    ],
    "augment": [partial(long, keys=["device", "images", "who"])],
}
