"""open_images: whatever a user passes as images, as one source that is read by rows."""

import math
import mmap
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array

from skclean._array import blocks, is_numpy, to_numpy
from skclean.embeddings._items import FileImages, ImageItems, ItemImages
from skclean.embeddings._pixels import (
    channel_first,
    flat_image_shape,
    is_loaded_instance,
    is_pillow,
    pixel_dtype,
    shown_size,
    square,
)
from skclean.embeddings._source import ImageSource, check_like, thread_count
from skclean.samples import LabelledSamples

__all__ = ["ImageItems", "ImageSource", "open_images", "open_source"]

_PATHS = (str, bytes, os.PathLike)


def open_images(
    X: Any,
    *,
    name: str = "SSLFeaturizer",
    image_size: int | None = None,
    image_shape: tuple[int, ...] | None = None,
    like: tuple[int, int, int] | None = None,
    on_error: str = "raise",
    n_workers: int | None = None,
) -> ImageSource:
    """Open images of any kind as one source.

    Parameters
    ----------
    X : array-like, files, dataset or LabelledSamples
        One of

        - images (n, H, W), (n, H, W, C) or (n, C, H, W) with C 1 or 3: NumPy arrays, memory maps,
          tensors, lists of images of one shape. Where both axes could be the channels, integers
          have them last and floats first. uint8, float32 and float64 stay; float16, booleans and
          other integers become float32, integers beyond 2**24 float64.
        - flat rows (n, d), also a DataFrame: of `image_shape`, of `like`, or as
          `flat_image_shape` says. The last two take a row as (H, W, C), the channel as its last
          axis; ``image_shape=(3, H, W)`` is for rows in channel-first order.
        - paths of files (n,) or (n, 1): a list, array, Series or DataFrame of one column, of str,
          bytes or path-like. They become RGB, upright by their EXIF orientation and on white where
          they are transparent.
        - a torch Dataset, any other object with ``__len__`` and ``__getitem__``, or a list, whose
          items are Pillow images (they become RGB), tensors or arrays (H, W), (C, H, W) or
          (H, W, C), or tuples that begin with one. An item must be the same each time.
        - a container: its `inputs`, or where it has none its features.
    name : str, default="SSLFeaturizer"
        Who speaks in errors.
    image_size : int or None, default=None
        Side in pixels. Images of another size are scaled, antialiased, by their shorter side and
        cut to the middle square; floats are not scaled. None takes images as they are.
    image_shape : tuple of int or None, default=None
        ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)`` of flat rows.
    like : tuple of int or None, default=None
        ``(C, H, W)`` of the fit, from which images must not differ.
    on_error : {"raise", "skip"}, default="raise"
        Whether a file or item that cannot be read, or is of another size, is an error, or a
        warning and a row of zeros. The size of files is the commonest of 256 at most, spread
        evenly; that of items is the commonest of 16 for "skip", else the first. For "skip" with
        `like` it is that of `like`, and no row need be readable.
    n_workers : int or None, default=None
        Threads that decode files, and processes that read a torch Dataset; 0 reads in the caller's
        thread. None: a thread for each core for files, no process for a Dataset.

    Returns
    -------
    source : ImageSource

    Raises
    ------
    ValueError
        If X is not such images, holds NaN or inf, or is not as `like`.
    ImageReadError
        If no file or item can be read, but for "skip" with `like`: a ValueError.
    TypeError
        If X is sparse or an IterableDataset.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skclean.embeddings.images import open_images
    >>> source = open_images(load_digits().data)
    >>> source.n, source.shape, source.read([3, 5]).shape
    (1797, (1, 8, 8), (2, 1, 8, 8))
    """
    readable = None
    if isinstance(X, LabelledSamples):
        readable, X = X.readable, X.features if X.inputs is None else X.inputs
    X = _sorted_out(X, name)
    kind: Any = ItemImages if isinstance(X, ImageItems) else FileImages
    if kind is FileImages and not _are_paths(X):
        kind = ArrayImages
        # Rows that are to be scaled are not yet as those of the fit.
        X = _checked_array(X, name, like)
        X = _unflattened(X, image_shape, like if image_size is None else None, name)
    elif image_shape is not None:
        raise ValueError(
            f"{name}: expected image_shape=None for files and datasets, got {image_shape}; do set "
            "image_size to bring them to one size."
        )
    elif not len(X) and (like is None or kind is ItemImages):
        raise ValueError(f"{name}: expected images, got {X!r} with 0 sample(s); do pass rows.")
    options = {"like": like, "on_error": on_error, "name": name, "n_workers": n_workers}
    source = kind(X, image_size=image_size, **options)
    if readable is not None:
        source.readable &= readable
    return source


