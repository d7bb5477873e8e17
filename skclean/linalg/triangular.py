"""Products with a triangular matrix."""

from typing import Any

from skclean._array import array_namespace

#: Blocks of columns: of a product with four, five eighths of the work are left.
_BLOCKS = 4


def squared_norms(X: Any, L: Any) -> Any:
    """|L^T x|^2 of each row x.

    By a few general products that leave most of the zeros out: the triangular ones of SciPy's BLAS
    would bring threads of their own beside those of NumPy's.

    Parameters
    ----------
    X : array of shape (n, m)
        float32 or float64.
    L : array of shape (m, m)
        Lower triangular, of the same dtype.

    Returns
    -------
    array of shape (n,)
    """
    xp, m = array_namespace(X), X.shape[1]
    width = -(-m // _BLOCKS)
    total = xp.zeros_like(X[:, 0])
    for start in range(0, m, width):
        part = xp.matmul(X[:, start:], L[start:, start : min(start + width, m)])
        total += xp.vecdot(part, part)
    return total
