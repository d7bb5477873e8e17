"""Histograms with a mixture of two Gaussians and its threshold."""

from typing import Any, Self

import numpy as np

from skclean.inspection._display import COLOURS, count_label, legend_above, open_axes, text_colour
from skclean.linalg.mixture import TwoGaussians


class MixtureDisplay:
    """A histogram by group with two components and a boundary: what the displays of them share.

    A subclass names its values by `_values`, and what is drawn by the attributes below it.
    """

    _values: str
    _components: tuple[str, str]
    _event: str
    _nothing: str
    _xlabel: str
    _colours: dict[str, str]

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    threshold: float
    group: np.ndarray
    group_names: Any
    boundary: Any

    def _store(self, values, weights, means, variances, threshold, group, group_names):
        setattr(self, self._values, np.asarray(values))
        self.weights, self.means = np.asarray(weights), np.asarray(means)
        self.variances = np.asarray(variances)
        self.threshold = threshold
        n = len(getattr(self, self._values))
        self.group = np.zeros(n, dtype=int) if group is None else np.asarray(group)
        self.group_names = group_names

    def plot(self, ax: Any = None, *, bins: int = 50) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a figure.
        bins : int, default=50

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax, values, groups = open_axes(ax), getattr(self, self._values), self.group
        used = [g for g in range(len(self.group_names)) if np.any(groups == g)]
        names = [self.group_names[g] for g in used]
        edges = np.histogram_bin_edges(values, bins)
        _, _, bars = ax.hist(
            [values[groups == g] for g in used],
            edges,
            stacked=True,
            color=[self._colours.get(name, COLOURS[0]) for name in names],
            label=[count_label(name, int(np.sum(groups == g))) for g, name in zip(used, names)],
            alpha=0.8,
        )
        self.bars_ = list(bars) if len(used) > 1 else [bars]
        top = ax.get_ylim()[1]
        x = np.linspace(edges[0], edges[-1], 400)
        scale = len(values) * (edges[1] - edges[0])
        weights, means, variances = (
            p[:, :, None] for p in (self.weights, self.means, self.variances)
        )
        density = weights * np.exp(-((x - means) ** 2) / 2 / variances)
        density = scale * (density / np.sqrt(2 * np.pi * variances)).sum(axis=0)
        self.curves_: list = []
        colour = text_colour(ax)
        for curve, what, style in zip(density, self._components, ("-", "--"), strict=True):
            if len(weights):
                self.curves_ += ax.plot(x, curve, style, color=colour, linewidth=1.5, label=what)
        cut = f"P({self._event}) = {self.threshold:.2g}"
        self.lines_ = [
            ax.axvline(at, color=colour, linestyle=":", linewidth=2, label=None if i else cut)
            for i, at in enumerate(self.boundary)
        ]
        # A component may be narrower than a bin: its peak is cut rather than the bars made small.
        ax.set_ylim(0, min(1.5 * top, max(top, 1.05 * density.max(initial=0))))
        legend_above(ax, title=None if len(weights) else self._nothing)
        ax.set(xlabel=self._xlabel, ylabel="Rows")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def mixture_arrays(
    mixtures: list[tuple[TwoGaussians, float]], low: float, high: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and variances of mixtures, each (m, 2), in units of the values.

    Parameters
    ----------
    mixtures : list of (TwoGaussians, float)
        Mixtures of values brought from [low, high] to [0, 1], and the share of the rows that each
        is for. Those of one component are left out.
    low, high : float
    """
    scale = high - low if high > low else 1.0
    kept = [(m, share) for m, share in mixtures if m.n_components == 2]
    weights = np.array([share * m.weights for m, share in kept]).reshape(-1, 2)
    means = np.array([low + scale * m.means for m, _ in kept]).reshape(-1, 2)
    variances = np.array([scale**2 * m.variances for m, _ in kept]).reshape(-1, 2)
    return weights, means, variances


def boundaries(
    weights: np.ndarray, means: np.ndarray, variances: np.ndarray, threshold: float
) -> np.ndarray:
    """Values, ascending, at which the posterior of the first component equals a threshold.

    Parameters
    ----------
    weights, means, variances : ndarray of shape (2,)
    threshold : float in [0, 1]

    Returns
    -------
    ndarray of shape (0,), (1,) or (2,)
    """
    if not 0 < threshold < 1:
        return np.empty(0)
    mixture = TwoGaussians(weights, means, variances, 2, 0, True)
    a, b, c = mixture._log_ratio()
    roots = np.roots([a, b, c - np.log(1 / threshold - 1)])
    return np.sort(roots[np.isreal(roots)].real)