def open_source(estimator: Any, X: Any, like: tuple[int, int, int] | None) -> ImageSource:
    """Images by the settings of a featurizer or retrainer; see `open_images`."""
    return open_images(
        X,
        name=type(estimator).__name__,
        image_size=estimator.image_size,
        image_shape=estimator.image_shape,
        like=like,
        on_error=estimator.on_error,
        n_workers=estimator.n_workers,
    )


class ArrayImages(ImageSource):
    """Images of an array or a memory map."""

    def __init__(self, images, *, image_size, like, on_error, name, n_workers):
        view = channel_first(images)
        if view is None or 0 in images.shape[1:]:
            raise ValueError(
                f"{name}: expected images of shape (n, H, W), or (n, H, W, C) or (n, C, H, W) with "
                f"1 or 3 channels, or flat rows (n, d), got {images.shape}; do reshape them."
            )
        shape, self._size = view.shape[1:], None
        if image_size is not None and shape[1:] != (image_size, image_size):
            if images.dtype != np.uint8:
                raise ValueError(
                    f"{name}: expected uint8 where image_size={image_size} is not the size of the "
                    f"images, got {images.dtype} of {shown_size(shape)}; do scale them before."
                )
            self._size, shape = image_size, (shape[0], image_size, image_size)
        check_like(shape, like, name)
        self._view, self._mapped = view, _is_mapped(images)
        n_threads = 0
        if self._size is not None or self._mapped:
            n_threads = thread_count(n_workers)
        options = {"name": name, "on_error": on_error, "n_threads": n_threads}
        super().__init__(images, shape, pixel_dtype(images), **options)

    def __getstate__(self):
        """Each value once; a memory map as the place in its file."""
        state = {**self.__dict__, "inputs": _placed(self.inputs)}
        del state["_view"]
        if self._size is None:
            state["_images"] = None
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        if isinstance(self.inputs, _Placed):
            self.inputs = self.inputs.opened()
        self._view = channel_first(self.inputs)

    def check(self, quick=False):
        if self._size is not None:
            super().check(quick)

    def array(self):
        if self._images is None and self._size is None:
            if (self._mapped or self.dtype != self.inputs.dtype) and not self.keeps:
                return None
            self._images = self._view.astype(self.dtype, copy=False)
        return self._images

    def _fill(self, rows, images, load):
        if self._size is not None:
            return super()._fill(rows, images, load)
        images[...] = self._view[rows]
        return []

    def _load(self, row):
        return square(self._view[row], self._size)


class _Placed(NamedTuple):
    """Where the values of a memory map lie."""

    filename: str
    offset: int
    n_bytes: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def opened(self):
        values = np.memmap(self.filename, np.uint8, "r", self.offset, (self.n_bytes,))
        return np.ndarray(self.shape, self.dtype, values, strides=self.strides)


def _placed(x):
    """A view of a memory map as its place; others, and where the file may differ, as they are."""
    root = x
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not isinstance(root.base, mmap.mmap) or not x.size:
        return x
    gone = root.filename is None or not os.path.exists(root.filename)
    if gone or root.mode == "c" or min(x.strides) < 0:
        return x
    offset = root.offset + x.ctypes.data - root.ctypes.data
    n_bytes = x.itemsize + sum((m - 1) * step for m, step in zip(x.shape, x.strides))
    return _Placed(os.fspath(root.filename), offset, n_bytes, x.dtype, x.shape, x.strides)


