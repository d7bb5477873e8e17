"""Class-conditional Gaussians with one covariance: how far a row is from every class."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, beside, cast_like, one_hot, take_rows, to_numpy
from skclean._blocks import map_rows, sum_blocks
from skclean._threads import few_blas_threads, python_threads
from skclean.linalg.feature_map import linear_map
from skclean.linalg.triangular import inverse


@dataclass
class SharedGaussian:
    """N(mean_c, Sigma) for each class and N(mean, Sigma_0) for all rows, diagonal together.

    Attributes
    ----------
    center : array of shape (d,)
        Subtracted from the rows.
    vectors : array of shape (d, d)
        V with V^T Sigma V = I and V^T Sigma_0 V diagonal: z = V^T (x - center).
    spread : ndarray of shape (d,), float64
        Diagonal of V^T Sigma_0 V.
    means : ndarray of shape (C, d), float64
        z of the class means.
    mean : ndarray of shape (d,), float64
        z of the mean of all rows.
    counts : ndarray of shape (C,), int64
    shrinkage, total_shrinkage : float
        Share of the multiple of the identity in Sigma and in Sigma_0.
    """

    center: Any
    vectors: Any
    spread: np.ndarray
    means: np.ndarray
    mean: np.ndarray
    counts: np.ndarray
    shrinkage: float
    total_shrinkage: float

    def distances(self, X: Any, codes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Squared Mahalanobis distance to the nearest class, and how it compares to that of all.

        With D_c = (x - mean_c)^T Sigma^-1 (x - mean_c) and D_0 the same with mean and Sigma_0,
        these are min_c D_c and the relative distance min_c D_c - D_0 [1]_.

        Parameters
        ----------
        X : array of shape (n, d)
        codes : ndarray of shape (n,), int64, or None
            Labels with which the rows took part in the fit, -1 for rows that did not. Rows are
            taken out of the means and covariances: with N rows of class c, n in all, r = x - mean_c
            and w = (1 - shrinkage) N / ((N - 1) n),
            D_k <- D_k + w (r_k^T Sigma^-1 r)^2 / (1 - w r^T Sigma^-1 r) with the mean that is left
            in r_k. Only the shrinkage and its target stay.

        Returns
        -------
        nearest, relative : ndarray of shape (n,), float64

        References
        ----------
        .. [1] Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection",
           2021.
        """

        def compare(to_class, to_all):
            nearest = to_class.min(axis=1)
            return nearest, nearest - to_all

        return self._distances(X, codes, compare)

    def class_distances(self, X: Any, codes: np.ndarray | None = None) -> np.ndarray:
        """The D_c of `distances`, shape (n, C), float64; infinite where a class has no row left."""
        return self._distances(X, codes, lambda to_class, to_all: to_class)

    def _distances(self, X, codes, judge):
        """What `judge` makes of the distances (b, C) to the classes and (b,) to all."""
        codes = np.full(X.shape[0], -1) if codes is None else codes
        between = _squares(self.means)
        between = between[:, None] + between - 2 * self.means @ self.means.T

        def distances(X, codes):
            parameters = [cast_like(p, X) for p in (self.means, self.mean, 1 / self.spread)]
            center, vectors = beside(self.center, X), beside(self.vectors, X)
            z = array_namespace(X).matmul(X - center, vectors)
            to_class, to_all = _distances(z, *parameters)
            to_class[:, self.counts == 0] = np.inf
            known = np.flatnonzero(codes >= 0)
            self._leave_out(to_class, to_all, known, codes[known], between)
            return judge(to_class, to_all)

        return map_rows(distances, X, codes, width=max(X.shape[1], len(self.means)))

    def _leave_out(self, to_class, to_all, rows, codes, between):
        """Correct the distances of `rows` for their own part in the fit, in place."""
        n, size = self.counts.sum(), self.counts[codes].astype(np.float64)
        own, others = to_class[rows, codes], to_class[rows]
        left = np.maximum(size - 1, 1)
        weight = (1 - self.shrinkage) * size / left / n * (size > 1)
        damped = np.maximum(1 - weight * own, 1e-6)
        product = (others + own[:, None] - between[codes]) / 2
        # A class absent from the fit stays at infinity.
        product[:, self.counts == 0] = 0
        others += (weight / damped)[:, None] * product**2
        others[np.arange(len(rows)), codes] = np.where(
            size > 1, (size / left) ** 2 * own / damped, np.inf
        )
        to_class[rows] = others
        if n > 1:
            damped = np.maximum(1 - (1 - self.total_shrinkage) / (n - 1) * to_all[rows], 1e-6)
            to_all[rows] *= (n / (n - 1)) ** 2 / damped


