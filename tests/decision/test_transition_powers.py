"""The noise-transition model on logarithms of a classifier's probabilities."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from skclean import GMMCleaner, LabelledSamples, RankingCleaner, TransitionCleaner
from skclean._array import array_namespace
from skclean.datasets import make_pair_noise, make_symmetric_noise
from skclean.decision import transition_prior
from skclean.decision.transition import fit_transition
from skclean.decision.transition_fit import TransitionFit, _unmixing
from skclean.decision.transition_model import POWERS, raised
from skclean.decision.transition_prior import TransitionPrior
from skclean.decision.transition_support import fit_supported

CLASSIFIERS = {
    "logistic": LogisticRegression(max_iter=100),
    "neighbours": KNeighborsClassifier(20),
    "forest": RandomForestClassifier(60, random_state=0),
}


def classified(n=900, n_classes=4, noise=0.35, seed=0):
    """Log-probabilities of noisy labels at a place, the given labels and the true ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    T = (1 - noise) * np.eye(n_classes) + noise * np.roll(np.eye(n_classes), 1, axis=1)
    scores = 3 * np.eye(n_classes)[truth] + rng.standard_normal((n, n_classes))
    proba = np.exp(log_softmax(2 * scores, axis=1)) @ T
    given = (T[truth].cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return np.log(np.maximum(proba, 1e-6)), given, truth


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0, None])
def test_powers_by_the_formula_of_box_and_cox(power, xp):
    proba = np.array([[1e-6, 0.3], [0.5, 1.0]])
    expected = {
        None: np.log(proba),
        0.0: np.log(proba),
        0.5: (np.sqrt(proba) - 1) / 0.5,
        1.0: proba - 1,
    }[power]
    found = raised(xp.asarray(np.log(proba)), power)
    assert array_namespace(found) is array_namespace(xp.asarray(proba))
    np.testing.assert_allclose(xp.to_numpy(found), expected, rtol=1e-12)


def test_unmixing_inverts_a_mixture_by_ridge_regression():
    rng = np.random.default_rng(0)
    T = 0.4 * np.eye(5) + 0.6 * rng.dirichlet(np.ones(5), size=5)
    M = _unmixing(T)
    assert np.trace(M) == pytest.approx(5)
    for s in rng.standard_normal((3, 5)):
        # min |p T - s|^2 + .2 |p|^2 as one regression.
        design = np.vstack([T.T, np.sqrt(0.2) * np.eye(5)])
        p = np.linalg.lstsq(design, np.concatenate([s, np.zeros(5)]), rcond=None)[0]
        found = s @ M
        np.testing.assert_allclose(found / np.linalg.norm(found), p / np.linalg.norm(p))
    np.testing.assert_allclose(_unmixing(np.eye(3)), np.eye(3))


def test_what_a_row_leaves_of_the_matrix_by_loops(monkeypatch):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, (4, 4)) + 8.0 * np.eye(4)
    prior, taken = TransitionPrior(), rng.dirichlet(np.ones(4), size=3).T
    prior.rate_strength, prior.spread_strength = 7.0, 2.0
    common = transition_prior._common_rate(counts)
    monkeypatch.setattr(transition_prior, "_common_rate", lambda counts: common)
    whole = prior.transition(counts)
    for k in range(4):
        found = prior.share_left(counts, k, taken)
        for y in range(4):
            for i in range(3):
                fewer = counts.copy()
                fewer[y, k] -= taken[y, i]
                assert found[y, i] == pytest.approx(prior.transition(fewer)[y, k] / whole[y, k])


