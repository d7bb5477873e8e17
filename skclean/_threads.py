"""BLAS threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl
from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_inside = 0
_limits: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run BLAS on one thread: in products with a small matrix, threads cost more than they bring.

    The setting belongs to the whole process. Of several threads of Python inside, the first sets it
    and the last restores what the first found.
    """
    global _inside, _limits
    with _lock:
        if not _inside:
            _take_control()
            _limits = threadpool_limits(1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _limits is not None:
                _take_control()
                _limits.__exit__(None, None, None)
                _take_control()


def _take_control():
    """Let this thread set the number, which OpenBLAS leaves to the thread that set it first."""
    # Not there before threadpoolctl 3.7.
    blas = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(blas, "clear_controlling_thread"):
        blas.clear_controlling_thread(force=True)
