"""Columns of a table in unlike units, brought to one scale for the distances of a kernel."""

from typing import Any

import numpy as np

from skclean._array import cast_like, to_numpy
from skclean.linalg.feature_map import LandmarkMap, landmark_map

#: Columns are of unlike scale where the widest is that many times as wide as the median one. The
#: leading components of embeddings are not; metres beside millimetres are.
UNLIKE = 10.0
#: Share of the rows at either end that do not count in the width of a column.
_TAIL = 0.05


def column_widths(Z: np.ndarray) -> np.ndarray:
    """Width of each column of Z (m, d) in which a few rows far out do not count, shape (d,).

    The range of nine tenths of the rows, as a standard deviation of normal data. Where so many are
    equal, the standard deviation itself; 0 of a column that is constant.
    """
    low, high = np.quantile(Z, (_TAIL, 1 - _TAIL), axis=0)
    return np.where(high > low, (high - low) / 3.29, Z.std(axis=0))


def unlike(widths: np.ndarray) -> bool:
    """Whether the widest column is more than `UNLIKE` times as wide as the (lower) median one."""
    varied = np.sort(widths[widths > 0])
    return bool(len(varied)) and bool(varied[-1] > UNLIKE * varied[(len(varied) - 1) // 2])


def evened_map(features: LandmarkMap, gamma: float, rng: Any) -> LandmarkMap | None:
    """The map of the same landmarks with all columns of one width.

    Parameters
    ----------
    features : LandmarkMap
    gamma : float
        Inverse squared width of the kernel, as in `landmark_map`.
    rng : numpy.random.RandomState

    Returns
    -------
    LandmarkMap or None
        Its `scale` has shape (d,). None where no column stands out.
    """
    widths = column_widths(to_numpy(features.landmarks).astype(np.float64))
    if not unlike(widths):
        return None
    widths = cast_like(np.where(widths > 0, widths, 1.0), features.landmarks)
    even = landmark_map(features.landmarks / widths, features.width, gamma, rng)
    return LandmarkMap(
        features.center + even.center * widths / features.scale,
        even.scale * features.scale / widths,
        even.landmarks,
    )
