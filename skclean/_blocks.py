"""Passes over the rows: sums and functions of rows, block by block, in memory or on dask.

A pass sees a few thousand rows at a time, whatever their number. Arrays of NumPy, memory maps,
CuPy and torch are read in turn; of dask arrays, which are chunked by rows, every chunk is a task of
the scheduler that is current, and works in the same blocks. The chunks are brought to units of
`UNIT_ROWS` rows, in which arrays in memory are summed too, and partial sums are added in one
order: results are the same to the last bit at any chunking, and in memory. Blocks made smaller by
`working_memory` change the last bits.

Blocks of NumPy arrays are worked on by as many threads as BLAS would have, which has one meanwhile,
as in the tasks of dask: so functions of blocks must not write to what they share.

On dask, a pass is one graph of a task for each unit, and those that add up. Results with columns
stay dask arrays, kept by the scheduler (`persist`); those of one dimension, a few bytes a row, come
to the caller as NumPy arrays.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
from sklearn import get_config

from skclean._array import (
    array_namespace,
    device,
    from_numpy,
    is_dask,
    take_rows,
    to_numpy,
)
from skclean._graphs import alone, any_size, blockwise, collect, copied_rows, tried
from skclean._optional import import_optional
from skclean._threads import threads

#: Rows of a block: BLAS gains little beyond, and malloc starts to hand memory back between blocks.
#: Fewer where the working memory is short.
BLOCK_ROWS = 1024
#: Rows of a unit, of which each has a sum of its own: a chunk on dask.
UNIT_ROWS = 16 * BLOCK_ROWS
#: Float64 arrays of the size of a block that a pass may hold.
_COPIES = 16
#: Values of blocks that are worth a thread's while.
_TASK = 1 << 19
#: Partial sums that are added at a time.
_FAN = 8


def sum_blocks(function: Callable, *rowwise: Any, width: int = 0) -> list[Any]:
    """Sums over the rows.

    Parameters
    ----------
    function : callable
        From a block of rows of each of `rowwise` to a tuple of arrays or floats, the sums over
        the rows of the block.
    *rowwise : array of shape (n, ...) or None
        None is handed on.
    width : int
        Columns of what the function makes of a block in between, where it is wider than that.

    Returns
    -------
    list of arrays or floats
        Float64, in the library and on the device of what the function returns; in memory.
    """
    n, size = _n_rows(rowwise), block_rows(*rowwise, width=width)
    if _on_dask(rowwise):
        delayed = import_optional("dask", "scale").delayed
        parts = _on_units(_sum_unit, function, size, rowwise).to_delayed().ravel()
        total = _tree(lambda i: parts[i], lambda sums: delayed(_total)(list(sums)), 0, len(parts))
        with any_size():
            return total.compute()

    with _in_threads(function, rowwise, [*_slices(n, size)], width) as blocks:
        n_units, of_unit = max(-(-n // UNIT_ROWS), 1), UNIT_ROWS // size
        return _tree(lambda _: _added(islice(blocks, of_unit)), _total, 0, n_units)


def map_rows(
    function: Callable, *rowwise: Any, out: Any = None, width: int = 0, gather: bool = False
) -> Any:
    """A function of every row.

    Parameters
    ----------
    function : callable
        From a block of rows of each of `rowwise` to an array of as many rows, or a tuple of such.
    *rowwise : array of shape (n, ...) or None
        None is handed on.
    out : array of shape (n, ...) or None
        Where the arrays are in memory, what the first result is written to; one of `rowwise` may
        be.
    width : int
        As in `sum_blocks`.
    gather : bool
        Whether all results of dask arrays come as NumPy arrays.

    Returns
    -------
    array of shape (n, ...), or tuple of such
        In the library and on the device of what the function returns; of dask arrays, dask arrays
        in chunks of `UNIT_ROWS`, or NumPy arrays where they have one dimension.
    """
    n, size = _n_rows(rowwise), block_rows(*rowwise, width=width)
    if _on_dask(rowwise):
        like = tried(function, rowwise)
        held = [j for j, x in enumerate(like) if gather or x.ndim == 1]
        units = _on_units(_map_unit, function, size, rowwise)
        found = collect(units, like, held, _lengths(n))
    else:
        found = _map_unit(function, size, *rowwise, out=out, width=width)
    return found[0] if len(found) == 1 else tuple(found)


def lazy_rows(function: Callable, x: Any, like: Any) -> Any:
    """A function from rows (b, d) to as many like (1, k), of a dask array: anew in every pass."""
    x = in_chunks(x)
    return x.map_blocks(function, dtype=like.dtype, chunks=(x.chunks[0], like.shape[1:]), meta=like)


def at_once(function: Callable, x: Any) -> tuple[Any, Any]:
    """A function of all rows of an array small enough to be held: one task on dask.

    Parameters
    ----------
    function : callable
        From the array to a pair of anything and a float32 array of the same shape.
    x : array of shape (n, ...)

    Returns
    -------
    anything, array of shape (n, ...)
        The second stays on dask if `x` is there.
    """
    if not is_dask(x):
        return function(x)
    dask, da = import_optional("dask", "scale"), import_optional("dask.array", "scale")
    (whole,) = x.rechunk(-1).to_delayed().ravel()
    with any_size():
        first, second = dask.persist(*dask.delayed(alone, nout=2)(dask.delayed(function), whole))
    return first.compute(), in_chunks(da.from_delayed(second, x.shape, np.float32))


def in_chunks(x: Any) -> Any:
    """A dask array in chunks of `UNIT_ROWS` rows with all columns."""
    chunks = (_lengths(x.shape[0]), *((size,) for size in x.shape[1:]))
    return x if x.chunks == chunks else x.rechunk(chunks)


def few_rows(x: Any, rows: slice | np.ndarray) -> Any:
    """Rows of an array, few enough to be held: of a dask array, as a NumPy array."""
    if not is_dask(x):
        return take_rows(x, rows)
    rows = np.arange(*rows.indices(x.shape[0])) if isinstance(rows, slice) else rows
    ends = np.cumsum(x.chunks[0])
    chunk = np.searchsorted(ends, rows, side="right")
    used = np.unique(chunk)
    if not len(used):
        return np.empty((0, *x.shape[1:]), x.dtype)
    x = x.rechunk(dict.fromkeys(range(1, x.ndim), -1))
    x = x if len(used) == x.numblocks[0] else x.blocks[used.tolist()]
    # Of each chunk a copy: slices are views, which would keep all of it.
    parts = [rows[chunk == i] - ends[i] + size for i, size in zip(used, x.chunks[0], strict=True)]
    found = blockwise(copied_rows, (), (x, parts), x.chunks[0]).to_delayed().ravel()
    found = np.concatenate(import_optional("dask", "scale").compute(*found))
    return found[np.argsort(np.argsort(chunk, kind="stable"))]


def held(x: Any) -> Any:
    """A dask array as a NumPy array; others as they are."""
    return to_numpy(x) if is_dask(x) else x


def on_host(x: Any) -> Any:
    """The array as a NumPy array, on whatever device; a dask array stays one."""
    return x if is_dask(x) else to_numpy(x)


def put_rows(x: Any, rows: np.ndarray, values: Any) -> Any:
    """The array with other values in some rows (sorted positions); one in memory is written to."""
    if not is_dask(x):
        out = to_numpy(x)
        out[rows] = to_numpy(values)
        return from_numpy(out, x)
    x = x.copy()
    x[rows] = values
    return in_chunks(x).persist()


def best_class(proba: Any) -> np.ndarray:
    """Column (n,) of the greatest value of each row, int64 on the host."""
    best = map_rows(lambda p: array_namespace(p).argmax(p, axis=1), proba)
    return to_numpy(best).astype(np.int64, copy=False)


def joined_rows(parts: list[tuple[np.ndarray, Any]]) -> Any:
    """A dask array out of its rows, [(sorted positions, values), ...], every row in one part."""
    da = import_optional("dask.array", "scale")
    back = np.argsort(np.concatenate([rows for rows, _ in parts]))
    joined = da.concatenate([da.asarray(values) for _, values in parts])[back]
    return in_chunks(joined).persist()


def all_finite(x: Any, largest: float = np.inf) -> bool:
    """Whether no value is NaN, infinite or of a size above `largest`."""
    if not all(x.shape):
        return True

    def beyond(x):
        xp = array_namespace(x)
        if not xp.isdtype(x.dtype, "real floating"):
            return (xp.zeros(()),)
        most = min(largest, float(xp.finfo(x.dtype).max))
        # NaN is the greatest and the least, and within no bounds.
        within = (xp.max(x) <= most) & (xp.min(x) >= -most)
        return (xp.astype(~within, xp.float64),)

    return float(sum_blocks(beyond, x)[0]) == 0


def own_column(proba: Any, codes: np.ndarray) -> Any:
    """The value (n,) of each row (n, C) in the column `codes`, of at least 0."""

    def own(p, codes):
        xp = array_namespace(p)
        return xp.take_along_axis(p, from_numpy(codes[:, None], p), axis=1)[:, 0]

    return map_rows(own, proba, codes)


def block_rows(*rowwise: Any, width: int = 0) -> int:
    """Rows of a block: `BLOCK_ROWS`, fewer where scikit-learn's `working_memory` asks for it."""
    affordable = _affordable(_width(rowwise, width))
    return min(BLOCK_ROWS, 1 << max(affordable.bit_length() - 1, 4))


