import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.svm import LinearSVC

from skclean._array import array_namespace, to_numpy
from skclean.evidence import Evidence, LeaveOneOutRidge, fit_evidence
from skclean.evidence.leave_one_out import surely_likelier
from skclean.samples import LabelledSamples

X, Y = load_iris(return_X_y=True)
LOGISTIC = LogisticRegression(max_iter=300)


def evidence(samples, *args, **settings):
    return fit_evidence(samples, *args, name="TestCleaner", **settings)


def floored(proba):
    return np.log(np.maximum(proba, 1e-6))


def test_the_default_is_leave_one_out():
    found = evidence(LabelledSamples(X, Y))
    expected = LeaveOneOutRidge().fit(X, Y)
    np.testing.assert_array_equal(found.scores, expected.loo_scores_)
    np.testing.assert_allclose(found.proba(), expected.loo_proba())
    new = LabelledSamples(X[:7] + 0.1)._replace(classes=np.arange(3))
    np.testing.assert_allclose(
        found.proba(found.predict(new, "TestCleaner")), expected.predict_proba(X[:7] + 0.1)
    )


def test_probabilities_of_the_user():
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=150)
    proba[0] = [1, 0, 0]
    found = evidence(LabelledSamples(X, Y, proba=proba))
    assert found.model is None
    np.testing.assert_allclose(found.proba(), proba, atol=1e-5)
    with pytest.raises(ValueError, match="TestCleaner: expected probabilities for rows"):
        found.predict(LabelledSamples(X[:3]), "TestCleaner")
    later = LabelledSamples(X[:3], proba=proba[:3])
    np.testing.assert_allclose(found.predict(later, "TestCleaner"), floored(proba[:3]))
    # An estimator goes before them.
    assert evidence(LabelledSamples(X, Y, proba=proba), LOGISTIC).model is not None


def test_in_sample():
    found = evidence(LabelledSamples(X, Y), LOGISTIC)
    np.testing.assert_allclose(found.scores, floored(LOGISTIC.fit(X, Y).predict_proba(X)))


@pytest.mark.parametrize("estimator", [LOGISTIC, LeaveOneOutRidge()])
def test_cross_fitted_by_loops(estimator):
    folds = list(KFold(3, shuffle=True, random_state=1).split(X))
    # As a number of folds, of any integer type; as a splitter; as a list of splits.
    expected = np.empty((150, 3))
    for train, test in folds:
        expected[test] = floored(estimator.fit(X[train], Y[train]).predict_proba(X[test]))
    for cv in (KFold(3, shuffle=True, random_state=1), folds):
        found = evidence(LabelledSamples(X, Y), estimator, cv)
        np.testing.assert_allclose(found.scores, expected, atol=1e-6)
        np.testing.assert_allclose(found.proba(), np.exp(expected), atol=1e-4)
    for train, test in StratifiedKFold(4, shuffle=True, random_state=0).split(X, Y):
        expected[test] = floored(estimator.fit(X[train], Y[train]).predict_proba(X[test]))
    for cv in (4, np.int64(4)):
        found = evidence(LabelledSamples(X, Y), estimator, cv)
        np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    # New rows are scored as in the folds.
    new = found.predict(LabelledSamples(X[:5])._replace(classes=np.arange(3)), "TestCleaner")
    np.testing.assert_allclose(new, floored(estimator.fit(X, Y).predict_proba(X[:5])), atol=1e-6)


def test_folds_keep_groups_together():
    groups = np.arange(150) % 15
    found = evidence(LabelledSamples(X, Y), LOGISTIC, 3, groups)
    for train, test in GroupKFold(3).split(X, Y, groups):
        expected = floored(LOGISTIC.fit(X[train], Y[train]).predict_proba(X[test]))
        np.testing.assert_allclose(found.scores[test], expected, atol=1e-6)
    with pytest.raises(ValueError, match="expected cv beside groups"):
        evidence(LabelledSamples(X, Y), LOGISTIC, None, groups)


@pytest.mark.parametrize("estimator", [LOGISTIC, LeaveOneOutRidge()])
def test_a_class_may_be_absent_from_a_fold(estimator):
    y = Y.copy()
    y[0] = 3
    found = evidence(LabelledSamples(X, y, classes=np.arange(5)), estimator, 3)
    assert found.scores.shape == (150, 5) and np.isfinite(found.scores).all()
    np.testing.assert_allclose(found.scores[:, 4], np.log(1e-6), rtol=1e-5)
    assert np.mean(found.scores[1:].argmax(axis=1) == y[1:]) > 0.9


