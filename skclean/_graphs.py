"""Graphs of dask: one for each pass over the rows."""

import warnings
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any
from uuid import uuid4

import numpy as np

from skclean._array import array_namespace, device, is_dask, take_rows, to_numpy
from skclean._memory import kept_memory
from skclean._optional import import_optional
from skclean._threads import one_blas_thread


def blockwise(function, given, rowwise, lengths):
    """A dask array of blocks function(*given, *parts), parts in dask arrays or lists of parts."""
    da = import_optional("dask.array", "scale")
    listed = import_optional("dask.layers", "scale").ArrayValuesDep
    pairs, n_axes = [pair for x in given for pair in (x, None)], 1
    for x in rowwise:
        if isinstance(x, list):
            parts = {(i,): part for i, part in enumerate(x)}
            pairs += [listed((lengths,), parts), (0,)]
        elif x is None:
            pairs += [None, None]
        else:
            pairs += [x, (0, *range(n_axes, n_axes + x.ndim - 1))]
            n_axes += x.ndim - 1
    return da.blockwise(
        function,
        tuple(range(n_axes)),
        *pairs,
        name=f"skclean-{uuid4().hex}",
        align_arrays=False,
        meta=np.empty((0,) * n_axes),
    )


def collect(units, like, held, lengths):
    """Results of the units, alike `like`, as arrays of all rows: some `held` here, some on dask."""
    dask, da = import_optional("dask", "scale"), import_optional("dask.array", "scale")
    graphs = import_optional("dask.highlevelgraph", "scale").HighLevelGraph

    def picked(pick, x):
        name, dims = f"skclean-{uuid4().hex}", (0,) * (x.ndim - 1)
        tail = (0,) * (units.ndim - 1)
        tasks = {(name, i, *dims): (pick, (units.name, i, *tail)) for i in range(len(lengths))}
        graph = graphs.from_collections(name, tasks, dependencies=[units])
        chunks = (lengths, *((m,) for m in x.shape[1:]))
        return da.Array(graph, name, chunks, dtype=x.dtype, meta=x)

    found: dict[int, Any] = {
        j: picked(itemgetter(j), x) for j, x in enumerate(like) if j not in held
    }
    if found:
        here = [picked(partial(_items, held), np.empty(0))] if held else []
        with any_size():
            kept = dask.persist(*found.values(), *here)
        found, units = dict(zip(found, kept, strict=False)), kept[-1]
    if held:
        with any_size():
            parts = dask.compute(*units.to_delayed().ravel())
        for i, j in enumerate(held):
            found[j] = np.concatenate([part[i] for part in parts])
    return [found[j] for j in range(len(like))]


def tried(function, rowwise):
    """The results of one row, for their number, shapes and dtypes."""
    n = min(next(x.shape[0] for x in rowwise if x is not None), 1)

    def one_row(x):
        if not is_dask(x):
            return x if x is None else x[:n, ...]
        xp, like = array_namespace(x._meta), x._meta
        return xp.ones((n, *x.shape[1:]), dtype=x.dtype, device=device(like))

    with np.errstate(all="ignore"):
        found = function(*(one_row(x) for x in rowwise))
    return found if isinstance(found, tuple) else (found,)


def alone(run, *arguments):
    """The body of a task."""
    with one_blas_thread(), kept_memory():
        return run(*arguments)


@contextmanager
def any_size():
    """Without dask's advice on graphs of 10 MB: functions and labels, a few bytes a row, go once.

    Scattered, they would be lost with a worker.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")
        yield


def copied_rows(x, rows):
    """Rows of a chunk by their positions, as a NumPy array of their own."""
    return to_numpy(take_rows(x, rows))


def _items(places, values):
    return [values[j] for j in places]
