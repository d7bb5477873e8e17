"""A fit that is interrupted leaves what was there before."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skclean import CredibilityRelabeler, GMMCleaner, LeastSquaresMetaPurifier, TransitionCleaner
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
