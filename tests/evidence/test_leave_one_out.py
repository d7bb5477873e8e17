import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_circles
from sklearn.linear_model import RidgeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info, threadpool_limits

from skclean._array import array_namespace
from skclean.evidence import LeaveOneOutRidge, leave_one_out
from skclean.samples import LabelledSamples


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@parametrize_with_checks([LeaveOneOutRidge()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_a_wrong_label_does_not_speak_for_itself():
    X, y = load_digits(n_class=4, return_X_y=True)
    noisy = y.copy()
    noisy[::10] = (y[::10] + 1) % 4
    evidence = LeaveOneOutRidge().fit(X, noisy)
    assert np.mean(evidence.loo_proba()[::10].argmax(axis=1) == y[::10]) > 0.95
    # In-sample, some wrong labels are taken over.
    assert evidence.loo_proba()[::10, :][np.arange(len(y[::10])), noisy[::10]].max() < (
        evidence.predict_proba(X[::10])[np.arange(len(y[::10])), noisy[::10]].max()
    )
    np.testing.assert_allclose(evidence.loo_proba().sum(axis=1), 1)


def test_linear_scores_are_those_of_ridge_regression(rng):
    X, y = load_iris(return_X_y=True)
    names = np.array(["c", "a", "b"])[y]
    ridge = LeaveOneOutRidge("linear", alphas=[0.5]).fit(X, names)
    unit = np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1))
    theirs = RidgeClassifier(alpha=0.5 * unit).fit(X, names)
    # Targets of -1 and 1 there, of 0 and 1 here.
    np.testing.assert_allclose(2 * ridge.decision_function(X) - 1, theirs.decision_function(X))
    np.testing.assert_array_equal(ridge.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ridge.classes_, ["a", "b", "c"])
    assert ridge.alpha_ == 0.5 and ridge.alpha_errors_.shape == (1,)


def test_temperature_is_the_likeliest(rng):
    X, y = load_iris(return_X_y=True)
    y = np.where(rng.random(150) < 0.2, rng.integers(0, 3, 150), y)
    evidence = LeaveOneOutRidge().fit(X, y)

    def likelihood(t):
        z = t * evidence.loo_scores_.astype(float)
        return np.mean(z[np.arange(150), y] - np.log(np.exp(z).sum(axis=1)))

    best = likelihood(evidence.temperature_)
    assert all(best >= likelihood(evidence.temperature_ * f) for f in (0.5, 0.9, 1.1, 2))


def test_the_kernel_sees_what_a_line_does_not():
    X, y = make_circles(300, factor=0.4, noise=0.08, random_state=0)
    found = LeaveOneOutRidge().fit(X, y).loo_proba().argmax(axis=1)
    assert np.mean(found == y) > 0.97
    assert np.mean(LeaveOneOutRidge("linear").fit(X, y).loo_proba().argmax(axis=1) == y) < 0.7


