"""The scorers alone, in cross-validation and in a search with metadata routing."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline

from skclean import GMMCleaner, PurifiedClassifier
from skclean.datasets import make_symmetric_noise
from skclean.metrics import (
    TrustedScorer,
    noise_corrected_accuracy,
    noise_corrected_scorer,
    trusted_accuracy,
    trusted_accuracy_scorer,
)
from skclean.samples import LabelledSamples


class Cleaner(TransformerMixin, BaseEstimator):
    """Passes the features on, and has the transition matrix that it is told."""

    def __init__(self, transition=None):
        self.transition = transition

    def fit(self, X, y):
        self.transition_matrix_, self.classes_ = np.asarray(self.transition), np.unique(y)
        return self

    def transform(self, X):
        return X


@pytest.fixture
def data():
    X, y = make_classification(
        1500, 10, n_informative=6, n_classes=3, class_sep=1.5, random_state=0
    )
    y_noisy, transition = make_symmetric_noise(y, 0.4, random_state=0)
    trusted = np.arange(1500) % 10 == 0
    y_given = np.where(trusted, y, y_noisy)
    return X, y, y_given, transition, trusted


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def splitter(trusted):
    """Folds of rows of which each holds its share of the trusted ones."""
    return list(StratifiedKFold(3).split(trusted, trusted))


def test_trusted_accuracy_is_the_accuracy_of_the_trusted_rows(data):
    X, y, y_given, _, trusted = data
    model = LogisticRegression().fit(X, y_given)
    expected = (model.predict(X) == y)[trusted].mean()
    assert trusted_accuracy(y_given, model.predict(X), trusted) == pytest.approx(expected)
    assert trusted_accuracy_scorer(model, X, y_given, trusted=trusted) == pytest.approx(expected)
    samples = LabelledSamples(X, y_given, trusted=trusted)

    class OnContainer:
        def predict(self, X):
            return model.predict(X.features)

    assert trusted_accuracy_scorer(OnContainer(), samples) == pytest.approx(expected)
    assert trusted_accuracy_scorer(OnContainer(), samples, y_given) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [[False, True], [-1, 1], ["a", "b"]])
def test_rows_without_a_label_may_stand_beside_the_trusted_ones(classes):
    y = np.array([None, *np.tile(classes, 4).tolist()], dtype=object)
    trusted = np.arange(9) > 4
    X = np.append(0, np.tile([0.0, 1.0], 4))[:, None]
    samples = LabelledSamples(X, y, trusted=trusted, missing_label=None)
    classifier = PurifiedClassifier().fit(samples)
    assert trusted_accuracy_scorer(classifier, samples) == 1
    assert trusted_accuracy_scorer(classifier, X, y, trusted=trusted) == 1
    assert trusted_accuracy(y, y, trusted) == 1
    with pytest.raises(ValueError, match="a label in every trusted row, got none in 1 of them"):
        trusted_accuracy(y, y, ~trusted)


def test_trusted_scorer_takes_any_score_function(data):
    X, y, y_given, _, trusted = data
    model = LogisticRegression().fit(X, y_given)
    expected = balanced_accuracy_score(y[trusted], model.predict(X[trusted]))
    scorer = pickle.loads(pickle.dumps(TrustedScorer(balanced_accuracy_score)))
    assert scorer(model, X, y_given, trusted=trusted) == pytest.approx(expected)
    assert "balanced_accuracy" in repr(scorer)


def test_grid_search_selects_on_trusted_rows(data, routing):
    X, y, y_given, _, trusted = data
    grid = {"C": [1e-6, 1.0]}
    folds = splitter(trusted)
    search = GridSearchCV(LogisticRegression(), grid, scoring=trusted_accuracy_scorer, cv=folds)
    search.fit(X, y_given, trusted=trusted)
    for k, (train, test) in enumerate(folds):
        model = LogisticRegression(C=1.0).fit(X[train], y_given[train])
        rows = test[trusted[test]]
        expected = (model.predict(X[rows]) == y[rows]).mean()
        assert search.cv_results_[f"split{k}_test_score"][1] == pytest.approx(expected)
    assert search.best_params_ == {"C": 1.0}


def test_grid_search_takes_the_mask_of_a_container(data):
    X, _, y_given, _, trusted = data
    pipe = Pipeline([("clean", GMMCleaner()), ("classify", PurifiedClassifier())])
    chosen = {"scoring": trusted_accuracy_scorer, "cv": splitter(trusted), "error_score": "raise"}
    search = GridSearchCV(pipe, {"clean__threshold": [0.5]}, **chosen)
    search.fit(LabelledSamples(X, y_given, trusted=trusted))
    assert search.best_score_ > 0.6
    with pytest.raises(ValueError, match=r"do fit the search to LabelledSamples\(X, y, trusted"):
        search.fit(X, y_given)


def test_several_scorers_at_once(data, routing):
    X, _, y_given, transition, trusted = data
    scoring = {
        "trusted": trusted_accuracy_scorer,
        "corrected": noise_corrected_scorer(transition),
        "noisy": "accuracy",
    }
    scores = cross_validate(
        LogisticRegression(),
        X,
        y_given,
        scoring=scoring,
        cv=splitter(trusted),
        params={"trusted": trusted},
    )
    means = {name: scores[f"test_{name}"].mean() for name in scoring}
    assert means["trusted"] > means["noisy"] + 0.1  # of 150 rows
    assert means["corrected"] > means["noisy"] + 0.1


def test_fold_without_trusted_rows_says_what_to_do(data):
    X, _, y_given, _, _ = data
    model = LogisticRegression().fit(X, y_given)
    with pytest.raises(ValueError, match="at least one trusted row among the 1500"):
        trusted_accuracy_scorer(model, X, y_given, trusted=np.zeros(1500, dtype=bool))
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        trusted_accuracy_scorer(model, X, y_given)
    with pytest.raises(ValueError, match="boolean mask"):
        trusted_accuracy_scorer(model, X, y_given, trusted=np.arange(1500))
    with pytest.raises(ValueError, match="expected y, got None"):
        trusted_accuracy_scorer(model, X, trusted=np.ones(1500, dtype=bool))


@pytest.mark.parametrize("n", [1, 1400, 1600])
def test_rows_that_do_not_match_are_refused(data, n):
    X, y, y_given, _, trusted = data
    predicted, rows = np.resize(y, n), np.resize(X, (n, 10))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        trusted_accuracy(y_given, predicted, trusted)
    model = LogisticRegression().fit(X, y_given)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        trusted_accuracy_scorer(model, rows, y_given, trusted=trusted)
    with pytest.raises(ValueError, match="^trusted_accuracy: expected at least one trusted row"):
        trusted_accuracy(y_given, y, np.zeros(1500, dtype=bool))


def test_corrected_scorer_reads_the_matrix_of_the_fitted_cleaner(data):
    X, y, _, transition, _ = data
    y_noisy, _ = make_symmetric_noise(y, 0.4, random_state=1)
    pipe = Pipeline([("clean", Cleaner(transition)), ("model", LogisticRegression())])
    pipe.fit(X[:1000], y_noisy[:1000])
    expected = noise_corrected_accuracy(y_noisy[1000:], pipe.predict(X[1000:]), transition)
    held_out = X[1000:], y_noisy[1000:]
    assert noise_corrected_scorer()(pipe, *held_out) == pytest.approx(expected)
    assert noise_corrected_scorer(transition)(pipe, *held_out) == pytest.approx(expected)
    assert expected > pipe.score(*held_out) + 0.15
    search = GridSearchCV(
        pipe, {"model__C": [1e-6, 1.0]}, scoring=noise_corrected_scorer(), cv=3
    ).fit(X, y_noisy)
    assert search.best_params_ == {"model__C": 1.0}
    assert noise_corrected_scorer()(search, *held_out) > 0.5


def test_corrected_scorer_takes_the_last_matrix_of_a_pipeline(data):
    X, _, y_given, transition, _ = data
    pipe = Pipeline(
        [
            ("first", Cleaner(np.eye(3))),
            ("second", Cleaner(transition)),
            ("nothing", "passthrough"),
            ("model", LogisticRegression()),
        ]
    ).fit(X, y_given)
    expected = noise_corrected_accuracy(y_given, pipe.predict(X), transition)
    assert noise_corrected_scorer()(pipe, X, y_given) == pytest.approx(expected)


def test_corrected_scorer_takes_the_given_labels_of_a_container(data):
    X, _, y_given, transition, _ = data

    class Constant:
        classes_ = np.arange(3)

        def predict(self, X):
            return np.zeros(len(X), dtype=int)

    y_given = np.where(np.arange(1500) % 7, y_given, -1)
    samples = LabelledSamples(X, y_given, classes=np.arange(3))
    scorer = pickle.loads(pickle.dumps(noise_corrected_scorer(transition)))
    expected = noise_corrected_accuracy(
        y_given[y_given >= 0], np.zeros((y_given >= 0).sum(), dtype=int), transition
    )
    assert scorer(Constant(), samples) == pytest.approx(expected)
    with pytest.raises(ValueError, match="expected y, got None"):
        scorer(Constant(), X)


def test_corrected_scorer_without_a_matrix_says_what_to_do(data):
    X, _, y_given, _, _ = data
    with pytest.raises(ValueError, match="LogisticRegression without; do pass transition"):
        noise_corrected_scorer()(LogisticRegression().fit(X, y_given), X, y_given)
    assert repr(noise_corrected_scorer()) == "noise_corrected_scorer()"
