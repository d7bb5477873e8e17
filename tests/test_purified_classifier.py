import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import DataConversionWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean.compose import PurifiedClassifier
from skclean.samples import LabelledSamples
from tests.labelled import GIVEN, NAMES, TRUTH, N, X, samples


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks(
    [
        PurifiedClassifier(),
        PurifiedClassifier(GaussianNB(), use="soft"),
        PurifiedClassifier(LinearSVC(), use="weights"),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def assert_trained_as(classifier, expected):
    np.testing.assert_array_equal(classifier.predict(X), expected.predict(X))
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(classifier.classes_, NAMES)


def test_hard_labels_without_the_unknown_rows():
    known = np.arange(N) >= 10
    expected = LogisticRegression(max_iter=1000).fit(X[known], NAMES[TRUTH][known])
    assert_trained_as(PurifiedClassifier().fit(samples()), expected)
    assert_trained_as(PurifiedClassifier().fit(samples(), GIVEN), expected)
    poisoned = np.where(known[:, None], X, 1e6)
    moved = samples().with_features(poisoned)
    assert_trained_as(PurifiedClassifier().fit(moved), expected)


def test_soft_labels():
    known = np.arange(N) >= 10
    soft = samples().proba[known]
    expected = GaussianNB().fit(
        np.repeat(X[known], 3, axis=0), np.tile(NAMES, known.sum()), sample_weight=soft.ravel()
    )
    assert_trained_as(PurifiedClassifier(GaussianNB(), use="soft").fit(samples()), expected)
    weight = np.linspace(0, 1, N)
    expected.fit(
        np.repeat(X[known], 3, axis=0),
        np.tile(NAMES, known.sum()),
        sample_weight=(soft * weight[known, None]).ravel(),
    )
    weighted = samples(weight=weight)
    assert_trained_as(PurifiedClassifier(GaussianNB(), use="soft").fit(weighted), expected)


def test_soft_labels_of_next_to_no_probability_are_left_out():
    class Counter(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            self.n_ = len(X)
            assert np.isclose(sample_weight.sum(), 80)
            return super().fit(X, y, sample_weight)

    proba = 0.996 * np.eye(3)[TRUTH] + 0.004 / 3
    assert PurifiedClassifier(Counter(), use="soft").fit(samples(proba=proba)).estimator_.n_ == 80


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({"weight": np.linspace(0, 1, N)}, np.linspace(0, 1, N)),
        # Corrected labels weigh as their own probability, .9 + .1 / 3, not as the given label's.
        ({}, np.where(np.arange(N) % 5 == 0, 0.9 + 0.1 / 3, 0.8)),
        ({"right_proba": np.full(N, 0.7)}, np.where(np.arange(N) % 5 == 0, 0.7, 0.8)),
    ],
)
def test_weights(changes, weight):
    known = np.arange(N) >= 10
    expected = LogisticRegression(max_iter=1000)
    expected.fit(X[known], NAMES[TRUTH][known], sample_weight=weight[known])
    assert_trained_as(PurifiedClassifier(use="weights").fit(samples(**changes)), expected)


def test_given_labels_that_nobody_purified_and_missing_ones():
    y = GIVEN.astype(object)
    y[:7] = None
    expected = LogisticRegression(max_iter=1000).fit(X[7:], GIVEN[7:])
    assert_trained_as(PurifiedClassifier().fit(LabelledSamples(X, y)), expected)


def test_a_bare_array_trains_on_y():
    expected = LogisticRegression(max_iter=1000).fit(X, GIVEN)
    assert_trained_as(PurifiedClassifier().fit(X, GIVEN), expected)


@pytest.mark.parametrize(
    ("missing", "missing_label"), [(None, None), (np.nan, None), (-1, "auto"), ("?", "?")]
)
def test_a_bare_array_trains_on_the_rows_of_y_that_have_a_label(missing, missing_label):
    y = GIVEN.astype(object)
    y[:7] = missing
    classifier = PurifiedClassifier(missing_label=missing_label).fit(X, y)
    assert_trained_as(classifier, LogisticRegression(max_iter=1000).fit(X[7:], GIVEN[7:]))


def test_minus_one_beside_a_bare_array():
    y = np.where(np.arange(N) < 7, -1, TRUTH)
    assert PurifiedClassifier().fit(X, y).classes_.tolist() == [-1, 0, 1, 2]
    with pytest.warns(UserWarning, match="PurifiedClassifier: 7 rows of y hold -1"):
        assert PurifiedClassifier(missing_label="auto").fit(X, y).classes_.tolist() == [0, 1, 2]
    for form in (y, y[:, None]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataConversionWarning)
            classifier = PurifiedClassifier(missing_label=-1).fit(X, form)
        assert classifier.classes_.tolist() == [0, 1, 2]
    # Rows of -1 are not taken away from those who learn from them.
    learner = PurifiedClassifier(SelfTrainingClassifier(LogisticRegression())).fit(X, y)
    assert len(learner.estimator_.transduction_) == N
    texts = ["good", "bad"] * (N // 2)
    words = PurifiedClassifier(make_pipeline(CountVectorizer(), MultinomialNB()), missing_label=-1)
    assert words.fit(texts, np.arange(N) % 2 - (np.arange(N) > 80)).classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PurifiedClassifier(missing_label=-1).fit(X[1:], y)


def test_odd_labels_beside_a_bare_array():
    masked = np.ma.array(TRUTH, mask=np.arange(N) < 7)
    expected = LogisticRegression(max_iter=1000).fit(X[7:], TRUTH[7:]).predict_proba(X)
    np.testing.assert_allclose(PurifiedClassifier().fit(X, masked).predict_proba(X), expected)
    days = np.datetime64("2026-01-01") + TRUTH
    assert len(PurifiedClassifier(KNeighborsClassifier()).fit(X, days).classes_) == 3
    with pytest.raises(ValueError, match="PurifiedClassifier: expected rows with a label"):
        PurifiedClassifier().fit(X, [None] * N)
    with pytest.raises(ValueError, match="expected a classifier as estimator, got StandardScaler"):
        PurifiedClassifier(StandardScaler()).fit(X, TRUTH)


@pytest.mark.parametrize("missing", [-1, None, np.nan])
@pytest.mark.parametrize("names", [False, True])
def test_rows_without_a_label_do_not_count_in_the_score(missing, names):
    y = np.array(GIVEN if names else TRUTH, dtype=object)
    y[:20] = missing
    y = y if missing is None or names else y.astype(float)
    classifier = PurifiedClassifier().fit(X[20:], (GIVEN if names else TRUTH)[20:])
    expected = np.mean(classifier.predict(X[20:]) == (GIVEN if names else TRUTH)[20:])
    assert classifier.score(X, y) == pytest.approx(expected)
    container = LabelledSamples(X, y, missing_label=missing)
    assert classifier.score(container) == pytest.approx(expected)
    assert classifier.score(container, y, np.ones(N)) == pytest.approx(expected)
    search = GridSearchCV(
        PurifiedClassifier(GaussianNB()), {"use": ["labels"]}, error_score="raise"
    )
    assert search.fit(LabelledSamples(X, GIVEN)).best_score_ > 0.5
    if names and missing == -1:
        return
    with pytest.raises(ValueError, match="expected rows with a label to score by, got none"):
        classifier.score(X[:20], y[:20])
    with pytest.raises(ValueError, match="expected y to score by, got None"):
        classifier.score(X)


def test_labels_of_other_rows_are_not_scored():
    model = PurifiedClassifier().fit(X, GIVEN)
    for rows in (slice(1, None), [*range(N), 0]):
        for features in (X, LabelledSamples(X)):
            with pytest.raises(ValueError, match="expected one label for each row.* inconsistent"):
                model.score(features, GIVEN[rows])


def test_never_a_silent_training_on_y():
    for y in (GIVEN, None):
        with pytest.raises(
            ValueError, match="PurifiedClassifier: expected a container with labels"
        ):
            PurifiedClassifier().fit(LabelledSamples(X), y)
    with pytest.raises(ValueError, match="expected y equal to the given labels"):
        PurifiedClassifier().fit(samples(), NAMES[TRUTH])


@pytest.mark.parametrize(
    ("estimator", "use", "changes", "message"),
    [
        (None, "labels", {"status": ["unknown"] * N}, "every row has status unknown.*lower"),
        (None, "labels", {"status": ["unknown"] * 60 + ["kept"] * 30}, "got one class, .*cat"),
        (None, "weights", {"weight": np.zeros(N)}, "weight 0"),
        (None, "weights", {"weight": 1.0 * (np.arange(N) < 30)}, "got one class, .*ant"),
        (None, "weights", {"clean_proba": None}, "weight or clean_proba"),
        (None, "soft", {"proba": None, "status": None}, "proba in the container for use='soft'"),
        (KNeighborsClassifier(), "soft", {}, "sample_weight.*got KNeighborsClassifier"),
        (KNeighborsClassifier(), "weights", {}, "sample_weight.*got KNeighborsClassifier"),
        (make_pipeline(PCA(2), GaussianNB()), "soft", {}, "got Pipeline; .* OnFeatures"),
        (None, "hard", {}, "'use' parameter"),
        ("svm", "labels", {}, "'estimator' parameter"),
    ],
)
def test_what_is_refused(estimator, use, changes, message):
    with pytest.raises(ValueError, match=message):
        PurifiedClassifier(estimator, use=use).fit(samples(**changes))


def test_a_class_that_vanishes_keeps_its_column():
    status = np.where(TRUTH == 1, "unknown", "kept")
    classifier = PurifiedClassifier().fit(samples(status=status))
    np.testing.assert_array_equal(classifier.classes_, NAMES)
    proba = classifier.predict_proba(X)
    np.testing.assert_array_equal(proba[:, 1], 0)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    scores = classifier.decision_function(X)
    assert scores.shape == (N, 3) and np.isfinite(scores).all()
    for outputs in (proba, scores):
        np.testing.assert_array_equal(NAMES[outputs.argmax(axis=1)], classifier.predict(X))


@pytest.mark.filterwarnings("error")
def test_predictions_for_containers_and_arrays():
    classifier = PurifiedClassifier().fit(samples())
    for method in ("predict", "predict_proba", "decision_function"):
        call = getattr(classifier, method)
        np.testing.assert_array_equal(call(samples()), call(X))
        np.testing.assert_array_equal(call(LabelledSamples(X)), call(X))
    assert classifier.score(samples(), NAMES[TRUTH]) == classifier.score(X, NAMES[TRUTH]) > 0.8
    assert classifier.n_features_in_ == 4
    with pytest.raises(ValueError, match="X has 3 features, but PurifiedClassifier is expecting 4"):
        classifier.predict(X[:, :3])


def test_methods_are_those_of_the_estimator():
    stacked = PurifiedClassifier(StackingClassifier([("bayes", GaussianNB())]))
    assert not hasattr(stacked, "predict_proba")
    assert stacked.fit(samples()).predict_proba(X).shape == (N, 3)
    assert not hasattr(PurifiedClassifier(LinearSVC()), "predict_proba")
    assert not hasattr(PurifiedClassifier(LinearSVC()).fit(samples()), "predict_proba")
    assert hasattr(PurifiedClassifier(LinearSVC()), "decision_function")
    assert not hasattr(PurifiedClassifier(GaussianNB()), "decision_function")


def test_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = PurifiedClassifier().fit(LabelledSamples(frame, GIVEN), pd.Series(GIVEN))
        np.testing.assert_array_equal(classifier.feature_names_in_, list("abcd"))
        np.testing.assert_array_equal(
            classifier.predict(frame), classifier.predict(LabelledSamples(frame))
        )
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[list("dcba")])


def test_torch_features():
    torch = pytest.importorskip("torch")
    moved = samples().with_features(torch.from_numpy(X))
    classifier = PurifiedClassifier().fit(moved)
    np.testing.assert_array_equal(
        classifier.predict(moved), PurifiedClassifier().fit(samples()).predict(X)
    )


def test_clone_parameters_and_pickle():
    classifier = PurifiedClassifier(LogisticRegression(C=0.1), use="soft")
    assert clone(classifier).get_params()["estimator__C"] == 0.1
    classifier.set_params(estimator__C=2.0).fit(samples())
    assert classifier.estimator_.C == 2.0
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict(X), classifier.predict(X))


def test_log_probabilities():
    samples = LabelledSamples([[0.0], [1.0], [5.0]], [0, 0, 1], classes=[0, 1, 2])
    classifier = PurifiedClassifier().fit(samples)
    log_proba = classifier.predict_log_proba(samples)
    np.testing.assert_allclose(np.exp(log_proba), classifier.predict_proba(samples))
    assert (log_proba[:, 2] == -np.inf).all()
    assert not hasattr(PurifiedClassifier(LinearSVC()), "predict_log_proba")
