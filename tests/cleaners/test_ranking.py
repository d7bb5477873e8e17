import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples
from skclean.cleaners.ranking import RankingCleaner
from skclean.compose import PurifiedClassifier

RNG = np.random.default_rng(0)
TRUTH = np.arange(300) % 3
X = 3 * np.eye(3, 6)[TRUTH] + 0.8 * RNG.standard_normal((300, 6))
WRONG = RNG.random(300) < 0.3
GIVEN = np.where(WRONG, (TRUTH + RNG.integers(1, 3, 300)) % 3, TRUTH)


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([RankingCleaner()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("settings", [{"estimator": LogisticRegression(), "cv": 3}, {}])
@pytest.mark.parametrize("calibrate", [False, True])
def test_labels_kept_are_right_and_every_class_keeps_its_share(calibrate, settings):
    cleaner = RankingCleaner(calibrate=calibrate, **settings)
    samples = cleaner.fit_transform(X, GIVEN)
    kept = samples.status == "kept"
    assert set(samples.status) == {"kept", "unknown"}
    assert np.mean(GIVEN[kept] == TRUTH[kept]) > 0.99
    for c in range(3):
        assert kept[GIVEN == c].mean() >= 0.1
    np.testing.assert_array_equal(kept, samples.clean_proba > 0.5)
    np.testing.assert_array_equal(samples.labels[kept], GIVEN[kept])
    np.testing.assert_array_equal(samples.proba, cleaner.evidence_.proba())
    with pytest.raises(ValueError, match="got a ranking from this fit; do use another cleaner"):
        cleaner.audit()


def test_the_rule_by_its_definition():
    cleaner = RankingCleaner(0.8, 0.2, False, LogisticRegression()).fit(X, GIVEN)
    proba = LogisticRegression().fit(X, GIVEN).predict_proba(X)
    kept = np.zeros(300, bool)
    for c in range(3):
        ranking = np.flatnonzero((GIVEN == c) & (proba.argmax(axis=1) == c))
        ranking = ranking[np.argsort(-proba[ranking, c])]
        n_kept = max((proba[ranking, c] >= 0.8).sum(), int(np.ceil(0.2 * (GIVEN == c).sum())))
        kept[ranking[:n_kept]] = True
    np.testing.assert_array_equal(cleaner._purified.status == "kept", kept)
    np.testing.assert_allclose(
        cleaner.assess(GIVEN, cleaner.label_distributions_), cleaner.clean_proba_
    )


def test_a_share_is_kept_however_unsure_and_one_of_all_where_asked():
    noisy = X + np.random.default_rng(5).standard_normal(X.shape)
    few = RankingCleaner(1.0, 0.05).fit_transform(noisy, GIVEN)
    many = RankingCleaner(1.0, 1.0).fit_transform(noisy, GIVEN)
    few, many = few.status == "kept", many.status == "kept"
    assert few.sum() < 30 < many.sum() and many[few].all()


def test_asymmetric_noise_is_not_mistaken_for_certainty():
    truth = np.arange(600) % 6
    X6 = 5 * np.eye(6, 12)[truth] + np.random.default_rng(1).standard_normal((600, 12))
    given = np.where((truth == 1) & (np.random.default_rng(2).random(600) < 0.6), 0, truth)
    wrong = []
    for calibrate in (True, False):
        samples = RankingCleaner(calibrate=calibrate).fit_transform(X6, given)
        kept = samples.status == "kept"
        wrong.append((kept & (given != truth)).sum())
        assert kept[given == 0].mean() > 0.3
    assert wrong[0] < 0.5 * wrong[1]


def test_a_class_that_is_mostly_given_another_label_keeps_its_share():
    truth = np.arange(600) % 6
    X6 = 5 * np.eye(6, 12)[truth] + np.random.default_rng(1).standard_normal((600, 12))
    given = np.where((truth == 1) & (np.random.default_rng(2).random(600) < 0.55), 0, truth)
    kept = RankingCleaner().fit_transform(X6, given).status == "kept"
    for c in range(6):
        assert kept[given == c].mean() >= 0.1
    assert np.mean(given[kept] == truth[kept]) > 0.97


def test_trusted_rows_judge_where_most_labels_are_wrong():
    rng = np.random.default_rng(3)
    given = np.where(rng.random(300) < 0.6, (TRUTH + 1) % 3, TRUTH)
    trusted = np.arange(300) < 30
    given[trusted] = TRUTH[trusted]
    cleaner = RankingCleaner()
    samples = cleaner.fit_transform(X, given, trusted=trusted)
    kept = samples.status == "kept"
    assert cleaner.judges_ is not None
    assert np.mean(given[kept] == TRUTH[kept]) > 0.95 and kept.sum() > 80
    assert set(samples.status[trusted]) == {"trusted"}
    np.testing.assert_array_equal(samples.clean_proba[trusted], 1)
    np.testing.assert_array_equal(kept, (samples.clean_proba > 0.5) & ~trusted)
    later = cleaner.transform(LabelledSamples(X + 0.01, given))
    found = np.isin(later.status[30:], "kept")
    assert np.mean(found == kept[30:]) > 0.95
    every = RankingCleaner().fit_transform(X, TRUTH, trusted=np.ones(300, bool))
    assert set(every.status) == {"trusted"}


def test_classes_without_trusted_rows_are_ranked():
    trusted = np.isin(TRUTH, [0, 1]) & (np.arange(300) < 60) & ~WRONG
    samples = RankingCleaner().fit_transform(X, GIVEN, trusted=trusted)
    kept = samples.status == "kept"
    assert kept[GIVEN == 2].any() and not np.isnan(samples.clean_proba).any()
    assert np.mean(GIVEN[kept] == TRUTH[kept]) > 0.97
    alone = RankingCleaner().fit(X, GIVEN, trusted=(np.arange(300) == 0) | (TRUTH == 9))
    assert alone.judges_ is None


def test_a_later_batch_is_judged_by_the_fitted_cutoffs():
    cleaner = RankingCleaner().fit(X[:200], GIVEN[:200])
    samples = cleaner.transform(LabelledSamples(X[200:], GIVEN[200:]))
    kept = samples.status == "kept"
    assert np.mean(GIVEN[200:][kept] == TRUTH[200:][kept]) > 0.97 and kept.any()
    model = cleaner.model_
    clean = model.class_proba(cleaner.evidence_.predict(samples, ""))
    later = GIVEN[200:]
    own = clean[np.arange(100), later] * model.transition[later, later]
    expected = (clean.argmax(axis=1) == later) & (own >= cleaner.cutoffs_[later])
    np.testing.assert_array_equal(kept, expected)
    bare = cleaner.transform(X[200:])
    assert set(bare.status) == {"predicted"}
    assert np.mean(bare.labels == TRUTH[200:]) > 0.95


@pytest.mark.parametrize("missing", [None, np.nan, -1])
def test_missing_labels_are_predicted(missing):
    y = GIVEN.astype(object if missing is None else float)
    y[:30] = missing
    samples = RankingCleaner(missing_label=missing).fit_transform(X, y)
    assert set(samples.status[:30]) == {"predicted"}
    assert np.isnan(samples.clean_proba[:30]).all() and not np.isnan(samples.clean_proba[30:]).any()
    assert np.mean(samples.labels[:30] == TRUTH[:30]) > 0.95


def test_fit_and_transform_pickle_and_clone():
    cleaner = RankingCleaner(0.8)
    samples = cleaner.fit_transform(X, GIVEN)
    for other in (cleaner, pickle.loads(pickle.dumps(cleaner)), clone(cleaner).fit(X, GIVEN)):
        again = other.transform(X)
        np.testing.assert_array_equal(again.status, samples.status)
        np.testing.assert_array_equal(again.clean_proba, samples.clean_proba)


def test_in_a_pipeline():
    steps = [("clean", RankingCleaner()), ("relabel", CredibilityRelabeler())]
    samples = Pipeline(steps).fit_transform(X, GIVEN)
    assert np.mean(samples.labels[samples.known] == TRUTH[samples.known]) > 0.95
    steps = [("gmm", GMMCleaner()), ("clean", RankingCleaner()), ("fit", PurifiedClassifier())]
    assert np.mean(Pipeline(steps).fit(X, GIVEN).predict(X) == TRUTH) > 0.95


def test_the_libraries_give_the_same_labels(xp):
    trusted = np.arange(300) < 30
    y = np.where(trusted, TRUTH, GIVEN)
    for mask in (None, trusted):
        expected = RankingCleaner().fit_transform(X, y, trusted=mask)
        cleaner = RankingCleaner()
        found = cleaner.fit_transform(LabelledSamples(xp.asarray(X), y), trusted=mask)
        assert np.mean(found.status == expected.status) > 0.99
        assert type(found.features) is type(xp.asarray(X))
        cleaner.transform(LabelledSamples(xp.asarray(X + 0.01), y))


def test_wrong_parameters():
    for settings in ({"confidence": 1.5}, {"min_share": -0.1}, {"calibrate": "yes"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            RankingCleaner(**settings).fit(X, GIVEN)


def test_many_rows_are_calibrated_by_a_part_of_them(monkeypatch):
    whole = RankingCleaner().fit_transform(X, GIVEN)
    monkeypatch.setattr("skclean.decision.transition.MAX_SCORES", 3 * 200)
    part = RankingCleaner().fit_transform(X, GIVEN)
    assert np.mean(part.status == whole.status) > 0.8
    kept = part.status == "kept"
    assert np.mean(GIVEN[kept] == TRUTH[kept]) > 0.97


@pytest.mark.parametrize("calibrate", [False, True])
def test_of_labels_without_any_sense_the_least_share_is_kept(calibrate):
    digits = load_digits()
    given = np.random.default_rng(0).permutation(digits.target)
    cleaner = RankingCleaner(calibrate=calibrate)
    samples = cleaner.fit_transform(digits.data, given)
    assert not cleaner.informative_
    assert 0 < np.mean(samples.status == "kept") < 0.15
    assert np.mean(cleaner.transform(LabelledSamples(digits.data + 0.01, given)).known) < 0.15
    clean = cleaner.assess(given, samples.proba)
    np.testing.assert_array_equal(clean > 0.5, samples.status == "kept")


def test_trusted_rows_of_a_group_do_not_judge_each_other():
    # Ten looks at each of six trusted rows, whose labels the features do not tell.
    rng = np.random.default_rng(0)
    looks = np.repeat(10 * rng.standard_normal((6, 6)), 10, axis=0)
    rows = np.vstack([looks + 0.01 * rng.standard_normal((60, 6)), X])
    labels = np.concatenate([np.repeat([0, 1, 2, 0, 1, 2], 10), GIVEN])
    groups = np.concatenate([np.repeat(np.arange(6), 10), 6 + np.arange(300)])
    trusted = np.arange(360) < 60
    alone = RankingCleaner().fit(rows, labels, trusted=trusted)
    together = RankingCleaner().fit(rows, labels, trusted=trusted, groups=groups)
    errors = [cleaner.judges_.model.alpha_errors_.min() for cleaner in (alone, together)]
    assert errors[0] < 0.1 * errors[1]
