"""BLAS threads."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl

_lock = threading.Lock()
_inside = 0
_limits: Any = None
_controller: threadpoolctl.ThreadpoolController | None = None
_n_modules = 0


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
            _limits = _libraries().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _take_control()
                _limits.restore_original_limits()
                _take_control()


def _libraries():
    """The libraries that are loaded. They come with modules: the search takes milliseconds."""
    global _controller, _n_modules
    if _controller is None or _n_modules != len(sys.modules):
        _controller, _n_modules = threadpoolctl.ThreadpoolController(), len(sys.modules)
    return _controller


def _take_control():
    """Let this thread set the number, which OpenBLAS leaves to the thread that set it first."""
    # Not there before threadpoolctl 3.7.
    blas = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(blas, "clear_controlling_thread"):
        blas.clear_controlling_thread(force=True)