def test_likelihood_without_a_rows_own_count_by_loops():
    scores, given, _ = classified(n=80)
    trusted = np.arange(80) % 5 == 0
    fit = TransitionFit(scores, given, trusted, power=1.0).started(2 / 3)
    fit.rounds(4, 0.0)
    fit, total = fit.best, 0.0
    counts = fit.counts(lambda rows: fit.gamma[:, rows])
    for i, row in enumerate(fit.order):
        k, left = given[row], np.ones(4)
        if not trusted[row]:
            left = fit.prior.share_left(counts, k, fit.gamma[:, [i]].astype(float))[:, 0]
        total += np.log(np.sum(fit.gamma[:, i] * left))
    expected = fit.model.log_likelihood + total / 80
    assert fit.left_out_of_transition() == pytest.approx(expected, abs=1e-5)
    assert fit.left_out_of_transition() < fit.model.log_likelihood


def test_the_best_power_is_taken_and_new_rows_follow_it(xp):
    scores, given, truth = classified(n=1500)
    model, gamma = fit_transition(xp.asarray(scores), given, log_proba=True)
    assert model.power in POWERS and len(model.by_power) == len(POWERS)
    assert model.log_likelihood >= max(model.by_power) - 0.02
    gamma = xp.to_numpy(gamma)
    assert np.mean(gamma.argmax(axis=1) == truth) > 0.96
    again = xp.to_numpy(model.posterior(xp.asarray(scores), given))
    assert np.abs(again - gamma).mean() < 0.02
    # By the logarithms alone the labels' own noise passes for their probability.
    _, alone = fit_transition(scores, given)
    assert np.mean(alone.argmax(axis=1) == truth) < 0.7


@pytest.mark.parametrize("name", list(CLASSIFIERS))
@pytest.mark.parametrize(
    ("noise", "least"), [("symmetric", 0.9), ("pair", 0.92), ("none", None)], ids=str
)
def test_probabilities_of_any_classifier(name, noise, least):
    X, y = load_digits(return_X_y=True)
    given = y
    if noise != "none":
        make = make_pair_noise if noise == "pair" else make_symmetric_noise
        given = make(y, 0.4, random_state=0)[0]
    estimator = CLASSIFIERS[name]
    proba = cross_val_predict(estimator, X, given, cv=5, method="predict_proba")
    cleaner = TransitionCleaner().fit(LabelledSamples(X, given, proba=proba))
    flagged = cleaner.clean_proba_ < 0.5
    if noise == "none":
        assert flagged.mean() < 0.01
    else:
        assert f1_score(given != y, flagged) > least
    purified = np.mean(cleaner.transduction_ == y)
    assert purified > max(np.mean(given == y) + 0.2, 0.87) if noise != "none" else purified > 0.99


def test_a_classifier_too_sure_of_itself_bears_out_nothing():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    X = 0.7 * np.eye(3, 8)[y] + rng.standard_normal((600, 8))
    X = np.repeat(X, 6, axis=1) + 0.05 * rng.standard_normal((600, 48))
    proba = cross_val_predict(GaussianNB(), X, y, cv=5, method="predict_proba")
    cleaner = TransitionCleaner().fit(LabelledSamples(X, y, proba=proba))
    assert np.mean(cleaner.transduction_ != y) < 0.02


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.35])
def test_few_rows_of_a_classifier_that_knows_the_noise(noise):
    scores, given, truth = classified(n=1500, noise=noise)
    model, gamma = fit_supported(scores, given, temperature=1.0, log_proba=True)
    assert np.mean(gamma.argmax(axis=1) == truth) > 0.96
    if noise:
        assert model.support >= model.needed
    else:
        np.testing.assert_allclose(model.transition, np.eye(4), atol=0.002)


