"""Every cleaner says the same of rows that came without a label."""

import numpy as np
import pytest

from skclean import (
    AutoPurifier,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)

RNG = np.random.default_rng(0)
N = 240
TRUTH = np.arange(N) % 3
X = 5 * np.eye(3, 5)[TRUTH] + RNG.standard_normal((N, 5))
GIVEN = np.where(RNG.random(N) < 0.2, RNG.integers(0, 3, N), TRUTH)
MISSING = np.arange(N) % 6 == 1
CLEANERS = [
    AutoPurifier(),
    GMMCleaner(),
    LeastSquaresMetaPurifier(),
    MetaReweighter(n_cycles=1, cycle_length=10),
    OpenSetFilter(0.0),
    PrototypeCleaner(max_iter=2),
    RankingCleaner(),
    TransitionCleaner(),
]


@pytest.mark.parametrize("cleaner", CLEANERS, ids=lambda cleaner: type(cleaner).__name__)
def test_rows_without_a_label_are_predicted(cleaner):
    given = np.where(MISSING, -1, GIVEN)
    fitted = cleaner.set_params(missing_label=-1).fit_transform(X, given)
    again = cleaner.transform(X)
    later = cleaner.transform(LabelledSamples(X + 0.01, given, classes=[0, 1, 2], missing_label=-1))
    bare = cleaner.transform(X + 0.01)
    for samples, missing in (
        (fitted, MISSING),
        (again, MISSING),
        (later, MISSING),
        (bare, X[:, 0] < 99),
    ):
        np.testing.assert_array_equal(samples.status == "predicted", missing)
        assert samples.clean_proba is None or np.isnan(samples.clean_proba[missing]).all()
        assert np.mean(samples.labels[missing] == TRUTH[missing]) > 0.9
