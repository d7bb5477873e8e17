"""PurifyingSampler: a cleaner among the samplers of imbalanced-learn."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OneToOneFeatureMixin, clone
from sklearn.utils import get_tags

from skclean._training_data import copy_feature_attributes
from skclean._validation import HasMethods, take_any_rows
from skclean.cleaners import TransitionCleaner
from skclean.samples import LabelledSamples


class PurifyingSampler(OneToOneFeatureMixin, MetaEstimatorMixin, BaseEstimator):
    """Drop the rows whose label nobody knows and purify the labels of the others.

    It resamples as imbalanced-learn's samplers do: a step of `imblearn.pipeline.Pipeline` that
    acts in `fit` alone, before SMOTE, say. imbalanced-learn itself is not needed.

    Parameters
    ----------
    cleaner : cleaner, purifier or a Pipeline of them, or None, default=None
        It is cloned. None is ``TransitionCleaner()``.

    Attributes
    ----------
    cleaner_ : cleaner
        The fitted cleaner.
    samples_ : LabelledSamples of n rows
        What it made of all rows.
    sample_indices_ : ndarray of shape (rows kept,), int64
        Positions of the rows kept.
    n_features_in_ : int
        Number of features in the fit.

    Examples
    --------
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.interop import PurifyingSampler
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> sampler = PurifyingSampler()
    >>> X, y = sampler.fit_resample(digits.data[:500], digits.target_noisy[:500])
    >>> bool((y == digits.target[sampler.sample_indices_]).mean() > 0.9)
    True
    """

    _parameter_constraints: dict = {"cleaner": [HasMethods(["fit_transform"]), None]}
    # How imbalanced-learn asks whether it is one.
    _estimator_type = "sampler"

    def __init__(self, cleaner: Any = None) -> None:
        self.cleaner = cleaner

    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit the cleaner; see `fit_resample`."""
        self._fit(X, y, params)
        return self

    def fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, Any]:
        """The rows of known label, and their purified labels.

        Parameters
        ----------
        X : array, DataFrame or list of shape (n, d)
        y : array-like of shape (n,)
            The given labels.
        **params : dict
            Handed to the cleaner's `fit_transform`, e.g. `trusted`.

        Returns
        -------
        X, y
            Rows of `X` as they were, and labels of the type and dtype of `y`, in the same order.

        Raises
        ------
        ValueError
            If no row has a known label, and as the cleaner raises.
        """
        samples = self._fit(X, y, params)
        rows = self.sample_indices_
        if not len(rows):
            raise ValueError(
                f"PurifyingSampler: expected rows of known label, got none out of {len(samples)}; "
                "do lower the cleaner's threshold."
            )
        labels = samples.classes[samples._known_codes()[rows]]
        return take_any_rows(X, rows), _like(labels, y, rows)

    def _fit(self, X, y, params):
        self._validate_params()
        cleaner = clone(self._wrapped())
        samples = cleaner.fit_transform(X, y, **params)
        if not isinstance(samples, LabelledSamples):
            raise ValueError(
                "PurifyingSampler: expected a cleaner that gives LabelledSamples, got "
                f"{type(samples).__name__} from {type(cleaner).__name__}; do pass a cleaner."
            )
        self.cleaner_, self.samples_ = cleaner, samples
        self.sample_indices_ = np.flatnonzero(samples.known)
        copy_feature_attributes(cleaner, self)
        return samples

    def _wrapped(self):
        return TransitionCleaner() if self.cleaner is None else self.cleaner

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags = get_tags(self._wrapped()).input_tags
        return tags


def _like(labels, y, rows):
    """Labels in the type of `y`, of which they are the `rows`."""
    if isinstance(y, list):
        return labels.tolist()
    if hasattr(y, "iloc"):
        taken = y.iloc[rows].copy()
        if taken.ndim == 1:
            return type(taken)(labels, index=taken.index, name=taken.name, dtype=taken.dtype)
        return type(taken)({taken.columns[0]: labels}, index=taken.index).astype(taken.dtypes)
    y = np.asarray(y)
    return labels.astype(y.dtype).reshape(-1, *y.shape[1:])
