"""CredibilityDisplay: how sure the predicted labels are, and which are believed."""

from typing import Any, Self

import numpy as np

from skclean._array import to_numpy
from skclean._fields import CORRECTED, PREDICTED, UNKNOWN, check_proba
from skclean._labels import check_classes
from skclean.base import BaseCleaner
from skclean.decision.loss_mixture import normalise
from skclean.inspection._display import (
    COLOURS,
    STATUS_COLOURS,
    find_part,
    parts,
    split_by_truth,
)
from skclean.inspection._mixture import MixtureDisplay, boundaries, mixture_arrays
from skclean.linalg.mixture import fit_two_gaussians
from skclean.purifiers.credibility import CredibilityRelabeler
from skclean.samples import LabelledSamples

_NAME = "CredibilityDisplay"
_STATUSES: tuple[str, ...] = ("kept", "corrected", "unknown", "predicted")
_BELIEF = ("credible", "not credible")
_TRUTH = ("prediction is right", "prediction is wrong")
_COLOURS = {
    **STATUS_COLOURS,
    _BELIEF[0]: COLOURS[0],
    _BELIEF[1]: STATUS_COLOURS["unknown"],
    _TRUTH[0]: COLOURS[0],
    _TRUTH[1]: COLOURS[1],
}


class CredibilityDisplay(MixtureDisplay):
    """Histogram of the greatest class probabilities, with the mixture of `CredibilityRelabeler`.

    Right of the boundary, a predicted label replaces one that was judged wrong; left of it the
    label is withheld. Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
        Greatest class probability of each row, in [0, 1].
    weights, means, variances : ndarray of shape (m, 2)
        Components of small and of great confidence; m is 1, or 0 where there was nothing to
        separate.
    threshold : float in [0, 1]
        Predictions of a greater posterior of the second component are credible.
    group : ndarray of shape (n,), int
        Position of each row in `group_names`.
    group_names : sequence of str

    Attributes
    ----------
    boundary : ndarray of shape (0,) or (1,)
        The confidence at which the posterior equals the threshold.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_, curves_, lines_ : list of artists
        Histogram of each group, density of each component, boundary.

    Examples
    --------
    >>> from skclean import CredibilityRelabeler
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.inspection import CredibilityDisplay
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> relabeler = CredibilityRelabeler().fit(digits.data, digits.target_noisy)
    >>> CredibilityDisplay.from_estimator(relabeler)  # doctest: +SKIP
    """

    _values = "confidence"
    _components = "small confidence", "great confidence"
    _event = "prediction is right"
    _nothing = "One Gaussian explains the probabilities as well as two."
    _xlabel = "Greatest class probability"
    _colours = _COLOURS

    confidence: np.ndarray

    def __init__(
        self,
        confidence: Any,
        weights: Any,
        means: Any,
        variances: Any,
        *,
        threshold: float = 0.5,
        group: Any = None,
        group_names: Any = ("rows",),
    ) -> None:
        self._store(confidence, weights, means, variances, threshold, group, group_names)

    @property
    def boundary(self) -> np.ndarray:
        """Confidence at which the posterior of the second component equals the threshold."""
        if not len(self.weights):
            return np.empty(0)
        means = self.means[0]
        cuts = boundaries(self.weights[0], means, self.variances[0], 1 - self.threshold)
        # Beyond the means the posterior is held constant.
        return cuts[(cuts >= means[0]) & (cuts <= means[1])]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        y_true: Any = None,
        ax: Any = None,
        bins: int = 50,
    ) -> Self:
        """Draw what a `CredibilityRelabeler` saw and decided.

        Parameters
        ----------
        estimator : CredibilityRelabeler, or Pipeline or search that contains one
            Fitted.
        X : LabelledSamples or None, default=None
            Rows as the cleaner before the relabeler puts them out. None: the rows of the fit; the
            cleaner must then be in the estimator.
        y_true : array-like of shape (n,) or None, default=None
            True labels. Rows are coloured by them, else by their status.
        ax : matplotlib Axes or None, default=None
        bins : int, default=50

        Returns
        -------
        display : CredibilityDisplay

        Raises
        ------
        ValueError
            If the estimator contains no `CredibilityRelabeler`, or not the cleaner before it.
        ImportError
            If matplotlib is not installed.
        """
        relabeler = find_part(estimator, CredibilityRelabeler, _NAME, "a CredibilityRelabeler")
        if X is None:
            rows = relabeler._purified
            proba = _seen_proba(estimator, relabeler, len(rows))
        else:
            proba, rows = _open(X), relabeler.transform(X)
        judged = np.flatnonzero(~np.isnan(rows.right_proba))
        status = rows.status_codes
        choices = [status == CORRECTED, status == UNKNOWN, status == PREDICTED]
        group, names = np.select(choices, [1, 2, 3], 0), _STATUSES
        if y_true is not None:
            predicted = to_numpy(proba.argmax(axis=1))
            group, names = split_by_truth(y_true, predicted, rows.classes, _NAME), _TRUTH
        low, high = relabeler._range
        display = cls(
            to_numpy(proba.max(axis=1))[judged].astype(np.float64),
            *mixture_arrays([(relabeler.mixture_, 1.0)], low, high),
            threshold=float(relabeler.threshold),
            group=group[judged],
            group_names=names,
        )
        return display.plot(ax, bins=bins)

    @classmethod
    def from_predictions(
        cls,
        proba: Any,
        *,
        threshold: float = 0.5,
        y_true: Any = None,
        classes: Any = None,
        ax: Any = None,
        bins: int = 50,
    ) -> Self:
        """Fit the mixture to class probabilities, and draw it.

        Parameters
        ----------
        proba : LabelledSamples, or array of shape (n, C)
            A container with `proba` as a cleaner puts it out, or class probabilities.
        threshold : float in [0, 1], default=0.5
        y_true : array-like of shape (n,) or None, default=None
            True labels. Rows are coloured by them, else by whether the prediction is credible.
        classes : array-like of shape (C,) or None, default=None
            Classes of the columns, sorted, where `proba` is an array. None: 0 to C - 1.
        ax : matplotlib Axes or None, default=None
        bins : int, default=50

        Returns
        -------
        display : CredibilityDisplay

        Raises
        ------
        ValueError
            If there are no probabilities.
        ImportError
            If matplotlib is not installed.
        """
        if isinstance(proba, LabelledSamples):
            classes, proba = proba.classes, _open(proba)
        proba = to_numpy(proba)
        n_classes = proba.shape[-1] if classes is None else len(classes)
        proba = check_proba(proba, len(proba), n_classes, _NAME)
        if not len(proba):
            raise ValueError(
                f"{_NAME}: expected proba of at least one row, got none; do pass rows."
            )
        top = proba.max(axis=1).astype(np.float64)
        low, high = float(top.min()), float(top.max())
        mixture = fit_two_gaussians(normalise(top, low, high))
        display = cls(top, *mixture_arrays([(mixture, 1.0)], low, high), threshold=threshold)
        if y_true is None:
            # The posterior rises between the means, so that the boundary divides the rows.
            least = display.boundary if len(display.boundary) else -np.inf
            display.group, display.group_names = np.where(top > least, 0, 1), _BELIEF
        else:
            classes = np.arange(n_classes) if classes is None else check_classes(classes, _NAME)
            display.group = split_by_truth(y_true, proba.argmax(axis=1), classes, _NAME)
            display.group_names = _TRUTH
        return display.plot(ax, bins=bins)


def _seen_proba(estimator, relabeler, n):
    """Class probabilities (n, C) of the rows of the fit, as the cleaner before gave them."""
    before = None
    for part in parts(estimator):
        if part is relabeler:
            break
        before = part if isinstance(part, BaseCleaner) else before
    if before is None:
        raise ValueError(
            f"{_NAME}: expected the cleaner before the CredibilityRelabeler in one Pipeline, as "
            "the relabeler keeps no probabilities, got the relabeler alone; do pass the Pipeline, "
            "or the output of the cleaner as X."
        )
    proba = before.label_distributions_
    if proba.shape[0] == n:
        return proba
    # Inside the relabeler, the cleaner has met the rows alone that could be read.
    every = np.full((n, proba.shape[1]), np.nan)
    every[relabeler._read] = proba
    return every


def _open(samples):
    if not isinstance(samples, LabelledSamples) or samples.proba is None:
        raise ValueError(
            f"{_NAME}: expected a LabelledSamples with proba, got {type(samples).__name__}"
            f"{' without' if isinstance(samples, LabelledSamples) else ''}; do pass the output of "
            "a cleaner."
        )
    return samples.proba
