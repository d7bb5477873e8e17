"""Recognise rows seen before by their content."""

from copy import copy
from typing import Any

import numpy as np

from skclean._array import array_namespace, cast_like, from_numpy, is_dask, to_numpy
from skclean._blocks import few_rows, map_rows, sum_blocks

N_PROJECTIONS = 8
#: Queries that are searched for at a time.
BLOCK_ROWS = 8192

# Distances are relative to the size of the row in units of the columns' spread. Eight projections
# measure a distance up to a factor of .05 to 2.5 (once in 1e9 and 1e6 pairs), so that a row moved
# by 1e-6 is always recognised and one moved by 1e-4 never.
TOLERANCE = 5e-6
# The same numbers, up to the order of summation.
EXACT = 1e-12
# A column far from zero counts as this many spreads away from it at most: beyond, a relative move
# of 1e-6 can no longer be told from another row.
MAX_OFFSET = 100.0
# A batch is that of the index if this share of its rows stands at its old place: all of them do,
# but for rows whose last bits moved further.
SAME_BATCH = 0.99
# Rows with more near neighbours than this are not recognised unless exactly the same.
MAX_CANDIDATES = 256
# The columns' spread is that of about so many rows, unless a row is so many times larger, in those
# spreads, than half of the rows: its tolerance would be too wide.
SPREAD_ROWS = 1000
MAX_SIZE = 10.0