def test_few_rows_of_a_classifier_that_is_surer_than_right():
    """Its probabilities lie far apart, whether it predicts the labels or not."""
    flagged, right = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 250)
        X = 0.3 * rng.standard_normal((2, 200))[truth] + rng.standard_normal((250, 200))
        given = make_symmetric_noise(truth, 0.2, random_state=100 + seed)[0]
        for labels in (given, truth, rng.integers(0, 2, 250)):
            model = LogisticRegression(max_iter=200)
            proba = cross_val_predict(model, X, labels, cv=5, method="predict_proba")
            cleaner = TransitionCleaner().fit(LabelledSamples(X, labels, proba=proba))
            flagged.append(np.mean(cleaner.transduction_ != labels))
            right.append(np.mean(cleaner.transduction_ == truth) - np.mean(labels == truth))
    assert np.mean(flagged[1::3]) < 0.01 and np.mean(flagged[2::3]) < 0.01
    assert np.mean(right[::3]) > 0.02 and np.min(right[::3]) >= 0


def test_the_best_round_counts():
    scores, given, _ = classified(n=300)
    fit = TransitionFit(scores, given, None, power=0.0).started(2 / 3)
    fit.rounds(30, 0.0)
    trace = fit.model.trace
    assert fit.best.model.log_likelihood == max(trace)
    assert len(trace) == 30 or len(trace) - 1 - np.argmax(trace) == 4
    model, _ = fit_transition(scores, given, log_proba=True)
    assert model.log_likelihood <= max(model.trace) + 1e-9


def test_few_rows_need_more_likelihood_of_a_classifier():
    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    for noise in (0.0, 0.4):
        given = make_pair_noise(y, noise, random_state=0)[0]
        forest = CLASSIFIERS["forest"]
        proba = cross_val_predict(forest, X, given, cv=5, method="predict_proba")
        scores = np.log(np.maximum(proba, 1e-6))
        model, gamma = fit_supported(scores, given, temperature=1.0, log_proba=True)
        if noise:
            assert model.support > model.needed
            assert np.mean(gamma.argmax(axis=1) == y) > 0.9
        else:
            np.testing.assert_allclose(model.transition, np.eye(10), atol=0.002)
            np.testing.assert_array_equal(gamma.argmax(axis=1), y)


def test_rankings_and_assessments_take_the_powers_too():
    scores, given, truth = classified(n=1500)
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    right = given == truth
    ranked = RankingCleaner().fit(LabelledSamples(scores, given, proba=proba))
    kept = ranked.clean_proba_ > 0.5
    assert np.mean(right[kept]) > 0.97 and kept.mean() > 0.1
    found = TransitionCleaner()._assess(given, proba)
    assert np.mean((found > 0.5) == right) > 0.95
    plain = GMMCleaner().fit(LabelledSamples(scores, given, proba=proba)).clean_proba_
    assert np.mean((found > 0.5) == right) > np.mean((plain > 0.5) == right)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_in_another_order_of_classes(n_classes):
    scores, given, truth = classified(n_classes=n_classes)
    order = np.random.default_rng(1).permutation(n_classes)
    _, gamma = fit_transition(scores, given, log_proba=True)
    _, turned = fit_transition(scores[:, order], np.argsort(order)[given], log_proba=True)
    np.testing.assert_allclose(turned, gamma[:, order], atol=2e-3)
    assert np.mean(gamma.argmax(axis=1) == truth) > np.mean(given == truth) + 0.05


def test_probabilities_of_rows_that_are_all_trusted():
    scores, given, _ = classified()
    _, gamma = fit_transition(scores, given, np.ones(900, bool), log_proba=True)
    assert np.isfinite(gamma).all()
    cleaner = TransitionCleaner()
    cleaner.fit(LabelledSamples(scores, given, proba=np.exp(scores), trusted=np.ones(900, bool)))
    np.testing.assert_array_equal(cleaner.transduction_, given)


def test_probabilities_of_nothing_but_zero_and_one():
    _, given, truth = classified()
    votes = np.where(np.random.default_rng(2).random(900) < 0.1, given, truth)
    proba = np.eye(4)[votes]
    cleaner = TransitionCleaner().fit(LabelledSamples(proba, given, proba=proba))
    assert np.isfinite(cleaner.clean_proba_).all()
    assert np.mean(cleaner.transduction_ == truth) > np.mean(given == truth) + 0.1
