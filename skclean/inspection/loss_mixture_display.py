"""LossMixtureDisplay: the losses of the given labels, and what was fitted to them."""

from typing import Any, Self

import numpy as np

from skclean._array import to_numpy
from skclean._fields import KEPT, TRUSTED, check_proba
from skclean._labels import encode_labels
from skclean.cleaners.gmm import GMMCleaner, _losses
from skclean.decision.loss_mixture import effective_threshold, fit_loss_mixture
from skclean.inspection._display import COLOURS, find_part, split_by_truth
from skclean.inspection._mixture import MixtureDisplay, boundaries, mixture_arrays
from skclean.samples import LabelledSamples

_NAME = "LossMixtureDisplay"
_VERDICTS: tuple[str, ...] = ("label kept", "label judged wrong", "trusted")
_TRUTH = ("label is right", "label is wrong")
_COLOURS = dict(zip(_VERDICTS, COLOURS)) | dict(zip(_TRUTH, COLOURS))


class LossMixtureDisplay(MixtureDisplay):
    """Histogram of the losses of the given labels, with the mixture of `GMMCleaner`.

    REED's figure 5 [1]_: where the two components stand apart, the cleaner can tell wrong labels
    from right ones. Use `from_estimator` or `from_predictions`.

    Parameters
    ----------
    loss : ndarray of shape (n,)
        Cross-entropy of the given labels, in nats.
    weights, means, variances : ndarray of shape (m, 2)
        Components of small and of large losses, in nats; m is 1, or the number of classes of a
        class-aware cleaner, and 0 where there was nothing to separate. All weights sum to 1.
    threshold : float in [0, 1]
        Labels of a greater posterior of the small losses are kept.
    group : ndarray of shape (n,), int
        Position of each row in `group_names`.
    group_names : sequence of str

    Attributes
    ----------
    boundary : ndarray
        The losses at which the posterior equals the threshold, in nats; empty if m is not 1.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_, curves_, lines_ : list of artists
        Histogram of each group, density of each component, boundaries.

    References
    ----------
    .. [1] Zhang and Yao, "Decoupling Representation and Classifier for Noisy Label Learning",
       2020.

    Examples
    --------
    >>> from skclean import GMMCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.inspection import LossMixtureDisplay
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> cleaner = GMMCleaner().fit(digits.data, digits.target_noisy)
    >>> LossMixtureDisplay.from_estimator(cleaner)  # doctest: +SKIP
    """

    _values = "loss"
    _components = "small losses", "large losses"
    _event = "label is right"
    _nothing = "One Gaussian explains the losses as well as two."
    _xlabel = "Cross-entropy of the given label (nats)"
    _colours = _COLOURS

    loss: np.ndarray

    def __init__(
        self,
        loss: Any,
        weights: Any,
        means: Any,
        variances: Any,
        *,
        threshold: float = 0.5,
        group: Any = None,
        group_names: Any = ("rows",),
    ) -> None:
        self._store(loss, weights, means, variances, threshold, group, group_names)

    @property
    def boundary(self) -> np.ndarray:
        """Losses at which the posterior of the small losses equals the threshold."""
        if len(self.weights) != 1:
            return np.empty(0)
        cuts = boundaries(self.weights[0], self.means[0], self.variances[0], self.threshold)
        return cuts[(cuts >= self.loss.min()) & (cuts <= self.loss.max())]

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, y_true: Any = None, ax: Any = None, bins: int = 50
    ) -> Self:
        """Draw the rows of the fit of a `GMMCleaner`.

        Parameters
        ----------
        estimator : GMMCleaner, or Pipeline, search or purifier that contains one
            Fitted.
        y_true : array-like of shape (n,) or None, default=None
            True labels of the rows of the fit. Rows are coloured by them, else by the verdict.
        ax : matplotlib Axes or None, default=None
        bins : int, default=50

        Returns
        -------
        display : LossMixtureDisplay

        Raises
        ------
        ValueError
            If the estimator contains no `GMMCleaner`, or `y_true` has another number of rows.
        ImportError
            If matplotlib is not installed.
        """
        cleaner = find_part(estimator, GMMCleaner, _NAME, "a GMMCleaner")
        rows, read = cleaner._purified, cleaner._read
        group, names = _verdicts(rows.status_codes), _VERDICTS
        if y_true is not None:
            group, names = split_by_truth(y_true, rows.given, rows.classes, _NAME), _TRUTH
        if read is not None:
            rows, group = rows[read], group[read]
        loss, given = _losses(cleaner.evidence_.proba(), rows.given)
        mixture = _arrays(cleaner.mixture_, given)
        group = group[rows.given >= 0]
        display = cls(
            to_numpy(loss), *mixture, threshold=cleaner.threshold_, group=group, group_names=names
        )
        return display.plot(ax, bins=bins)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        proba: Any = None,
        *,
        classes: Any = None,
        threshold: float = 0.5,
        class_aware: bool = False,
        y_true: Any = None,
        ax: Any = None,
        bins: int = 50,
    ) -> Self:
        """Fit the mixture to the losses of any classifier, and draw it.

        Parameters
        ----------
        y : LabelledSamples, or array-like of shape (n,)
            Given labels; a container with `proba`, or labels with missing values.
        proba : array of shape (n, C) or None, default=None
            Class probabilities that have not seen the given labels. None takes those of the
            container.
        classes : array-like of shape (C,) or None, default=None
            Classes of the columns of `proba`, sorted. None: those of the container, or found in
            `y`.
        threshold : float in [0, 1], default=0.5
        class_aware : bool, default=False
            As in `GMMCleaner`.
        y_true : array-like of shape (n,) or None, default=None
            True labels. Rows are coloured by them, else by the verdict.
        ax : matplotlib Axes or None, default=None
        bins : int, default=50

        Returns
        -------
        display : LossMixtureDisplay

        Raises
        ------
        ValueError
            If there are no given labels or no probabilities, or those of the container are one-hot
            in the rows kept, as a relabeler leaves them.
        ImportError
            If matplotlib is not installed.
        """
        given, proba, classes = _open(y, proba, classes)
        loss, codes = _losses(proba, given)
        if not len(codes):
            raise ValueError(f"{_NAME}: expected given labels, got none; do pass y with labels.")
        fitted = fit_loss_mixture(loss, codes, class_aware)
        clean = fitted.clean_proba(loss, codes)
        if fitted.separated:
            threshold = effective_threshold(threshold, clean)
        group, names = np.where(clean > threshold, 0, 1), _VERDICTS
        if y_true is not None:
            group, names = split_by_truth(y_true, given, classes, _NAME)[given >= 0], _TRUTH
        mixture = _arrays(fitted, codes)
        display = cls(loss, *mixture, threshold=threshold, group=group, group_names=names)
        return display.plot(ax, bins=bins)


