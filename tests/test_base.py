import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import base
from skclean._array import array_namespace, to_numpy
from skclean.base import BaseCleaner
from skclean.compose import OnFeatures, PurifiedClassifier
from skclean.exceptions import LabelsDroppedWarning
from skclean.linalg.rows import RowIndex
from skclean.samples import LabelledSamples


class CentroidCleaner(BaseCleaner):
    """Judge by the distance to the means of the classes."""

    def __init__(self, threshold=0.5, missing_label="auto"):
        self.threshold = threshold
        self.missing_label = missing_label

    def _fit_samples(self, samples, groups):
        self.groups_seen_, self.trusted_seen_ = groups, samples.trusted
        features = to_numpy(samples.features)
        self.codes_ = np.unique(samples.given[samples.given >= 0])
        self.means_ = np.stack([features[samples.given == c].mean(axis=0) for c in self.codes_])
        return self._judge(samples)

    def _transform_samples(self, samples):
        return self._judge(samples)

    def _judge(self, samples):
        n = len(samples)
        distance = np.sum((to_numpy(samples.features)[:, None] - self.means_) ** 2, axis=2)
        near = np.exp(distance.min(axis=1, keepdims=True) - distance)
        proba = np.zeros((n, len(samples.classes)))
        proba[:, self.codes_] = near / near.sum(axis=1, keepdims=True)
        given = np.full(n, -1) if samples.given is None else samples.given
        clean = np.where(given < 0, np.nan, proba[np.arange(n), given])
        best = proba.argmax(axis=1)
        kept = clean >= self.threshold
        status = np.where(given < 0, "predicted", np.where(kept, "kept", "corrected"))
        status[(status == "corrected") & (proba.max(axis=1) < 0.9)] = "unknown"
        codes = np.where(kept, given, best)
        if samples.trusted is not None:
            status[samples.trusted] = "trusted"
            codes = np.where(samples.trusted, given, codes)
        return samples.with_labels(proba=proba, label_codes=codes, status=status, clean_proba=clean)


@pytest.fixture
def blobs():
    X, truth = make_blobs(300, centers=3, n_features=4, cluster_std=2.0, random_state=0)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(300) < 0.3, rng.integers(0, 3, 300), truth)
    return X, truth, np.array(["ant", "bee", "cat"])[noisy]


def pipeline():
    return Pipeline(
        [
            ("scale", StandardScaler()),
            ("clean", CentroidCleaner()),
            ("classify", PurifiedClassifier()),
        ]
    )


