"""LeaveOneOutRidge: every row judged by the least-squares fit that has not seen its label."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclean._array import array_namespace, to_numpy
from skclean._blocks import best_class, few_rows, map_rows
from skclean._device import returned, to_device
from skclean._threads import python_threads
from skclean._validation import (
    Interval,
    StrOptions,
    check_groups,
    open_features,
    open_samples,
    unchanged_if_failed,
)
from skclean.evidence.columns import clipped_columns, even_widths, likely_widths
from skclean.linalg.feature_map import draw_rows, kernel_map, spanned_map, spread_landmarks
from skclean.linalg.least_squares import choose_alpha, fit_ridge, spaced
from skclean.linalg.softmax import softmax

#: Regularisations that are tried, from nearly none to nearly all.
ALPHAS = np.logspace(-3, 5, 17)
#: Landmarks are the means of that many times as many rows.
_LANDMARK_ROWS = 4
#: What is done to the columns is chosen on at most that many rows.
_CHOICE_ROWS = 2048
#: Evidence that makes the labels likelier by more nats in all tells of them, however few rows do.
SURE_NATS = 4.0
#: Nats a label that come from the rounding of scores in float32.
ROUNDING = 3e-7


class LeaveOneOutRidge(ClassifierMixin, BaseEstimator):
    """Least-squares classifier with leave-one-out scores of its own rows.

    Ridge regression on one-hot labels, from one pass over blocks of rows and one
    eigendecomposition. The score of a row without its own label is
    y_i - (y_i - f_i) / (1 - h_i), f_i its fit and h_i its leverage; no model is fitted twice. Of a
    fit to more than 256 features or landmarks, and to more than 200 times as many rows as it has
    degrees of freedom, small leverages are estimated, which moves a score by about a thousandth of
    y_i - f_i, and logits by `temperature_` times that. The regularisation is that of least
    leave-one-out squared error, and the softmax temperature of `predict_proba` that of greatest
    leave-one-out likelihood.

    Parameters
    ----------
    kernel : {"auto", "rbf", "linear"}, default="auto"
        "rbf" regresses on the Nyström features of a Gaussian kernel and sees classes of several
        modes; "linear" on the features themselves, which is several times faster. "auto" is "rbf",
        and brings columns to one scale where they are not in like units: where the widest is more
        than ten times as wide as the median one, unless the labels are surely likelier without.
        Where a few values far out make up most of the distances, all columns are brought to one
        scale on either side of their medians and their values clipped, if the labels are surely
        likelier for it.
    n_landmarks : int, default=768
        Landmarks of the kernel: means of neighbouring rows, of four times as many rows drawn; the
        rows themselves where there are no more. More tell more of many rows, at a cost that grows
        with their square.
    gamma : float, default=0.7
        Width of the kernel: ``exp(-gamma |x - l|^2 / m)``, m the median squared
        distance of landmarks.
    alphas : array-like of shape (k,) or None, default=None
        Regularisations to choose from, for features scaled to rows of unit mean square; None tries
        17 from 1e-3 to 1e5.
    random_state : int or RandomState instance, default=0
        Draws the rows. A fixed seed by default, so that the same data give the same verdict
        and the global generator stays untouched.
    device : {"cpu", "cuda"} or None, default=None
        Where the work is done. None: where the features are. "cuda" takes NumPy features to the
        current GPU by CuPy, in their own precision; the results are NumPy arrays all the same.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Only if `X` had feature names that all were strings.
    alpha_ : float
        The regularisation chosen.
    alpha_errors_ : ndarray of shape (k,)
        Leave-one-out squared error per row of each of `alphas`.
    temperature_ : float
        Factor of the scores in the softmax.
    column_scale_ : ndarray of shape (d,) or None
        Width of the kernel in each column, ``exp(-sum(((x - l) / column_scale_) ** 2))``, where
        "auto" brought them to one scale; None where they stay as they are.
    column_range_ : ndarray of shape (2, d) or None
        Ends at which "auto" clips the values of each column. The kernel then sees -2.5 at the
        lower end, 0 at the median, 2.5 at the upper end and lines in between, and `column_scale_`
        is None; None where it clips none.
    loo_scores_ : array of shape (n, C)
        Leave-one-out scores of the rows of the fit, in the library and on the device of X.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skclean.evidence import LeaveOneOutRidge
    >>> X, y = load_digits(return_X_y=True)
    >>> evidence = LeaveOneOutRidge().fit(X, y)
    >>> bool((evidence.loo_proba().argmax(axis=1) == y).mean() > 0.97)
    True
    """

    _parameter_constraints: dict = {
        "kernel": [StrOptions({"auto", "rbf", "linear"})],
        "n_landmarks": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "alphas": ["array-like", None],
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "cuda"}), None],
    }

    def __init__(
        self,
        kernel="auto",
        *,
        n_landmarks=768,
        gamma=0.7,
        alphas=None,
        random_state=0,
        device=None,
    ):
        self.kernel = kernel
        self.n_landmarks = n_landmarks
        self.gamma = gamma
        self.alphas = alphas
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit, and score every row without its own label.

        Parameters
        ----------
        X : array or DataFrame of shape (n, d)
            NumPy, CuPy or torch; stays on its device. Or dask, chunked by rows.
        y : array-like of shape (n,)
            Labels, none missing.
        groups : array-like of shape (n,) or None
            Rows of one group (near-duplicates, frames of one film) are left out together.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If features or labels are not as they must be, or an alpha is not positive.
        """
        self._validate_params()
        with unchanged_if_failed(self):
            samples = open_samples(
                X, y, estimator=self, missing_label=None, reset=True, require_labels=True
            )
            if (samples.given < 0).any():
                raise ValueError(
                    "LeaveOneOutRidge: expected a label in every row, got missing ones; do leave "
                    "those rows out, or use a cleaner, which does."
                )
            self.classes_ = samples.classes
            groups = check_groups(groups, len(samples), self)
            return self._fit_codes(samples.features, samples.given, len(self.classes_), groups)

    @python_threads()
    def _fit_codes(self, X, codes, n_classes, groups, weight=None, targets=None):
        """The fit, to weighted rows or to soft labels (n, C) in place of the given ones.

        Rows of weight 0 take no part; their scores are those of new rows.
        """
        given, X = X, to_device(X, self.device, type(self).__name__)
        seen = np.arange(len(codes)) if weight is None else np.flatnonzero(weight > 0)
        if groups is not None and (groups[seen] == groups[seen[0]]).all():
            raise ValueError(
                "LeaveOneOutRidge: expected rows of at least two groups, got one group: nothing is "
                "left to judge its rows by; do leave groups out."
            )
        alphas = ALPHAS if self.alphas is None else np.asarray(self.alphas, dtype=np.float64)
        if alphas.ndim != 1 or not len(alphas) or not (alphas > 0).all():
            raise ValueError(
                f"LeaveOneOutRidge: expected alphas to be positive numbers, got {self.alphas!r}."
            )
        maps = self._maps(X)
        data = X, codes, codes if targets is None else targets, groups, weight
        fitted = _fit_likeliest(maps, n_classes, alphas, seen, *data)
        self._ridge, self.alpha_errors_, scores, self.temperature_ = fitted
        self.alpha_, self.loo_scores_ = self._ridge.alpha, returned(scores, given)
        scale = getattr(self._ridge.features, "scale", 1.0)
        self.column_scale_ = None if isinstance(scale, float) else 1 / to_numpy(scale)
        clipped = getattr(self._ridge.features, "first", None)
        self.column_range_ = None if clipped is None else clipped.ends()
        return self

    def _maps(self, X):
        """Maps to the features of the regression, each to be taken if surely likelier."""
        if self.kernel == "linear":
            return [spanned_map(X)]
        rng = check_random_state(self.random_state)
        rows = draw_rows(X, _LANDMARK_ROWS * self.n_landmarks, rng)

        def like(rows, by=1.0):
            return kernel_map(spread_landmarks(rows, self.n_landmarks, rng, by), self.gamma, by)

        maps = [like(rows)]
        for widths in likely_widths(rows) if self.kernel == "auto" else ():
            even, clipped = even_widths(rows, widths), clipped_columns(rows, widths)
            if even is not None:
                maps.insert(0 if len(maps) == 1 else len(maps), like(rows, even))
            if clipped is not None:
                maps.append(replace(like(clipped(rows)), first=clipped))
        return maps

    def loo_proba(self) -> Any:
        """Leave-one-out class probabilities of the rows of the fit, shape (n, C), float64."""
        check_is_fitted(self)
        return self._proba(self.loo_scores_)

    def decision_function(self, X: Any) -> Any:
        """Scores of rows that were not in the fit, shape (n, C); (n,) for two classes.

        Parameters
        ----------
        X : array or DataFrame of shape (n, d)
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Any:
        """Class probabilities of rows that were not in the fit, shape (n, C), float64."""
        return self._proba(self._scores(X))

    def predict(self, X: Any) -> np.ndarray:
        """Classes of rows that were not in the fit, shape (n,)."""
        best = best_class(self._scores(X))
        return self.classes_[best]

    @python_threads()
    def _scores(self, X):
        check_is_fitted(self)
        X = open_features(X, estimator=self, reset=False)
        name = type(self).__name__
        return returned(self._ridge.predict(to_device(X, self.device, name)), X)

    def _proba(self, scores):
        return tempered_softmax(scores, self.temperature_, array_namespace(scores).float64)


def tempered_softmax(scores: Any, temperature: float, dtype: Any = None) -> Any:
    """softmax(temperature * scores) of each row, computed in float64 block by block.

    Parameters
    ----------
    scores : array of shape (n, C)
    temperature : float
    dtype : dtype or None
        That of the result; None is that of the scores.

    Returns
    -------
    array of shape (n, C)
    """
    dtype = scores.dtype if dtype is None else dtype

    def proba(scores):
        xp = array_namespace(scores)
        return xp.astype(softmax(xp.astype(scores, xp.float64) * temperature, axis=1), dtype)

    return map_rows(proba, scores)


def best_temperature(
    scores: Any, codes: np.ndarray, rows: np.ndarray | None = None, max_size: int = 100_000
) -> float:
    """Factor of the scores in the softmax that makes labels likeliest.

    Parameters
    ----------
    scores : array of shape (n, C)
    codes : ndarray of shape (n,), int64
        The labels.
    rows : ndarray of int or None
        Rows that count; None counts all.
    max_size : int
        About that many scores are looked at, of rows evenly spaced.
    """
    rows = np.arange(len(codes)) if rows is None else rows
    rows = spaced(rows, max(max_size // scores.shape[1], 500))
    s, codes = to_numpy(few_rows(scores, rows)).astype(np.float64).T, codes[rows]
    picked = np.arange(len(codes))

    def loss(log_temperature):
        proba = softmax(np.exp(log_temperature) * s)
        return -np.log(proba[codes, picked] + 1e-300).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 7), method="bounded").x))


def log_likelihood(scores: Any, codes: np.ndarray, temperature: float) -> np.ndarray:
    """Logarithm (n,) of the probability of each row's label in softmax(temperature * scores).

    Parameters
    ----------
    scores : array of shape (n, C)
    codes : ndarray of shape (n,), int64
        Of rows without a label, anything comes out.
    temperature : float
    """

    def own(scores, codes):
        z = to_numpy(scores).astype(np.float64) * temperature
        return log_softmax(z, axis=1)[np.arange(len(z)), codes]

    return map_rows(own, scores, codes)


def surely_likelier(gain: np.ndarray, groups: np.ndarray | None = None) -> bool:
    """Whether labels are likelier by more than chance.

    By two standard errors, or by `SURE_NATS` in all: near chance, and of rare classes, few rows
    make up most of the gain. Less than `ROUNDING` a label is none.

    Parameters
    ----------
    gain : ndarray of shape (n,)
        Log-likelihood of each label, less what it is compared with.
    groups : ndarray of shape (n,) or None
        Rows of one group count as one, by their mean.
    """
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        gain = np.bincount(group, gain) / np.bincount(group)
    error = gain.std() * len(gain) ** 0.5
    return bool(gain.sum() > max(min(2 * error, SURE_NATS), ROUNDING * len(gain)))


def _fit_map(features, n_classes, alphas, seen, X, codes, targets, groups, weight):
    """The regression on one map: itself, errors of its alphas, scores and their temperature."""
    ridge = fit_ridge(features, X, targets, n_classes, weight)
    ridge.alpha, errors = choose_alpha(ridge, X, targets, alphas, groups, weight)
    scores = ridge.leave_one_out(X, targets, groups, weight)
    return ridge, errors, scores, best_temperature(scores, codes, seen)


def _fit_likeliest(maps, n_classes, alphas, seen, *data):
    """The regression on the first of the maps, or on one by which labels are surely likelier."""
    if len(maps) == 1:
        return _fit_map(maps[0], n_classes, alphas, seen, *data)
    codes, groups = data[1], data[3]
    rows = spaced(seen, _CHOICE_ROWS)
    if groups is not None:
        # Two groups at least.
        rows = np.union1d(rows, seen[[groups[seen].argmin(), groups[seen].argmax()]])
    whole = len(rows) == len(codes)
    part = data if whole else [None if x is None else few_rows(x, rows) for x in data]
    codes, groups = part[1], part[3]
    every = np.arange(len(codes))
    fits = (_fit_map(features, n_classes, alphas, every, *part) for features in maps)
    best = next(fits)
    likeliest = log_likelihood(best[2], codes, best[3])
    for fit in fits:
        likelihood = log_likelihood(fit[2], codes, fit[3])
        if surely_likelier(likelihood - likeliest, groups):
            best, likeliest = fit, likelihood
    return best if whole else _fit_map(best[0].features, n_classes, alphas, seen, *data)
