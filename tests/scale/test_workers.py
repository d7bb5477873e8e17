"""The scheduler of the user: processes of a local cluster, one of which is killed."""

import os
import signal

import numpy as np
import pytest

from skclean import TransitionCleaner
from skclean.evidence import LeaveOneOutRidge

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

ROWS, CLASSES = 20_000, 5


def killing(x, block_info=None):
    """A chunk; the worker that computes the second one kills itself, once it is told to."""
    mark = os.environ.get("SKCLEAN_TEST_KILL")
    if block_info[0]["chunk-location"][0] == 1 and mark and os.path.exists(mark):
        os.remove(mark)
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_killed_worker_changes_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, ROWS)
    X = rng.standard_normal((ROWS, 8)).astype(np.float32)
    X[np.arange(ROWS), y] += 4
    given = np.where(rng.random(ROWS) < 0.3, rng.integers(0, CLASSES, ROWS), y)
    cleaner = TransitionCleaner(estimator=LeaveOneOutRidge("linear"))
    expected = cleaner.fit_transform(X, given)
    mark = tmp_path / "kill"
    monkeypatch.setenv("SKCLEAN_TEST_KILL", str(mark))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        chunked = da.from_array(X, chunks=(9000, 8)).map_blocks(killing, dtype=X.dtype, meta=X[:0])
        mark.touch()
        found = cleaner.fit_transform(chunked, given)
        assert not mark.exists()
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.clean_proba, expected.clean_proba)
        np.testing.assert_array_equal(found.proba.compute(), expected.proba)
