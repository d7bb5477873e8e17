"""A softmax head on features, linear or with one hidden layer, and its gradients written out.

The parameters are a list, [W (d, C), b (C,)] or [U (d, h), a (h,), W (h, C), b (C,)] with the
hidden units relu(x U + a). With residual r = dL/dlogits (n, C), the gradient of a loss is

    dW = H^T r,  db = sum_i r_i,  dU = X^T (r W^T * [H > 0]),  da = sum_i (r W^T * [H > 0])_i,

H the inputs of the last layer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, cast_like, take_rows, to_numpy
from skclean._blocks import sum_blocks
from skclean.evidence.columns import UNLIKE
from skclean.evidence.leave_one_out import ALPHAS, best_temperature
from skclean.linalg.feature_map import linear_map
from skclean.linalg.least_squares import choose_alpha, fit_ridge, spaced
from skclean.linalg.softmax import softmax


def init_head(
    n_features: int, n_classes: int, hidden: int | None, rng: np.random.RandomState, like: Any
) -> list[Any]:
    """Parameters to start from: the last layer zero, a hidden layer by He's rule.

    Parameters
    ----------
    n_features, n_classes : int
    hidden : int or None
        Hidden units; None for a linear head.
    rng : numpy.random.RandomState
    like : array
        Library, device and dtype.

    Returns
    -------
    list of arrays
    """
    width = n_features if hidden is None else hidden
    params = [np.zeros((width, n_classes)), np.zeros(n_classes)]
    if hidden is not None:
        spread = (2 / n_features) ** 0.5
        params = [spread * rng.standard_normal((n_features, hidden)), np.zeros(hidden), *params]
    return [cast_like(x, like) for x in params]


def forward(params: list[Any], X: Any) -> tuple[Any, Any]:
    """Logits (n, C) of rows X (n, d), and the inputs H of the last layer: X itself or (n, h)."""
    xp, H = array_namespace(X), X
    if len(params) == 4:
        H = xp.clip(xp.matmul(X, params[0]) + params[1], 0, None)
    return xp.matmul(H, params[-2]) + params[-1], H


def head_proba(params: list[Any], X: Any) -> Any:
    """Class probabilities (n, C) of rows X (n, d)."""
    return softmax(forward(params, X)[0], axis=1)


def backward(params: list[Any], X: Any, H: Any, residual: Any) -> list[Any]:
    """Gradients of the parameters.

    Parameters
    ----------
    params : list of arrays
    X : array of shape (n, d)
    H : array of shape (n, d) or (n, h)
        Inputs of the last layer, as `forward` gives them.
    residual : array of shape (n, C)
        dL/dlogits.

    Returns
    -------
    list of arrays
    """
    xp = array_namespace(X)
    last = [xp.matmul(H.T, residual), xp.sum(residual, axis=0)]
    if len(params) == 2:
        return last
    r = xp.matmul(residual, params[2].T) * xp.astype(H > 0, H.dtype)
    return [xp.matmul(X.T, r), xp.sum(r, axis=0), *last]


def tangent(params: list[Any], direction: list[Any], X: Any, H: Any) -> Any:
    """Change of the logits along a direction in the space of the parameters.

    S = d/de logits(params + e direction) at e = 0: by the chain rule the inner product of
    `direction` with the gradient of any loss of row i is sum_c r_ic S_ic, so that no gradient of a
    single row is ever formed.

    Parameters
    ----------
    params, direction : lists of arrays of the same shapes
    X : array of shape (n, d)
    H : array
        As `forward` gives it.

    Returns
    -------
    array of shape (n, C)
    """
    xp = array_namespace(X)
    S = xp.matmul(H, direction[-2]) + direction[-1]
    if len(params) == 4:
        change = xp.matmul(X, direction[0]) + direction[1]
        S += xp.matmul(change * xp.astype(H > 0, H.dtype), params[2])
    return S


def cross_entropy_gradient(params: list[Any], X: Any, targets: Any, weight: Any) -> list[Any]:
    """Gradient of sum_i weight_i CE(targets_i, p(x_i)).

    With `targets` the probabilities of another view, held fixed, this is the gradient of
    sum_i weight_i KL(targets_i || p(x_i)) too: the two differ by an entropy.

    Parameters
    ----------
    params : list of arrays
    X : array of shape (n, d)
    targets : array of shape (n, C)
        Rows sum to 1.
    weight : array of shape (n,)

    Returns
    -------
    list of arrays
    """
    logits, H = forward(params, X)
    return backward(params, X, H, (softmax(logits, axis=1) - targets) * weight[:, None])


@dataclass
class FeatureScale:
    """x -> unit (x - center) / spread as float32, so that the unit of the features is no matter.

    One spread for all features, as their relative sizes tell which of them matter; a greater one
    for features that are far larger than most, which would leave nothing of the others.

    Attributes
    ----------
    center : array of shape (d,)
    spread : array of shape (d,)
        Root mean square of all centred features, times `column_limits`.
    unit : float
        Root mean square of a feature that comes out.
    """

    center: Any
    spread: Any
    unit: float

    def __call__(self, X: Any) -> Any:
        """Map rows (b, d) to float32 (b, d)."""
        xp = array_namespace(X)
        return xp.astype((X - self.center) * (self.unit / self.spread), xp.float32)

    @property
    def width(self) -> int:
        """Number of features that the map gives."""
        return self.center.shape[0]


def fit_scale(X: Any, norm: float) -> FeatureScale:
    """The map that brings rows of X (n, d) to a mean squared length of `norm`."""
    rough = linear_map(X)

    def moments(X):
        xp = array_namespace(X)
        away = xp.astype(rough(X), xp.float64)
        return xp.sum(away, axis=0), xp.sum(away**2, axis=0)

    mean, square = (to_numpy(total) / X.shape[0] for total in sum_blocks(moments, X))
    columns = np.maximum(square - mean**2, 0) ** 0.5
    center = rough.center + cast_like(mean, rough.center)
    limits = column_limits(columns)
    spread = limits * (np.mean((columns / limits) ** 2) ** 0.5 or 1.0)
    return FeatureScale(center, cast_like(spread, center), (norm / X.shape[1]) ** 0.5)


def column_limits(columns: np.ndarray) -> np.ndarray:
    """Divisors that leave no feature more than ten times as large as the (lower) median one.

    The leading components of embeddings are smaller than that, features of different units are not.

    Parameters
    ----------
    columns : ndarray of shape (d,)
        Root mean square of each centred feature; zeros do not count in the median.

    Returns
    -------
    ndarray of shape (d,)
        At least 1.
    """
    varied = np.sort(columns[columns > 0])
    if not len(varied):
        return np.ones(len(columns))
    return np.maximum(columns / (UNLIKE * varied[(len(varied) - 1) // 2]), 1)


@dataclass
class HiddenMap:
    """Inputs of the last layer of a head as a function of rows.

    Attributes
    ----------
    scale : FeatureScale
    params : list of arrays
    """

    scale: FeatureScale
    params: list

    def __call__(self, X: Any) -> Any:
        """Map rows (b, d) to float32 (b, width)."""
        return forward(self.params, self.scale(X))[1]

    @property
    def width(self) -> int:
        """Number of features that the map gives."""
        return self.params[-2].shape[0]


def least_squares_start(
    params: list[Any], scale: FeatureScale, X: Any, codes: np.ndarray, max_rows: int = 10_000
) -> list[Any]:
    """The head with its last layer set by ridge regression on one-hot labels.

    The regularisation is that of least leave-one-out error, the factor of the logits that of
    greatest leave-one-out likelihood.

    Parameters
    ----------
    params : list of arrays
    scale : FeatureScale
    X : array of shape (n, d)
    codes : ndarray of shape (n,), int64
        Labels in 0 to C - 1.
    max_rows : int
        The factor is chosen by that many rows, evenly spaced, where there are more.

    Returns
    -------
    list of arrays
    """
    features: Any = HiddenMap(scale, params)
    ridge = fit_ridge(features, X, codes, params[-1].shape[0])
    ridge.alpha, _ = choose_alpha(ridge, X, codes, ALPHAS)
    rows = spaced(np.arange(len(codes)), max_rows)
    scores = ridge.leave_one_out(take_rows(X, rows), codes[rows])
    temperature = best_temperature(scores, codes[rows])
    W = to_numpy(ridge.vectors) @ (ridge.shrinkage()[:, None] * ridge.cross)
    b = ridge.target_mean - to_numpy(ridge.mean) @ W
    return [*params[:-2], *(cast_like(temperature * x, params[-1]) for x in (W, b))]


def calibrated(
    params: list[Any], scale: FeatureScale, X: Any, codes: np.ndarray, max_rows: int = 10_000
) -> list[Any]:
    """The head with its logits multiplied by the factor that makes labels likeliest.

    Parameters
    ----------
    params : list of arrays
    scale : FeatureScale
    X : array of shape (n, d)
    codes : ndarray of shape (n,), int64
    max_rows : int
        The factor is chosen by that many rows, evenly spaced, where there are more.

    Returns
    -------
    list of arrays
    """
    rows = spaced(np.arange(len(codes)), max_rows)
    temperature = best_temperature(forward(params, scale(take_rows(X, rows)))[0], codes[rows])
    return [*params[:-2], *(temperature * x for x in params[-2:])]
