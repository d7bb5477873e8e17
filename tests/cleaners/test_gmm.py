import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import GMMCleaner, LabelledSamples
from skclean.exceptions import NothingToSeparateWarning

TRUTH = np.arange(300) % 3
RNG = np.random.default_rng(0)
X = 3 * np.eye(3, 6)[TRUTH] + 0.8 * RNG.standard_normal((300, 6))
WRONG = RNG.random(300) < 0.3
GIVEN = np.where(WRONG, (TRUTH + RNG.integers(1, 3, 300)) % 3, TRUTH)


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([GMMCleaner()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"estimator": LogisticRegression(), "cv": 3}, {"estimator": LogisticRegression()}],
)
def test_wrong_labels_are_withheld(class_aware, settings):
    cleaner = GMMCleaner(class_aware=class_aware, **settings)
    samples = cleaner.fit_transform(X, GIVEN)
    assert np.mean((samples.status == "unknown") == WRONG) > 0.9
    assert set(samples.status) == {"kept", "unknown"}
    np.testing.assert_array_equal(samples.status == "kept", samples.clean_proba > 0.5)
    np.testing.assert_array_equal(samples.labels[samples.known], GIVEN[samples.known])
    assert abs(cleaner.noise_rate_ - WRONG.mean()) < 0.05
    assert cleaner.noise_rate_ == pytest.approx(1 - cleaner.clean_proba_.mean())
    np.testing.assert_allclose(np.diag(cleaner.transition_matrix_), 0.7, atol=0.12)
    np.testing.assert_allclose(cleaner.transition_matrix_.sum(axis=1), 1)


def test_the_rule_by_its_definition():
    cleaner = GMMCleaner(0.6, LogisticRegression()).fit(X, GIVEN)
    loss = -np.log(LogisticRegression().fit(X, GIVEN).predict_proba(X)[np.arange(300), GIVEN])
    scaled = (loss - loss.min()) / (loss.max() - loss.min())
    mixture = cleaner.mixture_.pooled
    density = mixture.weights * np.exp(
        -((scaled[:, None] - mixture.means) ** 2) / 2 / mixture.variances
    )
    density /= np.sqrt(mixture.variances)
    clean = density[:, 0] / density.sum(axis=1)
    np.testing.assert_allclose(cleaner.clean_proba_, clean, atol=1e-4)
    np.testing.assert_array_equal(cleaner._purified.status == "kept", clean > 0.6)
    np.testing.assert_array_equal(
        cleaner.assess(GIVEN, cleaner.label_distributions_), cleaner.clean_proba_
    )


def test_losses_of_sure_probabilities_are_those_of_assess():
    logits = 20 * np.eye(3)[TRUTH] + 5 * RNG.standard_normal((300, 3))
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.mean(proba[np.arange(300), GIVEN] < 1e-6) > 0.1
    cleaner = GMMCleaner().fit(LabelledSamples(X, GIVEN, proba=proba))
    np.testing.assert_allclose(cleaner.clean_proba_, cleaner.assess(GIVEN, proba), atol=1e-6)
    again = cleaner.transform(LabelledSamples(X[:9] + 1, GIVEN[:9], proba=proba[:9]))
    np.testing.assert_allclose(again.clean_proba, cleaner.clean_proba_[:9], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_neither_side_is_ever_empty(threshold):
    samples = GMMCleaner(threshold).fit_transform(X, GIVEN)
    assert set(samples.status) == {"kept", "unknown"}


def test_it_says_that_there_is_nothing_to_separate():
    proba = np.full((300, 3), 1 / 3)
    with pytest.warns(NothingToSeparateWarning, match="GMMCleaner: one Gaussian"):
        cleaner = GMMCleaner().fit(LabelledSamples(X, GIVEN, proba=proba))
    assert (cleaner.clean_proba_ == 1).all() and cleaner.noise_rate_ == 0
    np.testing.assert_array_equal(cleaner.transduction_, GIVEN)
    assert not cleaner.informative_ and "nothing can be said" in str(cleaner.audit())


def test_a_later_batch_is_judged_by_the_fitted_mixture():
    cleaner = GMMCleaner().fit(X[:200], GIVEN[:200])
    samples = cleaner.transform(LabelledSamples(X[200:], GIVEN[200:]))
    assert np.mean((samples.status == "unknown") == WRONG[200:]) > 0.93
    bare = cleaner.transform(X[200:])
    assert set(bare.status) == {"predicted"}
    assert np.mean(bare.labels == TRUTH[200:]) > 0.95


def test_trusted_rows_stay():
    samples = GMMCleaner().fit_transform(X, GIVEN, trusted=WRONG)
    assert set(samples.status[WRONG]) == {"trusted"}
    np.testing.assert_array_equal(samples.clean_proba[WRONG], 1)
    np.testing.assert_array_equal(samples.labels[WRONG], GIVEN[WRONG])


@pytest.mark.parametrize("missing", [None, np.nan, -1])
def test_missing_labels_are_predicted(missing):
    y = GIVEN.astype(object if missing is None else float)
    y[:30] = missing
    cleaner = GMMCleaner(missing_label=missing)
    samples = cleaner.fit_transform(X, y)
    assert set(samples.status[:30]) == {"predicted"}
    assert np.isnan(samples.clean_proba[:30]).all() and not np.isnan(samples.clean_proba[30:]).any()
    assert np.mean(samples.labels[:30] == TRUTH[:30]) > 0.95
    assert np.isfinite(cleaner.noise_rate_) and cleaner.audit().n_labels == 270


def test_torch_and_strict_arrays_give_the_same_labels(xp):
    expected = GMMCleaner().fit_transform(X, GIVEN)
    cleaner = GMMCleaner()
    found = cleaner.fit_transform(LabelledSamples(xp.asarray(X), GIVEN))
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert type(found.features) is type(xp.asarray(X))
    new = cleaner.transform(LabelledSamples(xp.asarray(X + 0.01), GIVEN))
    assert np.mean(new.status == expected.status) > 0.98


def test_constant_columns_duplicates_and_wide_data():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToSeparateWarning)
        constant = GMMCleaner().fit(np.ones((20, 3)), np.arange(20) % 2)
        assert np.isfinite(constant.label_distributions_).all()
        wide = GMMCleaner().fit_transform(np.hstack([X[:60]] * 20), GIVEN[:60])
        assert np.mean((wide.status == "unknown") == WRONG[:60]) > 0.9
        twice = GMMCleaner().fit_transform(
            np.repeat(X, 2, axis=0), np.repeat(GIVEN, 2), groups=np.repeat(np.arange(300), 2)
        )
        assert np.mean((twice.status == "unknown") == np.repeat(WRONG, 2)) > 0.95
        one = GMMCleaner().fit_transform(X[:, :1], GIVEN)
        assert len(one) == 300
        tiny = GMMCleaner().fit_transform(X[:2], [0, 1])
        assert len(tiny.labels) == 2


def test_wrong_parameters():
    for settings in ({"threshold": 1.5}, {"threshold": -0.1}, {"class_aware": "yes"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            GMMCleaner(**settings).fit(*load_iris(return_X_y=True))


def test_assess_takes_lists():
    proba = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]] * 10
    given = [0, 1, 1] * 10
    found = GMMCleaner().assess(given, proba)
    np.testing.assert_array_equal(found, GMMCleaner().assess(np.array(given), np.array(proba)))