class RowIndex:
    """Find the rows of one array in another, up to their last bits.

    Rows are compared by eight random projections of their standardised columns, computed in
    float64 block by block on the device of the features; the (n, 8) projections are moved to the
    host and are all that is kept. A wrong match is worse than none: rows whose match is ambiguous
    and matters are not matched.

    Parameters
    ----------
    features : array of shape (n, d)
        Rows to be found again; finite. NumPy, CuPy or torch.
    outcome : ndarray of int of shape (n,) or None
        What a match is used for, 0 or greater. Rows of the same outcome stand for each other:
        where several rows match, any of them is right if their outcomes agree. None: no row
        stands for another.
    given : ndarray of int of shape (n,) or None
        Given label codes, -1 for missing, by which `match` can tell rows apart.

    Notes
    -----
    With z the row after subtracting the columns' centres and dividing by their spreads, a row
    matches if the projected distance is below ``5e-6 * sqrt(||z||^2 + sum_j min(o_j, 100)^2)``,
    o_j the offset of column j from zero in spreads. Exactly equal rows go before near ones, and
    a row at its old place before others if the whole batch stands at its old place.
    """

    def __init__(
        self,
        features: Any,
        outcome: np.ndarray | None = None,
        given: np.ndarray | None = None,
    ) -> None:
        n, d = features.shape
        self.n_rows = n
        self._dask_name = features.name if is_dask(features) else None
        self._directions = _directions(d)
        some = few_rows(features, _few(n))
        centre = _centre(some)
        spread, constant = _spread(some, centre)
        every = some.shape[0] == n
        if not every and constant.any():
            # What is rare in a column is all that it says.
            (spread, _), every = _spread(features, centre), True
        points, size = self._standardise(features, centre, spread)
        if not every and not _alike(size):
            points, size = self._standardise(features, centre, _spread(features, centre)[0])
        given = np.full(n, -1) if given is None else np.asarray(given)
        # One cell for all rows of the same content and given label, in the order of the first
        # projection.
        order, starts = _cells(points, given, EXACT * size)
        row = order[starts]
        self._cell_row, self._cell_given = _narrow(row), _narrow(given[row])
        self._cell_points = points[row]
        self._cell_keys = self._cell_points[:, :2].T.copy()
        cell = np.empty(n, dtype=np.int64)
        cell[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
        self._cell_of_row = _narrow(cell)
        self._judge(np.arange(n) if outcome is None else np.asarray(outcome))

    def is_of(self, features: Any, given: np.ndarray) -> bool:
        """Whether this is the index of these rows, unless they were changed by a thousandth.

        Parameters
        ----------
        features : array of shape (m, d)
            Those that the index was made of, maybe changed in place since then: of a dask array
            that is told by its name.
        given : ndarray of int of shape (m,)
        """
        alike = features.shape == (self.n_rows, len(self._centre))
        if not alike or not np.array_equal(given, self._cell_given[self._cell_of_row]):
            return False
        if is_dask(features) or self._dask_name is not None:
            return is_dask(features) and features.name == self._dask_name
        return self._is_at_place(features)

    def with_outcome(self, outcome: np.ndarray) -> "RowIndex":
        """The index of the same rows with other outcomes, without a pass over them.

        Parameters
        ----------
        outcome : ndarray of int of shape (n,)
        """
        other = copy(self)
        other._judge(outcome)
        return other

    def _judge(self, outcome):
        """Keep the outcome that all rows of a cell share, -1 where they differ."""
        low = outcome[self._cell_row]
        high = low.copy()
        np.minimum.at(low, self._cell_of_row, outcome)
        np.maximum.at(high, self._cell_of_row, outcome)
        self._cell_outcome = _narrow(np.where(low == high, low, -1))

    def match(self, features: Any, given: np.ndarray | None = None) -> np.ndarray:
        """The row of the index that each row is.

        Parameters
        ----------
        features : array of shape (m, d)
            Of any library and float dtype, not only those of the index.
        given : ndarray of int of shape (m,) or None
            Given label codes: a row with one only matches rows with the same. -1 matches any.

        Returns
        -------
        rows : ndarray of shape (m,), int64
            Position in the index, -1 where no row or no certain row is found.

        Raises
        ------
        ValueError
            If the number of columns differs.
        """
        if features.shape[1] != len(self._centre):
            raise ValueError(
                f"RowIndex: expected {len(self._centre)} features, got {features.shape[1]}; do "
                "pass rows of the same columns."
            )
        m = features.shape[0]
        points, size = self._project(features)
        given = np.full(m, -1) if given is None else np.asarray(given)
        rows = np.full(m, -1, dtype=np.int64)
        if not self.n_rows:
            return rows
        at_place = self._distance_at_place(points, size, given)
        for radius in (EXACT * size, TOLERANCE * size):
            rows = np.where((rows < 0) & (at_place <= radius), np.arange(m), rows)
            left = np.flatnonzero(rows < 0)
            # In the order of the first projection, a block of queries reads one stretch of memory.
            left = left[np.argsort(points[left, 0])]
            for start in range(0, len(left), BLOCK_ROWS):
                block = left[start : start + BLOCK_ROWS]
                rows[block] = self._search(points[block], given[block], radius[block])
        return rows

    def _standardise(self, features, centre, spread):
        """`_project` by other centres and spreads of the columns."""
        self._centre, self._spread = centre, spread
        self._offset = float(np.sum(np.minimum(np.abs(centre) / spread, MAX_OFFSET) ** 2))
        return self._project(features)

    def _project(self, features):
        """Projections (n, k) and the size of each row that tolerances are relative to (n,)."""
        # A task on dask takes along what the function holds: not the whole index.
        parameters, offset = (self._centre, self._spread, self._directions), self._offset

        def project(features):
            xp = array_namespace(features)
            centre, spread, directions = (from_numpy(x, features) for x in parameters)
            z = xp.astype(features, xp.float64, copy=True)
            z -= centre
            z /= spread
            size = xp.sqrt(xp.vecdot(z, z) + offset)
            # One array, that both are gathered in one pass.
            return xp.concat([xp.matmul(z, directions), size[:, None]], axis=1)

        found = to_numpy(map_rows(project, features, gather=True))
        points, size = np.ascontiguousarray(found[:, :-1]), found[:, -1].copy()
        # A row so far out that its square overflows is near no other.
        size[~np.isfinite(size)] = 0
        return points, size

    def _distance_at_place(self, points, size, given):
        """Distance to the row at the same place, inf where the batch is not that of the index."""
        m = len(points)
        distance = np.full(m, np.inf)
        if m != self.n_rows:
            return distance
        # A few rows tell most other batches apart at once.
        few = _few(m)
        if np.mean(self._distance_to(few, points[few]) <= TOLERANCE * size[few]) < 0.9:
            return distance
        for start in range(0, m, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            distance[rows] = self._distance_to(rows, points[rows])
        moved = np.mean(distance <= TOLERANCE * size) < SAME_BATCH
        relabelled = (given >= 0) & (given != self._cell_given[self._cell_of_row])
        return np.where(moved | relabelled, np.inf, distance)

    def _is_at_place(self, features):
        """Whether the first projection of each row is as it was, in the precision of the rows."""
        few = _few(self.n_rows)
        points, size = self._project(few_rows(features, few))
        if not (self._distance_to(few, points) <= EXACT * size).all():
            return False
        direction = self._directions[:, 0] / self._spread

        def project(X):
            xp = array_namespace(X)
            X = X if X.dtype == xp.float64 else xp.astype(X, xp.float32, copy=False)
            return xp.matmul(X, cast_like(direction, X))

        found = to_numpy(map_rows(project, features)) - self._centre @ direction
        away = np.abs(found - self._cell_points[self._cell_of_row, 0])
        return bool((away <= 1e-3 * np.median(size)).all())

    def _distance_to(self, rows, points):
        return np.sqrt(_squares(points - self._cell_points[self._cell_of_row[rows]]))

    def _search(self, points, given, radius):
        """The cells within the radius of each point: their row if they agree, else -1."""
        first = np.searchsorted(self._cell_keys[0], points[:, 0] - radius, side="left")
        last = np.searchsorted(self._cell_keys[0], points[:, 0] + radius, side="right")
        second = points[:, 1] if len(self._cell_keys) > 1 else None
        cell = np.full(len(points), -1, dtype=np.int64)
        clear = last - first <= MAX_CANDIDATES
        active = np.flatnonzero(clear & (first < last))
        for step in range(MAX_CANDIDATES):
            if not len(active):
                break
            query, candidate = active, first[active] + step
            if second is not None:
                near = np.abs(self._cell_keys[1][candidate] - second[query]) <= radius[query]
                query, candidate = query[near], candidate[near]
            fits = _squares(points[query] - self._cell_points[candidate]) <= radius[query] ** 2
            fits &= (given[query] < 0) | (given[query] == self._cell_given[candidate])
            found, new = query[fits], candidate[fits]
            outcome, before = self._cell_outcome[new], cell[found]
            agrees = (before < 0) | (self._cell_outcome[before] == outcome)
            # A cell whose own rows disagree has outcome -1 and spoils the match.
            clear[found[~agrees | (outcome < 0)]] = False
            cell[found] = np.where(before < 0, new, before)
            active = active[(first[active] + step + 1 < last[active]) & clear[active]]
        return np.where(clear & (cell >= 0), self._cell_row[cell], -1)


def _few(n):
    """About `SPREAD_ROWS` rows, evenly spaced."""
    return slice(0, n, max(1, n // SPREAD_ROWS))


def _centre(features):
    """Mean of each column of a few rows, in float64 on the host."""
    n, d = features.shape
    xp = array_namespace(features)
    return to_numpy(xp.mean(xp.astype(features, xp.float64), axis=0)) if n else np.zeros(d)


def _spread(features, centre):
    """Mean absolute deviation of each column from its centre, and whether the column is constant.

    It is positive: a column that is constant up to the last bits of float32 has its size as spread,
    or 1 if it is zero.
    """

    def deviation(features):
        xp = array_namespace(features)
        away = xp.abs(xp.astype(features, xp.float64) - from_numpy(centre, features))
        return (xp.sum(away, axis=0),)

    if not features.shape[0]:
        return np.ones(len(centre)), np.ones(len(centre), dtype=bool)
    total = to_numpy(sum_blocks(deviation, features)[0]) / features.shape[0]
    size = np.abs(centre)
    constant = total <= 1e-6 * size
    return np.where(constant, np.where(size > 0, size, 1.0), total), constant


def _alike(size):
    """Whether no row is much larger than most, nor too large to square."""
    return size.min() > 0 and size.max() <= MAX_SIZE * np.median(size)


def _narrow(x):
    """Integers in as few bytes as hold them."""
    return x.astype(np.min_scalar_type(-1 - int(x.max(initial=0))))


def _squares(differences):
    """Squared length of each row."""
    return (differences * differences) @ np.ones(differences.shape[1])


def _directions(d):
    """Fixed directions (d, k): random signs and sizes, or a rotation where d is small."""
    rng = np.random.default_rng(0)
    if d <= N_PROJECTIONS:
        return np.linalg.qr(rng.standard_normal((d, d)))[0]
    return rng.standard_normal((d, N_PROJECTIONS)) / np.sqrt(N_PROJECTIONS)


def _cells(points, given, radius):
    """Order of the rows and the start of each cell: runs of equal content and given label."""
    n = len(points)
    order = np.argsort(points[:, 0], kind="stable")
    key = points[order, 0]
    new = np.ones(n, dtype=bool)
    new[1:] = np.diff(key) > radius[order[1:]]
    # Only rows that share the first projection need to be told apart by the others.
    shared = ~new
    shared[:-1] |= ~new[1:]
    places = np.flatnonzero(shared)
    if len(places):
        rows, run = order[places], np.cumsum(new)[places]
        inner = np.lexsort((rows, given[rows], *points[rows, 1:].T[::-1], run))
        rows, run = rows[inner], run[inner]
        order[places] = rows
        apart = _squares(np.diff(points[rows], axis=0)) > radius[rows[1:]] ** 2
        apart |= (np.diff(given[rows]) != 0) | (np.diff(run) != 0)
        new[places[1:]] |= apart
    return order, np.flatnonzero(new)