def _sorted_out(X, name):
    """X as an array, as paths in an array (n,), or as `ImageItems`."""
    if isinstance(X, ImageItems):
        return X
    if isinstance(X, _PATHS):
        raise ValueError(
            f"{name}: expected several images, got one path, {os.fsdecode(X)!r}; do pass a list of "
            "files, as sorted(pathlib.Path(folder).glob('*.jpg')) is one."
        )
    if is_loaded_instance(X, "torch.utils.data", "IterableDataset"):
        raise TypeError(
            f"{name}: expected a dataset that gives items by their number, got the IterableDataset "
            f"{type(X).__name__}; do pass a map-style Dataset."
        )
    if isinstance(X, (list, tuple)):
        return _of_list(X)
    if hasattr(X, "shape") or hasattr(X, "__array__"):
        shape = getattr(X, "shape", ())
        one_column = is_numpy(X) and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1))
        return _of_column(np.asarray(X)) if one_column else X
    if not hasattr(X, "__getitem__") or not hasattr(X, "__len__") or isinstance(X, Mapping):
        raise ValueError(
            f"{name}: expected images, paths of images, or a dataset with __getitem__ and __len__, "
            f"got {type(X).__name__}; do pass an array of shape (n, H, W, 3), say."
        )
    return ImageItems(X)


def _of_list(X):
    if _has_path(X):
        return _decoded(X)
    if not len(X) or not _is_image(X[0]):
        return X
    kinds = {(getattr(x, "shape", None), str(getattr(x, "dtype", None))) for x in X}
    if len(kinds) > 1 or not hasattr(X[0], "shape"):
        return ImageItems(X)
    return np.stack([to_numpy(x) for x in X])


def _of_column(X):
    if X.dtype.kind in "SO" and _has_path(X.ravel()):
        return _decoded(X.ravel())
    if X.ndim == 2:
        return X.ravel() if X.dtype.kind in "UT" else X
    return ImageItems(X) if X.dtype.kind == "O" and len(X) and _is_image(X[0]) else X


def _is_image(x):
    """Whether x is a Pillow image, an array of two dimensions or more, or a pair with one."""
    if isinstance(x, tuple) and len(x):
        x = x[0]
    return is_pillow(x) or len(getattr(x, "shape", ())) >= 2


def _are_paths(X):
    """Whether what `_sorted_out` gives is an array of paths."""
    if not isinstance(X, np.ndarray) or X.ndim != 1:
        return False
    return X.dtype.kind in "UT" or (X.dtype.kind == "O" and (not len(X) or _has_path(X)))


def _has_path(values):
    return any(isinstance(value, _PATHS) for value in values)


def _decoded(paths):
    """Paths as an array, those in bytes as str."""
    decoded = (os.fsdecode(path) if isinstance(path, bytes) else path for path in paths)
    return np.fromiter(decoded, dtype=object, count=len(paths))


def _checked_array(X, name, like):
    """Real, finite images or rows as a NumPy array; what is one already is not copied."""
    if not is_numpy(X):
        X = to_numpy(X)
    # scikit-learn would look for NaN with a copy as large as the array.
    X = check_array(
        X,
        allow_nd=True,
        ensure_all_finite=False,
        ensure_min_samples=int(like is None),
        estimator=name,
    )
    if X.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: expected images of real numbers, got {X.dtype}; do convert them."
        )
    for rows in blocks(len(X)) if X.dtype.kind == "f" else ():
        finite = np.isfinite(X[rows]).all(axis=tuple(range(1, X.ndim)))
        if not finite.all():
            row = rows.start + int(np.argmin(finite))
            raise ValueError(
                f"{name}: expected finite images, got NaN or infinity in row {row}; do mend "
                "or drop such rows."
            )
    return X


def _unflattened(X, image_shape, like, name):
    """Flat rows (n, d) as images; others as they are."""
    if X.ndim != 2:
        if image_shape is not None and X.shape[1:] != tuple(image_shape):
            raise ValueError(
                f"{name}: expected flat rows, or images of image_shape={tuple(image_shape)}, got "
                f"shape {X.shape}; do leave image_shape out."
            )
        return X
    d = X.shape[1]
    if image_shape is None and like is not None:
        channels, height, width = like
        image_shape = (height, width) if channels == 1 else (height, width, channels)
        if math.prod(image_shape) != d:
            raise ValueError(
                f"{name}: expected rows of {channels} x {height} x {width} values, got {d}; do "
                f"pass images as in fit. X has {d} features, but {name} is expecting "
                f"{math.prod(like)} features as input"
            )
    image_shape = flat_image_shape(d) if image_shape is None else tuple(image_shape)
    if math.prod(image_shape) != d:
        raise ValueError(
            f"{name}: expected image_shape of {d} values, as many as a row has, got {image_shape}; "
            "do correct it."
        )
    return X.reshape(len(X), *image_shape)


def _is_mapped(x):
    """Whether the array's values lie in a file."""
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap):
            return True
        x = x.base
    return False