def test_groups_judge_without_their_copies(rng):
    X, y = load_iris(return_X_y=True)
    noisy = np.where(rng.random(150) < 0.3, (y + 1) % 3, y)
    X, y, noisy = (np.repeat(v, 2, axis=0) for v in (X, y, noisy))
    X = X + 1e-3 * rng.standard_normal(X.shape)
    groups = np.repeat(np.array([f"film {i}" for i in range(150)]), 2)
    alone = LeaveOneOutRidge().fit(X, noisy).loo_proba().argmax(axis=1)
    together = LeaveOneOutRidge().fit(X, noisy, groups=groups).loo_proba().argmax(axis=1)
    assert np.mean(together == y) > np.mean(alone == y) + 0.05
    with pytest.raises(ValueError, match="at least two groups"):
        LeaveOneOutRidge().fit(X, noisy, groups=np.zeros(300))
    with pytest.raises(ValueError, match="groups of shape"):
        LeaveOneOutRidge().fit(X, noisy, groups=np.zeros(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, dtype):
    X, y = load_iris(return_X_y=True)
    X = X.astype(dtype)
    expected = LeaveOneOutRidge().fit(X, y)
    found = LeaveOneOutRidge().fit(xp.asarray(X), y)
    for mine, theirs in [
        (found.loo_proba(), expected.loo_proba()),
        (found.loo_scores_, expected.loo_scores_),
        (found.predict_proba(xp.asarray(X)), expected.predict_proba(X)),
        (found.decision_function(xp.asarray(X)), expected.decision_function(X)),
    ]:
        assert array_namespace(mine) is array_namespace(xp.asarray(X))
        np.testing.assert_allclose(xp.to_numpy(mine), theirs, atol=0.05)
    np.testing.assert_array_equal(found.predict(xp.asarray(X)), expected.predict(X))
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


def test_same_data_same_verdict_and_no_global_randomness():
    X, y = load_iris(return_X_y=True)
    state = np.random.get_state()[1].copy()
    first = LeaveOneOutRidge(n_landmarks=30).fit(X, y)
    np.testing.assert_array_equal(first.loo_scores_, clone(first).fit(X, y).loo_scores_)
    other = LeaveOneOutRidge(n_landmarks=30, random_state=1).fit(X, y)
    assert not np.array_equal(first.loo_scores_, other.loo_scores_)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("factor, shift", [(1e-6, 0), (1e6, 0), (1, 1e4), (-1, 3)])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_units_do_not_matter(kernel, factor, shift):
    X, y = load_iris(return_X_y=True)
    expected = LeaveOneOutRidge(kernel).fit(X, y)
    found = LeaveOneOutRidge(kernel).fit(X * factor + shift, y)
    np.testing.assert_allclose(found.loo_proba(), expected.loo_proba(), atol=0.01)


def test_two_classes_and_single_rows():
    evidence = LeaveOneOutRidge().fit([[0.0], [1.0], [9.0]], ["no", "no", "yes"])
    assert evidence.decision_function([[0.5]]).shape == (1,)
    assert evidence.predict([[0.2], [9.1]]).tolist() == ["no", "yes"]
    assert np.isfinite(LeaveOneOutRidge().fit([[0.0], [1.0]], [0, 1]).loo_scores_).all()
    assert evidence.predict(np.empty((0, 1))).shape == (0,)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"alphas": [0.0]}, "positive"),
        ({"alphas": []}, "positive"),
        ({"alphas": [1, np.nan]}, "positive"),
        ({"kernel": "poly"}, "kernel"),
        ({"gamma": 0}, "gamma"),
        ({"n_landmarks": 0}, "n_landmarks"),
    ],
)
def test_wrong_parameters(parameters, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        LeaveOneOutRidge(**parameters).fit(X, y)


def test_missing_labels_are_refused():
    X, y = load_iris(return_X_y=True)
    named = np.array(["a", "b", "c"], dtype=object)[y]
    cases = (LabelledSamples(X, [None, *y[1:]]), None), (X, [None, *y[1:]]), (X, [None, *named[1:]])
    for case in cases:
        with pytest.raises(ValueError, match="leave those rows out, or use a cleaner"):
            LeaveOneOutRidge().fit(*case)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_the_scores_are_the_same_with_any_number_of_threads(kernel):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 300)).astype(np.float32)
    y = np.argmax(X[:, :3] + rng.standard_normal((2000, 3)), axis=1)
    found = []
    for n_threads in (1, 2, 5):
        with threadpool_limits(n_threads, user_api="blas"):
            found.append(LeaveOneOutRidge(kernel).fit(X, y).loo_scores_)
    for scores in found[1:]:
        np.testing.assert_array_equal(scores, found[0])


def test_a_fit_leaves_the_cores_to_threads_of_python(monkeypatch):
    seen, fit = [], leave_one_out._fit_map

    def watched(*args):
        seen.extend(m["num_threads"] for m in threadpool_info() if m["user_api"] == "blas")
        return fit(*args)

    monkeypatch.setattr(leave_one_out, "_fit_map", watched)
    with threadpool_limits(2, user_api="blas"):
        LeaveOneOutRidge().fit(*load_iris(return_X_y=True)).loo_scores_.sum()
    assert set(seen) <= {1}
