"""Features in .npy files and zarr stores as dask arrays."""

from pathlib import Path
from typing import Any

import numpy as np

from skclean._blocks import UNIT_ROWS
from skclean._optional import import_optional


class NumpyFile:
    """A .npy file that is mapped into memory where it is read, so that others can be sent it.

    Parameters
    ----------
    path : path-like
        Of a file with an array of shape (n, ...), which stays as it is.

    Attributes
    ----------
    shape, dtype, ndim
        Of the array.
    """

    def __init__(self, path: Any) -> None:
        self.path = str(Path(path).resolve())
        try:
            array = np.lib.format.open_memmap(self.path, mode="r")
            if array.dtype.kind not in "biuf":
                raise ValueError(f"it holds {array.dtype}")
        except ValueError as error:
            raise ValueError(
                f"open_features: expected a whole .npy file of numbers, got {path} ({error}); do "
                "save it again."
            ) from error
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        return np.lib.format.open_memmap(self.path, mode="r")[key]


def open_features(path: Any) -> Any:
    """Features of a file as a dask array, of which nothing is read yet.

    On one machine without dask, ``numpy.load(path, mmap_mode="r")`` goes into every estimator as
    it is.

    Parameters
    ----------
    path : path-like
        A .npy file, or a zarr array; with an array of shape (n, d). The workers of a cluster must
        see it under the same name.

    Returns
    -------
    dask array of shape (n, d)
        Chunked by rows.

    Raises
    ------
    ValueError
        If the array has no rows and columns, or the .npy file is none of numbers.
    ImportError
        If dask, or zarr for a zarr array, is not installed.
    """
    da = import_optional("dask.array", "scale")
    if Path(path).suffix == ".npy":
        stored: Any = NumpyFile(path)
        stamp = Path(path).stat()
        name = import_optional("dask.base", "scale").tokenize(
            stored.path, stamp.st_mtime_ns, stamp.st_size
        )
    else:
        import_optional("zarr", "scale")
        stored, name = da.from_zarr(str(path)), None
    if stored.ndim != 2:
        raise ValueError(
            f"open_features: expected an array of shape (rows, features) in {path}, got "
            f"{stored.shape}; do store one row for each sample."
        )
    if name is None:
        return stored.rechunk({1: -1})
    chunks = (UNIT_ROWS, stored.shape[1])
    return da.from_array(stored, chunks, name=f"npy-{name}", inline_array=True)
