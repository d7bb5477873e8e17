"""Sources of images that are read one by one: files and datasets."""

import os
import traceback
from contextlib import contextmanager
from typing import Any

import numpy as np

from skclean._fields import open_rows
from skclean.embeddings._pixels import (
    decode,
    header_shape,
    is_loaded_instance,
    item_pixels,
)
from skclean.embeddings._source import BATCHES_AHEAD, ImageSource, check_like, thread_count
from skclean.exceptions import ImageReadError

#: Files and items of which the commonest size is that of the source.
SIZED_FILES = 256
SIZED_ITEMS = 16


def _size(path):
    """Bytes of a file; -1 of one that is gone, which reading tells of."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


class ImageItems:
    """Rows of a dataset of images as a duck array; nothing is read until a row is.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        Items as in `open_images`.
    rows : ndarray of int or None, default=None
        Positions in the dataset; None takes all.

    Examples
    --------
    >>> import numpy as np
    >>> from skclean.embeddings.images import ImageItems
    >>> items = ImageItems([np.zeros((8, 8)), np.ones((8, 8)), np.zeros((8, 8))])
    >>> items[1:].shape
    (2,)
    """

    def __init__(self, dataset: Any, rows: np.ndarray | None = None) -> None:
        self.dataset = dataset
        self.rows = np.arange(len(dataset)) if rows is None else rows

    @property
    def shape(self) -> tuple[int]:
        """``(n,)``."""
        return (len(self.rows),)

    @property
    def ndim(self) -> int:
        """1."""
        return 1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return self.dataset[int(self.rows[key])]
        return ImageItems(self.dataset, self.rows[open_rows(key, len(self))])

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "ImageItems: expected rows to be read one by one, got a conversion to an array, which "
            "would read them all; do index it, or pass it to an estimator of skclean.embeddings."
        )

    def __repr__(self) -> str:
        return f"ImageItems({len(self)} rows of {type(self.dataset).__name__})"


class FileImages(ImageSource):
    """Image files, decoded by threads."""

    def __init__(self, paths, *, image_size, like, on_error, name, n_workers):
        self._size = image_size
        options = {"name": name, "on_error": on_error, "n_threads": thread_count(n_workers)}
        super().__init__(paths, (3, 0, 0), np.uint8, **options)
        if image_size is not None:
            self.shape = (3, image_size, image_size)
        elif not len(paths):
            self.shape = tuple(like)
        elif like is not None and on_error == "skip":
            self.shape = (3, *like[1:])
        else:
            self.shape = self._usual(self._head, SIZED_FILES)
        check_like(self.shape, like, name)

    def _head(self, row):
        # The last one is likely to be like the next one, which then takes less.
        self.shape = header_shape(self.inputs[row], self.shape)
        return self.shape

    def _load(self, row):
        image = decode(self.inputs[row], self._size)
        self._check_shape(image.shape)
        return image

    def _glance(self, row):
        shape = header_shape(self.inputs[row], self.shape)
        if self._size is None:
            self._check_shape(shape)

    def sizes(self):
        return np.array([_size(path) for path in self.inputs[self.readable]], np.int64)

    def _where(self, row):
        return f", {self.inputs[row]}"


class ItemImages(ImageSource):
    """Items of a dataset, read in the caller's process or by those of a torch DataLoader."""

    def __init__(self, items, *, image_size, like, on_error, name, n_workers):
        self._size = image_size
        in_workers = is_loaded_instance(items.dataset, "torch.utils.data", "Dataset")
        self._n_processes = (n_workers or 0) if in_workers else 0
        self._staying, self._busy = None, False
        options = {"name": name, "on_error": on_error, "n_threads": 0}
        super().__init__(items, (1, 0, 0), np.uint8, **options)
        if on_error == "raise":
            self.shape, self.dtype = self._first(self._kind)
        else:
            default = None if like is None else (tuple(like), self.dtype)
            self.shape, self.dtype = self._usual(self._kind, SIZED_ITEMS, default)
            self.shape = self.shape if like is None else tuple(like)
        check_like(self.shape, like, name)

    def _kind(self, row):
        image = self._read_item(row)
        return image.shape, image.dtype

    def _read_item(self, row):
        try:
            item = self.inputs[row]
        except Exception as error:  # The dataset is the user's.
            raise ImageReadError(f"{type(error).__name__}: {error}") from error
        return item_pixels(item, self._size)

    def _load(self, row):
        image = self._read_item(row)
        self._check_shape(image.shape)
        if (image.dtype == np.uint8) != (self.dtype == np.uint8):
            raise ImageReadError(f"expected {self.dtype}, got {image.dtype}")
        return image

    def __getstate__(self):
        return {**self.__dict__, "_staying": None}

    @contextmanager
    def workers(self):
        if self._n_processes and self._images is None:
            self._staying = self._new_loader(self._load, stays=True)
        try:
            yield
        finally:
            self._staying = None

    def _new_loader(self, load, stays):
        import torch
        from torch.utils.data import DataLoader

        return DataLoader(
            _Batches(self, load),
            batch_sampler=_Order(),
            collate_fn=_as_it_is,
            num_workers=self._n_processes,
            prefetch_factor=BATCHES_AHEAD,
            persistent_workers=stays,
            # Else it would draw from torch's global generator.
            generator=torch.Generator().manual_seed(0),
        )

    def _passes(self, batches, load):
        if self._images is not None or not self._n_processes:
            yield from super()._passes(batches, load)
            return
        stays = load == self._load and self._staying is not None and not self._busy
        loader = self._staying if stays else self._new_loader(load, stays=False)
        loader.batch_sampler.batches = batches = list(batches)
        self._busy = self._busy or stays
        read = iter(loader)
        try:
            for rows, (images, failures) in zip(batches, read):
                images = images.numpy()
                images[~self.readable[rows]] = 0
                yield rows, images, failures
        except Exception:
            # Workers of which one has failed do not stay.
            self._staying = None
            raise
        finally:
            self._busy = self._busy and not stays
            # Other workers end with it.
            del read, loader


class _Order:
    """The batches of a pass."""

    def __init__(self):
        self.batches = []

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class _Batches:
    """A dataset of whole batches, in a worker process."""

    def __init__(self, source, load):
        self.source = source
        self.load = load

    def __len__(self):
        return self.source.n

    def __getitems__(self, rows):
        import torch

        images = self.source._zeros(rows)
        failures = self.source._fill(np.asarray(rows), images, self.load)
        for _, error in failures:
            # Where tblib is imported, as by dask.distributed, pickling takes all of this along: the
            # cause may not be possible to pickle, and the parent would wait for ever.
            if error.__cause__ is not None:
                error.add_note("".join(traceback.format_exception(error.__cause__)))
            error.__cause__ = error.__context__ = error.__traceback__ = None
        return torch.from_numpy(images), failures


def _as_it_is(batch):
    return batch
