"""LabelFlowDisplay: which classes gave labels to which."""

from typing import Any, Self

import numpy as np

from skclean.inspection._change import ChangeDisplay
from skclean.inspection._display import (
    COLOURS,
    GREY,
    integer_ticks,
    open_axes,
    plain,
    text_colour,
)

_NAME = "LabelFlowDisplay"
#: Most classes that are drawn as a matrix by default.
MATRIX_CLASSES = 20


class LabelFlowDisplay(ChangeDisplay):
    """Counts of rows by given and purified label.

    As a matrix, or, where there are many classes, as the largest flows from one class to another.
    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    counts : ndarray of shape (C + 1, C + 1), int
        Rows by given label (first axis) and purified label (second axis); the last row is for
        those without a given label, the last column for those whose purified label is unknown.
    classes : ndarray of shape (C,)

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    im_ : matplotlib AxesImage or None
        The matrix.
    text_ : list of matplotlib Text
        The numbers.
    bars_ : matplotlib BarContainer or None
        The flows.

    Examples
    --------
    >>> from skclean import CredibilityRelabeler
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.inspection import LabelFlowDisplay
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> relabeler = CredibilityRelabeler().fit(digits.data, digits.target_noisy)
    >>> LabelFlowDisplay.from_estimator(relabeler)  # doctest: +SKIP
    """

    def __init__(self, counts: Any, classes: Any) -> None:
        self.counts, self.classes = np.asarray(counts), np.asarray(classes)

    @property
    def flows(self) -> list[tuple[Any, Any, int]]:
        """(given, purified, rows) for each change from one class to another, most rows first.

        Where no label went to another class, `purified` is None: the labels withheld by class.
        """
        n_classes, changed = len(self.classes), self._changes
        if not changed.any():
            changed = self.counts[:n_classes, n_classes:]
        names = [*self.classes, None]
        order = np.argsort(-changed, axis=None, kind="stable")[: np.count_nonzero(changed)]
        places = zip(*np.unravel_index(order, changed.shape), strict=True)
        to = 0 if changed.shape[1] > 1 else n_classes
        return [(names[i], names[to + j], int(changed[i, j])) for i, j in places]

    @property
    def _changes(self):
        """Counts (C, C) of the rows whose label changed from one class to another."""
        n_classes = len(self.classes)
        return self.counts[:n_classes, :n_classes] * ~np.eye(n_classes, dtype=bool)

    @classmethod
    def _of(cls, given, label, classes):
        size = len(classes) + 1
        # Code -1 becomes the last place.
        cells = (given % size) * size + label % size
        return cls(np.bincount(cells, minlength=size**2).reshape(size, size), classes)

    def plot(self, ax: Any = None, *, kind: str = "auto", n_flows: int = 20) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a figure.
        kind : {"auto", "matrix", "flows"}, default="auto"
            "auto" is the matrix up to 20 classes.
        n_flows : int, default=20
            Most flows drawn.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `kind` is none of these.
        ImportError
            If matplotlib is not installed.
        """
        if kind not in ("auto", "matrix", "flows"):
            raise ValueError(
                f"{_NAME}: expected kind to be 'auto', 'matrix' or 'flows', got {kind!r}; do pass "
                "one of these."
            )
        as_matrix = kind == "matrix" or (kind == "auto" and len(self.classes) <= MATRIX_CLASSES)
        self.im_ = self.bars_ = None
        self.text_: list = []
        if as_matrix:
            side = float(np.clip(1.5 + 0.5 * len(self.counts), 4.5, 10))
            ax = open_axes(ax, (side + 0.5, side))
            self._draw_matrix(ax)
        else:
            flows = self.flows[:n_flows]
            ax = open_axes(ax, (6.4, max(2.5, 1 + 0.25 * len(flows))))
            self._draw_flows(ax, flows)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_matrix(self, ax):
        counts, n_classes = self.counts, len(self.classes)
        unlabelled, unknown = counts[-1].any(), counts[:, -1].any()
        shown = counts[: n_classes + unlabelled, : n_classes + unknown]
        # Labels that stayed or were withheld are many: they would leave no colour for those that
        # changed class.
        neutral = np.eye(*shown.shape, dtype=bool)
        if self._changes.any():
            neutral[n_classes:], neutral[:, n_classes:] = True, True
        moved = np.ma.masked_array(shown, neutral)
        most = max(1, moved.max() if moved.count() else 1)
        ax.set_facecolor("#DDDDDD")
        self.im_ = ax.imshow(moved, cmap="Blues", vmin=0, vmax=most)
        few = n_classes <= MATRIX_CLASSES
        step = 1 if few else -(-n_classes // MATRIX_CLASSES)
        names = [plain(name) for name in self.classes[::step]]
        places = [*range(0, n_classes, step), n_classes]
        n_rows, n_columns = len(names) + unlabelled, len(names) + unknown
        column_names = [*names, "unknown"][:n_columns]
        ax.set_yticks(places[:n_rows], [*names, "none"][:n_rows])
        ax.set_xticks(places[:n_columns], column_names)
        for label, name in zip(ax.get_xticklabels(), column_names, strict=True):
            if len(name) > 2:
                label.set(rotation=45, ha="right", rotation_mode="anchor")
        if few:
            size = 10 if n_classes <= 10 else 7
            for (i, j), n in np.ndenumerate(shown):
                if n:
                    dark = not neutral[i, j] and n > 0.55 * most
                    colour = "white" if dark else "black"
                    text = ax.text(j, i, str(n), ha="center", va="center", color=colour, size=size)
                    self.text_.append(text)
        else:
            bar = ax.figure.colorbar(self.im_, ax=ax, label="Rows whose label changed", shrink=0.8)
            integer_ticks(bar.ax.yaxis)
        ax.set(xlabel="Purified label", ylabel="Given label")

    def _draw_flows(self, ax, flows):
        totals = dict(zip(self.classes.tolist(), self.counts.sum(axis=1), strict=False))
        names = [f"{plain(a)} → {'unknown' if b is None else plain(b)}" for a, b, _ in flows]
        sizes = [n for *_, n in flows]
        colours = [GREY if b is None else COLOURS[0] for _, b, _ in flows]
        places = np.arange(len(flows))
        self.bars_ = ax.barh(places, sizes, color=colours)
        ax.set_yticks(places, names)
        ax.set_ylim(len(flows) - 0.4, -0.6)
        for place, (a, _, n) in enumerate(flows):
            share = 100 * n / totals[a.item() if hasattr(a, "item") else a]
            label = f" {n:,} ({share:.0f} %)"
            self.text_.append(ax.text(n, place, label, va="center", color=text_colour(ax), size=8))
        ax.set_xlim(0, 1.2 * max(sizes, default=1))
        integer_ticks(ax.xaxis)
        ax.set(xlabel="Rows (share of those given the label)", ylabel="Given → purified")
        every, unknown = self.flows, int(self.counts[:-1, -1].sum())
        title = f"{len(flows)} of {len(every)} flows; {self._changes.sum():,} labels changed class"
        ax.set_title(f"{title}, {unknown:,} withheld", size=10)
