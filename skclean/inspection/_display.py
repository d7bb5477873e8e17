"""What the displays share: where data comes from, axes, colours."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skclean._labels import encode_labels
from skclean._optional import import_optional
from skclean.base import BaseCleaner
from skclean.samples import LabelledSamples

#: Colours of Okabe and Ito, which those with any common colour vision can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31")
GREY = "#8A8A8A"
STATUS_COLOURS = {
    "kept": "#0072B2",
    "trusted": "#009E73",
    "predicted": "#CC79A7",
    "corrected": "#E69F00",
    "unknown": GREY,
}


def open_axes(ax: Any, figsize: tuple[float, float] | None = None) -> Any:
    """The axes given, else those of a new figure; ImportError where matplotlib is missing."""
    plt = import_optional("matplotlib.pyplot", "report")
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def text_colour(ax: Any) -> Any:
    """Colour of the labels of the axes: it is seen on any style's background."""
    return ax.xaxis.label.get_color()


def legend_above(ax: Any, handles: Any = None, title: str | None = None) -> None:
    """A legend above the axes, where it covers no data."""
    named = {} if handles is None else {"handles": handles}
    legend = ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, title=title, **named
    )
    legend.set_alignment("left")


def parts(estimator: Any) -> Iterator[Any]:
    """The estimator and those that work inside it, in the order of the data."""
    estimator = _opened(estimator)
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from parts(step)
        return
    for inner in ("cleaner_", "purifier_"):
        if getattr(estimator, inner, None) is not None:
            yield from parts(getattr(estimator, inner))
    yield estimator


def find_part(estimator: Any, kind: Any, name: str, wanted: str) -> Any:
    """The last part of an estimator that is of a class.

    Parameters
    ----------
    estimator : estimator or Pipeline
    kind : type or union of types
    name, wanted : str
        Who speaks in errors, and what is looked for.

    Raises
    ------
    ValueError
        If there is none.
    NotFittedError
        If it is not fitted.
    """
    found = [part for part in parts(estimator) if isinstance(part, kind)]
    if not found:
        raise ValueError(
            f"{name}: expected {wanted}, alone or in a Pipeline, got {_described(estimator)}; do "
            "pass an estimator with one, or arrays to from_predictions or the constructor."
        )
    check_is_fitted(found[-1])
    return found[-1]


def purified_samples(estimator: Any, X: Any, name: str) -> LabelledSamples:
    """Rows as the last cleaner of an estimator has purified them.

    Parameters
    ----------
    estimator : cleaner or Pipeline
        Fitted.
    X : array, DataFrame or LabelledSamples of n rows, or None
        What the estimator takes. None: the rows of the fit, whose features are not kept.
    name : str
        Who speaks in errors.
    """
    # What the last one says of the labels holds.
    cleaner = find_part(estimator, BaseCleaner, name, "a cleaner")
    if X is None:
        return cleaner._purified
    estimator = _opened(estimator)
    if isinstance(estimator, Pipeline):
        last = max(i for i, (_, step) in enumerate(estimator.steps) if cleaner in parts(step))
        if last + 1 < len(estimator.steps):
            estimator = estimator[: last + 1]
    return estimator.transform(X)


def split_by_truth(y_true: Any, codes: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """Group of each row (n,) by true labels in the user's classes: 0 right, 1 wrong.

    Raises
    ------
    ValueError
        If lengths differ, or no true label is of the type of the classes.
    """
    truth, _ = encode_labels(
        y_true, classes=classes, missing_label=None, name=name, outside="missing"
    )
    if len(truth) != len(codes):
        raise ValueError(
            f"{name}: expected y_true of {len(codes)} rows, those of the fit, got {len(truth)}; do "
            "pass one true label a row."
        )
    return np.where(truth == codes, 0, 1)


def integer_ticks(axis: Any) -> None:
    """Ticks of an axis at whole numbers alone."""
    ticker = import_optional("matplotlib.ticker", "report")
    axis.set_major_locator(ticker.MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def plain(name: Any) -> str:
    """A name of the user as matplotlib draws it letter by letter, shortened where it is long."""
    shown = str(name)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    # Between two dollars stands mathematics, and a legend passes over what begins with "_".
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


def count_label(what: Any, n: int) -> str:
    """A name with the number of its rows, for legends."""
    return f"{plain(what)} ({n:,})"


def _opened(estimator):
    """What a search has chosen, and what was frozen."""
    if isinstance(estimator, FrozenEstimator):
        return _opened(estimator.estimator)
    best = getattr(estimator, "best_estimator_", None)
    return estimator if best is None else _opened(best)


def _described(estimator):
    estimator = _opened(estimator)
    if isinstance(estimator, Pipeline):
        inside = ", ".join(type(step).__name__ for _, step in estimator.steps)
        return f"a Pipeline of {inside}"
    return f"{type(estimator).__name__}"
