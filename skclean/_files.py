"""Files that are whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap


@contextmanager
def replacing(path: Any) -> Iterator[Path]:
    """A name to write under; the file takes its own name once it is complete.

    Parameters
    ----------
    path : path-like
        The file to be. One that is there stays as it is until the new one is complete, and where
        writing fails.

    Yields
    ------
    pathlib.Path
        In the same folder; nothing is there yet.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def array_output(out: Any, shape: tuple[int, ...], dtype: str, name: str) -> Iterator[np.ndarray]:
    """An array to write to; a .npy file takes its name once it is complete.

    Parameters
    ----------
    out : None, path-like or ndarray
        None makes an array in memory.
    shape, dtype
        Of the array; one that is given may be float32 or float64.
    name : str
        Who speaks in errors.

    Raises
    ------
    ValueError
        If `out` is not such an array or path.
    """
    if out is None:
        yield np.empty(shape, dtype=dtype)
    elif isinstance(out, str | os.PathLike):
        with replacing(out) as temporary:
            features = open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            yield features
            features.flush()
    else:
        shaped = isinstance(out, np.ndarray) and out.shape == shape
        if not shaped or out.dtype not in (np.float32, np.float64) or not out.flags.writeable:
            raise ValueError(
                f"{name}: expected out as a path or a writable float array of shape {shape}, got "
                f"{type(out).__name__} of shape {getattr(out, 'shape', None)}; do make "
                f"numpy.empty({shape}, numpy.{dtype}), or name a file."
            )
        yield out
