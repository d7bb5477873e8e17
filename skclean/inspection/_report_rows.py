"""The suspicious rows of the report, as plain types for its page."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from skclean._array import take_rows
from skclean._blocks import best_class, held, own_column
from skclean._fields import KEPT, STATUSES, TRUSTED
from skclean._labels import is_missing_label
from skclean._optional import import_optional
from skclean.inspection._neighbours import nearest_rows, reference_rows

#: References shown beside a row.
N_NEIGHBOURS = 3
#: Characters of a text: of a row, and of a reference.
_TEXT, _SHORT_TEXT = 800, 160
#: Bytes that the rows and their labels may take in the page; those behind are left out.
_ROW_BYTES = 1_900_000
#: Bytes that the names of the classes may take.
_CLASS_BYTES = 400_000


def suspicious_rows(samples: Any) -> np.ndarray:
    """Rows that were not kept as they are, the most suspicious first.

    By `clean_proba`, the least first; where that is not known, by the probability of the given
    label. Rows without a given label come behind, the least sure first, and unreadable ones last.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified.

    Returns
    -------
    ndarray of int64
    """
    given = samples._given_codes()
    score = np.full(len(samples), np.nan)
    if samples.clean_proba is not None:
        score[:] = samples.clean_proba
    if samples.proba is not None:
        unsure = np.flatnonzero(np.isnan(score))
        codes, proba = given[unsure], take_rows(samples.proba, unsure)
        codes = np.where(codes < 0, best_class(proba), codes)
        score[unsure] = (given[unsure] < 0) + own_column(proba, codes)
    score = np.where(np.isnan(score), np.where(given < 0, 2.0, 0.5), score)
    if samples.readable is not None:
        score[~samples.readable] = 3
    rows = np.flatnonzero(~np.isin(samples.status_codes, (KEPT, TRUSTED)))
    return rows[np.argsort(score[rows], kind="stable")]


def row_data(
    samples: Any,
    rows: np.ndarray,
    ids: list[str],
    texts: list | None,
    verdicts: Any,
    ranking: bool = False,
) -> tuple[dict, list[int]]:
    """What the page knows about rows.

    Parameters
    ----------
    samples : LabelledSamples of n rows
    rows : ndarray of int64 of shape (m,)
        Those to show, the worst first.
    ids : list of str of n
    texts : list of n, or None
    verdicts : callable
        From a container to reasons and actions.
    ranking : bool, default=False
        Whether clean_proba is a score that ranks the labels, and no probability.

    Returns
    -------
    data : dict
        `rows` (those that fit into `_ROW_BYTES`), `refs` by position, `labels`, `classes` (names
        of all to choose from, or of those of the rows where all take more than `_CLASS_BYTES`),
        `statuses`, `trusted` (whether references are), and `report`, a name that tells reports
        apart.
    pictures : list of int
        Positions of which a picture is wanted, the most important first.
    """
    reasons, actions, proba = (), (), None
    if len(rows):
        few = samples[rows]
        few = few._replace(proba=held(few.proba), features=np.empty((len(rows), 0)))
        (reasons, actions), proba = verdicts(few), few.proba
    references, trusted = reference_rows(samples, ranking)
    nearest = nearest_rows(samples.features, rows, references, N_NEIGHBOURS)
    labels = _Labels(samples.classes)
    shown: list[dict] = []
    refs: dict[int, dict] = {}
    room, written = _ROW_BYTES, import_optional("jinja2.utils", "report").htmlsafe_json_dumps
    for place, row in enumerate(rows.tolist()):
        near, n_labels = [r for r in nearest[place].tolist() if r >= 0], len(labels.names)
        new = {r: _reference(samples, r, ids, texts, labels) for r in near if r not in refs}
        one = _row(samples, row, ids, texts, labels)
        if proba is not None and one["s"] >= 0:
            one["q"] = _rounded(proba[place, samples.label_codes[row]])
        one.update(why=str(reasons[place]), act=str(actions[place]), near=near)
        room -= len(written([one, new, labels.names[n_labels:]]))
        if room < 0 and shown:
            labels.forget(n_labels)
            break
        shown.append(one)
        refs.update(new)
    data = {
        "rows": shown,
        "refs": refs,
        "labels": labels.names,
        "classes": _offered(samples.classes, labels.names, written) if shown else [],
        "statuses": STATUSES,
        "trusted": trusted,
        "report": _name([(r["id"], r["g"], r["s"]) for r in shown], labels),
    }
    return data, [r["row"] for r in shown] + list(refs)


def _offered(classes, names, written):
    """Names of classes to choose from; an empty one would read as no label."""
    every = [str(label) for label in classes]
    names = every if len(written(every)) <= _CLASS_BYTES else names
    return [name for name in names if name]


def opened_ids(ids: Any, samples: Any) -> list[str]:
    """Ids as text: those given, else the index of the DataFrame, else row numbers.

    Raises
    ------
    ValueError
        If there are not n, or one is missing or comes twice.
    """
    n = len(samples)
    if ids is None:
        ids = range(n) if samples.index is None else samples.index
    ids = opened_list(ids, n, "ids")
    missing = [i for i, one in enumerate(ids) if one is None]
    if missing:
        raise ValueError(
            f"write_report: expected an id for every row, got none in row {missing[0]}; do pass "
            f"ids=range({n}), say."
        )
    ids = [", ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in ids]
    if len(set(ids)) < n:
        twice = Counter(ids).most_common(1)[0][0]
        raise ValueError(
            f"write_report: expected ids that differ, by which decisions find their rows, got "
            f"{twice!r} twice; do pass ids=range({n}), say."
        )
    return ids


def opened_list(values: Iterable, n: int, name: str) -> list:
    """Values as a list of n, None where missing; ValueError otherwise."""
    values = [None if is_missing_label(value) else value for value in values]
    if len(values) != n:
        raise ValueError(
            f"write_report: expected {name} of {n} rows, as many as the samples, got "
            f"{len(values)}; do pass one for each row."
        )
    return values


class _Labels:
    """The labels that rows of the page have, each once."""

    def __init__(self, classes):
        self.names = []
        self._classes, self._places = classes, {}

    def place(self, code):
        """Position in `names`, -1 for none."""
        if code < 0:
            return -1
        if code not in self._places:
            self._places[code] = len(self.names)
            self.names.append(str(self._classes[code]))
        return self._places[code]

    def forget(self, n):
        """Keep the first n alone."""
        del self.names[n:]
        self._places = {code: place for code, place in self._places.items() if place < n}


def _row(samples, row, ids, texts, labels):
    readable = samples.readable is None or bool(samples.readable[row])
    label = int(samples.label_codes[row]) if readable else -1
    return {
        "row": row,
        "id": ids[row],
        "g": labels.place(int(samples._given_codes()[row])),
        "s": labels.place(label),
        "p": _number(samples.clean_proba, row),
        "q": None,
        "st": int(samples.status_codes[row]),
        "text": _text(texts, row, _TEXT),
    }


def _reference(samples, row, ids, texts, labels):
    return {
        "id": ids[row],
        "g": labels.place(int(samples._given_codes()[row])),
        "text": _text(texts, row, _SHORT_TEXT),
    }


def _text(texts, row, most):
    """The text of a row, cut; None where there is none."""
    if texts is None or texts[row] is None:
        return None
    text = str(texts[row])
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(values, row):
    return None if values is None or np.isnan(values[row]) else _rounded(values[row])


def _rounded(value):
    return round(float(value), 4)


def _name(rows, labels):
    told = json.dumps([rows, labels.names]).encode()
    return hashlib.sha256(told).hexdigest()[:16]
