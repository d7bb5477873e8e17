"""BaseCleaner inside Pipeline, GridSearchCV and FeatureUnion, and behind another cleaner."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

from skclean import base
from skclean.compose import OnFeatures, PurifiedClassifier
from skclean.exceptions import LabelsDroppedWarning
from skclean.linalg.rows import RowIndex
from skclean.samples import LabelledSamples
from tests.centroid import CentroidCleaner, assert_same, pipeline


def test_pipeline(blobs):
    X, truth, y = blobs
    pipe = pipeline().fit(X, y)
    purified = pipe[:-1].transform(X)
    scaled = StandardScaler().fit_transform(X)
    assert_same(purified, CentroidCleaner().fit_transform(scaled, y))
    known = purified.known
    expected = LogisticRegression(max_iter=1000).fit(scaled[known], purified.labels[known])
    np.testing.assert_array_equal(pipe.predict(X), expected.predict(scaled))
    assert pipe.score(X, np.array(["ant", "bee", "cat"])[truth]) > 0.85


def test_memory(blobs, tmp_path):
    X, _, y = blobs
    expected = pipeline().fit(X, y)
    for _ in range(2):  # the second run reads the first run's results
        pipe = pipeline().set_params(memory=str(tmp_path)).fit(X, y)
        assert_same(pipe[:-1].transform(X), expected[:-1].transform(X))
        np.testing.assert_array_equal(pipe.predict(X), expected.predict(X))


def test_grid_search_over_processes(blobs):
    X, _, y = blobs
    grid = {"clean__threshold": [0.05, 0.5, 0.95]}
    search = GridSearchCV(pipeline(), grid, n_jobs=2, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.5
    pipe = pipeline().set_params(scale=OnFeatures(StandardScaler()))
    boxed = GridSearchCV(pipe, grid, n_jobs=2, cv=3, error_score="raise")
    boxed.fit(LabelledSamples(X, y), y)
    np.testing.assert_allclose(
        boxed.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"]
    )


def test_cross_validation_of_a_container(blobs):
    X, _, y = blobs
    pipe = Pipeline([("clean", CentroidCleaner()), ("classify", PurifiedClassifier())])
    np.testing.assert_allclose(
        cross_val_score(pipe, LabelledSamples(X, y), y, cv=3, error_score="raise"),
        cross_val_score(pipe, X, y, cv=3, error_score="raise"),
    )


def test_two_cleaners_in_a_row(blobs):
    X, _, y = blobs
    pipe = Pipeline([("first", CentroidCleaner()), ("second", CentroidCleaner(threshold=0.1))])
    whole = pipe.fit_transform(X, y)
    assert_same(whole, pipe.transform(X))
    assert_same(whole, CentroidCleaner(threshold=0.1).fit_transform(X, y))
    assert set(pipe.transform(X + 0.01).status) == {"predicted"}


@pytest.fixture
def built(monkeypatch):
    """The features of each index that a cleaner builds."""
    seen = []
    make = lambda features, *args: seen.append(features) or RowIndex(features, *args)  # noqa: E731
    monkeypatch.setattr(base, "RowIndex", make)
    return seen


@pytest.mark.parametrize("trusted", [None, np.arange(300) % 7 == 0])
@pytest.mark.parametrize("readable", [None, np.arange(300) % 9 > 0])
def test_cleaners_in_a_row_build_one_index(xp, blobs, built, trusted, readable):
    X, _, y = blobs
    first = CentroidCleaner().fit_transform(
        LabelledSamples(xp.asarray(X), y, trusted=trusted, readable=readable)
    )
    alone = CentroidCleaner(threshold=0.1).fit(
        LabelledSamples(xp.asarray(X), y, trusted=trusted, readable=readable)
    )
    assert len(built) == 2
    second = CentroidCleaner(threshold=0.1)
    assert_same(second.fit_transform(first), second.transform(first))
    assert len(built) == 2
    batch = X[np.random.default_rng(0).permutation(300)[:100]]
    assert_same(second.transform(batch), alone.transform(batch))


@pytest.mark.parametrize("changed", [slice(None), slice(1, None, 2), slice(100, 110)])
def test_features_changed_in_place_between_two_cleaners(blobs, changed):
    X, _, y = blobs
    # More rows than are looked at closely.
    rng = np.random.default_rng(0)
    X, y = np.repeat(X, 12, axis=0) + 0.1 * rng.standard_normal((3600, 4)), np.repeat(y, 12)
    first = CentroidCleaner().fit_transform(X, y)
    before = CentroidCleaner(threshold=0.1).fit(first)
    as_it_was = X.copy()
    X[changed] += 50
    after = CentroidCleaner(threshold=0.1)
    found = after.fit_transform(first)
    assert_same(found, after.transform(X[:]))
    # Rows as they were are rows of the one fit and not of the other.
    assert "predicted" not in before.transform(as_it_was).status
    assert set(after.transform(as_it_was[changed]).status) == {"predicted"}
    # Rows drawn from a container are not all that the cleaner before has seen.
    half = CentroidCleaner(threshold=0.1)
    assert_same(half.fit_transform(found[::2]), half.transform(X[::2]))


def test_features_between_two_cleaners(blobs):
    X, _, y = blobs
    pipe = Pipeline(
        [
            ("first", CentroidCleaner()),
            ("scale", OnFeatures(StandardScaler())),
            ("last", PurifiedClassifier()),
        ]
    ).fit(X, y)
    np.testing.assert_array_equal(pipe[:-1].transform(X).labels, pipe[:1].transform(X).labels)
    np.testing.assert_allclose(pipe[:-1].transform(X).features.mean(axis=0), 0, atol=1e-12)


def test_feature_union_warns_that_labels_are_lost(blobs):
    X, _, y = blobs
    union = FeatureUnion([("clean", CentroidCleaner()), ("same", StandardScaler())])
    with pytest.warns(LabelsDroppedWarning):
        union.fit_transform(X, y)


def test_pandas_output_is_not_forced_on_containers(blobs):
    X, _, y = blobs
    pytest.importorskip("pandas")
    with sklearn.config_context(transform_output="pandas"):
        whole = pipeline().fit(X, y)[:-1].transform(X)
    assert isinstance(whole, LabelledSamples)
    np.testing.assert_array_equal(whole.labels, pipeline().fit(X, y)[:-1].transform(X).labels)
    np.testing.assert_array_equal(
        CentroidCleaner().fit(X, y).get_feature_names_out(), ["x0", "x1", "x2", "x3"]
    )


def test_trusted_and_groups_by_metadata_routing(blobs):
    X, _, y = blobs
    trusted, groups = np.arange(300) < 9, np.repeat(np.arange(30), 10)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = pipeline()
        pipe.set_params(clean=CentroidCleaner().set_fit_request(trusted=True, groups=True))
        pipe.fit(X, y, trusted=trusted, groups=groups)
        np.testing.assert_array_equal(pipe["clean"].trusted_seen_, trusted)
        np.testing.assert_array_equal(pipe["clean"].groups_seen_, groups)
        search = GridSearchCV(pipe, {"clean__threshold": [0.5]}, cv=3, error_score="raise")
        search.fit(X, y, trusted=trusted, groups=groups)
        np.testing.assert_array_equal(search.best_estimator_["clean"].trusted_seen_, trusted)
