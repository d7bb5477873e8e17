"""The one door to NumPy, CuPy and torch arrays, on array-api-compat."""

from collections.abc import Iterator
from typing import Any

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

#: Rows of a block of anything, images too. Of features, `skclean._blocks` takes more.
BLOCK_ROWS = 512
#: Values handled at a time where temporaries would be larger than the input.
_CHUNK = 1 << 17


def array_namespace(*arrays: Any) -> Any:
    """The array API namespace of the arrays; NumPy's for lists, DataFrames and the like.

    Parameters
    ----------
    *arrays : array-like or None
        None is passed over.

    Returns
    -------
    module
        A namespace of array-api-compat.

    Raises
    ------
    TypeError
        If arrays of two libraries are mixed.
    """
    known = [x for x in arrays if array_api_compat.is_array_api_obj(x)]
    return array_api_compat.array_namespace(*known) if known else numpy_namespace


def is_numpy(x: Any) -> bool:
    """True for NumPy arrays and for all that NumPy is asked to convert (lists, DataFrames)."""
    return not array_api_compat.is_array_api_obj(x) or array_api_compat.is_numpy_array(x)


def is_dask(x: Any) -> bool:
    """True for dask arrays, which `skclean._blocks` alone computes with."""
    return array_api_compat.is_dask_array(x)


def is_host(x: Any) -> bool:
    """True where `to_numpy` moves nothing between devices, and holds nothing that is not held."""
    if is_numpy(x):
        return True
    if is_dask(x):
        return False
    if array_api_compat.is_torch_array(x):
        return x.device.type == "cpu"
    return x.__dlpack_device__()[0] == 1  # kDLCPU


def to_numpy(x: Any) -> np.ndarray:
    """The array as a NumPy array, moved to the host where it lies on a device.

    Parameters
    ----------
    x : array-like
        No copy is made of an array that is already on the host.
    """
    if array_api_compat.is_torch_array(x):
        x = x.detach().cpu()
        return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    if array_api_compat.is_cupy_array(x):
        return x.get()
    return np.asarray(x)


def detached(x: Any) -> Any:
    """The array without the graph that torch would trace through it; others as they are."""
    return x.detach() if array_api_compat.is_torch_array(x) and x.requires_grad else x


def device(x: Any) -> Any:
    """Where the array lies, as its own library names it ("cpu" for NumPy)."""
    return "cpu" if is_numpy(x) else array_api_compat.device(x)


def from_numpy(x: np.ndarray, like: Any) -> Any:
    """A NumPy array as an array of the library and on the device of `like`."""
    if is_numpy(like):
        return x
    # A copy: torch takes neither read-only memory nor negative strides.
    return array_namespace(like).asarray(np.array(x), device=device(like))


def cast_like(x: Any, like: Any) -> Any:
    """A NumPy array as one of the library, on the device and of the dtype of `like`."""
    return array_namespace(like).astype(from_numpy(np.asarray(x), like), like.dtype)


def beside(x: Any, like: Any) -> Any:
    """The array in the library and on the device of another; itself where it is there already."""
    there = array_namespace(x) is array_namespace(like) and device(x) == device(like)
    return x if there else from_numpy(to_numpy(x), like)


def contiguous(x: Any) -> Any:
    """The array laid out along its last axis."""
    xp = array_namespace(x)
    return xp.asarray(x, copy=True) if not isinstance(x, np.ndarray) else np.ascontiguousarray(x)


def take_rows(x: Any, rows: slice | np.ndarray) -> Any:
    """Rows of an array of any library.

    Parameters
    ----------
    x : array of shape (n, ...)
    rows : slice or integer ndarray
        Counted from zero: negative positions are not understood by every library.
    """
    if is_numpy(x) or is_dask(x):
        # Given as a dask array, positions would make dask read every chunk.
        return x[rows]
    if isinstance(rows, slice):
        return x[rows, ...]
    return array_namespace(x).take(x, from_numpy(rows, x), axis=0)


def one_hot(codes: np.ndarray, n_classes: int, like: Any) -> Any:
    """Labels (b,) as an array (b, C) of the library, device and dtype of another."""
    Y = np.zeros((len(codes), n_classes), dtype=np.float32)
    Y[np.arange(len(codes)), codes] = 1
    return cast_like(Y, like)


def blocks(n: int) -> Iterator[slice]:
    """Slices of `BLOCK_ROWS` rows that cover n, at least one."""
    return (slice(start, min(start + BLOCK_ROWS, n)) for start in range(0, max(n, 1), BLOCK_ROWS))


def histogram_moments(x: Any, n_bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and variance of the values in [0, 1] of each bin that has some.

    Parameters
    ----------
    x : array of shape (n,)
    n_bins : int
        Equal bins of [0, 1].

    Returns
    -------
    count, mean, variance : ndarray of shape (bins with values,), float64
        On the host.
    """
    sums = np.zeros((3, n_bins))
    for start in range(0, x.shape[0], _CHUNK):
        sums += _bin_sums(x[start : min(start + _CHUNK, x.shape[0])], n_bins)
    held = np.flatnonzero(sums[0])
    count, mean = sums[0, held], sums[1, held] / sums[0, held]
    variance = np.maximum(sums[2, held] / count - mean**2, 0)
    return count, mean + (held + 0.5) / n_bins, variance


def _bin_sums(x, n_bins):
    """Number of values in each bin, and sum and sum of squares of their offset from its middle."""
    xp = array_namespace(x)
    x = xp.clip(xp.astype(x, xp.float64), 0, 1)
    bins = xp.clip(xp.astype(x * n_bins, xp.int64), 0, n_bins - 1)
    # Squares of the values themselves would cancel in the variance.
    offset = x - (xp.astype(bins, xp.float64) + 0.5) / n_bins
    if not hasattr(xp, "bincount"):
        xp, bins, offset = np, to_numpy(bins), to_numpy(offset)
    weights = (xp.ones_like(offset), offset, offset**2)
    return np.stack([to_numpy(xp.bincount(bins, weights=w, minlength=n_bins)) for w in weights])
