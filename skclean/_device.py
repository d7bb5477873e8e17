"""Features on the device that a user names."""

from typing import Any

import numpy as np

from skclean._array import array_namespace, is_dask, is_numpy, to_numpy
from skclean._optional import import_optional

#: Bytes of each of the two pinned buffers that rows go through on their way to a GPU.
BUFFER_BYTES = 1 << 26


def to_device(x: Any, device: str | None, name: str) -> Any:
    """The array where the user wants it.

    Parameters
    ----------
    x : array of shape (n, d)
    device : {"cpu", "cuda"} or None
        None leaves it where it is; "cpu" makes a NumPy array of it; "cuda" moves NumPy arrays to
        the current GPU as CuPy arrays, block by block through pinned memory, and tensors of torch
        as such.
    name : str
        Who speaks in errors.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    ValueError
        If there is no CUDA device, or the array is not in memory.
    """
    if device is None:
        return x
    if is_dask(x):
        raise ValueError(
            f"{name}: expected device=None for a dask array, whose workers have devices of their "
            f"own, got {device!r}; do leave device out, or X.compute() where it fits."
        )
    if device == "cpu":
        return to_numpy(x)
    if not is_numpy(x):
        return x.cuda() if hasattr(x, "cuda") else x
    cupy = import_optional("cupy", "cuda12")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ValueError(
            f"{name}: expected a CUDA device for device='cuda', got none ({error}); do leave "
            "device out, or see `nvidia-smi`."
        ) from error
    return _upload(x, cupy, import_optional("cupyx", "cuda12"))


def returned(x: Any, like: Any) -> Any:
    """A result as a NumPy array where the input `like` is one."""
    return to_numpy(x) if is_numpy(like) and array_namespace(x) is not array_namespace(like) else x


def _upload(x, cupy, cupyx):
    """A NumPy array on the GPU: one buffer is filled while the other is sent."""
    n, out = len(x), cupy.empty(x.shape, x.dtype)
    step = max(1, BUFFER_BYTES // max(x[:1].nbytes, 1))
    shape = (min(step, max(n, 1)), *x.shape[1:])
    ways = [(cupyx.empty_pinned(shape, x.dtype), cupy.cuda.Stream()) for _ in range(2)]
    for i, start in enumerate(range(0, n, step)):
        buffer, stream = ways[i % 2]
        stream.synchronize()
        rows = slice(start, min(start + step, n))
        part = buffer[: rows.stop - start]
        np.copyto(part, x[rows])
        out[rows].set(part, stream=stream)
    for _, stream in ways:
        stream.synchronize()
    return out
