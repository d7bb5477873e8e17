"""Rows whose input could not be read: carried along, never judged, never learned from."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skclean.cleaners import (
    GMMCleaner,
    MetaReweighter,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)
from skclean.compose import OnFeatures, PurifiedClassifier
from skclean.datasets import load_noisy_digits
from skclean.exceptions import LabelsDroppedWarning
from skclean.purifiers import AutoPurifier, CredibilityRelabeler, LeastSquaresMetaPurifier
from skclean.samples import LabelledSamples


def with_unreadable(X, y, rows, **fields):
    readable = np.ones(len(X), dtype=bool)
    readable[rows] = False
    features = np.where(readable[:, None], X, 0)
    return LabelledSamples(features, y, readable=readable, **fields), readable


def test_container_knows_its_unreadable_rows():
    samples = LabelledSamples(np.eye(3), ["a", "b", "a"], readable=[True, False, True])
    assert not samples.purified
    assert samples.status.tolist() == ["kept", "unknown", "kept"]
    assert samples.known.tolist() == [True, False, True]
    assert samples.labels_or_missing().tolist() == ["a", -1, "a"]
    assert samples[1:].readable.tolist() == [False, True]
    assert samples.with_features(np.ones((3, 2))).readable.tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"expected readable as a boolean mask of 3 rows"):
        LabelledSamples(np.eye(3), readable=[1, 0, 1])


def test_bare_array_of_unreadable_rows_warns():
    samples = LabelledSamples(np.eye(2), readable=[True, False])
    with pytest.warns(LabelsDroppedWarning):
        np.asarray(samples)


CLEANERS = [
    GMMCleaner(),
    TransitionCleaner(),
    PrototypeCleaner(),
    RankingCleaner(),
    MetaReweighter(),
    OpenSetFilter(),
    LeastSquaresMetaPurifier(),
    AutoPurifier(),
    CredibilityRelabeler(),
]


@pytest.mark.parametrize("cleaner", CLEANERS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("trust", [False, True])
def test_unreadable_rows_are_left_out_and_unknown(cleaner, trust):
    digits = load_noisy_digits(noise_rate=0.2)
    X, y = digits.data[:600], digits.target_noisy[:600]
    trusted = (np.arange(600) < 80) if trust else None
    samples, readable = with_unreadable(X, y, [3, 77, 599], trusted=trusted)
    purified = clone(cleaner).fit(samples).transform(samples)
    rows = LabelledSamples(X, y, trusted=trusted)[readable]
    alone = clone(cleaner).fit(rows).transform(rows)
    assert (purified.status[~readable] == "unknown").all()
    if purified.clean_proba is None:
        assert alone.clean_proba is None
        return
    assert np.isnan(purified.clean_proba[~readable]).all()
    np.testing.assert_allclose(purified.proba[~readable], 0.1)
    np.testing.assert_array_equal(purified.given, samples.given)
    np.testing.assert_array_equal(purified.labels[readable], alone.labels)
    np.testing.assert_array_equal(purified.status[readable], alone.status)
    np.testing.assert_allclose(purified.clean_proba[readable], alone.clean_proba)


@pytest.mark.parametrize("cleaner", [GMMCleaner(), TransitionCleaner()])
def test_duplicates_are_told_apart_beside_unreadable_rows(cleaner):
    digits = load_noisy_digits(noise_rate=0.3)
    X, y = digits.data[:500].copy(), digits.target_noisy[:500].copy()
    X[100:200] = X[:100]
    samples, _ = with_unreadable(X, y, [250])
    found = clone(cleaner).fit_transform(samples)
    again = clone(cleaner).fit(samples).transform(samples)
    np.testing.assert_array_equal(again.status, found.status)
    np.testing.assert_array_equal(again.given, found.given)
    np.testing.assert_array_equal(again.labels, found.labels)
    # Without labels too: the batch of the fit keeps what was given in the rows without features.
    bare = LabelledSamples(samples.features, readable=samples.readable)
    np.testing.assert_array_equal(clone(cleaner).fit(samples).transform(bare).given, samples.given)


def test_a_readable_row_of_zeros_is_no_unreadable_one():
    digits = load_noisy_digits(noise_rate=0.3)
    samples, _ = with_unreadable(digits.data[:300], digits.target_noisy[:300], [7])
    cleaner = GMMCleaner().fit(samples)
    assert cleaner.transform(np.zeros((1, 64))).status.tolist() == ["predicted"]


def test_purified_container_whose_rows_break_has_them_unknown():
    samples = LabelledSamples(
        np.eye(3), ["a", "b", "a"], status=["kept"] * 3, readable=[True, False, True]
    )
    assert samples.status.tolist() == ["kept", "unknown", "kept"]
    assert samples.known.tolist() == [True, False, True]


def test_unreadable_rows_stay_so_through_a_pipeline():
    digits = load_noisy_digits(noise_rate=0.2)
    samples, readable = with_unreadable(digits.data, digits.target_noisy, slice(0, 40))
    steps = [
        ("scale", OnFeatures(StandardScaler())),
        ("clean", GMMCleaner()),
        ("relabel", CredibilityRelabeler()),
        ("classify", PurifiedClassifier()),
    ]
    pipe = Pipeline(steps).fit(samples)
    purified = pipe[:-1].transform(samples)
    assert (purified.status[~readable] == "unknown").all()
    assert not purified.known[~readable].any()
    assert (purified.labels_or_missing()[~readable] == -1).all()
    np.testing.assert_allclose(pipe["scale"].transformer_.mean_, digits.data[40:].mean(axis=0))
    new = pipe[:-1].transform(LabelledSamples(samples.features[:60], readable=readable[:60]))
    assert (new.status[:40] == "unknown").all() and (new.status[40:] != "unknown").any()
    assert pipe.predict(samples[:60]).shape == (60,)
    assert pipe["clean"].audit().n_labels == 1757


def test_no_readable_row_of_a_second_class_is_an_error():
    samples, _ = with_unreadable(np.arange(6.0)[:, None], [0, 0, 0, 0, 1, 1], [4, 5])
    with pytest.raises(ValueError, match=r"at least two classes, got one class"):
        GMMCleaner().fit(samples)


def test_weights_that_the_user_brought_are_kept_beside_unreadable_rows():
    digits = load_noisy_digits(noise_rate=0.2)
    weight = np.linspace(1, 2, 300)
    samples, _ = with_unreadable(digits.data[:300], digits.target_noisy[:300], [5], weight=weight)
    np.testing.assert_array_equal(GMMCleaner().fit(samples).transform(samples).weight, weight)
