"""Threads of BLAS, and of Python in their place."""

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import joblib
import numpy as np
import threadpoolctl
from sklearn import config_context, get_config

#: No larger matrices are decomposed on one thread.
_SMALL_MATRIX = 1024

# The collector of garbage may close a context while another one opens, in the same thread.
_lock = threading.RLock()


class _Context:
    """Known while its `with` lasts, also of one that an interrupt left before it was closed."""


#: The open contexts: those that leave one thread ("alone"), those that leave the rest to threads of
#: Python ("instead"), and those of a large matrix within these ("large").
_open: weakref.WeakKeyDictionary[_Context, str] = weakref.WeakKeyDictionary()
#: While BLAS is on one thread: its libraries, and the threads that each had before.
_found: list[tuple[Any, int]] = []
_controller: threadpoolctl.ThreadpoolController | None = None
_n_modules = 0


def one_blas_thread() -> AbstractContextManager[None]:
    """Run BLAS on one thread: in products with a small matrix, threads cost more than they bring.

    The setting belongs to the whole process. Of several threads of Python inside, the first sets it
    and the last restores what the first found.
    """
    return _within("alone")


def python_threads() -> Any:
    """Run BLAS on one thread, and leave those that it had to `threads`; also for functions.

    After each product, threads of BLAS wait for the next one, actively. Between passes over the
    rows they would take the cores from the threads of Python.
    """
    return _within("instead")


def few_blas_threads(size: int) -> AbstractContextManager[None]:
    """Run BLAS on one thread to decompose a matrix of that size, unless it is large.

    Threads wait for one another at each of its columns, actively: a second one saves a third of the
    time at most, and where another process is at work on two cores, takes fifty times as long.
    """
    return one_blas_thread() if size <= _SMALL_MATRIX else _within("large")


@contextmanager
def _within(kind):
    context = _Context()
    try:
        with _lock:
            _open[context] = kind
            _set_threads()
        yield
    finally:
        with _lock:
            _open.pop(context, None)
            try:
                _set_threads()
            except BaseException:  # Interrupted: the threads are still to be given back.
                _set_threads()
                raise


def _set_threads():
    """Give BLAS the threads that follow from all open contexts."""
    found = list(_found)
    if not found:
        if not _is_one():
            return
        found = [(blas, blas.num_threads) for blas in _blas_libraries()]
    while True:
        one = _is_one()
        if one:
            _found[:] = found
        _take_control()
        for blas, n_threads in found:
            blas.set_num_threads(1 if one else n_threads)
        # The collector may have closed a context meanwhile.
        if one == _is_one():
            break
    if not one:
        _found.clear()
        _take_control()


def _is_one():
    kinds = set(_open.values())
    return "alone" in kinds or ("instead" in kinds and "large" not in kinds)


@contextmanager
def threads(most: int) -> Iterator[Callable[[Callable, Iterable], Iterable]]:
    """BLAS on one thread, and a `map` over as many threads of Python as BLAS had, up to `most`.

    Work that is more than products then runs on all cores, and products give the same last bits on
    any number of them. Results come in order, while few wait to be taken. Within another such
    context or `one_blas_thread`, of whatever thread, it is Python's own `map`.
    """
    # Of the share of the cores that a container has, BLAS does not know.
    n_threads = min(_blas_threads(), joblib.cpu_count(), most) if most > 1 else 1
    with one_blas_thread():
        if n_threads <= 1:
            yield map
            return
        with ThreadPoolExecutor(n_threads) as pool:
            yield partial(_map_in_order, pool, n_threads + 1)


def _map_in_order(pool, ahead, function, items):
    # All three belong to a thread.
    errors, on_error, config = np.geterr(), np.geterrcall(), get_config()

    def call(item):
        with np.errstate(call=on_error, **errors), config_context(**config):
            return function(item)

    waiting: deque = deque()
    for item in items:
        try:
            waiting.append(pool.submit(call, item).result)
        except RuntimeError:
            # A thread outlives the main one, after which no thread can be started any more.
            waiting.append(partial(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _blas_threads():
    """The threads that BLAS uses now; where its libraries cannot be asked, the cores."""
    with _lock:
        found = [n for _, n in _found] or [blas.num_threads for blas in _blas_libraries()]
        alone = "alone" in _open.values()
    return 1 if alone else max(found, default=joblib.cpu_count())


def _forget():
    """What a child process does not share with the threads of its parent: they are not in it."""
    global _lock
    _lock = threading.RLock()
    _open.clear()
    _set_threads()


# Not there on Windows, where nothing forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _blas_libraries():
    """The libraries that are loaded. They come with modules: the search takes milliseconds."""
    global _controller, _n_modules
    if _controller is None or _n_modules != len(sys.modules):
        _controller, _n_modules = threadpoolctl.ThreadpoolController(), len(sys.modules)
    return [x for x in _controller.lib_controllers if x.user_api == "blas"]


def _take_control():
    """Let this thread set the number, which OpenBLAS leaves to the thread that set it first."""
    # Not there before threadpoolctl 3.7.
    blas = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(blas, "clear_controlling_thread"):
        blas.clear_controlling_thread(force=True)
