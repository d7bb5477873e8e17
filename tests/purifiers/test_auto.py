import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    PurifiedClassifier,
    RankingCleaner,
    TransitionCleaner,
)
from skclean.evidence import LeaveOneOutRidge
from skclean.purifiers import auto

RNG = np.random.default_rng(0)
TRUTH = np.arange(600) % 4
X = 2.5 * np.eye(4, 8)[TRUTH] + RNG.standard_normal((600, 8))
NOISY = np.where(RNG.random(600) < 0.4, RNG.integers(0, 4, 600), TRUTH)
TRUSTED = np.isin(np.arange(600), RNG.choice(600, 60, replace=False)) & (NOISY == TRUTH)
QUICK = [
    ("kernel", TransitionCleaner(estimator=LeaveOneOutRidge(n_landmarks=100))),
    ("linear", TransitionCleaner(estimator=LeaveOneOutRidge("linear"))),
]


def rings(n=600):
    """Two classes that no linear evidence can tell apart."""
    rng = np.random.default_rng(1)
    truth, angle = np.arange(n) % 2, rng.uniform(0, 2 * np.pi, n)
    radius = 1 + 2 * truth + 0.2 * rng.standard_normal(n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), truth


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([AutoPurifier(), AutoPurifier(QUICK[1:])])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_the_evidence_that_fits_the_data_is_chosen():
    rows, truth = rings()
    noisy = np.where(RNG.random(600) < 0.2, 1 - truth, truth)
    found = AutoPurifier(QUICK[::-1]).fit(rows, noisy)
    assert found.choice_ == "kernel" and not found.left_alone_
    assert np.mean(found.transduction_ == truth) > 0.97
    heights = {c.name: c.log_likelihood for c in found.candidates_}
    assert "log-likelihood" in found.reason_ and "mended" in found.reason_
    assert heights["linear"] == -np.inf


def test_hidden_trusted_rows_decide_where_there_is_no_likelihood():
    candidates = [("reed", CredibilityRelabeler()), QUICK[1]]
    purifier = AutoPurifier(candidates).fit(X, NOISY, trusted=TRUSTED)
    assert "hidden trusted rows" in purifier.reason_
    for found in purifier.candidates_:
        assert 0.75 < found.trusted_accuracy < 1
    few = TRUSTED & (np.cumsum(TRUSTED) <= 10)
    unsure = AutoPurifier(candidates).fit(X, NOISY, trusted=few)
    assert unsure.choice_ == "reed" and "nothing tells" in unsure.reason_


@pytest.mark.parametrize(("better", "chosen"), [(0, 0), (1, 0), (12, 1)])
def test_the_first_stays_within_a_standard_error(better, chosen):
    hits = np.zeros((2, 50), dtype=bool)
    hits[0, :30] = True
    hits[1, : 30 + better] = True
    hits[1, 0] = False
    found = [auto.Candidate(name, np.nan, row.mean()) for name, row in zip("ab", hits, strict=True)]
    place, why = auto._choose(found, hits)
    assert place == chosen and f"'{'ab'[chosen]}' was chosen" in why


def test_the_chosen_one_is_fitted_as_if_alone():
    found = AutoPurifier(QUICK).fit_transform(X, NOISY, trusted=TRUSTED)
    purifier = AutoPurifier(QUICK).fit(X, NOISY, trusted=TRUSTED)
    alone = dict(QUICK)[purifier.choice_].fit_transform(X, NOISY, trusted=TRUSTED)
    np.testing.assert_array_equal(found.labels, alone.labels)
    np.testing.assert_array_equal(found.status, alone.status)
    assert set(found.status[TRUSTED]) == {"trusted"}
    later = LabelledSamples(X + 0.01, NOISY)
    np.testing.assert_array_equal(
        purifier.transform(later).labels, purifier.purifier_.transform(later).labels
    )
    assert "600 rows, 8 features, 4 classes" in purifier.reason_


def test_the_first_stays_unless_another_is_surely_better():
    same = [("a", QUICK[1][1]), ("b", QUICK[1][1])]
    for trusted in (None, TRUSTED):
        assert AutoPurifier(same).fit(X, NOISY, trusted=trusted).choice_ == "a"
    papers = [("reed", CredibilityRelabeler()), QUICK[1]]
    assert AutoPurifier(papers).fit(X, NOISY).choice_ == "reed"


