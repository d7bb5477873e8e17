"""Ridge regression from one pass over blocks of rows, with leave-one-out scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import (
    array_namespace,
    beside,
    cast_like,
    from_numpy,
    one_hot,
    take_rows,
    to_numpy,
)
from skclean._blocks import few_rows, map_rows, sum_blocks
from skclean._threads import few_blas_threads
from skclean.linalg.feature_map import LandmarkMap, LinearMap, whitening
from skclean.linalg.triangular import squared_norms

#: Of rows that have a mean leverage below `_SMALL`, leverages are estimated by the lengths of their
#: images in that many random directions, if the fit has over four times as many features; where an
#: estimate is above twice `_SMALL`, the leverage is then computed.
_SMALL, _DIRECTIONS = 0.005, 64


@dataclass
class Ridge:
    """Regularised least squares in the eigenvectors of the Gram matrix.

    With Q = (Phi - mean) V, V the eigenvectors of the centred Gram matrix and d = 1 / (w + alpha),
    the fit is Q (d * cross) + target_mean and the leverage of a row is 1 / n + sum_j d_j Q_ij^2.
    With weights u of the rows, means, Gram matrix and cross-products are weighted, n is the sum of
    the weights, and the leverage is u_i times that.

    Attributes
    ----------
    features : LinearMap or LandmarkMap
    mean : array of shape (m,)
    vectors : array of shape (m, r)
        V; for landmarks B V, with B the inverse Cholesky factor of their kernel matrix.
    values : ndarray of shape (r,), float64
        w, the eigenvalues.
    cross : ndarray of shape (r, C), float64
        Q^T (Y - target_mean).
    target_mean : ndarray of shape (C,), float64
    n_rows : float
        Number of rows, or sum of their weights.
    alpha : float
        The regularisation; `choose_alpha` sets it. Rows of Q have unit mean square, or nearly so
        for landmarks, so that it does not depend on the unit of the features.
    """

    features: LinearMap | LandmarkMap
    mean: Any
    vectors: Any
    values: np.ndarray
    cross: np.ndarray
    target_mean: np.ndarray
    n_rows: float
    alpha: float = 1.0

    def project(self, X: Any) -> Any:
        """Q of some rows, shape (b, r)."""
        return array_namespace(self.mean).matmul(self._centred(X), self.vectors)

    def shrinkage(self, alpha: float | None = None) -> np.ndarray:
        """1 / (w + alpha), shape (r,)."""
        return 1 / (self.values + (self.alpha if alpha is None else alpha))

    def predict(self, X: Any) -> Any:
        """Scores of new rows, shape (n, C), in the library and on the device of the fit."""
        coefficients, mean = self._coefficients(), cast_like(self.target_mean, self.mean)

        def score(X):
            phi = self._centred(X)
            return array_namespace(phi).matmul(phi, coefficients) + mean

        return map_rows(score, X, width=max(self.features.width, len(self.target_mean)))

    def leave_one_out(
        self,
        X: Any,
        targets: Any,
        groups: np.ndarray | None = None,
        weight: np.ndarray | None = None,
    ) -> Any:
        """Score of each row of the fit by the fit that has not seen it.

        s_i = y_i - (y_i - f_i) / (1 - h_i), f the fit and h_i the leverage; with groups,
        s_g = y_g - (I - H_gg)^-1 (y_g - f_g) for the rows g of a group together.

        Of many rows, which have a mean leverage below `_SMALL`, and more than 256 features,
        leverages are estimated, with a standard deviation of 18 %, and computed where the estimate
        is above twice `_SMALL`. That moves a score by about a thousandth of y_i - f_i, and by far
        less than the sampling error of the fit.

        Parameters
        ----------
        X : array of shape (n, d)
        targets, weight
            Those of the fit.
        groups : ndarray of shape (n,), int64, or None

        Returns
        -------
        array of shape (n, C)
        """
        d, n_classes = self.shrinkage(), len(self.target_mean)
        with few_blas_threads(self.features.width):
            leverage, coefficients = self._leverage(), self._coefficients()
        mean = cast_like(self.target_mean, coefficients)

        def score(X, targets, weight):
            xp, phi = array_namespace(X), self._centred(X)
            Y = _targets(targets, n_classes, phi)
            h = leverage(phi, 1.0 if weight is None else cast_like(weight, phi))
            fit = xp.matmul(phi, coefficients) + mean
            return Y - (Y - fit) / xp.clip(1 - h, 1e-6, None)[:, None]

        width = max(self.features.width, n_classes)
        scores = map_rows(score, X, targets, weight, width=width)
        if groups is None:
            return scores
        out = to_numpy(scores).copy()
        for rows in _members(groups):
            if len(rows) > 1:
                Q = to_numpy(self.project(take_rows(X, rows))).astype(np.float64)
                Y = _targets(take_rows(targets, rows), len(self.target_mean), Q)
                out[rows] = self._leave_out(Q, Y, d, None if weight is None else weight[rows])
        return from_numpy(out, scores)

    def _leave_out(self, Q, Y, d, weight=None):
        """Scores (g, C) of the projected rows (g, r) of a group without any of their labels."""
        u = np.ones((len(Q), 1)) if weight is None else weight[:, None]
        residual = Y - (Q @ (d[:, None] * self.cross) + self.target_mean)
        if len(Q) <= len(d):
            H = ((Q * d) @ Q.T + 1 / self.n_rows) * u.T
            return Y - np.linalg.solve(np.eye(len(Q)) - H, residual)
        # Woodbury: as many equations as eigenvectors instead of as many as rows.
        A = np.hstack([Q, np.ones((len(Q), 1))])
        penalty = np.append(1 / d, self.n_rows)
        inner = np.diag(penalty) - A.T @ (u * A)
        return Y - residual - A @ np.linalg.solve(inner, A.T @ (u * residual))

    def _centred(self, X):
        return self.features(beside(X, self.mean)) - self.mean

    def _coefficients(self):
        """B of shape (m, C): the fit is (Phi - mean) B + target_mean."""
        xp, vectors = array_namespace(self.vectors), self._wide_vectors()
        weights = from_numpy(self.shrinkage()[:, None] * self.cross, vectors)
        return xp.astype(xp.matmul(vectors, weights), self.vectors.dtype)

    def _leverage(self):
        """A function of rows phi - mean (b, m) and weights (b,) that gives their leverages (b,)."""
        root, least = self._root(), 1 / self.n_rows
        xp, width = array_namespace(root), len(self.values)
        many = self.values @ self.shrinkage() < _SMALL * self.n_rows
        if not many or width <= 4 * _DIRECTIONS:
            return lambda phi, weight: weight * (squared_norms(phi, root) + least)
        signs = np.random.RandomState(0).choice([-1.0, 1.0], (width, _DIRECTIONS))
        directions = xp.matmul(root, cast_like(signs / _DIRECTIONS**0.5, root))

        def leverage(phi, weight):
            image = xp.matmul(phi, directions)
            h = xp.vecdot(image, image)
            far = weight * h > 2 * _SMALL
            h[far] = squared_norms(phi[far], root)
            return weight * (h + least)

        return leverage

    def _root(self):
        """Lower triangular L of shape (m, m) with leverage 1 / n + |L^T (phi - mean)|^2."""
        xp, vectors = array_namespace(self.vectors), self._wide_vectors()
        vectors *= from_numpy(self.shrinkage() ** 0.5, vectors)
        lower = xp.linalg.qr(vectors.T).R.T
        # The signs of R are arbitrary; the Cholesky factor is unique.
        negative = xp.astype(xp.linalg.diagonal(lower) < 0, lower.dtype)
        return xp.astype(lower * (1 - 2 * negative), self.vectors.dtype)

    def _wide_vectors(self):
        xp = array_namespace(self.vectors)
        return xp.astype(self.vectors, xp.float64, copy=True)


def fit_ridge(
    features: LinearMap | LandmarkMap,
    X: Any,
    targets: Any,
    n_classes: int,
    weight: np.ndarray | None = None,
) -> Ridge:
    """One pass over the rows, one eigendecomposition.

    Blocks are multiplied in their own precision and summed in float64.

    Parameters
    ----------
    features : LinearMap or LandmarkMap
    X : array of shape (n, d)
    targets : ndarray of shape (n,), int64, or array of shape (n, C)
        Labels in 0 to `n_classes` - 1, or soft labels.
    n_classes : int
    weight : ndarray of shape (n,) or None
        Weights of the rows; None counts each as 1.
    """

    def products(X, targets, weight):
        xp, phi = array_namespace(X), features(X)
        Y, root = _targets(targets, n_classes, phi), xp.ones_like(phi[:, 0])
        if weight is not None:
            # Of one array with itself, BLAS computes half the products.
            root = cast_like(weight**0.5, phi)
            phi, Y = root[:, None] * phi, root[:, None] * Y
        return xp.matmul(phi.T, phi), xp.matmul(phi.T, Y), xp.matmul(root, phi), xp.matmul(root, Y)

    sums = sum_blocks(products, X, targets, weight, width=features.width)
    gram, cross, total, target_total = sums
    n = X.shape[0] if weight is None else float(np.sum(weight, dtype=np.float64))
    xp = array_namespace(gram)
    target_mean = to_numpy(target_total) / n
    mean = total / n
    gram -= total[:, None] * mean
    cross -= total[:, None] * cast_like(target_mean, total)
    with few_blas_threads(features.width):
        values, vectors, cross = _decomposed(features, gram, cross)
    if not isinstance(features, LandmarkMap):
        # Of equal rows, rounding is left, of either sign.
        spread, size = float(xp.linalg.trace(gram)), n * float(xp.sum(mean**2))
        unit = spread / n if spread > 1e-12 * size else 1.0
        values, vectors, cross = values / unit, vectors / unit**0.5, cross / unit**0.5
    dtype = features(few_rows(X, slice(0, 1))).dtype
    return Ridge(
        features,
        xp.astype(mean, dtype),
        xp.astype(vectors, dtype),
        np.maximum(to_numpy(values), 0),
        to_numpy(cross),
        target_mean,
        n,
    )


def _decomposed(features, gram, cross):
    """Eigenvalues of a Gram matrix (m, m), whitened for landmarks, V of `Ridge` and V^T cross."""
    xp = array_namespace(gram)
    if isinstance(features, LandmarkMap):
        basis = whitening(features)
        values, vectors = xp.linalg.eigh(xp.matmul(basis.T, xp.matmul(gram, basis)))
        vectors = xp.matmul(basis, vectors)
    else:
        values, vectors = xp.linalg.eigh(gram)
    return values, vectors, xp.matmul(vectors.T, cross)


def choose_alpha(
    ridge: Ridge,
    X: Any,
    targets: Any,
    alphas: np.ndarray,
    groups: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    max_rows: int = 2048,
) -> tuple[float, np.ndarray]:
    """The regularisation of least leave-one-out squared error.

    Parameters
    ----------
    ridge : Ridge
    X, targets, weight
        Those of the fit.
    alphas : ndarray of shape (k,)
    groups : ndarray of shape (n,), int64, or None
        Rows that are left out together.
    max_rows : int
        The error is taken over that many rows, evenly spaced, where there are more; groups stay
        whole.

    Returns
    -------
    alpha : float
    errors : ndarray of shape (k,)
        Mean squared error per row, or per unit of weight.
    """
    if groups is None:
        held = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight > 0)
        parts = [spaced(held, max_rows)]
    else:
        parts = _members(groups)[:: max(1, round(X.shape[0] / max_rows))]
    errors, total = np.zeros(len(alphas)), 0.0
    with few_blas_threads(ridge.features.width):
        for rows in parts:
            Q = to_numpy(ridge.project(few_rows(X, rows)))
            Y, squares = _targets(few_rows(targets, rows), len(ridge.target_mean), Q), Q**2
            u = np.ones(len(rows), Q.dtype) if weight is None else weight[rows].astype(Q.dtype)
            total += float(u.sum(dtype=np.float64))
            for i, alpha in enumerate(alphas):
                d = ridge.shrinkage(alpha)
                if groups is None:
                    h = u * (squares @ d.astype(Q.dtype) + 1 / ridge.n_rows)
                    fit = Q @ (d[:, None] * ridge.cross).astype(Q.dtype)
                    fit += ridge.target_mean.astype(Q.dtype)
                    residual = (Y - fit) / np.maximum(1 - h, 1e-6)[:, None]
                else:
                    residual = Y - ridge._leave_out(Q, Y, d, None if weight is None else u)
                errors[i] += np.sum(u[:, None] * residual**2, dtype=np.float64)
    errors /= total
    return float(alphas[int(np.argmin(errors))]), errors


def spaced(rows: np.ndarray, count: int) -> np.ndarray:
    """About `count` of the rows at most, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64))]


def _members(groups):
    """The rows of each group."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _targets(targets, n_classes, like):
    """Targets of a block as an array (b, C) like another: one-hot where they are labels."""
    if targets.ndim == 2:
        return array_namespace(like).astype(beside(targets, like), like.dtype)
    return one_hot(targets, n_classes, like)
