"""Histograms and mixtures as shapes of an inline SVG."""

from typing import Any

import numpy as np

from skclean._blocks import best_class, own_column
from skclean._fields import KEPT, TRUSTED
from skclean.decision.loss_mixture import LossMixture, cross_entropy, normalise
from skclean.linalg.mixture import TwoGaussians

#: Size of a picture, and the line on which its bars stand.
WIDTH, HEIGHT, GROUND = 560, 230, 190
_MARGIN, _TOP = 14, 26
_BINS = 50
_GRID = np.linspace(0, 1, 2001)


def figures(samples: Any, parts: list, ranking: bool = False) -> list[dict]:
    """What the page draws: the mixtures of the cleaner, else a histogram of clean_proba.

    Parameters
    ----------
    samples : LabelledSamples
        Purified.
    parts : list of fitted estimators
        In the order of the data.
    ranking : bool, default=False
        Whether clean_proba is a score that ranks the labels.

    Returns
    -------
    list of dict
        Of each picture: `title`, `axis`, `description`, `notes`, `legend` (kind and name), and in
        pixels `bars`, `curves`, `threshold` (None where there is none) and `ticks`.
    """
    drawn, judge = [], None
    for part in parts:
        mixture = getattr(part, "mixture_", None)
        if isinstance(mixture, LossMixture):
            drawn.append(_loss_figure(part, mixture))
        elif isinstance(mixture, TwoGaussians):
            drawn.append(_confidence_figure(part, mixture, judge))
        if hasattr(part, "label_distributions_"):
            judge = part
    if not drawn and samples.clean_proba is not None:
        drawn = _clean_figure(samples, judge, ranking)
    return drawn


def _loss_figure(part, mixture):
    values, rows = np.empty(0), getattr(part, "_purified", None)
    # The losses of other cleaners are not those of the probabilities that they give.
    if type(part).__name__ == "GMMCleaner" and rows is not None:
        judged = np.flatnonzero((rows.given >= 0) & np.isfinite(rows.clean_proba))
        loss = cross_entropy(rows.proba[judged], rows.given[judged])
        values = normalise(loss, mixture.low, mixture.high)
    threshold = _threshold(part)
    # Far below its mean, the wider component may win again.
    wrong = _GRID > mixture.pooled.means[0]
    wrong &= mixture.pooled.smaller_proba(_GRID) <= threshold
    said = f"labels are kept where the component on the left has more than {threshold:.3g}."
    if mixture.by_class:
        said += " Classes have mixtures of their own; drawn is that of all rows."
    return _mixture_figure(
        f"Losses of the given labels ({type(part).__name__})",
        "loss of the given label, from the least (0) to the greatest (1)",
        values,
        mixture.pooled,
        _GRID[wrong].min() if wrong.any() else None,
        (("good", "right"), ("bad", "wrong")),
        said,
    )


def _confidence_figure(part, mixture, judge):
    values, proba = np.empty(0), getattr(judge, "label_distributions_", None)
    if proba is not None and len(proba) == len(part.label_distributions_):
        greatest = own_column(proba, best_class(proba))
        values = normalise(greatest.astype(np.float64), *part._range)
    credible = 1 - mixture.smaller_proba(np.clip(_GRID, *mixture.means)) > part.threshold
    return _mixture_figure(
        f"Confidence of the predicted labels ({type(part).__name__})",
        "greatest class probability, from the least (0) to the greatest (1)",
        values,
        mixture,
        _GRID[credible].min() if credible.any() else None,
        (("bad", "not credible"), ("good", "credible")),
        f"predictions are credible where the component on the right has more than "
        f"{part.threshold:.3g}.",
    )


