"""Products with a triangular matrix."""

from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs

from skclean._array import array_namespace


def squared_norms(X: Any, L: Any) -> Any:
    """|L^T x|^2 of each row x.

    Parameters
    ----------
    X : array of shape (n, m)
        float32 or float64.
    L : array of shape (m, m)
        Lower triangular, of the same dtype; best laid out by columns.

    Returns
    -------
    array of shape (n,)
    """
    xp = array_namespace(X)
    if isinstance(X, np.ndarray):
        # BLAS has half the work where it knows of the zeros; it counts rows as columns.
        (trmm,) = get_blas_funcs(("trmm",), (X,))
        product = trmm(1.0, L, X.T, lower=1, trans_a=1)
        return np.einsum("ij,ij->j", product, product)
    return xp.sum(xp.matmul(X, L) ** 2, axis=1)
