"""Products with a triangular matrix, and its inverse."""

from typing import Any

from skclean._array import array_namespace

#: Blocks of columns: of a product with four, five eighths of the work are left.
_BLOCKS = 4
#: Matrices up to that size are inverted as any others are.
_INVERTED_AT_ONCE = 96


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


def inverse(L: Any) -> Any:
    """The inverse of a lower triangular matrix, by halves: mostly products, a third of them all.

    Parameters
    ----------
    L : array of shape (m, m)
        Lower triangular, no zero on its diagonal.

    Returns
    -------
    array of shape (m, m)
        Lower triangular, or nearly: what rounding leaves above the diagonal is not taken out.
    """
    out = array_namespace(L).zeros_like(L)
    _invert_into(out, L)
    return out


def _invert_into(out, L):
    xp, half = array_namespace(L), L.shape[0] // 2
    if L.shape[0] <= _INVERTED_AT_ONCE:
        out[:, :] = xp.linalg.inv(L)
        return
    _invert_into(out[:half, :half], L[:half, :half])
    _invert_into(out[half:, half:], L[half:, half:])
    below = xp.matmul(L[half:, :half], out[:half, :half])
    out[half:, :half] = -xp.matmul(out[half:, half:], below)
