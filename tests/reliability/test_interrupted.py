"""A fit that is interrupted leaves what was there before."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info, threadpool_limits

from skclean import CredibilityRelabeler, GMMCleaner, LeastSquaresMetaPurifier, TransitionCleaner
from skclean._threads import few_blas_threads, one_blas_thread, python_threads
from skclean.evidence import LeaveOneOutRidge

ESTIMATORS = [
    CredibilityRelabeler(),
    GMMCleaner(),
    LeastSquaresMetaPurifier(),
    TransitionCleaner(),
    LeaveOneOutRidge(),
]
X = np.random.default_rng(0).standard_normal((60, 4)) + 3 * np.eye(4)[np.arange(60) % 3]


def calls_of(estimator, y, stop=None):
    """How many functions of the package a fit calls; it is interrupted at one of them."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        name = frame.f_code.co_name
        if "skclean" in frame.f_code.co_filename and not name.startswith("<"):
            count += 1
            if count == stop:
                raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        estimator.fit(X, y)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_an_interrupted_fit_changes_nothing(estimator):
    y, other = np.arange(60) % 3, (np.arange(60) + 1) % 3
    fitted = clone(estimator).fit(X, y)
    judge = "predict_proba" if hasattr(fitted, "predict_proba") else "transform"
    before = vars(fitted).copy()
    n_calls = calls_of(clone(estimator), other)
    for stop in np.linspace(2, 0.9 * n_calls, 4).astype(int):
        with pytest.raises(KeyboardInterrupt):
            calls_of(fitted, other, stop)
        assert vars(fitted).keys() == before.keys()
        assert all(vars(fitted)[name] is value for name, value in before.items())
        unfitted = clone(estimator)
        with pytest.raises(KeyboardInterrupt):
            calls_of(unfitted, other, stop)
        with pytest.raises(NotFittedError):
            getattr(unfitted, judge)(X)


@pytest.mark.parametrize("context", [one_blas_thread, python_threads])
def test_an_interrupt_leaves_the_threads_of_blas_as_they_were(context):
    def fit(X, y):
        with context(), few_blas_threads(5000):
            pass

    estimator = SimpleNamespace(fit=fit)
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        for stop in range(1, calls_of(estimator, None) + 1):
            with pytest.raises(KeyboardInterrupt):
                calls_of(estimator, None, stop)
            assert threadpool_info() == before
