"""RetrainingCurveDisplay: the losses and the accuracy of a training by epoch."""

from typing import Any, Self

import numpy as np

from skclean.embeddings.featurizer import SSLFeaturizer
from skclean.inspection._display import (
    COLOURS,
    find_part,
    integer_ticks,
    legend_above,
    open_axes,
)
from skclean.neural.retrainer import NeuralRetrainer

_NAME = "RetrainingCurveDisplay"
# What a history holds beside the terms of the loss.
_COSTS = ("learning_rate", "seconds", "images_per_second")
_SHARES = {
    "validation": "accuracy on rows held out",
    "labelled_share": "share of rows kept as labelled",
    "probe": "accuracy of a probe",
}
_STYLES = ("-", "--", ":")


class RetrainingCurveDisplay:
    """The loss terms of a training by epoch, and the shares that were measured.

    Use `from_estimator`.

    Parameters
    ----------
    history : dict of str to ndarray of shape (epochs,)
        As `NeuralRetrainer.history_`; NaN in epochs without an entry.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the loss terms.
    share_ax_ : matplotlib Axes or None
        Of the shares in [0, 1]: validation accuracy, rows kept as labelled.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        By the name in `history`.

    Examples
    --------
    >>> from skclean.inspection import RetrainingCurveDisplay
    >>> history = {"labelled": [1.2, 0.8, 0.6], "validation": [0.7, 0.8, 0.8]}
    >>> RetrainingCurveDisplay(history).plot()  # doctest: +SKIP
    """

    def __init__(self, history: Any) -> None:
        self.history = {name: np.asarray(values) for name, values in history.items()}

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the training of a `NeuralRetrainer`, or of an `SSLFeaturizer`.

        Parameters
        ----------
        estimator : NeuralRetrainer or SSLFeaturizer, or Pipeline or search that contains one
            Fitted. Of several, the last is drawn.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display : RetrainingCurveDisplay

        Raises
        ------
        ValueError
            If the estimator contains none, or one that trained no network.
        ImportError
            If matplotlib is not installed.
        """
        kind, wanted = NeuralRetrainer | SSLFeaturizer, "a NeuralRetrainer or SSLFeaturizer"
        found = find_part(estimator, kind, _NAME, wanted)
        return cls(getattr(found, "history_", {})).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a figure.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the history holds no loss.
        ImportError
            If matplotlib is not installed.
        """
        terms = [name for name in self.history if name not in (*_COSTS, *_SHARES)]
        if not terms:
            raise ValueError(
                f"{_NAME}: expected a history with losses, got {sorted(self.history) or 'none'}; "
                "do pass an estimator that trained a network."
            )
        ax = open_axes(ax)
        self.lines_: dict[str, Any] = {}
        for i, name in enumerate(terms):
            style = COLOURS[i % 7], _STYLES[i // 7 % 3]
            self._draw(ax, name, name.replace("_", " "), *style)
        ax.set(xlabel="Epoch", ylabel="Loss term (weighted, mean of the epoch)")
        integer_ticks(ax.xaxis)
        self.share_ax_ = None
        shares = [name for name in _SHARES if np.isfinite(self.history.get(name, np.nan)).any()]
        if shares:
            self.share_ax_ = ax.twinx()
            self.share_ax_.set(ylim=(0, 1.03), ylabel="Share")
        for i, name in enumerate(shares):
            style = COLOURS[-1 - i], _STYLES[1 + i % 2]
            self._draw(self.share_ax_, name, _SHARES[name], *style)
        legend_above(ax, list(self.lines_.values()))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw(self, ax, name, label, colour, style):
        values = self.history[name]
        # A line of one epoch would not be seen.
        marker = "o" if np.isfinite(values).sum() < 2 else None
        epochs = np.arange(1, len(values) + 1)
        (self.lines_[name],) = ax.plot(
            epochs, values, label=label, marker=marker, color=colour, linestyle=style
        )
