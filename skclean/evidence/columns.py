"""Columns of a table in unlike units, brought to one scale for the distances of a kernel."""

from typing import Any

import numpy as np

from skclean._array import cast_like, to_numpy

#: Columns are of unlike scale where the widest is that many times as wide as the median one. Metres
#: beside millimetres are, embeddings are not; principal components can be, then the labels decide.
UNLIKE = 10.0
#: Widths are those of at most so many rows.
_WIDTH_ROWS = 1024
#: Share of the rows at either end that do not count in the width of a column.
_TAIL = 0.05
#: Columns narrower than that many roundings of the widest are roundings: principal components
#: beyond the rank have up to 121.
_ROUNDINGS = 128


def column_widths(Z: np.ndarray) -> np.ndarray:
    """Width of each column of Z (m, d) in which a few rows far out do not count, shape (d,).

    The range of nine tenths of the rows, as a standard deviation of normal data. Where so many are
    equal, the standard deviation itself; 0 of a column that is constant but for rounding.
    """
    eps, Z = np.finfo(Z.dtype).eps, Z.astype(np.float64)
    # Without interpolation: between a value that many rows share and the next one, any width is.
    low = np.quantile(Z, _TAIL, axis=0, method="higher")
    high = np.quantile(Z, 1 - _TAIL, axis=0, method="lower")
    widths = np.where(high > low, (high - low) / 3.29, Z.std(axis=0))
    return np.where(widths > _ROUNDINGS * eps * widths.max(), widths, 0.0)


def unlike(widths: np.ndarray) -> bool:
    """Whether the widest column is more than `UNLIKE` times as wide as the (lower) median one."""
    varied = np.sort(widths[widths > 0])
    return bool(len(varied)) and bool(varied[-1] > UNLIKE * varied[(len(varied) - 1) // 2])


def even_widths(rows: Any) -> Any:
    """What brings the columns of rows (r, d) to one width, where some stand out; None elsewhere.

    Returns
    -------
    array of shape (d,) or None
    """
    held = to_numpy(rows)
    widths = column_widths(held[:: -(-len(held) // _WIDTH_ROWS)])
    if not unlike(widths):
        return None
    # Columns without a width stay as negligible as they are.
    return cast_like(np.where(widths > 0, widths, widths.max()), rows)