@pytest.mark.parametrize("labels", ["clean", "unrelated"])
def test_labels_that_are_better_left_alone(labels):
    y = TRUTH if labels == "clean" else RNG.permutation(TRUTH)
    rows = 3 * X if labels == "clean" else X
    purifier = AutoPurifier(QUICK)
    samples = purifier.fit_transform(rows, y)
    assert purifier.left_alone_ and "left alone" in purifier.reason_
    np.testing.assert_array_equal(samples.labels, y)
    assert set(samples.status) == {"kept"}
    assert purifier.informative_ == (labels == "clean")
    later = purifier.transform(LabelledSamples(rows[:50] + 0.01, y[:50]))
    np.testing.assert_array_equal(later.labels, y[:50])
    assert set(purifier.transform(rows[:50] + 0.02).status) == {"predicted"}


def test_what_is_worth_it_is_a_parameter():
    gain = AutoPurifier(QUICK[1:]).fit(X, NOISY).expected_gain_
    assert 0.15 < gain < 0.35
    assert AutoPurifier(QUICK[1:], min_gain=gain + 0.01).fit(X, NOISY).left_alone_
    assert not AutoPurifier(QUICK[1:], min_gain=gain - 0.01).fit(X, NOISY).left_alone_


def test_the_threshold_is_that_of_the_candidates():
    kept = {}
    for threshold in (None, 0.5, 0.9, "f1"):
        purifier = AutoPurifier(QUICK, threshold=threshold).fit(X, NOISY)
        alone = clone(dict(QUICK)[purifier.choice_])
        alone.set_params(threshold=0.5 if threshold is None else threshold)
        expected = alone.fit_transform(X, NOISY).status
        np.testing.assert_array_equal(purifier.transform(X).status, expected)
        kept[threshold] = np.mean(expected == "kept")
        assert QUICK[0][1].threshold == 0.5
    assert kept[None] == kept[0.5] > kept[0.9]
    ranking = [("ranking", RankingCleaner())]
    found, alone = (AutoPurifier(ranking, threshold=t).fit(X, NOISY) for t in (0.9, None))
    np.testing.assert_array_equal(found.transduction_, alone.transduction_)
    with pytest.raises(ValueError, match="'threshold' parameter of GMMCleaner"):
        AutoPurifier([("gmm", GMMCleaner())], threshold="f1").fit(X, NOISY)
    with pytest.raises(ValueError, match="'threshold' parameter of AutoPurifier"):
        AutoPurifier(threshold=2).fit(X, NOISY)


def test_the_threshold_is_searched():
    pipe = Pipeline([("purify", AutoPurifier(QUICK[1:])), ("classify", PurifiedClassifier())])
    search = GridSearchCV(pipe, {"purify__threshold": [0.0, 0.5]}, cv=2).fit(X, NOISY)
    kept, purified = search.cv_results_["mean_test_score"]
    assert kept != purified


def test_many_rows_are_compared_on_a_part(monkeypatch):
    monkeypatch.setattr(auto, "_MAX_ROWS", 300)
    for trusted in (TRUSTED, None):
        purifier = AutoPurifier(QUICK).fit(X, NOISY, trusted=trusted)
        assert len(purifier.transduction_) == 600 == len(purifier.purifier_.transduction_)
        assert np.mean(purifier.transduction_ == TRUTH) > 0.85