def assert_same(a, b):
    np.testing.assert_array_equal(to_numpy(a.features), to_numpy(b.features))
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.classes, b.classes)
    for field in ("given", "status", "proba", "clean_proba", "right_proba", "weight", "trusted"):
        left, right = getattr(a, field), getattr(b, field)
        if left is None or right is None:
            assert left is None and right is None, field
        else:
            np.testing.assert_array_equal(left, right, err_msg=field)


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([CentroidCleaner()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# Labels


def test_fit_transform_is_fit_and_transform(blobs):
    X, truth, y = blobs
    direct = CentroidCleaner().fit_transform(X, y)
    assert_same(direct, CentroidCleaner().fit(X, y).transform(X))
    assert_same(direct, CentroidCleaner().fit(LabelledSamples(X, y)).transform(X))
    names = np.array(["ant", "bee", "cat"])[truth]
    assert np.mean(direct.labels == names) > np.mean(y == names) + 0.1
    assert {"kept", "corrected"} <= set(direct.status)


def test_rows_of_the_fit_in_any_order_and_form(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner()
    whole, rng = cleaner.fit_transform(X, y), np.random.default_rng(1)
    order = rng.permutation(300)
    assert_same(cleaner.transform(X[order]), whole[order])
    assert_same(cleaner.transform(X[40:90]), whole[40:90])
    assert_same(cleaner.transform(LabelledSamples(X[order], y[order])), whole[order])
    moved = cleaner.transform(X[order] * (1 + 1e-6 * rng.standard_normal(X.shape)))
    np.testing.assert_array_equal(moved.status, whole[order].status)
    np.testing.assert_array_equal(moved.proba, whole[order].proba)
    np.testing.assert_array_equal(cleaner.transform(X.astype(np.float32)).labels, whole.labels)


def test_new_rows_are_predicted(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner().fit(X[:200], y[:200])
    new = cleaner.transform(X[200:])
    assert new.given is None
    assert set(new.status) == {"predicted"}
    near = np.argmin(np.sum((X[200:, None] - cleaner.means_) ** 2, axis=2), axis=1)
    np.testing.assert_array_equal(new.labels, cleaner.classes_[near])


def test_a_batch_without_any_label_is_predicted(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner().fit(X, y)
    for none in ([None] * 20, np.full(20, np.nan)):
        found = cleaner.transform(LabelledSamples(X[:20] + 0.01, none))
        assert_same(
            found,
            cleaner.transform(LabelledSamples(X[:20] + 0.01, none, classes=["ant", "bee", "cat"])),
        )
        assert set(found.status) == {"predicted"}


def test_new_rows_with_given_labels_are_purified(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner().fit(X[:200], y[:200])
    new = cleaner.transform(LabelledSamples(X[200:], y[200:]))
    np.testing.assert_array_equal(new.given_labels(), y[200:])
    assert {"kept", "corrected"} <= set(new.status)
    assert "predicted" not in new.status
    # A batch that lacks a class is counted in the classes of the fit.
    some = np.flatnonzero(y != "bee")
    part = cleaner.transform(LabelledSamples(X[some], y[some]))
    np.testing.assert_array_equal(part.classes, ["ant", "bee", "cat"])
    np.testing.assert_array_equal(part.given_labels(), y[some])
    with pytest.raises(ValueError, match=r"got .*dog"):
        cleaner.transform(LabelledSamples(X, np.where(y == "ant", "dog", y)))


def test_a_mixed_batch_is_merged_in_its_order(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner()
    whole = cleaner.fit_transform(X[:200], y[:200])
    new = cleaner.transform(X[200:])
    order = np.random.default_rng(0).permutation(300)
    mixed = cleaner.transform(X[order])
    old = order < 200
    assert_same(mixed[old], whole[order[old]])
    np.testing.assert_array_equal(mixed[~old].labels, new[order[~old] - 200].labels)
    np.testing.assert_array_equal(mixed[~old].proba, new[order[~old] - 200].proba)
    assert set(mixed[~old].status) == {"predicted"}
    assert (mixed[~old].given == -1).all()
    assert np.isnan(mixed[~old].clean_proba).all()


def test_another_given_label_counts_as_unseen(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner()
    whole = cleaner.fit_transform(X, y)
    row = int(np.flatnonzero(whole.status == "kept")[0])
    other = next(c for c in cleaner.classes_ if c != y[row])
    changed = y.copy()
    changed[row] = other
    result = cleaner.transform(LabelledSamples(X, changed))
    np.testing.assert_array_equal(result.given_labels(), changed)
    assert result.status[row] in ("corrected", "unknown")
    rest = np.arange(300) != row
    np.testing.assert_array_equal(result.status[rest], whole.status[rest])
    # A row that comes without its label is recognised by its features.
    missing = y.astype(object)
    missing[row] = None
    assert_same(cleaner.transform(LabelledSamples(X, missing)), whole)


def test_duplicates_with_different_labels(blobs):
    X, _, y = blobs
    X = X.copy()
    X[1], y = X[0], y.copy()
    y[0], y[1] = "ant", "bee"
    cleaner = CentroidCleaner()
    whole = cleaner.fit_transform(X, y)
    assert_same(cleaner.transform(X), whole)
    # In a slice it is not known which of the two it is.
    part = cleaner.transform(X[:5])
    np.testing.assert_array_equal(part.given[:2], -1)
    np.testing.assert_array_equal(part.status[:2], "predicted")
    assert_same(part[2:], whole[2:5])
    # With the labels it is.
    assert_same(cleaner.transform(LabelledSamples(X[:5], y[:5])), whole[:5])


def test_an_empty_selection(blobs):
    X, _, y = blobs
    empty = CentroidCleaner().fit(X, y).transform(X[:0])
    assert empty.shape == (0, 4) and empty.labels.shape == (0,) and empty.proba.shape == (0, 3)


def test_fitted_attributes(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner()
    whole = cleaner.fit_transform(X, y)
    np.testing.assert_array_equal(cleaner.classes_, ["ant", "bee", "cat"])
    assert cleaner.n_features_in_ == 4
    np.testing.assert_array_equal(cleaner.transduction_, whole.labels)
    np.testing.assert_array_equal(cleaner.label_distributions_, whole.proba)
    np.testing.assert_array_equal(cleaner.clean_proba_, whole.clean_proba)
    assert not hasattr(cleaner, "right_proba_")


def test_missing_labels(blobs):
    X, _, y = blobs
    y = y.astype(object)
    y[:20] = None
    whole = CentroidCleaner().fit_transform(X, y)
    np.testing.assert_array_equal(whole.status[:20], "predicted")
    assert set(whole.labels[:20]) <= {"ant", "bee", "cat"}
    y[:20] = "?"
    np.testing.assert_array_equal(
        CentroidCleaner(missing_label="?").fit_transform(X, y).labels, whole.labels
    )
    piped = pipeline().set_params(clean__missing_label="?").fit(X, y)
    np.testing.assert_array_equal(piped.classes_, ["ant", "bee", "cat"])


def test_inputs_and_frames_travel(blobs):
    X, _, y = blobs
    images = np.arange(300)
    cleaner = CentroidCleaner().fit(LabelledSamples(X, y, inputs=images))
    batch = cleaner.transform(LabelledSamples(X[::-1], inputs=images[::-1]))
    np.testing.assert_array_equal(batch.inputs, images[::-1])
    assert cleaner.transform(X).inputs is None
    # Neither features nor inputs of the fit are kept.
    assert cleaner._purified.features.size == 0 and cleaner._purified.inputs is None
    big = np.tile(X, 50)
    assert len(pickle.dumps(CentroidCleaner().fit(big, y))) < big.nbytes / 4


def test_every_library(xp, blobs):
    X, _, y = blobs
    X = X.astype(np.float32)
    expected = CentroidCleaner().fit_transform(X, y)
    cleaner = CentroidCleaner().fit(xp.asarray(X), y)
    result = cleaner.transform(xp.asarray(X[10:60]))
    assert array_namespace(result.features) is array_namespace(xp.asarray(X))
    np.testing.assert_array_equal(result.labels, expected[10:60].labels)
    np.testing.assert_array_equal(cleaner.transform(X).labels, expected.labels)


# Inside scikit-learn


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


def test_clone_and_pickle(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner(threshold=0.3).fit(X, y)
    assert clone(cleaner).threshold == 0.3
    with pytest.raises(NotFittedError):
        clone(cleaner).transform(X)
    assert_same(pickle.loads(pickle.dumps(cleaner)).transform(X[::-1]), cleaner.transform(X[::-1]))


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


def test_trusted_and_groups_plainly(blobs):
    X, _, y = blobs
    trusted, groups = np.arange(300) < 9, np.repeat(np.arange(30), 10)
    cleaner = CentroidCleaner().fit(X, y, trusted=trusted, groups=groups)
    np.testing.assert_array_equal(cleaner.trusted_seen_, trusted)
    np.testing.assert_array_equal(cleaner.groups_seen_, groups)
    whole = CentroidCleaner().fit_transform(LabelledSamples(X, y, trusted=trusted))
    assert_same(whole, cleaner.transform(X))
    np.testing.assert_array_equal(whole.labels[:9], y[:9])
    pipe = pipeline().fit(X, y, clean__trusted=trusted)
    np.testing.assert_array_equal(pipe[:-1].transform(X).status[:9], "trusted")
    with pytest.raises(ValueError, match="groups of shape"):
        cleaner.fit(X, y, groups=groups[:3])


def test_rows_whose_trust_changed_are_judged_anew(blobs):
    X, _, y = blobs
    trusted = np.zeros(300, dtype=bool)
    cleaner = CentroidCleaner()
    whole = cleaner.fit_transform(X, y)
    wrong = np.flatnonzero(whole.status == "corrected")[:2]
    trusted[wrong] = True
    now = cleaner.transform(LabelledSamples(X, y, trusted=trusted))
    np.testing.assert_array_equal(now.trusted, trusted)
    np.testing.assert_array_equal(now.status[wrong], "trusted")
    np.testing.assert_array_equal(now.labels[wrong], y[wrong])
    rest = ~trusted
    assert_same(now[rest]._replace(trusted=None), whole[rest])
    # And the reverse: trusted in the fit, no longer so now. A container that says nothing of trust
    # gets what the fit found.
    cleaner.fit(X, y, trusted=trusted)
    back = cleaner.transform(LabelledSamples(X, y, trusted=np.zeros(300, dtype=bool)))
    assert not back.trusted.any() and "trusted" not in back.status
    np.testing.assert_array_equal(cleaner.transform(X).trusted, trusted)


def test_weights_of_the_caller_are_kept(blobs):
    X, _, y = blobs
    weight, other = np.linspace(0, 1, 300), np.linspace(1, 2, 300)
    cleaner = CentroidCleaner().fit(X[:200], y[:200])
    for rows in (slice(0, 200), slice(200, 300), slice(0, 300)):
        batch = LabelledSamples(X[rows], y[rows], weight=weight[rows])
        np.testing.assert_array_equal(cleaner.transform(batch).weight, weight[rows])
    weighted = LabelledSamples(X, y, weight=weight)
    assert_same(
        CentroidCleaner().fit_transform(weighted), CentroidCleaner().fit(weighted).transform(X)
    )

    class Weighing(CentroidCleaner):
        def _judge(self, samples):
            return super()._judge(samples)._replace(weight=other[: len(samples)])

    assert_same(Weighing().fit_transform(weighted), Weighing().fit(weighted).transform(weighted))


def test_classes_that_the_fit_does_not_know_name_the_cleaner(blobs):
    X, _, y = blobs
    with pytest.raises(ValueError, match="CentroidCleaner: .*got 'dog'"):
        CentroidCleaner().fit(X, y).transform(LabelledSamples(X[:2], ["ant", "dog"]))


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


def test_a_cleaner_that_lacks_its_methods_says_so(blobs):
    X, _, y = blobs

    class Empty(BaseCleaner):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define _fit_samples"):
        Empty().fit(X, y)


def test_the_default_output_alone_is_accepted(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner()
    assert cleaner.set_output(transform="default") is cleaner
    assert cleaner.set_output() is cleaner
    with pytest.raises(ValueError, match="which a DataFrame would lose; do set the output"):
        cleaner.set_output(transform="pandas")
    assert isinstance(cleaner.fit_transform(X, y), LabelledSamples)


def test_a_cleaner_without_clean_proba_has_no_audit(blobs):
    X, _, y = blobs

    class Silent(CentroidCleaner):
        def _judge(self, samples):
            judged = super()._judge(samples)
            return judged if self.threshold == 0.5 else judged._replace(clean_proba=None)

    cleaner = Silent().fit(X, y)
    assert cleaner.audit().n_labels == 300 and 0 < cleaner.noise_rate_ < 1
    cleaner.set_params(threshold=0.4).fit(X, y)
    assert not hasattr(cleaner, "noise_rate_") and not hasattr(cleaner, "clean_proba_")
    with pytest.raises(
        ValueError, match="Silent: expected a cleaner whose clean_proba .* got none"
    ):
        cleaner.audit()