def _affordable(values):
    """How many rows, or blocks, of so many values scikit-learn's `working_memory` has room for."""
    return int(get_config()["working_memory"] * 2**20 / (8 * _COPIES * values))


def _sum_unit(function, size, *rowwise):
    """The sums over the rows of one unit."""
    with _in_threads(function, rowwise, [*_slices(_n_rows(rowwise), size)]) as blocks:
        return _added(blocks)


def _added(blocks):
    """The total of the sums of blocks, an iterator."""
    total = [_wide(x) for x in next(blocks)]
    for sums in blocks:
        for i, x in enumerate(sums):
            total[i] += x
    return total


def _map_unit(function, size, *rowwise, out=None, width=0):
    """The values of the rows, a list of arrays."""
    n, values = _n_rows(rowwise), None
    slices = [*_slices(n, size)]
    with _in_threads(function, rowwise, slices, width) as blocks:
        for rows, found in zip(slices, blocks, strict=True):
            found = found if isinstance(found, tuple) else (found,)
            if values is None:
                empty = (_empty(n, x) for x in found[out is not None :])
                values = [*empty] if out is None else [out, *empty]
            for to, x in zip(values, found, strict=True):
                to[rows, ...] = x
    return values


@contextmanager
def _in_threads(function, rowwise, slices, width=0):
    """What a function makes of slices of the rows, in order: of NumPy arrays, on all cores."""

    def of(rows):
        return function(*(_part(x, rows) for x in rowwise))

    one_by_one = (of(rows) for rows in slices)
    if not all(isinstance(x, np.ndarray) for x in rowwise if x is not None):
        yield one_by_one
        return
    values = _width(rowwise, width) * (slices[0].stop or 1)
    size = max(1, _TASK // values)
    groups = [slices[i : i + size] for i in range(0, len(slices), size)]
    with threads(min(len(groups), _affordable(values))) as run:
        found = run(lambda group: [of(rows) for rows in group], groups)
        yield one_by_one if run is map else chain.from_iterable(found)


def _total(sums: Iterable) -> list[Any]:
    sums = iter(sums)
    total = next(sums)
    for others in sums:
        total = [a + b for a, b in zip(total, others, strict=True)]
    return total


def _tree(leaf, total, start, stop):
    """The total of leaves start to stop, by nodes of `_FAN`: in one order, however it is run."""
    if stop - start == 1:
        return leaf(start)
    step = 1
    while step * _FAN < stop - start:
        step *= _FAN
    return total(_tree(leaf, total, i, min(i + step, stop)) for i in range(start, stop, step))


def _on_units(run, function, size, rowwise):
    """A dask array of which each block is what `run` makes of a unit, an array or not."""
    lengths = _lengths(_n_rows(rowwise))
    ends = np.cumsum(lengths)
    rows = [slice(end - m, end) for end, m in zip(ends, lengths, strict=True)]

    def in_units(x):
        if x is None:
            return None
        return in_chunks(x) if is_dask(x) else [_part(x, part) for part in rows]

    # Delayed, the function is sent to a worker once.
    shared = import_optional("dask", "scale").delayed(function)
    given, rowwise = (run, shared, size), [in_units(x) for x in rowwise]
    return blockwise(alone, given, rowwise, lengths)


def _lengths(n):
    return tuple(min(UNIT_ROWS, n - start) for start in range(0, max(n, 1), UNIT_ROWS))


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, max(n, 1), size))


def _part(x, rows):
    if isinstance(x, np.ndarray):
        # BLAS takes other ways, to other last bits, through rows that are not laid out in order.
        return np.ascontiguousarray(x[rows, ...])
    return None if x is None else x[rows, ...]


def _on_dask(rowwise):
    return any(is_dask(x) for x in rowwise if x is not None)


def _width(rowwise, width):
    """Columns of a block, with those that it is mapped to if these are more."""
    return max(width, sum(int(np.prod(x.shape[1:])) for x in rowwise if x is not None), 1)


def _n_rows(rowwise):
    return next(x.shape[0] for x in rowwise if x is not None)


def _wide(x):
    """A sum as float64, in memory of its own."""
    if isinstance(x, float | int):
        return float(x)
    xp = array_namespace(x)
    return xp.astype(x, xp.float64, copy=True)


def _empty(n, like):
    xp = array_namespace(like)
    return xp.empty((n, *like.shape[1:]), dtype=like.dtype, device=device(like))
