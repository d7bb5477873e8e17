"""What every cleaner with an `assess` says of labels that there is nothing to judge by."""

import numpy as np
import pytest

from skclean import (
    GMMCleaner,
    LeastSquaresMetaPurifier,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)

CLEANERS = [
    GMMCleaner,
    LeastSquaresMetaPurifier,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
]


@pytest.mark.parametrize("cleaner", CLEANERS)
@pytest.mark.parametrize("n", [0, 5])
def test_without_any_label_nothing_is_assessed(cleaner, n):
    given, proba = np.full(n, -1), np.full((n, 3), 1 / 3)
    found = cleaner().assess(given, proba, np.ones((n, 2)))
    np.testing.assert_array_equal(found, np.full(n, np.nan))


@pytest.mark.parametrize("cleaner", CLEANERS)
@pytest.mark.parametrize("n_classes", [0, 1])
def test_one_class_is_refused(cleaner, n_classes):
    with pytest.raises(ValueError, match="proba of shape .* two or more classes"):
        cleaner().assess(np.zeros(4, int), np.ones((4, n_classes)), np.ones((4, 2)))
