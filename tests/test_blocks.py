import os
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from sklearn import config_context, get_config
from threadpoolctl import threadpool_info, threadpool_limits

from skclean import _blocks, _threads
from skclean._array import take_rows
from skclean._blocks import (
    all_finite,
    at_once,
    best_class,
    block_rows,
    few_rows,
    map_rows,
    own_column,
    put_rows,
    sum_blocks,
)
from skclean._threads import few_blas_threads, one_blas_thread, python_threads

SIZES = [0, 1, 63, 64, 65, 1000, 10_007]


@pytest.fixture
def small(monkeypatch):
    """Blocks of 8 rows, units of 64."""
    monkeypatch.setattr(_blocks, "BLOCK_ROWS", 8)
    monkeypatch.setattr(_blocks, "UNIT_ROWS", 64)


@pytest.fixture
def da():
    return pytest.importorskip("dask.array")


def chunked(da, x, rng):
    """The array in chunks of random sizes, some of them empty."""
    cuts = np.sort(rng.integers(0, len(x) + 1, 5))
    sizes = tuple(np.diff([0, *cuts, len(x)]))
    return da.from_array(x, chunks=(sizes, *((m,) for m in x.shape[1:])))


@pytest.mark.parametrize("n", SIZES)
def test_sums_are_those_of_all_rows(n, small, xp):
    X = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    gram, total, count = sum_blocks(
        lambda B: (B.T @ B, xp.xp.sum(B, axis=0), float(B.shape[0])), xp.asarray(X)
    )
    np.testing.assert_allclose(xp.to_numpy(gram), X.astype(np.float64).T @ X, atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(xp.to_numpy(total), X.sum(axis=0), atol=1e-4, rtol=1e-5)
    assert count == n
    assert xp.to_numpy(gram).dtype == np.float64


@pytest.mark.parametrize("n", SIZES)
def test_sums_do_not_depend_on_the_chunks(n, small, da):
    rng = np.random.default_rng(n)
    X, given = rng.standard_normal((n, 3)), rng.integers(0, 4, n)

    def sums(X, given, nothing):
        assert nothing is None
        return X.T @ X, X.sum(axis=0), np.bincount(given, minlength=4)

    expected = sum_blocks(sums, X, given, None)
    for _ in range(3):
        found = sum_blocks(sums, chunked(da, X, rng), given, None)
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", SIZES)
def test_functions_of_rows(n, small, da):
    rng = np.random.default_rng(n)
    X, given = rng.standard_normal((n, 3)), rng.integers(0, 3, n)

    def both(X, given):
        return 2 * X, X[np.arange(len(X)), given]

    D = chunked(da, X, rng)
    for doubled, own in (map_rows(both, X, given), map_rows(both, D, given)):
        np.testing.assert_array_equal(np.asarray(doubled), 2 * X)
        np.testing.assert_array_equal(own, X[np.arange(n), given])
        assert isinstance(own, np.ndarray)
    assert isinstance(map_rows(both, D, given)[0], da.Array)


def test_out_is_written_to(small):
    X = np.ones((100, 2))
    assert map_rows(lambda B: B + 1, X, out=X) is X
    np.testing.assert_array_equal(X, 2)


def test_columns_and_rows(small, da):
    rng = np.random.default_rng(0)
    X, codes, rows = rng.standard_normal((300, 4)), rng.integers(0, 4, 300), np.arange(5, 250, 3)
    for A in (X.copy(), chunked(da, X, rng)):
        np.testing.assert_array_equal(best_class(A), X.argmax(axis=1))
        np.testing.assert_array_equal(own_column(A, codes), X[np.arange(300), codes])
        assert isinstance(few_rows(A, rows), np.ndarray)
        np.testing.assert_array_equal(few_rows(A, rows), X[rows])
        other = X.copy()
        other[rows] = 7
        np.testing.assert_array_equal(np.asarray(put_rows(A, rows, np.full((82, 4), 7.0))), other)
        assert all_finite(A)
        for value in (np.nan, np.inf, -np.inf):
            assert not all_finite(put_rows(A, rows[:1], np.full((1, 4), value)))
        huge = put_rows(A, rows[:1], np.full((1, 4), -np.finfo(float).max))
        assert all_finite(huge) and not all_finite(huge, 1e300)
    assert all_finite(np.empty((0, 3)), 1) and all_finite(np.arange(3))


def test_few_rows_in_any_order(small, da):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    for A in (X, chunked(da, X, rng), da.from_array(X, chunks=(70, 3))):
        for rows in (rng.permutation(300)[:50], np.array([], int), np.array([7, 7, 290, 7])):
            np.testing.assert_array_equal(few_rows(A, rows), X[rows])


def test_results_with_columns_can_be_gathered(small, da):
    X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    for A in (X, da.from_array(X, chunks=(70, 4))):
        doubled = map_rows(lambda B: 2 * B, A, gather=True)
        assert isinstance(doubled, np.ndarray)
        np.testing.assert_array_equal(doubled, 2 * X)


def test_a_pass_is_one_graph(small, da):
    dask = pytest.importorskip("dask")
    graphs, X = [], da.ones((1000, 3), chunks=(100, 3))

    def scheduler(dsk, keys, **kwargs):
        graphs.append(dsk)
        return dask.get(dsk, keys, **kwargs)

    with dask.config.set(scheduler=scheduler):
        sum_blocks(lambda B: (B.sum(axis=0),), X)
        map_rows(lambda B, codes: B[:, 0] * codes, X, np.arange(1000))
        map_rows(lambda B: 2 * B, X)
        assert len(graphs) == 3
        graphs.clear()
        few_rows(X, np.arange(0, 1000, 10))
        assert len(graphs) == 1


def test_one_task_for_all_rows(small, da):
    X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    for A in (X, da.from_array(X, chunks=(7, 4))):
        length, doubled = at_once(lambda X: (len(X), 2 * X), A)
        assert length == 300
        np.testing.assert_array_equal(np.asarray(doubled), 2 * X)


def test_working_memory_bounds_the_blocks():
    X = np.empty((10**6, 1000), np.float32)
    assert block_rows(X) == _blocks.BLOCK_ROWS
    with config_context(working_memory=64):
        size = block_rows(X)
        wider = block_rows(X, width=4000)
    assert 64 <= size < _blocks.BLOCK_ROWS
    assert _blocks.UNIT_ROWS % size == 0
    assert wider == size // 4


def test_few_rows_read_their_own_chunks_alone(da):
    dask = pytest.importorskip("dask")
    read = []

    def chunk(i):
        read.append(i)
        return np.full((10, 2), i)

    parts = [da.from_delayed(dask.delayed(chunk)(i), (10, 2), int) for i in range(20)]
    X = da.concatenate(parts)
    with dask.config.set(scheduler="synchronous"):
        for rows in (np.array([3, 7, 42]), slice(55, 58)):
            read.clear()
            found = few_rows(X, rows)
            np.testing.assert_array_equal(found[:, 0], np.arange(200)[rows] // 10)
            assert sorted(set(read)) == sorted({r // 10 for r in np.arange(200)[rows]})
        assert len(take_rows(X, np.arange(0, 200, 3)).chunks[0]) > 1


def test_the_layout_of_memory_does_not_matter():
    X = np.random.default_rng(0).standard_normal((3000, 40)).astype(np.float32)

    def gram(B):
        return (B.T @ B,)

    (expected,) = sum_blocks(gram, X)
    for other in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(sum_blocks(gram, other)[0], expected)


def test_a_pass_on_dask_leaves_the_threads_of_the_caller(da):
    with threadpool_limits(2, user_api="blas"):
        before = _blas_threads()
        with one_blas_thread():
            pass
        seen = map_rows(
            lambda B: np.full(len(B), max(_blas_threads(), default=1)),
            da.ones((50_000, 2), chunks=(5000, 2)),
        )
        assert set(seen) == {1}
        assert _blas_threads() == before


def test_the_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 300)).astype(np.float32)
    W = rng.standard_normal((300, 77)).astype(np.float32)
    found = []
    for n_threads in (1, 2, 5):
        with threadpool_limits(n_threads, user_api="blas"):
            found.append((*sum_blocks(lambda B: (B.T @ B,), X), map_rows(lambda B: B @ W, X)))
    for gram, product in found[1:]:
        np.testing.assert_array_equal(gram, found[0][0])
        np.testing.assert_array_equal(product, found[0][1])


def test_threads_of_python_take_the_place_of_those_of_blas():
    X, seen = np.zeros((5000, 300)), set()

    def one(B):
        seen.add((threading.get_ident(), *_blas_threads()))
        return B[:, 0]

    with threadpool_limits(2, user_api="blas"):
        before = _blas_threads()
        with python_threads():
            inside = _blas_threads()
            map_rows(one, X)
            with few_blas_threads(100):
                small = _blas_threads()
            with few_blas_threads(5000):
                large = _blas_threads()
            again = _blas_threads()
            # The cores go to whoever is outermost.
            with one_blas_thread(), few_blas_threads(5000):
                alone = _blas_threads()
        assert _blas_threads() == before == large
    for held in (inside, small, again, alone):
        assert set(held) <= {1}
    assert {n for _, *threads in seen for n in threads} <= {1}
    if before and joblib.cpu_count() > 1:
        assert threading.get_ident() not in {thread for thread, *_ in seen}


def test_contexts_of_several_threads_end_in_any_order():
    def ends(context):
        context.__exit__(None, None, None)

    with threadpool_limits(2, user_api="blas"):
        before, one = _blas_threads(), [1] * len(_blas_threads())
        instead, large, other = python_threads(), few_blas_threads(5000), few_blas_threads(5000)
        for context in (instead, large, other):
            context.__enter__()
        ends(large)
        assert _blas_threads() == before
        with one_blas_thread():
            assert _blas_threads() == one
        ends(other)
        assert _blas_threads() == one
        with few_blas_threads(5000):
            ends(instead)
            assert _blas_threads() == before
        assert _blas_threads() == before


def test_a_large_matrix_alone_leaves_what_others_set():
    with threadpool_limits(2, user_api="blas"):
        large = few_blas_threads(5000)
        large.__enter__()
        with threadpool_limits(1, user_api="blas"):
            large.__exit__(None, None, None)
            assert _blas_threads() == [1] * len(_blas_threads())


def test_a_context_that_was_never_closed_counts_no_more():
    with threadpool_limits(2, user_api="blas"):
        before = _blas_threads()
        # As an interrupt leaves it that comes before the end of the context is noted.
        lost = _threads._Context()
        _threads._open[lost] = "alone"
        _threads._set_threads()
        assert _blas_threads() == [1] * len(before)
        del lost
        with one_blas_thread():
            assert _blas_threads() == [1] * len(before)
        assert _blas_threads() == before


def test_a_context_that_the_collector_closes_while_another_ends(monkeypatch):
    def abandoned():
        with one_blas_thread():
            yield

    with threadpool_limits(2, user_api="blas"):
        before, left, take = _blas_threads(), [abandoned()], _threads._take_control
        next(left[0])

        def collected():
            left.clear()
            take()

        with one_blas_thread():
            monkeypatch.setattr(_threads, "_take_control", collected)
        assert _blas_threads() == before and not _threads._found


def test_no_more_threads_of_python_than_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    with threadpool_limits(2, user_api="blas"), _threads.threads(2) as run:
        assert run is map


def test_threads_take_over_what_numpy_and_scikit_learn_are_set_to():
    X, seen = np.zeros((5000, 300)), set()

    def settings(B):
        seen.add((np.geterr()["divide"], get_config()["assume_finite"], threading.get_ident()))
        return (1 / B).sum(axis=1)

    with threadpool_limits(2, user_api="blas"), np.errstate(divide="ignore"):
        with config_context(assume_finite=True):
            assert np.isinf(map_rows(settings, X)).all()
    assert {(divide, finite) for divide, finite, _ in seen} == {("ignore", True)}
    if _blas_threads():
        assert threading.get_ident() not in {thread for *_, thread in seen}


def test_an_error_in_a_thread_is_raised_and_ends_the_pass():
    X, seen = np.arange(200_000.0).reshape(-1, 1), []

    def fail(B):
        seen.append(len(B))
        if B[0] >= 10_000:
            raise ArithmeticError(f"row {int(B[0, 0])}")
        return (B.sum(),)

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ArithmeticError, match="row 10240"):
            sum_blocks(fail, X, width=600)
        assert len(seen) < 20
        assert max(_blas_threads(), default=2) == 2


def test_the_callback_of_numpy_errors_reaches_the_threads():
    seen = []
    with threadpool_limits(2, user_api="blas"):
        with np.errstate(divide="call", call=lambda *_: seen.append(1)):
            map_rows(lambda B: (1 / B).sum(axis=1), np.zeros((5000, 300)))
    assert len(seen) == 5


LATE = """
import threading, numpy as np
from threadpoolctl import threadpool_limits
from skclean._blocks import sum_blocks

def late():
    threading.main_thread().join()
    with threadpool_limits(2, user_api="blas"):
        print(sum_blocks(lambda B: (B.sum(),), np.ones((5000, 300)))[0])

threading.Thread(target=late).start()
"""


def test_a_thread_that_outlives_the_main_one():
    found = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "1500000.0", found.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="expected a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_beside_a_pass_has_threads_of_its_own():
    with threadpool_limits(2, user_api="blas"):
        before, here, go_on = _blas_threads(), threading.Event(), threading.Event()

        def wait():
            with python_threads(), one_blas_thread():
                here.set()
                go_on.wait(60)

        other = threading.Thread(target=wait)
        other.start()
        here.wait(60)
        child = os.fork()
        if not child:
            os._exit(0 if _blas_threads() == before and not _threads._open else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go_on.set()
        other.join()
        assert _blas_threads() == before


def test_a_pass_within_a_pass():
    X = np.random.default_rng(0).standard_normal((5000, 300))
    with threadpool_limits(2, user_api="blas"):
        found = map_rows(lambda B: map_rows(lambda b: b.sum(axis=1), B), X)
    np.testing.assert_array_equal(found, X.sum(axis=1))


def test_no_more_threads_than_the_working_memory_has_room_for():
    X, at_once, most = np.zeros((5000, 300)), [], []

    def one(B):
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.pop()
        return B[:, 0]

    # Room for a block of 16 rows of 300 values, the least there is.
    with threadpool_limits(4, user_api="blas"), config_context(working_memory=1):
        map_rows(one, X[:200])
    assert max(most) == 1


def _blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
