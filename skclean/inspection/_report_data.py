"""What the report says about all rows: numbers, classes, confusion."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skclean._fields import CORRECTED, KEPT, STATUSES, TRUSTED, UNKNOWN
from skclean.decision.summary import LabelAudit, audit_labels

#: Up to so many classes the confusion is a table of all pairs, beyond a list of the largest.
MATRIX_CLASSES = 12
FLOWS = 25
#: Classes in the table: the worst first, and no more.
CLASS_ROWS = 1000
_SHOWN_LABEL = 120


def audit_samples(samples: Any, parts: list) -> tuple[LabelAudit | None, bool]:
    """How many labels of these rows are wrong.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified.
    parts : list of fitted estimators
        The last one with an ``audit`` says whether `clean_proba` are probabilities, and whether
        anything can be said at all.

    Returns
    -------
    audit : LabelAudit or None
        None where nothing tells how likely the labels are right.
    interval : bool
        Whether its interval means anything: a cleaner vouches for the probabilities.
    """
    if samples.clean_proba is None:
        return None, False
    informative, doubted, vouched = True, 0.0, False
    for part in reversed(parts):
        if hasattr(part, "audit"):
            check_is_fitted(part)
            try:
                of_fit = part.audit()
            except ValueError:  # A ranking, whose sum is no number of labels.
                return None, False
            doubted = of_fit.n_doubtful / max(of_fit.n_labels, 1)
            informative, vouched = of_fit.informative or doubted > 0, True
            break
    given, flagged = samples._given_codes(), ~np.isin(samples.status_codes, (KEPT, TRUSTED))
    if not (np.isfinite(samples.clean_proba) & (given >= 0)).any():
        return None, False
    seen = samples.clean_proba, flagged, given, samples.classes
    return audit_labels(*seen, informative, doubted), vouched


def status_counts(samples: Any) -> list[dict]:
    """Name, count and share of each status that a row has."""
    counts = np.bincount(samples.status_codes, minlength=len(STATUSES))
    n = max(len(samples), 1)
    return [
        {"name": name, "count": int(c), "share": c / n} for name, c in zip(STATUSES, counts) if c
    ]


def class_table(samples: Any, probabilities: bool) -> list[dict]:
    """What became of each class, the one with most wrong labels first.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified, with given labels.
    probabilities : bool
        Whether the sum of 1 - clean_proba is a number of labels.

    Returns
    -------
    list of dict
        `name`, `given` and `purified` rows, `flagged`, `wrong` (None where not known), and
        `wrong_share` among the labels judged; at most `CLASS_ROWS`.
    """
    given, status, n_classes = samples._given_codes(), samples.status_codes, len(samples.classes)

    def counts(codes, weights=None):
        return np.bincount(codes, weights=weights, minlength=n_classes)

    labelled = given >= 0
    before = counts(given[labelled])
    known = (status != UNKNOWN) & (samples.label_codes >= 0)
    after = counts(samples.label_codes[known])
    flagged = counts(given[labelled & ~np.isin(status, (KEPT, TRUSTED))])
    wrong, judged, share = None, before, flagged / np.maximum(before, 1)
    if probabilities:
        rows = labelled & np.isfinite(samples.clean_proba)
        judged = counts(given[rows])
        wrong = counts(given[rows], 1 - samples.clean_proba[rows].astype(np.float64))
        share = wrong / np.maximum(judged, 1)
    order = np.lexsort((-before, -(flagged if wrong is None else wrong)))[:CLASS_ROWS]
    highest = max(int(before.max(initial=0)), int(after.max(initial=0)), 1)
    return [
        {
            "name": shown_label(samples.classes[k]),
            "given": int(before[k]),
            "purified": int(after[k]),
            "given_width": round(100 * before[k] / highest, 2),
            "purified_width": round(100 * after[k] / highest, 2),
            "flagged": int(flagged[k]),
            "wrong": None if wrong is None else float(wrong[k]),
            "share": float(share[k]),
        }
        for k in order
    ]


def confusion(samples: Any) -> dict:
    """Where the labels went: given label in rows, purified label in columns.

    Returns
    -------
    dict
        `columns` and `rows` of the table for at most `MATRIX_CLASSES` classes, else None; `flows`,
        the `FLOWS` largest changes; `withheld`, the number of labels that none took the place of;
        `what`, whether "purified" or "suggested" labels are counted: the latter where no row was
        given a new one.
    """
    given, n_classes = samples._given_codes(), len(samples.classes)
    corrected = bool((samples.status_codes == CORRECTED).any())
    unknown = samples.status_codes == UNKNOWN
    target = np.where(samples.label_codes < 0, n_classes, samples.label_codes)
    if corrected or samples.proba is None:
        target = np.where(unknown, n_classes, target)
    if samples.readable is not None:
        target = np.where(samples.readable, target, n_classes)
    rows = given >= 0
    given, target = given[rows], target[rows]
    totals = np.bincount(given, minlength=n_classes)
    pairs, counts = np.unique(given * (n_classes + 1) + target, return_counts=True)
    source, goal = np.divmod(pairs, n_classes + 1)
    names = [shown_label(label) for label in samples.classes]
    found = {
        "what": "purified" if corrected else "suggested",
        "flows": _flows(source, goal, counts, totals, names),
        "withheld": int(counts[goal == n_classes].sum()),
        "columns": None,
        "rows": None,
    }
    if n_classes <= MATRIX_CLASSES:
        table = np.zeros((n_classes, n_classes + 1), dtype=np.int64)
        table[source, goal] = counts
        used = [*range(n_classes), *([n_classes] if table[:, n_classes].any() else [])]
        found["columns"] = [*names, None][: len(used)]
        found["rows"] = [
            {"name": names[k], "total": int(totals[k]), "cells": _cells(table[k], k, used)}
            for k in range(n_classes)
        ]
    return found


def shown_label(label: Any) -> str:
    """A label as text; a long one is cut."""
    text = str(label)
    return text if len(text) <= _SHOWN_LABEL else text[: _SHOWN_LABEL - 1] + "…"


def _flows(source, goal, counts, totals, names):
    moved = np.flatnonzero((source != goal) & (goal < len(names)))
    order = moved[np.argsort(-counts[moved], kind="stable")[:FLOWS]]
    highest = max(int(counts[order].max(initial=0)), 1)
    return [
        {
            "source": names[source[i]],
            "goal": names[goal[i]],
            "count": int(counts[i]),
            "share": float(counts[i] / totals[source[i]]),
            "width": round(100 * counts[i] / highest, 2),
        }
        for i in order
    ]


def _cells(counts, k, used):
    last = len(counts) - 1
    total = max(int(counts.sum()), 1)
    return [
        {
            "count": int(counts[j]),
            "share": counts[j] / total,
            "kind": "same" if j == k else "withheld" if j == last else "other",
            "level": int(np.ceil(9 * np.sqrt(counts[j] / total))),
        }
        for j in used
    ]
