"""EmbeddingDisplay: the features in two dimensions, coloured by what is known of the labels."""

from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from skclean._array import take_rows, to_numpy
from skclean._fields import STATUSES
from skclean._labels import encode_labels
from skclean.inspection._display import (
    COLOURS,
    GREY,
    STATUS_COLOURS,
    count_label,
    open_axes,
    plain,
    purified_samples,
)
from skclean.samples import LabelledSamples

_NAME = "EmbeddingDisplay"
_BY = ("status", "label", "given")
_MARKERS = "o^"
#: Most classes that get a colour and marker of their own; the others, of fewest points, share one.
MAX_CLASSES = len(COLOURS) * len(_MARKERS)


class EmbeddingDisplay:
    """A two-dimensional projection of the features, coloured by status or class.

    Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    points : ndarray of shape (m, 2)
    codes : ndarray of shape (m,), int
        Position of each point in `names`; -1 where it has no label.
    names : sequence of length C
        Statuses or classes.
    axis_names : tuple of two str
    n_rows : int or None
        Number of rows that the points were drawn from.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : dict of str to matplotlib PathCollection
        The points of each group that has some.
    text_ : list of matplotlib Text
        The class names, each at the median of its points; empty for statuses.

    Examples
    --------
    >>> from skclean import CredibilityRelabeler
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.inspection import EmbeddingDisplay
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> relabeler = CredibilityRelabeler().fit(digits.data, digits.target_noisy)
    >>> EmbeddingDisplay.from_estimator(relabeler, digits.data)  # doctest: +SKIP
    """

    def __init__(
        self,
        points: Any,
        codes: Any,
        names: Any,
        *,
        axis_names: tuple[str, str] = ("First dimension", "Second dimension"),
        n_rows: int | None = None,
    ) -> None:
        self.points, self.codes = np.asarray(points), np.asarray(codes)
        self.names, self.axis_names = names, axis_names
        self.n_rows = len(self.points) if n_rows is None else n_rows

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        by: str = "status",
        projection: Any = None,
        max_points: int = 5000,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw rows as a cleaner has purified them.

        Parameters
        ----------
        estimator : cleaner, or Pipeline or search that contains one
            Fitted.
        X : array, DataFrame or LabelledSamples of n rows
            What the estimator takes; the features of the fit are not kept. Rows of the fit come
            with what the fit found out.
        by, projection, max_points, random_state
            As in `from_predictions`.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ValueError
            If the estimator contains no cleaner, and as `from_predictions` raises.
        ImportError
            If matplotlib is not installed.
        """
        if X is None:
            raise ValueError(
                f"{_NAME}: expected X, as a cleaner does not keep the features of its fit, got "
                "None; do pass the rows."
            )
        samples = purified_samples(estimator, X, _NAME)
        chosen = {"projection": projection, "max_points": max_points, "random_state": random_state}
        return cls.from_predictions(samples, by=by, ax=ax, **chosen, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y: Any = None,
        *,
        by: str = "status",
        projection: Any = None,
        max_points: int = 5000,
        random_state: Any = 0,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw rows by features and labels.

        Parameters
        ----------
        X : LabelledSamples, or array of shape (n, d)
        y : array-like of shape (n,) or None, default=None
            What colours the points, any labels with missing values. None takes those of the
            container that `by` names.
        by : {"status", "label", "given"}, default="status"
            Of a container: the status, the purified label or the given one.
        projection : array of shape (n, 2) or None, default=None
            Where the points are, e.g. from t-SNE or UMAP. None: the first two principal components
            of the rows drawn.
        max_points : int, default=5000
            Of more rows so many are drawn, at random.
        random_state : int, RandomState instance or None, default=0
            Chooses the rows.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ValueError
            If there is nothing to colour by, or lengths differ.
        ImportError
            If matplotlib is not installed.
        """
        features, codes, names, rows = _open(X, y, by)
        n_rows, rng = len(rows), check_random_state(random_state)
        if n_rows > max_points:
            rows = np.sort(rng.choice(rows, max_points, replace=False))
        if projection is None:
            part = to_numpy(take_rows(features, rows))
            points, axis_names = _principal(part.reshape(len(part), -1), rng)
        else:
            points, axis_names = to_numpy(projection), ("First dimension", "Second dimension")
            if points.shape != (len(codes), 2):
                raise ValueError(
                    f"{_NAME}: expected projection of shape {(len(codes), 2)}, two numbers a row, "
                    f"got {points.shape}; do pass that of the same rows."
                )
            points = points[rows]
        display = cls(points, codes[rows], names, axis_names=axis_names, n_rows=n_rows)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, size: float = 12, alpha: float = 0.7) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a figure.
        size : float, default=12
            Area of a point, in square points (1/72 inch).
        alpha : float in [0, 1], default=0.7
            Opacity of the points.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = open_axes(ax, (7.5, 4.8))
        self.points_ = {}
        groups = _groups(self.codes, self.names)
        # Small groups lie on top of large ones.
        order = sorted(range(len(groups)), key=lambda g: -len(groups[g][1]))
        for depth, g in enumerate(order):
            name, rows, colour, marker = groups[g]
            self.points_[name] = ax.scatter(
                *self.points[rows].T,
                s=size,
                c=colour,
                marker=marker,
                alpha=alpha,
                linewidths=0,
                label=count_label(name, len(rows)),
                zorder=1 + depth / len(groups),
            )
        self.text_ = [
            ax.text(
                *np.median(self.points[rows], axis=0),
                plain(name),
                ha="center",
                va="center",
                zorder=3,
                bbox={"facecolor": ax.get_facecolor(), "alpha": 0.7, "pad": 1, "linewidth": 0},
            )
            for name, rows, colour, _ in groups
            if colour != GREY and name not in STATUS_COLOURS
        ]
        drawn = f"{len(self.points):,} of {self.n_rows:,} rows"
        ax.legend(
            handles=[self.points_[name] for name, *_ in groups],
            loc="upper left",
            bbox_to_anchor=(1, 1),
            markerscale=1.8,
            frameon=False,
            title=drawn if len(self.points) < self.n_rows else None,
        )
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _open(X, y, by):
    """Features (n, d), codes (n,), their names, and the rows that could be read."""
    if by not in _BY:
        raise ValueError(f"{_NAME}: expected by to be one of {_BY}, got {by!r}; do pass one.")
    contained = isinstance(X, LabelledSamples)
    read = X.readable if contained else None
    if y is not None:
        features = X.features if contained else X
        features = features if hasattr(features, "device") else to_numpy(features)
        codes, names = encode_labels(y, name=_NAME)
        if len(codes) != len(features):
            raise ValueError(
                f"{_NAME}: expected y of {len(features)} rows, as many as X, got {len(codes)}; do "
                "pass that of the same rows."
            )
        return features, codes, names, _positions(read, len(codes))
    codes = names = None
    if contained:
        names = STATUSES if by == "status" else X.classes
        if by == "label":
            codes = X._known_codes() if X.purified else None
        else:
            codes = X.status_codes if by == "status" else X.given
    if codes is None:
        got = "a container without" if contained else "an array alone"
        raise ValueError(
            f"{_NAME}: expected a LabelledSamples with {by}, got {got}; do transform it by a "
            "fitted cleaner, or pass y."
        )
    return X.features, codes, names, _positions(read, len(X))