def _verdicts(status):
    return np.select([status == KEPT, status == TRUSTED], [0, 2], 1)


def _arrays(mixture, given):
    """Components of a LossMixture: the pooled one, or one for each class that has its own."""
    shares = np.bincount(given) / len(given)
    mixtures = [(m, shares[k]) for k, m in mixture.by_class.items()]
    others = 1 - sum(share for _, share in mixtures)
    if others > 1e-9:
        mixtures.append((mixture.pooled, others))
    return mixture_arrays(mixtures, mixture.low, mixture.high)


def _open(y, proba, classes):
    """Given codes (n,), probabilities (n, C) and classes (C,)."""
    if isinstance(y, LabelledSamples):
        y = y if classes is None else y._with_classes(classes, _NAME)
        given, classes = y._given_codes(), y.classes
        if y.readable is not None:
            given = np.where(y.readable, given, -1)
        if proba is None and y.proba is not None:
            proba, kept = to_numpy(y.proba), np.empty(0, dtype=int)
            if y.status_codes is not None:
                kept = np.flatnonzero((y.status_codes == KEPT) & (given >= 0))
            if len(kept) and (proba[kept, given[kept]] == 1).all():
                raise ValueError(
                    f"{_NAME}: expected class probabilities, got one-hot ones in the rows kept, as "
                    "a relabeler leaves them; do pass the output of the cleaner before it, or use "
                    "from_estimator."
                )
    else:
        given, classes = encode_labels(y, classes=classes, name=_NAME)
    if proba is None:
        raise ValueError(f"{_NAME}: expected proba beside y, got none; do pass it.")
    return given, check_proba(to_numpy(proba), len(given), len(classes), _NAME), classes
