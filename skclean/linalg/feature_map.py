"""Features of a linear and of a Gaussian kernel, row by row."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, from_numpy, to_numpy
from skclean._blocks import few_rows, map_rows
from skclean.linalg.triangular import inverse

#: A row farther from the centre, in widths of the kernel, counts as that far: its kernel with rows
#: nearer by is zero anyway, and the squares keep their precision.
FAR = 30.0
#: A value farther from the centre, in widths of the kernel, counts as that far: float32 holds the
#: sum of squares of such.
_FARTHEST = 1e15
#: Rows whose median is a rough centre, and from how many places they come.
CENTRE_ROWS, CENTRE_PLACES = 1024, 8
#: Rows whose median is the centre of those that landmarks are made of.
_CENTRE_OF = 256
#: Rounds of Lloyd's algorithm; more hardly matter.
_ROUNDS = 2


@dataclass
class LinearMap:
    """phi(x) = x - center, the features of a linear kernel, or their part in a subspace.

    Attributes
    ----------
    center : array of shape (d,)
    basis : array of shape (d, r) or None
        Orthonormal; phi(x) are then coordinates by it.
    """

    center: Any
    basis: Any = None

    def __call__(self, X: Any) -> Any:
        """Map rows (b, d) to (b, d), or (b, r)."""
        away = X - self.center
        return away if self.basis is None else array_namespace(X).matmul(away, self.basis)

    @property
    def width(self) -> int:
        """Number of features that the map gives."""
        return self.center.shape[0] if self.basis is None else self.basis.shape[1]


@dataclass
class LandmarkMap:
    """phi(x)_j = exp(-|x - l_j|^2 / s^2), l_j the landmarks: Nyström features of a Gaussian kernel.

    Attributes
    ----------
    center : array of shape (d,)
        Subtracted from rows before they are scaled.
    scale : float or array of shape (d,)
        1 / s, in the units of the features, or of each of them.
    landmarks : array of shape (m, d)
        Centred and scaled.
    first : callable or None
        What is done to rows (b, d) before.
    """

    center: Any
    scale: Any
    landmarks: Any
    first: Any = None

    def __post_init__(self) -> None:
        """Border the landmarks for the product in `__call__`."""
        xp, L = array_namespace(self.landmarks), self.landmarks
        square = xp.sum(L**2, axis=1)[:, None]
        self._bordered = xp.concat([L, xp.ones_like(square), square], axis=1).T

    def __reduce__(self) -> tuple:
        """Leave the border out of what is sent to other processes."""
        return LandmarkMap, (self.center, self.scale, self.landmarks, self.first)

    def __call__(self, X: Any) -> Any:
        """Map rows (b, d) to (b, m)."""
        xp = array_namespace(X)
        X = X if self.first is None else self.first(X)
        Z = xp.clip((X - self.center) * self.scale, -_FARTHEST, _FARTHEST)
        # -|z - l|^2 = [2z, -|z|^2, -1] . [l, 1, |l|^2]: one product instead of four passes.
        square = xp.sum(Z**2, axis=1)[:, None]
        nearer = FAR / xp.clip(xp.sqrt(square), FAR, None)
        Z = xp.concat([2 * nearer * Z, -square * nearer**2, xp.full_like(square, -1)], axis=1)
        return xp.exp(xp.matmul(Z, self._bordered))

    @property
    def width(self) -> int:
        """Number of features that the map gives."""
        return self.landmarks.shape[0]


def linear_map(X: Any) -> LinearMap:
    """The map that brings features of shape (n, d) near zero, without a pass over all rows.

    The centre is the median of rows from all over, as rows may be sorted; one row far out would
    move their mean away from all others.
    """
    n, size = X.shape[0], CENTRE_ROWS // CENTRE_PLACES
    starts = np.linspace(0, max(n - size, 0), CENTRE_PLACES).astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(min(size, n)))
    few = few_rows(X, rows)
    return LinearMap(from_numpy(np.median(to_numpy(few), axis=0), few))


def spanned_map(X: Any) -> LinearMap:
    """The `linear_map` of X (n, d), where n < d in the space that its rows span.

    Regularised least squares on its features is the same, at the cost of n features.
    """
    features, (n, d) = linear_map(X), X.shape
    if n >= d:
        return features
    rows = features(few_rows(X, slice(0, n)))
    return LinearMap(features.center, array_namespace(rows).linalg.qr(rows.T).Q)


def draw_rows(X: Any, count: int, rng: Any) -> Any:
    """Rows drawn from X (n, d), in its order; all rows where there are fewer.

    Parameters
    ----------
    X : array of shape (n, d)
    count : int
    rng : numpy.random.RandomState
    """
    return few_rows(X, np.sort(rng.permutation(X.shape[0])[:count]))


def spread_landmarks(rows: Any, n_landmarks: int, rng: Any, widths: Any = 1.0) -> Any:
    """Means of rows near one another: two rounds of k-means, begun from some of the rows.

    They stand for the rows better than as many of the rows themselves. On the host, as the rows
    are few, and so that a near tie falls alike for every kind of array.

    Parameters
    ----------
    rows : array of shape (r, d)
    n_landmarks : int
    rng : numpy.random.RandomState
    widths : float or array of shape (d,)
        What columns are divided by before distances are taken.

    Returns
    -------
    array of shape (min(r, n_landmarks), d)
        The rows themselves where there are no more than landmarks.
    """
    if rows.shape[0] <= n_landmarks:
        return rows
    held = to_numpy(rows)
    center = np.median(held[:: -(-len(held) // _CENTRE_OF)], axis=0)
    unit = to_numpy(widths).astype(held.dtype)
    Z = held - center
    Z /= unit
    norm = np.abs(Z).max() or 1.0
    Z /= norm
    means = Z[np.sort(rng.permutation(len(Z))[:n_landmarks])]
    for _ in range(_ROUNDS):
        nearest = _nearest(Z, means)
        order = np.argsort(nearest, kind="stable")
        found, first, counts = np.unique(nearest[order], return_index=True, return_counts=True)
        means[found] = np.add.reduceat(Z[order], first, axis=0) / counts[:, None]
    return from_numpy(means * norm * unit + center, rows)


def kernel_map(landmarks: Any, gamma: float, widths: Any = 1.0) -> LandmarkMap:
    """The map of a Gaussian kernel with given landmarks.

    Parameters
    ----------
    landmarks : array of shape (m, d)
        Rows as they are.
    gamma : float
        Inverse squared width in units of the median squared distance between landmarks:
        k(x, l) = exp(-gamma |x - l|^2 / median).
    widths : float or array of shape (d,)
        What columns are divided by before distances are taken.
    """
    xp = array_namespace(landmarks)
    # The median: one row far out would move the mean away from all others, to where differences of
    # float32 squares are lost.
    center = from_numpy(np.median(to_numpy(landmarks), axis=0), landmarks)
    landmarks = (landmarks - center) / widths
    norm = float(xp.max(xp.abs(landmarks))) or 1.0
    landmarks = landmarks / norm
    distance = to_numpy(_distances(landmarks))
    square = to_numpy(xp.sum(landmarks**2, axis=1))
    # Rounding keeps duplicates apart by about that much.
    apart = distance[distance > 1e-6 * np.maximum(square[:, None], square)]
    width = float(np.median(apart)) if len(apart) else 1.0
    scale = (gamma / width) ** 0.5
    far = xp.clip(xp.sqrt(xp.sum(landmarks**2, axis=1)) * (scale / FAR), 1, None)[:, None]
    return LandmarkMap(center, scale / norm / widths, landmarks * scale / far)


def whitening(features: LandmarkMap, jitter: float = 1e-5) -> Any:
    """B of shape (m, m) with B B^T the inverse of the landmarks' kernel matrix (plus jitter)."""
    xp = array_namespace(features.landmarks)
    # In float32, rounding of near landmarks can be more than the jitter.
    K = xp.exp(-_distances(xp.astype(features.landmarks, xp.float64)))
    K += from_numpy(jitter * np.eye(K.shape[0]), K)
    return inverse(xp.linalg.cholesky(K)).T


def _nearest(Z, means):
    """The nearest of the means (m, d) to each of the rows Z (r, d), shape (r,)."""
    doubled, square = 2 * means.T, np.sum(means**2, axis=1)
    return map_rows(lambda z: np.argmax(z @ doubled - square, axis=1), Z, width=len(means))


def _distances(L):
    """Squared distances between rows."""
    xp = array_namespace(L)
    square, distance = xp.sum(L**2, axis=1), xp.matmul(L, L.T)
    distance *= -2
    distance += square[:, None]
    distance += square
    return xp.clip(distance, 0, None)
