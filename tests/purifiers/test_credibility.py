import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples, TransitionCleaner
from skclean.decision import transition
from skclean.evidence import LeaveOneOutRidge

RNG = np.random.default_rng(0)
TRUTH = np.arange(300) % 3
X = 3 * np.eye(3, 6)[TRUTH] + 1.1 * RNG.standard_normal((300, 6))
GIVEN = np.where(RNG.random(300) < 0.4, RNG.integers(0, 3, 300), TRUTH)


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks(
    [CredibilityRelabeler(), CredibilityRelabeler(cleaner=TransitionCleaner())]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("cleaner", [GMMCleaner(), TransitionCleaner()])
def test_the_rule_by_its_definition(cleaner, threshold):
    judged = cleaner.fit_transform(X, GIVEN)
    relabeler = CredibilityRelabeler(threshold)
    samples = relabeler.fit_transform(judged)
    top = judged.proba.max(axis=1).astype(np.float64)
    x = (top - top.min()) / (top.max() - top.min())
    m = relabeler.mixture_
    x = np.minimum(np.maximum(x, m.means[0]), m.means[1])
    density = m.weights * np.exp(-((x[:, None] - m.means) ** 2) / 2 / m.variances)
    density /= np.sqrt(m.variances)
    right = density[:, 1] / density.sum(axis=1)
    np.testing.assert_allclose(samples.right_proba, right, atol=1e-9)
    for i in range(300):
        best = judged.proba[i].argmax()
        if judged.status[i] == "kept":
            expected = "kept", GIVEN[i]
        elif right[i] > threshold:
            expected = ("kept" if best == GIVEN[i] else "corrected"), best
        else:
            expected = "unknown", best
        assert (samples.status[i], samples.labels[i]) == expected
        soft = np.eye(3)[GIVEN[i]] if samples.status[i] == "kept" else judged.proba[i]
        np.testing.assert_array_equal(samples.proba[i], soft)
    np.testing.assert_array_equal(samples.clean_proba, judged.clean_proba)
    np.testing.assert_allclose(relabeler.transition_matrix_.sum(axis=1), 1)
    assert relabeler.cleaner_ is None


def test_more_confident_is_never_less_credible():
    judged = GMMCleaner().fit_transform(X, GIVEN)
    samples = CredibilityRelabeler().fit_transform(judged)
    order = np.argsort(judged.proba.max(axis=1))
    assert (np.diff(samples.right_proba[order]) >= -1e-12).all()


def test_alone_it_brings_its_own_cleaner():
    for cleaner, kind in ((None, GMMCleaner), (TransitionCleaner(0.7), TransitionCleaner)):
        alone = CredibilityRelabeler(cleaner=cleaner)
        found = alone.fit_transform(X, GIVEN)
        assert isinstance(alone.cleaner_, kind) and alone.cleaner_ is not cleaner
        steps = [("clean", cleaner or GMMCleaner()), ("relabel", CredibilityRelabeler())]
        piped = Pipeline(steps).fit_transform(X, GIVEN)
        np.testing.assert_array_equal(found.status, piped.status)
        np.testing.assert_array_equal(found.labels, piped.labels)
        np.testing.assert_array_equal(alone.transform(X).labels, found.labels)
        later = alone.transform(LabelledSamples(X + 0.01, GIVEN))
        assert np.mean(later.labels == found.labels) > 0.97
        assert set(alone.transform(X + 0.01).status) == {"predicted"}


def test_labels_get_better_and_unsure_ones_are_withheld():
    samples = CredibilityRelabeler().fit_transform(X, GIVEN)
    known = samples.known
    assert {"kept", "corrected", "unknown"} == set(samples.status)
    assert np.mean(samples.labels[known] == TRUTH[known]) > np.mean(GIVEN == TRUTH) + 0.2
    assert np.mean(samples.labels[~known] == TRUTH[~known]) < np.mean(
        samples.labels[known] == TRUTH[known]
    )


@pytest.mark.parametrize("cleaner", [GMMCleaner(), TransitionCleaner()])
def test_rows_without_a_label_get_one_where_it_is_credible(cleaner):
    y = GIVEN.astype(object)
    y[:100] = None
    samples = CredibilityRelabeler(cleaner=cleaner).fit_transform(X, y)
    credible = samples.right_proba[:100] > 0.5
    np.testing.assert_array_equal(samples.status[:100], np.where(credible, "predicted", "unknown"))
    assert np.mean(samples.labels[:100][credible] == TRUTH[:100][credible]) > 0.95


def test_trusted_rows_stay():
    trusted = GIVEN != TRUTH
    samples = CredibilityRelabeler().fit_transform(X, GIVEN, trusted=trusted)
    assert set(samples.status[trusted]) == {"trusted"}
    np.testing.assert_array_equal(samples.labels[trusted], GIVEN[trusted])


def test_bare_rows_behind_a_fit_on_judged_ones_are_refused():
    relabeler = CredibilityRelabeler().fit(GMMCleaner().fit_transform(X, GIVEN))
    with pytest.raises(ValueError, match="do put the cleaner before this step"):
        relabeler.transform(X + 1)
    np.testing.assert_array_equal(relabeler.transform(X).labels, relabeler.transduction_)


def test_probabilities_alone_are_no_verdict():
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=300)
    samples = LabelledSamples(X, GIVEN, proba=proba, clean_proba=np.full(300, 0.5))
    relabeler = CredibilityRelabeler().fit(samples)
    assert isinstance(relabeler.cleaner_, GMMCleaner)


def test_equal_probabilities_are_all_credible():
    proba = np.where(np.eye(3)[TRUTH] > 0, 0.8, 0.1)
    judged = LabelledSamples(
        X,
        GIVEN,
        proba=proba,
        clean_proba=(GIVEN == TRUTH) * 1.0,
        status=np.where(GIVEN == TRUTH, "kept", "unknown"),
    )
    samples = CredibilityRelabeler().fit_transform(judged)
    np.testing.assert_array_equal(samples.labels, TRUTH)
    np.testing.assert_array_equal(samples.right_proba, 1)


def test_wrong_parameters():
    for settings in ({"threshold": 2.0}, {"cleaner": 3}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            CredibilityRelabeler(**settings).fit(X, GIVEN)


@pytest.mark.parametrize("cleaner", [GMMCleaner(), TransitionCleaner(max_iter=2, tol=1.0)])
def test_little_memory_beside_features_and_results(cleaner, tmp_path):
    n, n_classes, rng = 20_000, 100, np.random.default_rng(0)
    np.save(tmp_path / "X.npy", rng.standard_normal((n, 256), dtype=np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    given = np.arange(n) % n_classes
    cleaner = clone(cleaner).set_params(estimator=LeaveOneOutRidge("linear"))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(transition, "MAX_SCORES", n_classes * 2000)
        warnings.simplefilter("ignore")
        tracemalloc.start()
        judged = cleaner.fit_transform(mapped, given)
        samples = CredibilityRelabeler().fit_transform(judged)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert samples.proba.dtype == np.float32
    # Scores, two sets of probabilities, and what stands for each row: rather less than five.
    assert peak < 5 * samples.proba.nbytes
