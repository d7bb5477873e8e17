"""Memory that tasks of dask keep from block to block."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# The parameters of mallopt, from malloc.h, and their values while blocks are worked on.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 1 << 28, 1 << 25
#: That of glibc, where the environment names none.
_DEFAULT_MMAP = 1 << 17

_lock = threading.Lock()
_inside = 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for the next array inside, and hand it back to the system at the end.

    Processes that dask.distributed starts have ``MALLOC_TRIM_THRESHOLD_`` set, so that every array
    of a block would come from the system anew, page by page, and take longer than the work on it.
    Elsewhere nothing is changed. The setting belongs to the process: of several threads inside,
    the first sets it and the last restores it.
    """
    global _inside
    before = os.environ.get("MALLOC_TRIM_THRESHOLD_", "")
    if not (before.isdecimal() and sys.platform == "linux"):
        yield
        return
    mmap = os.environ.get("MALLOC_MMAP_THRESHOLD_", "")
    with _lock:
        if not _inside:
            _set(_KEPT, _LARGEST)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _set(int(before), int(mmap) if mmap.isdecimal() else _DEFAULT_MMAP)
                _call("malloc_trim", 0)


def _set(trim, mmap):
    _call("mallopt", _TRIM_THRESHOLD, trim)
    _call("mallopt", _MMAP_THRESHOLD, mmap)


def _call(name, *arguments):
    # Only glibc has them.
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
