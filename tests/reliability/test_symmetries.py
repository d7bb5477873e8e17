"""What must not matter: the order of rows, the names of classes, the unit and zero of features.

Left out of the first are estimators that draw rows at random (MetaReweighter, PrototypeCleaner,
folds, slices). TransitionCleaner and what is built on it repeat a fit that rounding can lead to
another end, RankingCleaner among them, whose clean_proba crowd at the threshold: of their labels, a
few may differ.
"""

import os
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOAK = int(os.environ.get("SKCLEAN_SOAK", "0"))

#: By the share of labels that may differ.
ORDERLESS = [
    (CredibilityRelabeler(), 0.02),
    (GMMCleaner(), 0.02),
    (GMMCleaner(class_aware=True), 0.02),
    (OpenSetFilter(), 0.02),
    (RankingCleaner(), 0.2),
    (Pipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())]), 0.02),
    (TransitionCleaner(), 0.1),
    (LeastSquaresMetaPurifier(), 0.1),
    (AutoPurifier(), 0.2),
]
EVERY = [
    *(estimator for estimator, _ in ORDERLESS),
    LeastSquaresMetaPurifier(solver="paper", n_periods=2, period=2),
    LeastSquaresMetaPurifier(solver="paper", n_periods=1, period=2, batch_size=32),
    MetaReweighter(n_cycles=1, cycle_length=4),
    PrototypeCleaner(max_iter=2),
    PrototypeCleaner(objective="paper", max_iter=2),
]

orderless = pytest.mark.parametrize(("estimator", "share"), ORDERLESS, ids=str)
drawn = given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 4))
often = settings(
    max_examples=SOAK or 3,
    derandomize=not SOAK,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def batch(seed, n_classes):
    """Features in which no two rows are alike, and labels of which 30 % are drawn at random."""
    rng = np.random.default_rng(seed)
    n = 60 + seed % 60
    truth = rng.integers(0, n_classes, n)
    X = 2.5 * rng.standard_normal((n_classes, 5))[truth] + rng.standard_normal((n, 5))
    return X, np.where(rng.random(n) < 0.3, rng.integers(0, n_classes, n), truth), rng


def purified(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return clone(estimator).fit_transform(X, y)


def assert_alike(labels, expected, status, expected_status, share):
    differ = (labels != expected) | (status != expected_status)
    assert differ.sum() <= max(1, share * len(labels)), f"{differ.sum()} of {len(labels)} rows"


@orderless
@often
@drawn
def test_the_order_of_rows(estimator, share, seed, n_classes):
    X, y, rng = batch(seed, n_classes)
    order = rng.permutation(len(X))
    one, other = purified(estimator, X, y), purified(estimator, X[order], y[order])
    assert_alike(other.labels, one.labels[order], other.status, one.status[order], share)


@orderless
@often
@drawn
def test_the_names_of_classes(estimator, share, seed, n_classes):
    X, y, rng = batch(seed, n_classes)
    names = rng.permutation(n_classes)
    one, other = purified(estimator, X, y), purified(estimator, X, names[y])
    assert_alike(other.labels, names[one.labels], other.status, one.status, share)
    if share < 0.05:
        np.testing.assert_allclose(other.proba[:, names], one.proba, atol=1e-5)
    words = np.array(["a", "ab", "é", "ü"])[:n_classes]
    spelt = purified(estimator, X, words[y])
    np.testing.assert_array_equal(spelt.labels, words[one.labels])
    np.testing.assert_array_equal(spelt.proba, one.proba)


@pytest.mark.parametrize("estimator", EVERY, ids=str)
@often
@drawn
def test_the_unit_of_features(estimator, seed, n_classes):
    X, y, _ = batch(seed, n_classes)
    one, other = purified(estimator, X, y), purified(estimator, 1024 * X, y)
    np.testing.assert_array_equal(other.status, one.status)
    np.testing.assert_array_equal(other.labels, one.labels)
    np.testing.assert_allclose(other.proba, one.proba, atol=1e-9)


@orderless
@often
@drawn
def test_the_zero_of_features(estimator, share, seed, n_classes):
    X, y, _ = batch(seed, n_classes)
    one, other = purified(estimator, X, y), purified(estimator, X + 8, y)
    assert_alike(other.labels, one.labels, other.status, one.status, share)