def _mixture_figure(title, axis, values, mixture, cut, sides, said):
    """A mixture of values in [0, 1]; `sides` are kind and name of what lies left and right."""
    notes, curves = [], []
    if mixture.n_components == 1:
        cut = None
        notes.append("One Gaussian explains the values as well as two: nothing to separate.")
    else:
        squares = (_GRID[::8, None] - mixture.means) ** 2 / (2 * mixture.variances)
        curves = mixture.weights * np.exp(-squares) / np.sqrt(2 * np.pi * mixture.variances)
        named = zip(sides, mixture.weights, mixture.means)
        notes.append(
            "Components: "
            + ", ".join(f"{name} {100 * w:.0f} % around {m:.2f}" for (_, name), w, m in named)
            + "."
        )
    if cut is None:
        groups = [("plain", values)]
    else:
        # By the middle of the bin, so that no bar has two colours.
        left = (np.floor(values * _BINS) + 0.5) / _BINS < cut
        groups = [(sides[0][0], values[left]), (sides[1][0], values[~left])]
    kinds = [kind for kind, _ in sides]
    figure = _figure(title, axis, groups, kinds, curves, cut)
    what = f"Histogram of {len(values):,} rows." if len(values) else "The fitted components."
    figure["description"] = what if cut is None else f"{what} Threshold at {cut:.3f}: {said}"
    figure["legend"] = [] if cut is None else sides
    figure["notes"] = notes
    return figure


def _clean_figure(samples, judge, ranking):
    judged = np.isfinite(samples.clean_proba)
    if not judged.any():
        return []
    values, kept = samples.clean_proba[judged], np.isin(samples.status_codes, (KEPT, TRUSTED))
    groups = [("bad", values[~kept[judged]]), ("good", values[kept[judged]])]
    threshold = None if judge is None else _threshold(judge)
    what = "Probability that the given label is right", "probability"
    if ranking:
        what = "Score of the given label, which ranks", "score"
    figure = _figure(*what, groups, [], [], threshold)
    said = "" if threshold is None else f" Labels are kept above the threshold, {threshold:.3g}."
    figure["description"] = f"Histogram of {len(values):,} rows.{said}"
    figure["legend"] = [("good", "kept"), ("bad", "flagged")]
    figure["notes"] = []
    return [figure]


def _threshold(part):
    """The threshold that a cleaner used, None where it has none."""
    threshold = getattr(part, "threshold_", getattr(part, "threshold", None))
    return None if threshold is None else float(threshold)


def _figure(title, axis, groups, kinds, curves, cut):
    """Shapes of stacked bars of groups of values, and of curves (points, 2) over them."""
    total = max(sum(len(values) for _, values in groups), 1)
    counts = [np.histogram(v, bins=_BINS, range=(0, 1))[0] * (_BINS / total) for _, v in groups]
    highest = float(sum(counts).max())
    if len(curves):
        peak = float(np.max(curves))
        # A component may be narrower than a bin: its peak is cut rather than the bars made small.
        highest = min(peak, 1.5 * highest) if 0 < highest < peak else max(highest, peak)
    highest = highest or 1.0
    bars, below = [], np.zeros(_BINS)
    for (kind, _), density in zip(groups, counts):
        for b in np.flatnonzero(density):
            bottom, top = _y(below[b] / highest), _y((below[b] + density[b]) / highest)
            bars.append({"kind": kind, "x": _x(b / _BINS), "y": top, "height": bottom - top})
        below += density
    lines = [
        {"kind": kind, "path": _path(heights / highest)}
        for kind, heights in zip(kinds, np.transpose(curves))
    ]
    return {
        "title": title,
        "axis": axis,
        "bars": bars,
        "bar_width": _x(1 / _BINS) - _x(0) - 1,
        "curves": lines,
        "threshold": None if cut is None else _x(min(max(cut, 0), 1)),
        "ticks": [{"x": _x(t), "text": f"{t:g}"} for t in (0, 0.25, 0.5, 0.75, 1)],
    }


def _x(value):
    return _MARGIN + float(value) * (WIDTH - 2 * _MARGIN)


def _y(share):
    return GROUND - min(float(share), 1) * (GROUND - _TOP)


def _path(shares):
    x = np.linspace(0, 1, len(shares))
    return "M" + "L".join(f"{_x(a):.1f} {_y(b):.1f}" for a, b in zip(x, shares))