def _positions(mask, n):
    return np.arange(n) if mask is None else np.flatnonzero(mask)


def _principal(features, rng):
    """Points (m, 2) and the names of the axes."""
    n_components = min(2, *features.shape)
    pca = PCA(n_components, random_state=rng)
    points = np.zeros((len(features), 2))
    # Features that are all the same have no variance to explain.
    with np.errstate(invalid="ignore"):
        points[:, :n_components] = pca.fit_transform(features)
        shares = np.append(pca.explained_variance_ratio_, [0.0])[:2]
    names = [
        f"Principal component {k} ({100 * np.nan_to_num(share):.0f} % of the variance)"
        for k, share in enumerate(shares, 1)
    ]
    return points, (names[0], names[1])


def _groups(codes, names):
    """(name, rows, colour, marker) of each group that has points, in the order of the names."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    held = np.flatnonzero(counts)
    by_status = all(name in STATUS_COLOURS for name in names)
    if by_status:
        return [(names[k], np.flatnonzero(codes == k), STATUS_COLOURS[names[k]], "o") for k in held]
    own = held
    if len(held) > MAX_CLASSES:
        own = np.sort(held[np.argsort(-counts[held], kind="stable")[:MAX_CLASSES]])
    groups = [
        (
            str(names[k]),
            np.flatnonzero(codes == k),
            COLOURS[i % len(COLOURS)],
            _MARKERS[i // len(COLOURS)],
        )
        for i, k in enumerate(own)
    ]
    others = np.flatnonzero((codes >= 0) & ~np.isin(codes, own))
    if len(others):
        groups.append((f"{len(held) - len(own)} other classes", others, GREY, "."))
    if (codes < 0).any():
        groups.append(("no label", np.flatnonzero(codes < 0), GREY, "X"))
    return groups
