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
        ax = open_axes(ax)
        self.bars_, self.curves_, self.lines_ = _draw_mixture(
            ax,
            getattr(self, self._values),
            self.group,
            self.group_names,
            [self._colours.get(name, COLOURS[0]) for name in self.group_names],
            (self.weights, self.means, self.variances),
            self._components,
            self.boundary,
            f"P({self._event}) = {self.threshold:.2g}",
            bins,
            self._nothing,
        )
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


def _draw_mixture(
    ax: Any,
    values: np.ndarray,
    groups: np.ndarray,
    names: Any,
    colours: Any,
    mixture: tuple[np.ndarray, np.ndarray, np.ndarray],
    component_names: tuple[str, str],
    cuts: np.ndarray,
    cut_name: str,
    bins: int,
    nothing: str,
) -> tuple[list, list, list]:
    """Draw values (n,) by group, the density of each component, and the cuts.

    `nothing` is said where there is no mixture.

    Returns
    -------
    bars, curves, lines : lists of artists
        A container of bars a group, a line a component, a line a cut.
    """
    used = [g for g in range(len(names)) if np.any(groups == g)]
    edges = np.histogram_bin_edges(values, bins)
    _, _, bars = ax.hist(
        [values[groups == g] for g in used],
        edges,
        stacked=True,
        color=[colours[g] for g in used],
        label=[count_label(names[g], int(np.sum(groups == g))) for g in used],
        alpha=0.8,
    )
    top = ax.get_ylim()[1]
    x = np.linspace(edges[0], edges[-1], 400)
    scale = len(values) * (edges[1] - edges[0])
    weights, means, variances = (p[:, :, None] for p in mixture)
    density = weights * np.exp(-((x - means) ** 2) / 2 / variances)
    density = scale * (density / np.sqrt(2 * np.pi * variances)).sum(axis=0)
    curves = []
    for curve, what, style in zip(density, component_names, ("-", "--"), strict=True):
        if len(mixture[0]):
            curves += ax.plot(x, curve, style, color=text_colour(ax), linewidth=1.5, label=what)
    lines = [
        ax.axvline(
            at, color=text_colour(ax), linestyle=":", linewidth=2, label=None if i else cut_name
        )
        for i, at in enumerate(cuts)
    ]
    # A component may be narrower than a bin: its peak is cut rather than the bars made small.
    ax.set_ylim(0, min(1.5 * top, max(top, 1.05 * density.max(initial=0))))
    legend_above(ax, title=None if len(mixture[0]) else nothing)
    return list(bars) if len(used) > 1 else [bars], curves, lines