@python_threads()
def fit_shared_gaussian(X: Any, codes: np.ndarray, n_classes: int) -> SharedGaussian:
    """One pass over the rows for all means and both covariances.

    With S the scatter of the rows around the means of their classes, Sigma is
    (1 - rho) S / n + rho tr(S) / (n d) I, rho by the oracle-approximating shrinkage [1]_; Sigma_0
    the same of the scatter around the common mean.

    Parameters
    ----------
    X : array of shape (n, d)
    codes : ndarray of shape (n,), int64
        Labels in 0 to `n_classes` - 1; rows of -1 are left out, and one must be left.
    n_classes : int

    Returns
    -------
    SharedGaussian

    References
    ----------
    .. [1] Chen et al., "Shrinkage Algorithms for MMSE Covariance Estimation", 2010, equation 23.
    """
    center = linear_map(X).center

    def products(X, codes):
        xp = array_namespace(X)
        if (codes < 0).any():
            X, codes = take_rows(X, np.flatnonzero(codes >= 0)), codes[codes >= 0]
        X = X - center
        return xp.matmul(X.T, X), xp.matmul(one_hot(codes, n_classes, X).T, X)

    gram, sums = sum_blocks(products, X, codes, width=max(X.shape[1], n_classes))
    counts = np.bincount(codes[codes >= 0], minlength=n_classes)
    n, sums, gram = counts.sum(), to_numpy(sums), to_numpy(gram)
    means, mean = sums / np.maximum(counts, 1)[:, None], sums.sum(axis=0) / n
    # Where no row differs from the mean of its class, what is left of the difference is rounding.
    rounding = 8 * np.finfo(gram.dtype).eps * np.trace(gram) / n * np.eye(len(gram))
    within, shrinkage = _shrunk((gram - means.T @ sums) / n + rounding, n)
    total, total_shrinkage = _shrunk(gram / n - np.outer(mean, mean), n)
    with few_blas_threads(len(total)):
        whiten = inverse(_root(within))
        spread, rotation = np.linalg.eigh(whiten @ total @ whiten.T)
    vectors = whiten.T @ rotation
    return SharedGaussian(
        center=center,
        vectors=cast_like(vectors, center),
        spread=np.maximum(spread, 1e-12),
        means=means @ vectors,
        mean=mean @ vectors,
        counts=counts,
        shrinkage=shrinkage,
        total_shrinkage=total_shrinkage,
    )


def _root(covariance):
    """The Cholesky factor; of a matrix that rounding made indefinite, that of one nearby."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        values = np.maximum(values, 1e-6 * values[-1])
        return np.linalg.cholesky((vectors * values) @ vectors.T)


def _shrunk(covariance, n):
    """The covariance moved towards a multiple of the identity, and by what share."""
    d = len(covariance)
    target = float(np.trace(covariance)) / d
    if not target > 0:
        return np.eye(d), 1.0
    energy = float(np.mean(covariance**2))
    share = (1 - 2 / d) * energy + target**2
    share /= max((n + 1 - 2 / d) * (energy - target**2 / d), 1e-300)
    # Duplicated columns leave directions of no variance at all.
    share = float(np.clip(share, 1e-6, 1))
    return (1 - share) * covariance + share * target * np.eye(d), share


def _squares(means):
    return np.sum(means**2, axis=1)


def _distances(z, means, mean, precision):
    """Squared distances (b, C) and (b,) of transformed rows, as float64 on the host."""
    xp = array_namespace(z)
    z, means, mean = (xp.astype(x, xp.float64) for x in (z, means, mean))
    to_class = xp.sum(z**2, axis=1)[:, None] + xp.sum(means**2, axis=1)
    to_class = to_class - 2 * xp.matmul(z, means.T)
    to_all = xp.matmul((z - mean) ** 2, xp.astype(precision, xp.float64))
    return np.maximum(to_numpy(to_class), 0), to_numpy(to_all).copy()
