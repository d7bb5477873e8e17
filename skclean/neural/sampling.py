"""Which rows each step of an epoch takes, as a function of seed, epoch and process."""

import numpy as np


def plain_batches(
    rows: np.ndarray,
    steps: int,
    batch_size: int,
    key: tuple[int, ...],
    *,
    rank: int = 0,
    world: int = 1,
) -> np.ndarray:
    """Rows in random order, none a second time before each was taken once.

    Parameters
    ----------
    rows : ndarray of shape (m,), int64
        At least one.
    steps : int
        Steps of the epoch. ``ceil(m / (batch_size * world))`` and more take every row.
    batch_size : int
        Rows of a step in each process.
    key : tuple of int >= 0
        Seed, use and epoch, say: other keys, other draws.
    rank, world : int, default=0 and 1
        This process, and how many there are. Their shares are parts of one sequence.

    Returns
    -------
    ndarray of shape (steps, batch_size), int64

    Raises
    ------
    ValueError
        If there is no row.

    Examples
    --------
    >>> import numpy as np
    >>> from skclean.neural.sampling import plain_batches
    >>> batches = plain_batches(np.arange(10, 16), steps=3, batch_size=2, key=(0, 1))
    >>> sorted(batches.ravel().tolist())
    [10, 11, 12, 13, 14, 15]
    """
    rows, rng = _checked(rows, "plain_batches"), np.random.default_rng(list(key))
    return _share(_cycle(rows, steps * world * batch_size, rng), steps, batch_size, rank, world)


def balanced_batches(
    rows: np.ndarray,
    codes: np.ndarray,
    steps: int,
    batch_size: int,
    key: tuple[int, ...],
    *,
    rank: int = 0,
    world: int = 1,
) -> np.ndarray:
    """Rows of all classes equally often: P_i = 1 / C (REED 4.3.2).

    Classes follow one another in random order, each once before any comes again, so that batches
    are as balanced as their size allows. Inside a class all rows are taken equally often, give or
    take one.

    Parameters
    ----------
    rows : ndarray of shape (m,), int64
    codes : ndarray of shape (m,), int64
        Classes of the rows. Those that no row has are left out.
    steps, batch_size, key, rank, world
        As for `plain_batches`.

    Returns
    -------
    ndarray of shape (steps, batch_size), int64

    Raises
    ------
    ValueError
        If there is no row.

    References
    ----------
    Zhang et al., "Decoupling Representation and Classifier for Noisy Label Learning" (REED), 2020,
    section 4.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skclean.neural.sampling import balanced_batches
    >>> codes = np.array([0, 0, 0, 0, 0, 1])
    >>> batches = balanced_batches(np.arange(6), codes, steps=2, batch_size=4, key=(0,))
    >>> (codes[batches] == 1).sum(axis=1).tolist()
    [2, 2]
    """
    rows, rng = _checked(rows, "balanced_batches"), np.random.default_rng(list(key))
    classes, codes = np.unique(codes, return_inverse=True)
    drawn = _cycle(np.arange(len(classes)), steps * world * batch_size, rng)
    taken = np.empty(len(drawn), np.int64)
    for places, members in zip(*(_positions(c, len(classes)) for c in (drawn, codes)), strict=True):
        taken[places] = rows[_spread(members, len(places), rng)]
    return _share(taken, steps, batch_size, rank, world)


def _spread(values, size, rng):
    """So many of the values in random order, each as often as others, give or take one."""
    values = rng.permutation(values)
    points = (rng.random() + np.arange(size)) * (len(values) / max(size, 1))
    return rng.permutation(values[np.minimum(points.astype(np.int64), len(values) - 1)])


def _cycle(values, size, rng):
    """Permutations one after the other, cut at `size`."""
    n_orders = -(-size // len(values))
    orders = [rng.permutation(values) for _ in range(n_orders)]
    return np.concatenate([np.empty(0, np.int64), *orders])[:size]


def _share(sequence, steps, size, rank, world):
    return np.ascontiguousarray(sequence.reshape(steps, world, size)[:, rank])


def _positions(codes, n_codes):
    """Where each of the codes 0 to n_codes - 1 stands."""
    ends = np.cumsum(np.bincount(codes, minlength=n_codes))[:-1]
    return np.split(np.argsort(codes, kind="stable"), ends)


def _checked(rows, name):
    if not len(rows):
        raise ValueError(
            f"{name}: expected at least one row to take batches from, got none; do pass rows of "
            "positive weight, or lower the threshold of the cleaner."
        )
    return np.asarray(rows, np.int64)
