"""Files of trees that compiled code would follow out of its arrays are refused."""

import numpy as np
import pytest
from sklearn._loss.loss import HalfBinomialLoss
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomTreesEmbedding,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer
from sklearn.tree import DecisionTreeClassifier

from skclean.saving import SavedFileError, load, save

RNG = np.random.default_rng(0)
Y = np.arange(60) % 3
X = np.exp(RNG.standard_normal((60, 4)) + np.eye(3, 4)[Y])
ENSEMBLES = {
    "forest": RandomForestClassifier(2, random_state=0),
    "extra": ExtraTreesClassifier(2, random_state=0),
    "isolation": IsolationForest(n_estimators=2, random_state=0),
    "embedding": RandomTreesEmbedding(2, random_state=0),
    "boosted": GradientBoostingClassifier(n_estimators=2),
}


def refused(estimator, message, tmp_path):
    with pytest.raises(SavedFileError, match=message):
        load(save(estimator, tmp_path / "a", overwrite=True))


def with_loss(boosted):
    boosted._loss = HalfBinomialLoss()


def with_no_number(boosted):
    with_loss(boosted)
    del boosted.n_trees_per_iteration_


def with_fewer_classes(boosted):
    boosted.init_.class_prior_ = boosted.init_.class_prior_[:2]
    boosted.init_.classes_, boosted.init_.n_classes_ = boosted.init_.classes_[:2], 2


def with_another_start(boosted):
    boosted.init_ = LogisticRegression().fit(X, Y > 0)


def with_a_start_that_fails(boosted):
    boosted.init_ = LogisticRegression().fit(X[:, :2], Y)


def with_no_start(boosted):
    del boosted.init_


@pytest.mark.parametrize(
    "change",
    [
        with_loss,
        with_no_number,
        with_fewer_classes,
        with_another_start,
        with_a_start_that_fails,
        with_no_start,
    ],
)
def test_boosted_trees_that_start_from_other_predictions(change, tmp_path):
    boosted = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    change(boosted)
    refused(boosted, "makes no estimator", tmp_path)


def test_boosted_trees_of_categories(tmp_path):
    boosted = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    boosted._bin_mapper.is_categorical_[0] = 1
    refused(boosted, "boosted trees of categories", tmp_path)
    boosted._bin_mapper.is_categorical_[0] = 0
    boosted._preprocessor = ColumnTransformer([("first", "passthrough", [0])]).fit(X)
    refused(boosted, "boosted trees of categories", tmp_path)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_trees_of_other_features_than_their_ensemble(name, tmp_path):
    ensemble = ENSEMBLES[name].fit(X, Y)
    wider = ENSEMBLES[name].__class__(**ENSEMBLES[name].get_params()).fit(np.hstack([X, X]), Y)
    ensemble.estimators_ = wider.estimators_
    refused(ensemble, "of other features", tmp_path)


@pytest.mark.parametrize(
    "estimator", [DecisionTreeClassifier(), AdaBoostClassifier(n_estimators=1)]
)
@pytest.mark.parametrize("leave", [False, True])
def test_a_tree_of_other_features_than_it_says(estimator, leave, tmp_path):
    estimator.fit(X, Y)
    tree = getattr(estimator, "estimators_", [estimator])[0]
    tree.n_features_in_ = 2
    if leave:
        del tree.n_features_in_
    refused(estimator, "a tree of other features", tmp_path)


@pytest.mark.parametrize(
    "estimator",
    [
        *ENSEMBLES.values(),
        IsolationForest(n_estimators=2, max_features=0.5, random_state=0),
        BaggingClassifier(DecisionTreeClassifier(), 2, max_features=0.5, random_state=0),
        GradientBoostingClassifier(n_estimators=2, init="zero"),
        GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
        GradientBoostingClassifier(
            n_estimators=2, init=make_pipeline(PowerTransformer("box-cox"), LogisticRegression())
        ),
    ],
)
def test_trees_as_they_are_come_back(estimator, tmp_path):
    again = load(save(estimator.fit(X, Y), tmp_path / "a"))
    method = "predict" if hasattr(estimator, "predict") else "transform"
    expected, found = (getattr(e, method)(X) for e in (estimator, again))
    assert (expected != found).sum() == 0
