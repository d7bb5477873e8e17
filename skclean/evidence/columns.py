"""Columns of a table in unlike units, or with values far out, for the distances of a kernel."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, cast_like, to_numpy

#: Columns are of unlike scale where the widest is that many times as wide as the median one. Metres
#: beside millimetres are, embeddings are not; principal components can be, then the labels decide.
UNLIKE = 10.0
#: Widths are those of at most so many rows.
_WIDTH_ROWS = 1024
#: Share of the rows at either end that do not count in the width of a column.
_TAIL = 0.05
#: Values are clipped that many widths from the median; beyond lie 1.2 % of normal data.
CLIP = 2.5
#: Values far out decide the distances where variances are that many times the squared widths: of
#: embeddings it is 1 to 1.15.
_HEAVY = 1.5
#: Columns narrower than that many roundings of the widest are roundings: principal components
#: beyond the rank have up to 121.
_ROUNDINGS = 128


def likely_widths(rows: Any) -> list[np.ndarray]:
    """Widths (d,) of columns of rows (r, d), and those that take none for a rounding if others.

    The range of nine tenths of the rows, as a standard deviation of normal data, so that a few rows
    far out do not count. Where so many are equal, the standard deviation itself; 0 of a constant
    column, and of one as narrow as the roundings of the widest.
    """
    Z = _some(rows)
    roundings = _ROUNDINGS * np.finfo(Z.dtype).eps
    Z = Z.astype(np.float64)
    low, high = _ends(Z)
    spans = np.where(high > low, (high - low) / 3.29, Z.std(axis=0))
    widths = np.where(spans > roundings * spans.max(), spans, 0.0)
    return [widths] if (widths == spans).all() else [widths, spans]


def _ends(Z):
    """Ends (d,) and (d,) of what `_TAIL` of the rows lie beyond on either side."""
    # Without interpolation: between a value that many rows share and the next one, any width is.
    low = np.quantile(Z, _TAIL, axis=0, method="higher")
    return low, np.quantile(Z, 1 - _TAIL, axis=0, method="lower")


def unlike(widths: np.ndarray) -> bool:
    """Whether the widest column is more than `UNLIKE` times as wide as the (lower) median one."""
    varied = np.sort(widths[widths > 0])
    return bool(len(varied)) and bool(varied[-1] > UNLIKE * varied[(len(varied) - 1) // 2])


def even_widths(rows: Any, widths: np.ndarray) -> Any:
    """What brings the columns of rows (r, d) to one width, where some stand out; None elsewhere.

    Returns
    -------
    array of shape (d,) or None
    """
    if not unlike(widths):
        return None
    # Columns without a width stay as negligible as they are.
    return cast_like(np.where(widths > 0, widths, widths.max()), rows)


@dataclass
class Clipped:
    """Columns at one scale on either side of their medians, their values clipped.

    Attributes
    ----------
    center : array of shape (d,)
    below, above : array of shape (d,)
        Inverse widths of the values below and above the centre.
    """

    center: Any
    below: Any
    above: Any

    def __call__(self, X: Any) -> Any:
        """Rows (b, d) in widths from the centre, `CLIP` at most."""
        xp, Z = array_namespace(X), X - self.center
        return xp.clip(Z * xp.where(Z < 0, self.below, self.above), -CLIP, CLIP)

    def ends(self) -> np.ndarray:
        """Values at which each column is clipped, shape (2, d)."""
        center, below, above = map(to_numpy, (self.center, self.below, self.above))
        return np.stack([center - CLIP / below, center + CLIP / above])


def clipped_columns(rows: Any, widths: np.ndarray) -> Clipped | None:
    """The columns of rows (r, d) clipped, where values far out decide distances; None elsewhere."""
    Z = _some(rows).astype(np.float64)
    if not _heavy(Z[:, widths > 0], widths[widths > 0]):
        return None
    center, (low, high) = np.median(Z, axis=0), _ends(Z)
    full = np.where(widths > 0, widths, widths.max())
    # Of normal data, both are the standard deviation.
    sides = (center - low) / 1.645, (high - center) / 1.645
    below, above = (1 / np.where((widths > 0) & (side > 0), side, full) for side in sides)
    return Clipped(*(cast_like(values, rows) for values in (center, below, above)))


def _heavy(Z, widths):
    """Whether variances are more than `_HEAVY` times squared widths, at the scale of distances."""
    scale = widths if unlike(widths) else 1.0
    variance = np.sum((Z.std(axis=0) / scale) ** 2)
    return bool(variance > _HEAVY * np.sum((widths / scale) ** 2))


def _some(rows):
    held = to_numpy(rows)
    return held[:: -(-len(held) // _WIDTH_ROWS)]