def test_missing_labels_and_groups():
    y = NOISY.astype(object)
    y[:50] = None
    purifier = AutoPurifier(QUICK)
    samples = purifier.fit_transform(X, y, groups=np.arange(600) // 2)
    assert set(samples.status[:50]) == {"predicted"}
    assert np.mean(samples.labels[:50] == TRUTH[:50]) > 0.85


def test_every_library(xp):
    purifier = AutoPurifier(QUICK[1:]).fit(xp.asarray(X.astype(np.float32)), NOISY)
    assert np.mean(purifier.transduction_ == TRUTH) > 0.85


def test_in_a_pipeline():
    pipe = Pipeline([("purify", AutoPurifier(QUICK)), ("classify", PurifiedClassifier())])
    assert pipe.fit(X, NOISY).score(X, TRUTH) > 0.87


@pytest.mark.parametrize("candidates", [[], [3], [("a", 3)], [("a", GMMCleaner(), 1)], "all"])
def test_wrong_candidates(candidates):
    with pytest.raises(ValueError, match="candidates"):
        AutoPurifier(candidates).fit(X, NOISY)


def test_the_default_takes_trusted_rows():
    purifier = AutoPurifier().fit(X, NOISY, trusted=TRUSTED)
    assert isinstance(purifier.purifier_, LeastSquaresMetaPurifier)
    assert np.mean(purifier.transduction_ == TRUTH) > 0.87


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_few_rows_of_overlapping_classes_are_not_harmed(rate):
    harm = []
    for n, spread in ((60, 6), (150, 10), (150, 4)):
        for seed in range(3):
            rows, truth = make_blobs(n, 5, centers=3, cluster_std=spread, random_state=seed)
            rng = np.random.default_rng(seed)
            noisy = np.where(rng.random(n) < rate, (truth + 1) % 3, truth)
            found = AutoPurifier().fit(rows, noisy).transduction_
            harm.append(np.mean(noisy == truth) - np.mean(found == truth))
    assert max(harm) < 0.04 and np.mean(harm) < 0.01


def test_labels_left_alone_are_so_in_all_their_forms():
    y = RNG.permutation(TRUTH)
    samples = AutoPurifier(QUICK).fit_transform(X, y)
    np.testing.assert_array_equal(samples.proba, np.eye(4)[y])
    assert "wrong" not in AutoPurifier(QUICK).fit(X, y).reason_


def test_rows_in_a_regular_order(monkeypatch):
    monkeypatch.setattr(auto, "_MAX_ROWS", 200)
    purifier = AutoPurifier(QUICK).fit(X[:600], TRUTH[:600])
    assert {c.log_likelihood > -1 for c in purifier.candidates_} == {True}


def test_a_ranking_tells_no_number_of_wrong_labels():
    purifier = AutoPurifier([("ranking", RankingCleaner())]).fit(X, NOISY)
    assert "wrong" not in purifier.reason_ and "only candidate" in purifier.reason_


@pytest.mark.parametrize("n", [4900, 5100])
def test_a_rare_class_is_mended_on_both_sides_of_the_check(n):
    rng = np.random.default_rng(0)
    truth = (rng.random(n) < 0.2).astype(int)
    rows = 1.2 * np.eye(2, 10)[truth] + rng.standard_normal((n, 10))
    noisy = np.where(rng.random(n) < 0.3, rng.integers(0, 2, n), truth)
    found = AutoPurifier(QUICK[1:]).fit(rows, noisy)
    assert not found.left_alone_
    assert np.mean(found.transduction_ == truth) > np.mean(noisy == truth) + 0.05


@pytest.mark.parametrize(
    ("separation", "n", "doubted"),
    [(0.6, 1200, 1), (0.6, 2400, 1), (0.6, 3600, 0), (0.7, 300, 1), (0.7, 500, 0)],
)
def test_the_more_rows_the_less_is_asked_of_noise(separation, n, doubted):
    purifier = TransitionCleaner()
    purifier._support = 6.0, 4.0, separation
    samples = LabelledSamples(np.zeros((n, 1)), np.arange(n) % 2)
    assert auto._doubtful(purifier, samples) == doubted


@pytest.mark.parametrize("seed", [0, 1, 3, 5])
def test_noise_in_some_hundred_rows_of_overlapping_classes_is_mended(seed):
    rng = np.random.default_rng(seed)
    truth = np.arange(800) % 2
    rows = 1.6 * np.eye(2, 10)[truth] + rng.standard_normal((800, 10))
    noisy = np.where(rng.random(800) < 0.3, 1 - truth, truth)
    for given, gain in ((noisy, 0.1), (truth, -0.01)):
        found = AutoPurifier(QUICK).fit(rows, given).transduction_
        assert np.mean(found == truth) > np.mean(given == truth) + gain
