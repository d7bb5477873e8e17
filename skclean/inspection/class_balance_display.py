"""ClassBalanceDisplay: rows of each class before and after."""

from typing import Any, Self

import numpy as np

from skclean.inspection._change import ChangeDisplay
from skclean.inspection._display import (
    COLOURS,
    integer_ticks,
    legend_above,
    open_axes,
    plain,
)


class ClassBalanceDisplay(ChangeDisplay):
    """Rows of each class by given and by purified labels.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    given, purified : ndarray of shape (C,), int
        Rows of each class; those without a label, or of status unknown, do not count.
    classes : ndarray of shape (C,)

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : tuple of two matplotlib BarContainer
        Given and purified.

    See Also
    --------
    skclean.metrics.class_balance : How even the classes are, in numbers.

    Examples
    --------
    >>> from skclean import TransitionCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.inspection import ClassBalanceDisplay
    >>> digits = load_noisy_digits("asymmetric", random_state=0)
    >>> cleaner = TransitionCleaner().fit(digits.data, digits.target_noisy)
    >>> ClassBalanceDisplay.from_estimator(cleaner)  # doctest: +SKIP
    """

    def __init__(self, given: Any, purified: Any, classes: Any) -> None:
        self.given, self.purified = np.asarray(given), np.asarray(purified)
        self.classes = np.asarray(classes)

    @classmethod
    def _of(cls, given, label, classes):
        before, after = (np.bincount(c[c >= 0], minlength=len(classes)) for c in (given, label))
        return cls(before, after, classes)

    def plot(self, ax: Any = None, *, max_classes: int = 20) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a figure.
        max_classes : int, default=20
            Of more classes, those are drawn whose number of rows changed most.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        shown = np.arange(len(self.classes))
        if len(shown) > max_classes:
            change = np.abs(self.purified - self.given)
            shown = np.argsort(-change, kind="stable")[:max_classes]
        ax = open_axes(ax, (6.4, float(np.clip(1.2 + 0.36 * len(shown), 2.5, 10))))
        places = np.arange(len(shown))
        self.bars_ = tuple(
            ax.barh(
                places + offset,
                counts[shown],
                height=0.4,
                color=colour,
                label=f"{what} ({counts.sum():,} rows)",
            )
            for counts, offset, colour, what in (
                (self.given, -0.2, COLOURS[1], "given"),
                (self.purified, 0.2, COLOURS[0], "purified"),
            )
        )
        ax.set_yticks(places, [plain(c) for c in self.classes[shown]])
        ax.set(xlabel="Rows", ylabel="Class")
        ax.set_ylim(len(shown) - 0.4, -0.6)
        integer_ticks(ax.xaxis)
        few = f"The {len(shown)} of {len(self.classes)} classes that changed most"
        legend_above(ax, title=few if len(shown) < len(self.classes) else None)
        self.ax_, self.figure_ = ax, ax.figure
        return self
