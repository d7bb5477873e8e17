import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples, TransitionCleaner
from skclean.cleaners.open_set import OpenSetFilter
from skclean.compose import PurifiedClassifier

RNG = np.random.default_rng(0)
C, N = 6, 480
KIND = np.arange(N) % 8
OPEN = KIND >= C
X = 5 * np.eye(8, 10)[KIND] + RNG.standard_normal((N, 10))
GIVEN = np.where(OPEN, RNG.integers(0, C, N), KIND)
WRONG = ~OPEN & (RNG.random(N) < 0.2)
NOISY = np.where(WRONG, RNG.integers(0, C, N), GIVEN)
FIELDS = ("label_codes", "status_codes", "proba", "clean_proba", "in_distribution_proba")


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([OpenSetFilter()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("settings", [{}, {"estimator": LogisticRegression(), "cv": 4}])
@pytest.mark.parametrize("given", [GIVEN, NOISY])
def test_rows_from_elsewhere_are_withheld(given, settings):
    opened = OpenSetFilter(**settings)
    samples = opened.fit_transform(X, given)
    flagged = samples.status == "unknown"
    assert roc_auc_score(OPEN, -samples.in_distribution_proba) > 0.95
    assert np.mean(flagged == OPEN) > 0.93
    assert set(samples.status) == {"kept", "unknown"}
    np.testing.assert_array_equal(flagged, samples.in_distribution_proba <= 0.5)
    np.testing.assert_array_equal(samples.labels[~flagged], given[~flagged])
    assert opened.open_share_ == pytest.approx(OPEN.mean(), abs=0.06)


@pytest.mark.parametrize("given", [KIND, (KIND + (RNG.random(N) < 0.3)) % 8])
def test_nothing_is_flagged_where_nothing_is_from_elsewhere(given):
    opened = OpenSetFilter().fit(X, given)
    assert np.mean(opened._purified.status == "unknown") < 0.02
    assert opened.open_share_ < 0.04


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_few_classes_that_overlap_lose_few_rows(n_classes, n, noise):
    shares = []
    for seed in range(6):
        rng, truth = np.random.default_rng(seed), np.arange(n) % n_classes
        rows = 2 * np.eye(n_classes, 10)[truth] + rng.standard_normal((n, 10))
        given = np.where(rng.random(n) < noise, rng.integers(0, n_classes, n), truth)
        shares.append(np.mean(OpenSetFilter().fit_transform(rows, given).status == "unknown"))
    assert np.mean(shares) < 0.03


@pytest.mark.parametrize("n_classes", [2, 4, 6])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_classes_of_several_modes_lose_no_rows(n_classes, noise):
    shares = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        modes, mode = rng.normal(0, 2.5, (3 * n_classes, 5)), rng.integers(0, 3 * n_classes, 500)
        rows, truth = modes[mode] + rng.standard_normal((500, 5)), mode % n_classes
        given = np.where(rng.random(500) < noise, rng.integers(0, n_classes, 500), truth)
        opened = OpenSetFilter().fit(rows, given)
        proba = opened.evidence_.proba()
        shares.append(np.mean(opened._purified.status == "unknown"))
        shares.append(np.mean(opened.assess(given, proba) <= 0.5))
    assert np.mean(shares) < 0.02


def test_of_few_classes_rows_from_elsewhere_are_found():
    rng, kind = np.random.default_rng(0), np.arange(360) % 4
    rows = 6 * np.eye(4, 10)[kind] + rng.standard_normal((360, 10))
    given = np.where(kind == 3, rng.integers(0, 3, 360), kind)
    flagged = OpenSetFilter().fit_transform(rows, given).status == "unknown"
    assert np.mean(flagged == (kind == 3)) > 0.95


def test_threshold():
    flagged = [
        (OpenSetFilter(t).fit_transform(X, GIVEN).status == "unknown").sum() for t in (0, 0.5, 1)
    ]
    assert flagged[0] <= flagged[1] < flagged[2] == N


def test_new_rows_are_predicted_or_unknown():
    half = np.arange(N) < N // 2
    opened = OpenSetFilter().fit(X[half], GIVEN[half])
    bare = opened.transform(X[~half])
    assert set(bare.status) == {"predicted", "unknown"}
    assert np.mean((bare.status == "unknown") == OPEN[~half]) > 0.9
    known = bare.known & ~OPEN[~half]
    assert np.mean(bare.labels[known] == KIND[~half][known]) > 0.98
    batch = opened.transform(LabelledSamples(X[~half], GIVEN[~half]))
    assert set(batch.status) == {"kept", "unknown"}
    # A label that fits says that the row belongs to its class, one that does not the reverse.
    assert np.mean((batch.status == "unknown") == OPEN[~half]) > 0.9


def test_what_lies_beyond_the_fit_is_unknown_even_if_no_row_of_the_fit_was():
    opened = OpenSetFilter().fit(X, KIND)
    assert set(opened.transform(X[:50] + 40).status) == {"unknown"}
    assert np.mean(opened.transform(X + 0.1 * RNG.standard_normal(X.shape)).known) > 0.95


def test_behind_a_cleaner_its_labels_stay():
    steps = [("clean", TransitionCleaner()), ("open", OpenSetFilter())]
    pipe = Pipeline(steps)
    samples = pipe.fit_transform(X, NOISY)
    before = TransitionCleaner().fit_transform(X, NOISY)
    inside = samples.in_distribution_proba > 0.5
    assert (samples.status[~inside] == "unknown").all()
    np.testing.assert_array_equal(samples.status[inside], before.status[inside])
    np.testing.assert_array_equal(samples.labels[inside], before.labels[inside])
    for field in ("proba", "clean_proba"):
        np.testing.assert_array_equal(getattr(samples, field), getattr(before, field))
    again = pipe.transform(X)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(again, field), getattr(samples, field))
    known = samples.known
    assert np.mean(OPEN[known]) < 0.5 * OPEN.mean()
    assert np.mean(samples.labels[known & ~OPEN] == KIND[known & ~OPEN]) > 0.97
    new = pipe.transform(LabelledSamples(X + 0.01, NOISY))
    assert np.mean(new.status == samples.status) > 0.9


def test_rows_that_were_unknown_stay_so():
    before = GMMCleaner().fit_transform(X, NOISY)
    samples = OpenSetFilter().fit_transform(before)
    assert (samples.status[before.status == "unknown"] == "unknown").all()
    after = CredibilityRelabeler().fit_transform(samples)
    np.testing.assert_array_equal(after.in_distribution_proba, samples.in_distribution_proba)


def test_labels_without_a_status_stay():
    labels = np.where(np.arange(N) < 20, KIND % C, NOISY)
    samples = OpenSetFilter().fit_transform(LabelledSamples(X, NOISY, labels=labels))
    known = samples.known
    np.testing.assert_array_equal(samples.labels[known], labels[known])
    expected = np.where(labels == NOISY, "kept", "corrected")
    np.testing.assert_array_equal(samples.status[known], expected[known])


def test_before_a_classifier():
    pipe = Pipeline([("open", OpenSetFilter()), ("fit", PurifiedClassifier())])
    predicted = pipe.fit(X, GIVEN).predict(X)
    assert np.mean(predicted[~OPEN] == KIND[~OPEN]) > 0.98


def test_trusted_rows_stay():
    trusted = np.arange(N) < 40
    samples = OpenSetFilter().fit_transform(X, GIVEN, trusted=trusted)
    assert set(samples.status[trusted]) == {"trusted"}
    np.testing.assert_array_equal(samples.in_distribution_proba[trusted], 1)
    np.testing.assert_array_equal(samples.labels[trusted], GIVEN[trusted])
    every = OpenSetFilter().fit_transform(X, GIVEN, trusted=np.ones(N, bool))
    assert set(every.status) == {"trusted"}


@pytest.mark.parametrize("missing", [None, np.nan, -1])
def test_rows_without_a_label_are_predicted_or_unknown(missing):
    y = GIVEN.astype(object if missing is None else float)
    y[:120] = missing
    samples = OpenSetFilter(missing_label=missing).fit_transform(X, y)
    assert set(samples.status[:120]) == {"predicted", "unknown"}
    assert np.mean((samples.status[:120] == "unknown") == OPEN[:120]) > 0.85
    assert np.isfinite(samples.in_distribution_proba).all()


def test_assess_tells_it_from_probabilities():
    opened = OpenSetFilter(estimator=LogisticRegression(), cv=4).fit(X, GIVEN)
    inside = opened.assess(GIVEN, opened.label_distributions_)
    assert roc_auc_score(OPEN, -inside) > 0.95
    assert np.isnan(opened.assess(np.full(N, -1) + (np.arange(N) > 9), opened.evidence_.proba())[0])


def test_pickle_clone_and_shuffled_rows():
    opened = OpenSetFilter()
    samples = opened.fit_transform(X, GIVEN)
    order = np.random.default_rng(1).permutation(N)
    for other in (opened, pickle.loads(pickle.dumps(opened)), clone(opened).fit(X, GIVEN)):
        again = other.transform(X[order])
        for field in ("status_codes", "in_distribution_proba"):
            np.testing.assert_array_equal(getattr(again, field), getattr(samples, field)[order])
    mixed = opened.transform(np.vstack([X[:5], X[:5] + 40]))
    np.testing.assert_array_equal(
        mixed.in_distribution_proba[:5], samples.in_distribution_proba[:5]
    )
    assert (mixed.in_distribution_proba[5:] == 0).all()


def test_names_of_classes_do_not_matter():
    names = np.array(["f", "b", "a", "e", "d", "c"])
    found = OpenSetFilter().fit_transform(X, names[GIVEN])
    expected = OpenSetFilter().fit_transform(X, GIVEN)
    np.testing.assert_allclose(
        found.in_distribution_proba, expected.in_distribution_proba, atol=1e-3
    )


def test_the_libraries_give_the_same_verdicts(xp):
    expected = OpenSetFilter().fit_transform(X, GIVEN)
    opened = OpenSetFilter()
    found = opened.fit_transform(LabelledSamples(xp.asarray(X), GIVEN))
    assert np.mean(found.status == expected.status) > 0.99
    assert type(found.features) is type(xp.asarray(X))
    assert np.mean(opened.transform(xp.asarray(X + 0.01)).known == expected.known) > 0.9


def test_tiny_and_constant_data():
    assert len(OpenSetFilter().fit_transform(X[:2], [0, 1])) == 2
    flat = OpenSetFilter().fit_transform(np.ones((20, 3)), np.arange(20) % 2)
    assert np.isfinite(flat.in_distribution_proba).all()


def test_wrong_parameters():
    with pytest.raises(ValueError, match="threshold"):
        OpenSetFilter(2.0).fit(X, GIVEN)
