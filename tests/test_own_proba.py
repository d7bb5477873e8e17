"""Probabilities that a user puts in the container, and cleaners that have no use for them."""

import warnings

import numpy as np
import pytest

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    TransitionCleaner,
)
from skclean.evidence import LeaveOneOutRidge
from tests.labelled import GIVEN, N, X

PROBA = np.full((N, 3), 1 / 3)
TRUSTED = np.arange(N) % 9 == 1
RIDGE = LeaveOneOutRidge()


def container(**fields):
    return LabelledSamples(X, GIVEN, proba=PROBA, trusted=TRUSTED, **fields)


@pytest.mark.parametrize(
    ("cleaner", "advice"),
    [
        (LeastSquaresMetaPurifier(), "take TransitionCleaner"),
        (AutoPurifier(), "take TransitionCleaner"),
        (AutoPurifier([("meta", LeastSquaresMetaPurifier())]), "take TransitionCleaner"),
        (TransitionCleaner(estimator=RIDGE), "set estimator=None"),
        (CredibilityRelabeler(cleaner=GMMCleaner(estimator=RIDGE)), "set estimator=None"),
    ],
)
def test_probabilities_that_are_not_used(cleaner, advice):
    name = type(cleaner).__name__
    message = f"{name}: expected a container without prob.*got proba.*not used here; do {advice} to"
    with pytest.warns(UserWarning, match=message) as told:
        found = cleaner.fit_transform(container())
    assert len([w for w in told if "proba" in str(w.message)]) == 1
    assert told[0].filename == __file__
    expected = cleaner.fit_transform(container()._replace(proba=None))
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize(
    "cleaner",
    [
        TransitionCleaner(),
        CredibilityRelabeler(cleaner=TransitionCleaner()),
        MetaReweighter(n_cycles=1, cycle_length=2),
        AutoPurifier([("own", TransitionCleaner()), ("meta", LeastSquaresMetaPurifier())]),
    ],
)
def test_probabilities_that_are_used(cleaner):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cleaner.fit(container())


def test_probabilities_of_a_cleaner_before_are_no_news():
    purified = TransitionCleaner().fit_transform(X, GIVEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cleaner in (LeastSquaresMetaPurifier(), TransitionCleaner(estimator=RIDGE)):
            cleaner.fit(purified).transform(purified)
