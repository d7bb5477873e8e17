"""BaseCleaner: labels of rows seen and unseen, trust, weights, what is learned."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean._array import array_namespace
from skclean.base import BaseCleaner
from skclean.samples import LabelledSamples
from tests.centroid import CentroidCleaner, assert_same, pipeline


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([CentroidCleaner()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


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


def test_clone_and_pickle(blobs):
    X, _, y = blobs
    cleaner = CentroidCleaner(threshold=0.3).fit(X, y)
    assert clone(cleaner).threshold == 0.3
    with pytest.raises(NotFittedError):
        clone(cleaner).transform(X)
    assert_same(pickle.loads(pickle.dumps(cleaner)).transform(X[::-1]), cleaner.transform(X[::-1]))


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
