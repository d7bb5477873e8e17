"""The nearest rows whose label can be believed, for a person to compare with."""

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skclean._array import take_rows, to_numpy
from skclean._fields import KEPT

#: At most so many rows are searched, spread evenly over those that can be believed.
MAX_REFERENCES = 100_000
#: A label with a greater clean_proba can be believed where no row is trusted.
HIGH = 0.9
_BLOCK = 8192


def reference_rows(samples: Any, ranking: bool = False) -> tuple[np.ndarray, bool]:
    """Rows whose given label can be believed.

    Parameters
    ----------
    samples : LabelledSamples of n rows
    ranking : bool, default=False
        Whether clean_proba is a score that ranks the labels, and no probability.

    Returns
    -------
    rows : ndarray of int64
        The trusted ones; without any, those kept with a `clean_proba` above `HIGH`, or all that
        were kept where no probability is known.
    trusted : bool
        Whether they are trusted.
    """
    trusted = samples.trusted is not None and bool(samples.trusted.any())
    if trusted:
        good = samples.trusted
    else:
        good = samples.status_codes == KEPT
        if samples.clean_proba is not None and not ranking:
            good = good & (samples.clean_proba > HIGH)
    good = good & (samples._given_codes() >= 0)
    if samples.readable is not None:
        good = good & samples.readable
    rows = np.flatnonzero(good)
    if len(rows) > MAX_REFERENCES:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_REFERENCES).astype(np.int64)]
    return rows, trusted


def nearest_rows(features: Any, rows: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """The k nearest references of each row by Euclidean distance.

    Parameters
    ----------
    features : array of shape (n, d)
        NumPy, CuPy or torch; read in blocks of `_BLOCK` rows.
    rows, references : ndarray of int64, of shapes (m,) and (r,)
        Positions in `features`, none in both.
    k : int

    Returns
    -------
    ndarray of shape (m, k), int64
        Positions in `features`, nearest first; -1 where there are fewer references, or where the
        features are not finite.
    """
    found = np.full((len(rows), k), -1, dtype=np.int64)
    asked = to_numpy(take_rows(features, rows))
    finite = np.flatnonzero(np.isfinite(asked).all(axis=1))
    if not asked.shape[1] or not len(finite) or not len(references):
        return found
    asked = asked[finite].astype(np.float64)
    best, at = np.full((len(finite), k), np.inf), np.full((len(finite), k), -1, dtype=np.int64)
    for start in range(0, len(references), _BLOCK):
        block = references[start : start + _BLOCK]
        values = to_numpy(take_rows(features, block)).astype(np.float64)
        usable = np.isfinite(values).all(axis=1)
        block, values = block[usable], values[usable]
        if not len(block):
            continue
        search = NearestNeighbors(n_neighbors=min(k, len(block)), algorithm="brute").fit(values)
        distance, place = search.kneighbors(asked)
        distance = np.concatenate([best, distance], axis=1)
        together = np.concatenate([at, block[place]], axis=1)
        order = np.argsort(distance, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(distance, order, axis=1)
        at = np.take_along_axis(together, order, axis=1)
    found[finite] = at
    return found