def test_rows_without_a_label_are_predicted():
    y = Y.astype(object)
    y[::10] = None
    rest = np.arange(150) % 10 > 0
    # Landmarks of the kernel are drawn from all rows.
    for kernel, tolerance in (("linear", 1e-6), ("rbf", 0.02)):
        found = evidence(LabelledSamples(X, y), LeaveOneOutRidge(kernel))
        expected = LeaveOneOutRidge(kernel).fit(X[rest], Y[rest])
        predicted = expected.predict_proba(X[~rest])
        np.testing.assert_allclose(found.proba()[rest], expected.loo_proba(), atol=tolerance)
        np.testing.assert_allclose(found.proba()[~rest], predicted, atol=tolerance)


def test_every_library(xp):
    y = Y.astype(object)
    y[::10] = None
    expected = evidence(LabelledSamples(X, y))
    found = evidence(LabelledSamples(xp.asarray(X), y))
    assert array_namespace(found.scores) is array_namespace(xp.asarray(X))
    np.testing.assert_allclose(to_numpy(found.proba()), expected.proba(), atol=0.05)
    crossed = evidence(LabelledSamples(xp.asarray(X), y), LeaveOneOutRidge(), 3)
    assert np.mean(to_numpy(crossed.proba()).argmax(axis=1) == Y) > 0.9


def test_what_is_refused():
    samples = LabelledSamples(X, Y)
    with pytest.raises(ValueError, match=r"TestCleaner: .*predict_proba, got LinearSVC; do wrap"):
        evidence(samples, LinearSVC())
    overlapping = [(np.arange(100), np.arange(50, 150)), (np.arange(50, 150), np.arange(100))]
    with pytest.raises(ValueError, match="TestCleaner: expected cv to put each of 150 rows"):
        evidence(samples, LOGISTIC, overlapping)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_of_the_precision_of_the_scores(xp, dtype):
    found = evidence(LabelledSamples(xp.asarray(X.astype(dtype)), Y), LeaveOneOutRidge("linear"))
    proba = found.proba()
    assert proba.dtype == found.scores.dtype and to_numpy(proba).dtype == dtype
    z = to_numpy(found.scores).astype(np.float64) * found.temperature
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(to_numpy(proba), expected, atol=1e-7)


def test_informative_by_its_definition():
    rng = np.random.default_rng(0)
    by_error, by_nats = set(), set()
    for strength in (0.0, 0.05, 0.2, 1.0):
        given = rng.integers(-1, 3, 1000)
        scores = rng.standard_normal((1000, 3)) + strength * np.eye(3)[given]
        rows = given >= 0
        proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        gain = np.log(proba[rows, given[rows]])
        gain -= np.log(np.bincount(given[rows]) / rows.sum())[given[rows]]
        by_error.add(gain.mean() > 2 * gain.std() / rows.sum() ** 0.5)
        by_nats.add(gain.sum() > 4)
        expected = gain.mean() > 2 * gain.std() / rows.sum() ** 0.5 or gain.sum() > 4
        assert Evidence(scores, 1.0, None, "", raw=True).informative(given) == expected
    assert by_error == by_nats == {False, True}


def test_a_few_rows_that_all_gain_are_informative():
    scores = np.array([[1.0, -1.0], [-1.0, 1.0]] * 2)
    assert Evidence(scores, 1.0, None, "", raw=True).informative(np.array([0, 1, 0, 1]))
    gain = np.array([0.2, 0.3, 0.4, 0.3])
    assert surely_likelier(gain) and not surely_likelier(gain - 0.3)
    assert not surely_likelier(np.repeat([-1.0, 1.5], 20), np.repeat([0, 1], 20))
    assert surely_likelier(np.array([-30.0, 35.0]))
    assert not surely_likelier(np.full(60, 2e-16))


def test_few_rows_of_a_rare_class_are_informative():
    # Of 300 rows, ten are of a class that the scores tell from the other but for three of each.
    given = (np.arange(300) < 10).astype(int)
    scores = np.log(np.where(given[:, None] == [0, 1], 0.95, 0.05))
    scores[7:13] = scores[7:13, ::-1]
    assert Evidence(scores, 1.0, None, "", raw=True).informative(given)
    assert not Evidence(scores[::-1], 1.0, None, "", raw=True).informative(given)


def test_too_sure_of_noisy_labels_is_informative_all_the_same():
    RNG = np.random.default_rng(0)
    truth = RNG.integers(0, 3, 1000)
    given = np.where(RNG.random(1000) < 0.4, RNG.integers(0, 3, 1000), truth)
    scores = np.log(np.where(np.eye(3)[truth] > 0, 1 - 2e-6, 1e-6))
    assert Evidence(scores, 1.0, None, "").informative(given)
