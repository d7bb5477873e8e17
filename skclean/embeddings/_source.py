"""ImageSource: rows of images that are read as they are needed."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any

import joblib
import numpy as np

from skclean._warnings import warn
from skclean.embeddings._pixels import shown_size
from skclean.exceptions import ImageReadError

#: Images of no more bytes than this together are kept in memory once they are read.
CACHE_BYTES = 1 << 30
#: Batches that are read while the one before them is in use.
BATCHES_AHEAD = 2
#: More threads than these wait for each other's Python code.
MAX_THREADS = 16
#: Rows that a thread reads at a time: small images take less than a task costs.
_TASK_ROWS = 16
_CHECK_BYTES = 1 << 25
_MOST_NAMED = 5
_MOST_FAILURES = 100

Failures = list[tuple[int, ImageReadError]]
Passes = Generator[tuple[np.ndarray, np.ndarray, Failures], None, None]
Load = Callable[[int], np.ndarray | None]


class ImageSource:
    """Images of one shape, read by rows; made by `open_images`.

    Values are as given: uint8 from 0 to 255, floats as they are.

    Parameters
    ----------
    inputs : duck array of n rows
    shape : tuple of int
        ``(C, H, W)``, C 1 or 3.
    dtype : dtype
        uint8, float32 or float64.
    name : str
        Who speaks in errors.
    on_error : {"raise", "skip"}
        Whether an image that cannot be read is an error, or a warning and a row of zeros.
    n_threads : int
        Threads that read ahead; 0 reads in the caller's.

    Attributes
    ----------
    n : int
        Number of rows.
    inputs, shape, dtype, name
        As above.
    readable : ndarray of bool of shape (n,)
        False where a row was found unreadable.
    """

    def __init__(
        self,
        inputs: Any,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        name: str,
        on_error: str,
        n_threads: int,
    ) -> None:
        self.inputs = inputs
        self.n = inputs.shape[0]
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.readable = np.ones(self.n, dtype=bool)
        self.name = name
        self._on_error = on_error
        self._n_threads = n_threads
        self._images: np.ndarray | None = None

    @property
    def keeps(self) -> bool:
        """Whether all images may be in memory together: no more bytes than `CACHE_BYTES`."""
        return self.n * self._row_bytes <= CACHE_BYTES

    @property
    def _row_bytes(self):
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def check(self, quick: bool = False) -> None:
        """Read every row once, and keep the images if they are no more than `CACHE_BYTES`.

        Parameters
        ----------
        quick : bool, default=False
            True looks at what costs little, the heads of files, and keeps nothing.

        Raises
        ------
        ImageReadError
            If `on_error` is "raise" and rows cannot be read. It names the first of them.

        Warns
        -----
        UserWarning
            If `on_error` is "skip" and rows cannot be read; `readable` is then False there.
        """
        load = self._glance if quick else self._load
        if load is None or self._images is not None:
            return
        keep = self.keeps and not quick
        images = np.zeros((self.n, *self.shape), dtype=self.dtype) if keep else None
        step = min(max(_CHECK_BYTES // self._row_bytes, 1), 512)
        found: dict[int, ImageReadError] = {}
        batches = _split(np.arange(self.n), step)
        with closing(self._passes(batches, load)) as passes:
            for rows, read, failures in passes:
                found.update(failures)
                if images is not None:
                    images[rows] = read
                if self._on_error == "raise" and len(found) >= _MOST_FAILURES:
                    break
        self._settle(found)
        self._report(found)
        self._images = images

    def array(self) -> np.ndarray | None:
        """All images (n, C, H, W) where they are in memory, else None; not to be written to."""
        return self._images

    def read(self, rows: Any) -> np.ndarray:
        """Images of some rows.

        Parameters
        ----------
        rows : slice, integer array or boolean mask

        Returns
        -------
        images : ndarray of shape (b, C, H, W)
            A contiguous copy of the images, zeros in rows that are not readable.

        Raises
        ------
        ImageReadError
            As `check`.
        """
        rows = np.arange(self.n)[rows]
        with closing(ImageSource._passes(self, [rows], self._load)) as passes:
            _, images, failures = next(passes)
        found = dict(failures)
        self._settle(found)
        self._report(found)
        return images

    def batches(
        self, order: np.ndarray, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows and images of one batch after the other, in the given order.

        A few batches are read ahead where reading takes time.

        Parameters
        ----------
        order : integer array of shape (m,)
        batch_size : int
            Rows of a batch; the last one may have fewer.

        Yields
        ------
        rows : ndarray of shape (b,)
        images : ndarray of shape (b, C, H, W)
            As `read` gives them.

        Raises
        ------
        ImageReadError
            As `check`, with the rows of the batch alone.
        """
        found: dict[int, ImageReadError] = {}
        batches = _split(np.arange(self.n)[np.asarray(order, dtype=np.intp)], batch_size)
        try:
            with closing(self._passes(batches, self._load)) as passes:
                for rows, images, failures in passes:
                    # Processes that stay do not know what was found before.
                    new = {row: error for row, error in failures if self.readable[row]}
                    found.update(new)
                    self._settle(new)
                    yield rows, images
        finally:
            if self._on_error == "skip":
                self._report(found)

    def workers(self) -> Any:
        """While this context lasts, processes that read stay from pass to pass."""
        return nullcontext()

    # What the kinds of sources have of their own

    #: Like `_load`, but reads no more than the head of a file; None where there is no such thing.
    _glance: Load | None = None

    def _load(self, row: int) -> np.ndarray | None:
        """The image (C, H, W) of a row; raises ImageReadError."""
        raise NotImplementedError

    def sizes(self) -> np.ndarray:
        """Bytes of the files of the readable rows; none where there are no files."""
        return np.zeros(0, np.int64)

    def _where(self, row: int) -> str:
        """The file of a row for a message."""
        return ""

    # Reading

    def _passes(self, batches: Iterable[np.ndarray], load: Load) -> Passes:
        """Rows, images and failures of each batch, in order."""
        if self._images is not None:
            for rows in batches:
                yield rows, np.ascontiguousarray(self._images[rows]), []
            return
        if not self._n_threads:
            for rows in batches:
                images = self._zeros(rows)
                yield rows, images, self._fill(rows, images, load)
            return
        pool = ThreadPoolExecutor(self._n_threads)
        ahead: deque = deque()
        try:
            for rows in batches:
                ahead.append(self._submit(pool, rows, load))
                if len(ahead) > BATCHES_AHEAD:
                    yield _result(*ahead.popleft())
            while ahead:
                yield _result(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _submit(self, pool, rows, load):
        images = self._zeros(rows)
        step = min(max(len(rows) // self._n_threads, 1), _TASK_ROWS)
        parts = zip(_split(rows, step), _split(images, step))
        return rows, images, [pool.submit(self._fill, *part, load) for part in parts]

    def _fill(self, rows: np.ndarray, images: np.ndarray, load: Load) -> Failures:
        """Read rows into an array of zeros (b, C, H, W); what cannot be read is handed back."""
        failures = []
        for i, row in enumerate(rows.tolist()):
            if not self.readable[row]:
                continue
            try:
                image = load(row)
            except ImageReadError as error:
                failures.append((row, error))
            else:
                if image is not None:
                    images[i] = image
        return failures

    def _usual(self, load, most, default=None):
        """What `load` gives most often of `most` rows, the earliest of equals; else `_first`."""
        found = Counter()
        for row in range(0, self.n, -(-self.n // most)):
            try:
                found[load(row)] += 1
            except ImageReadError:
                continue
        return found.most_common(1)[0][0] if found else self._first(load, default)

    def _first(self, load, default=None):
        """What `load` gives of the first row that can be read.

        If there is none, the default, and all rows are marked; without a default, an error.
        """
        found = {}
        for row in range(self.n):
            try:
                return load(row)
            except ImageReadError as error:
                found[row] = error
            if self._on_error == "raise" and len(found) >= _MOST_NAMED:
                break
        if default is None:
            raise self._error(found) from next(iter(found.values()))
        self._settle(found)
        self._report(found)
        return default

    def _zeros(self, rows):
        return np.zeros((len(rows), *self.shape), dtype=self.dtype)

    def _check_shape(self, shape):
        if shape == self.shape:
            return
        if shape[0] != self.shape[0]:
            raise ImageReadError(f"expected {self.shape[0]} channels, got {shape[0]}")
        raise ImageReadError(
            f"expected {shown_size(self.shape)}, got {shown_size(shape)} (set image_size to fit)"
        )

    def _settle(self, found):
        """Raise about rows that were found unreadable, or mark them."""
        if found and self._on_error == "raise":
            raise self._error(found) from next(iter(found.values()))
        self.readable[list(found)] = False

    def _report(self, found):
        if found:
            warn(
                f"{self.name}: {len(found)} of {self.n} images cannot be read and are left out: "
                f"{self._named(found)}.",
            )

    def _error(self, found):
        count = f"{len(found)}{' or more' if len(found) >= _MOST_FAILURES else ''}"
        skip = ', or set on_error="skip"' if self._on_error == "raise" else ""
        return ImageReadError(
            f"{self.name}: expected images that can be read, got {count} that cannot: "
            f"{self._named(found)}; do replace them, or leave these rows out{skip}."
        )

    def _named(self, found):
        first = list(found.items())[:_MOST_NAMED]
        named = "; ".join(f"row {row}{self._where(row)}: {error}" for row, error in first)
        rest = len(found) - len(first)
        return f"{named}; and {rest} more" if rest else named


def check_like(shape: tuple[int, ...], like: tuple[int, ...] | None, name: str) -> None:
    """Raise ValueError unless images have the shape (C, H, W) of those of the fit, if any."""
    if like is None or shape == tuple(like):
        return
    if shape[0] != like[0]:
        expected, got = (f"{s[0]} channels of {s[1]} x {s[2]} pixels" for s in (like, shape))
        advice = "do pass images of the same kind"
    else:
        expected, got = (f"{s[1]} x {s[2]} pixels" for s in (like, shape))
        advice = "do scale them, or fit with image_size set"
    raise ValueError(f"{name}: expected images of {expected}, as in fit, got {got}; {advice}.")


def thread_count(n_workers: int | None) -> int:
    """Threads that decode images."""
    return min(joblib.cpu_count(), MAX_THREADS) if n_workers is None else n_workers


def _split(values, step):
    return (values[start : start + step] for start in range(0, len(values), step))


def _result(rows, images, tasks):
    return rows, images, [failure for task in tasks for failure in task.result()]
