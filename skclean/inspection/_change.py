"""Displays of how labels changed: what they share."""

from typing import Any, Self

import numpy as np

from skclean._labels import encode_labels
from skclean.inspection._display import purified_samples
from skclean.samples import LabelledSamples


class ChangeDisplay:
    """A display of given and purified labels; a subclass has `_of`, which counts, and `plot`."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, *, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw how a cleaner changed labels.

        Parameters
        ----------
        estimator : cleaner, or Pipeline or search that contains one
            Fitted. Of several cleaners in a Pipeline, what the last one says counts.
        X : array, DataFrame or LabelledSamples of n rows, or None, default=None
            What the estimator takes. None: the rows of the fit.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display

        Raises
        ------
        ValueError
            If the estimator contains no cleaner.
        ImportError
            If matplotlib is not installed.
        """
        return cls.from_predictions(purified_samples(estimator, X, cls.__name__), ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, y: Any, labels: Any = None, *, classes: Any = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw how labels changed.

        Parameters
        ----------
        y : LabelledSamples, or array-like of shape (n,)
            A purified container, or given labels with missing values.
        labels : array-like of shape (n,) or None, default=None
            Purified labels, missing where unknown. None with a container.
        classes : array-like of shape (C,) or None, default=None
            Sorted classes, all there are. None: those of the container or of `y`.
        ax : matplotlib Axes or None, default=None
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display

        Raises
        ------
        ValueError
            If there are no purified labels, or lengths or classes differ.
        ImportError
            If matplotlib is not installed.
        """
        return cls._of(*_open_change(y, labels, classes, cls.__name__)).plot(ax, **kwargs)

    @classmethod
    def _of(cls, given: np.ndarray, label: np.ndarray, classes: np.ndarray) -> Any:
        """The display of codes (n,), -1 where there is none."""
        raise NotImplementedError(f"{cls.__name__} must define _of")


def _open_change(
    y: Any, labels: Any, classes: Any, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Given and purified codes (n,), -1 where there is none, and the classes (C,).

    Parameters and errors are those of `ChangeDisplay.from_predictions`; `name` speaks in errors.
    """
    if isinstance(y, LabelledSamples) and classes is not None:
        y = y._with_classes(classes, name)
    if isinstance(y, LabelledSamples) and labels is None:
        if not y.purified:
            raise ValueError(
                f"{name}: expected purified labels, got a container that no cleaner has seen; do "
                "transform it by a fitted cleaner."
            )
        return y._given_codes(), y._known_codes(), y.classes
    if isinstance(y, LabelledSamples):
        given, classes = y._given_codes(), y.classes
        y = np.where(given < 0, None, classes[given])
    if labels is None:
        raise ValueError(
            f"{name}: expected purified labels beside y, got none; do pass labels, or a "
            "LabelledSamples that holds both."
        )
    given, classes = encode_labels(y, classes=classes, name=name)
    label, _ = encode_labels(labels, classes=classes, name=name)
    if len(given) != len(label):
        raise ValueError(
            f"{name}: expected as many purified labels as given ones, {len(given)}, got "
            f"{len(label)}; do pass those of the same rows."
        )
    return given, label, classes
