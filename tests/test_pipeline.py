"""The whole job: from (X, y_noisy) to purified labels and a classifier."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    OnFeatures,
    PurifiedClassifier,
    TransitionCleaner,
)
from skclean.datasets import make_symmetric_noise
from skclean.evidence import LeaveOneOutRidge
from tests.centroid import assert_same

DATA, TARGET = load_digits(return_X_y=True)
X, TRUTH, X_TEST, TEST = DATA[:900], TARGET[:900], DATA[900:], TARGET[900:]
NOISY = make_symmetric_noise(TRUTH, 0.4, include_true=False, random_state=0)[0]
CLEANERS = [GMMCleaner(), TransitionCleaner()]


def pipeline(cleaner=None, n_landmarks=200):
    if cleaner is None:
        cleaner = GMMCleaner(estimator=LeaveOneOutRidge(n_landmarks=n_landmarks))
    return Pipeline(
        [
            ("clean", clone(cleaner)),
            ("relabel", CredibilityRelabeler()),
            ("classify", PurifiedClassifier(LogisticRegression(max_iter=300))),
        ]
    )


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_labels_are_purified_and_the_classifier_gets_better(cleaner):
    pipe = pipeline(cleaner).fit(X, NOISY)
    purified = pipe[:-1].transform(X)
    known = purified.known
    assert np.mean(NOISY == TRUTH) == pytest.approx(0.6, abs=0.01)
    assert np.mean(purified.labels[known] == TRUTH[known]) > 0.97 and known.mean() > 0.8
    assert np.mean(purified.labels == TRUTH) > 0.94
    noisy = LogisticRegression(max_iter=300).fit(X, NOISY).score(X_TEST, TEST)
    assert pipe.score(X_TEST, TEST) > max(noisy + 0.1, 0.88)
    # The same by fit_transform, and by the steps one after the other.
    assert_same(purified, clone(pipe[:-1]).fit_transform(X, NOISY))
    by_hand = CredibilityRelabeler().fit_transform(clone(cleaner).fit_transform(X, NOISY))
    assert_same(purified, by_hand)
    np.testing.assert_array_equal(pipe[:-1].transform(X[::-1]).labels, purified.labels[::-1])
    # A fitted pipeline can be stored.
    stored = pickle.loads(pickle.dumps(pipe))
    assert_same(stored[:-1].transform(X), purified)
    np.testing.assert_array_equal(stored.predict(X_TEST), pipe.predict(X_TEST))


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_next_weeks_batch(cleaner):
    later, _ = make_symmetric_noise(TEST, 0.4, include_true=False, random_state=1)
    pipe = pipeline(cleaner)[:-1].fit(X, NOISY)
    purified = pipe.transform(LabelledSamples(X_TEST, later))
    known = purified.known
    np.testing.assert_array_equal(purified.given_labels(), later)
    assert np.mean(purified.labels[known] == TEST[known]) > 0.93 and known.mean() > 0.75
    # With a given label it is more than the prediction from the features alone.
    bare = pipe.transform(X_TEST)
    assert set(bare.status) == {"predicted"}
    assert np.mean(purified.labels[known] == TEST[known]) > np.mean(bare.labels == TEST)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_thresholds_are_cross_validated(n_jobs):
    grid = {"clean__threshold": [0.2, 0.5], "relabel__threshold": [0.5]}
    rows = slice(0, 400)
    search = GridSearchCV(pipeline(), grid, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(X[rows], NOISY[rows])
    assert search.score(X_TEST, TEST) > 0.8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_cache_changes_nothing(tmp_path):
    rows = slice(0, 400)
    expected = pipeline().fit(X[rows], NOISY[rows])
    for _ in range(2):  # the second run reads what the first one stored
        pipe = pipeline().set_params(memory=str(tmp_path)).fit(X[rows], NOISY[rows])
        assert_same(pipe[:-1].transform(X[rows]), expected[:-1].transform(X[rows]))
        np.testing.assert_array_equal(pipe.predict(X_TEST), expected.predict(X_TEST))
    grid = {"clean__threshold": [0.3, 0.5]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X[rows], NOISY[rows])
    assert search.best_score_ > 0.3


def test_the_evidence_is_cross_validated():
    cleaner = TransitionCleaner(estimator=KNeighborsClassifier(), cv=2)
    grid = {"clean__estimator__n_neighbors": [70, 10]}
    pipe = Pipeline([("scale", StandardScaler()), *pipeline(cleaner).steps])
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X[:300], NOISY[:300])
    assert search.best_params_ == {"clean__estimator__n_neighbors": 10}
    assert search.best_estimator_["clean"].estimator.n_neighbors == 10


def test_clone_forgets_the_fit():
    pipe = pipeline().fit(X[:300], NOISY[:300])
    other = clone(pipe)
    assert other.get_params()["clean__threshold"] == 0.5
    assert not hasattr(other["clean"], "evidence_")


def test_set_output():
    steps = [("scale", OnFeatures(StandardScaler())), *pipeline().steps]
    pipe = Pipeline(steps).set_output(transform="default")
    assert isinstance(pipe[:-1].fit_transform(X[:200], NOISY[:200]), LabelledSamples)
    for output in ("pandas", "polars"):
        with pytest.raises(ValueError, match=r"OnFeatures: expected transform='default'"):
            pipe.set_output(transform=output)
        with pytest.raises(ValueError, match=r"GMMCleaner: expected transform='default'.*to_frame"):
            pipe[1:].set_output(transform=output)


def test_groups_and_trusted_reach_the_cleaner():
    trusted = np.arange(400) < 20
    pipe = pipeline(TransitionCleaner(estimator=LeaveOneOutRidge(n_landmarks=200)))
    pipe.fit(X[:400], NOISY[:400], clean__trusted=trusted, clean__groups=np.arange(400) // 2)
    purified = pipe[:-1].transform(X[:400])
    assert set(purified.status[trusted]) == {"trusted"}
    np.testing.assert_array_equal(purified.labels[trusted], NOISY[:20])


def test_names_of_the_classes_travel():
    names = np.array([f"digit {i}" for i in range(10)])
    pipe = pipeline(TransitionCleaner(estimator=LeaveOneOutRidge(n_landmarks=200)))
    pipe.fit(X[:500], names[NOISY[:500]])
    assert pipe.score(X_TEST, names[TEST]) > 0.85
    np.testing.assert_array_equal(pipe.classes_, names)
    assert set(pipe[:-1].transform(X[:500]).labels) <= set(names)


@pytest.mark.parametrize("first", CLEANERS)
def test_a_cleaner_behind_a_cleaner_does_not_believe_it(first):
    """Purified soft labels have seen the given ones, so they are no evidence about them."""
    chain = Pipeline(
        [("a", clone(first)), ("b", CredibilityRelabeler()), ("c", TransitionCleaner())]
    )
    labels = chain.fit_transform(X, NOISY).labels
    alone = TransitionCleaner().fit(X, NOISY)
    np.testing.assert_array_equal(labels, alone.transduction_)
    np.testing.assert_array_equal(chain.transform(X).labels, labels)


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_labels_that_have_nothing_to_do_with_the_features(cleaner):
    permuted = np.random.default_rng(0).permutation(TRUTH)
    audit = clone(cleaner).fit(X, permuted).audit()
    assert not audit.informative and not audit.looks_clean
    assert "nothing can be said" in str(audit)


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_assess_checks_what_it_is_given(cleaner):
    proba = LeaveOneOutRidge().fit(X, NOISY).loo_proba()
    given = NOISY.copy()
    given[:3] = -1
    clean = cleaner.assess(given, proba)
    assert np.isnan(clean[:3]).all() and ((clean[3:] >= 0) & (clean[3:] <= 1)).all()
    name = type(cleaner).__name__
    for wrong, p in (
        (given + 5, proba),
        (given - 1, proba),
        (given[1:], proba),
        (given * 0.5, proba),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected given"):
            cleaner.assess(wrong, p)
    with pytest.raises(ValueError, match=f"{name}: expected proba"):
        cleaner.assess(given, 3 * proba - 1)


def test_the_estimator_is_fitted_to_the_users_classes():
    names = np.array([f"digit {k}" for k in range(10)])
    weighted = LogisticRegression(class_weight={name: 1.0 for name in names}, max_iter=300)
    cleaner = GMMCleaner(estimator=weighted, cv=3).fit(X / 16, names[NOISY])
    assert np.mean(cleaner.transform(X / 16).known) > 0.4


def test_a_verdict_without_probabilities_is_not_thrown_away():
    status = np.where(NOISY == TRUTH, "kept", "unknown")
    proba = np.eye(10)[TRUTH]
    with pytest.raises(ValueError, match="CredibilityRelabeler: expected proba"):
        CredibilityRelabeler().fit(LabelledSamples(X, NOISY, labels=NOISY, status=status))
    judged = LabelledSamples(X, NOISY, proba=proba, status=status)
    assert (CredibilityRelabeler().fit_transform(judged).labels == TRUTH).all()
