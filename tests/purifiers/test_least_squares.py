import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    PurifiedClassifier,
    TransitionCleaner,
)
from skclean.evidence import LeaveOneOutRidge
from skclean.purifiers import least_squares

RNG = np.random.default_rng(0)
TRUTH = np.arange(600) % 4
X = 2.2 * np.eye(4, 8)[TRUTH] + RNG.standard_normal((600, 8))
TRUSTED = np.isin(np.arange(600), RNG.choice(600, 40, replace=False))
NOISY = np.where(RNG.random(600) < 0.95, RNG.integers(0, 4, 600), TRUTH)
NOISY[TRUSTED] = TRUTH[TRUSTED]
SOLVERS = ["likelihood", "paper"]


def accuracy(found, rows=~TRUSTED):
    return np.mean(found.labels[rows] == TRUTH[rows])


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks(
    [
        LeastSquaresMetaPurifier(),
        LeastSquaresMetaPurifier("paper", n_periods=2),
        LeastSquaresMetaPurifier("paper", n_periods=2, batch_size=20),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_trusted_rows_pay():
    without = LeastSquaresMetaPurifier().fit_transform(X, NOISY)
    found = {
        solver: LeastSquaresMetaPurifier(solver).fit_transform(X, NOISY, trusted=TRUSTED)
        for solver in SOLVERS
    }
    plain = TransitionCleaner(n_refits=1).fit_transform(X, NOISY, trusted=TRUSTED)
    given = np.mean(NOISY[~TRUSTED] == TRUTH[~TRUSTED])
    assert accuracy(found["likelihood"]) > accuracy(without) + 0.1
    assert accuracy(found["likelihood"]) >= accuracy(plain)
    assert accuracy(found["likelihood"]) > accuracy(found["paper"]) > given + 0.05
    for samples in found.values():
        assert set(samples.status[TRUSTED]) == {"trusted"}
        np.testing.assert_array_equal(samples.labels[TRUSTED], TRUTH[TRUSTED])
        np.testing.assert_array_equal(samples.proba[TRUSTED], np.eye(4)[TRUTH[TRUSTED]])
        np.testing.assert_array_equal(samples.clean_proba[TRUSTED], 1)


def test_the_weight_is_the_likeliest():
    chosen = LeastSquaresMetaPurifier(n_refits=0).fit(X, NOISY, trusted=TRUSTED)
    assert chosen.trusted_weight_ > 1
    weights = (1.0, 3.0, 10.0, 30.0, 100.0)
    fits = [
        LeastSquaresMetaPurifier(n_refits=0, trusted_weight=w).fit(X, NOISY, trusted=TRUSTED)
        for w in weights
    ]
    heights = [fit.log_likelihood_ for fit in fits]
    place = weights.index(chosen.trusted_weight_)
    assert chosen.log_likelihood_ == heights[place] > heights[place - 1]
    assert place == len(weights) - 1 or heights[place + 1] <= heights[place]
    np.testing.assert_array_equal(chosen.clean_proba_, fits[place].clean_proba_)


def test_the_weight_is_chosen_on_a_part_of_many_rows(monkeypatch):
    whole = LeastSquaresMetaPurifier().fit(X, NOISY, trusted=TRUSTED)
    monkeypatch.setattr(least_squares, "_MAX_ROWS", 400)
    part = LeastSquaresMetaPurifier().fit(X, NOISY, trusted=TRUSTED)
    assert part.trusted_weight_ > 1 and len(part.evidence_.scores) == 600
    assert abs(accuracy(part.transform(X)) - accuracy(whole.transform(X))) < 0.05


def test_without_trusted_rows():
    likelihood = LeastSquaresMetaPurifier().fit(X, NOISY)
    assert likelihood.trusted_source_ == "none" and likelihood.trusted_weight_ == 1
    np.testing.assert_array_equal(
        likelihood.clean_proba_, TransitionCleaner(n_refits=1).fit(X, NOISY).clean_proba_
    )
    noisy = np.where(RNG.random(600) < 0.5, RNG.integers(0, 4, 600), TRUTH)
    paper = LeastSquaresMetaPurifier("paper", n_credible=15).fit(X, noisy)
    assert paper.trusted_source_ == "most credible rows"
    assert np.mean(paper.transduction_ == TRUTH) > np.mean(noisy == TRUTH) + 0.1
    # They are nobody's word: their status is that of any other row.
    assert "trusted" not in paper.transform(X).status
    paper.fit(X, noisy, trusted=noisy == TRUTH)
    assert paper.trusted_source_ == "given"


@pytest.mark.parametrize(
    "settings",
    [{}, {"n_refits": 2}, {"solver": "paper"}, {"solver": "paper", "batch_size": 200}],
)
def test_later_rows(settings):
    purifier = LeastSquaresMetaPurifier(**settings)
    first = purifier.fit_transform(X, NOISY, trusted=TRUSTED)
    again = purifier.transform(X)
    for field in ("label_codes", "status_codes", "proba", "clean_proba"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    new = X + 0.05
    predicted = purifier.transform(new)
    assert set(predicted.status) == {"predicted"} and accuracy(predicted) > 0.3
    purified = purifier.transform(LabelledSamples(new, NOISY))
    assert np.mean(purified.labels == first.labels) > 0.7
    copy = pickle.loads(pickle.dumps(purifier))
    np.testing.assert_array_equal(copy.transform(new).proba, predicted.proba)
    assert clone(purifier).get_params() == purifier.get_params()


@pytest.mark.parametrize("solver", SOLVERS)
def test_missing_labels(solver):
    y = np.where(np.arange(600) % 5 == 0, -1, NOISY)
    y[TRUSTED] = NOISY[TRUSTED]
    missing = y < 0
    purifier = LeastSquaresMetaPurifier(solver, missing_label=-1)
    samples = purifier.fit_transform(X, y, trusted=TRUSTED)
    assert set(samples.status[missing]) == {"predicted"}
    assert np.isnan(samples.clean_proba[missing]).all()
    assert accuracy(samples, missing) > 0.6
    later = purifier.transform(X)
    np.testing.assert_array_equal(later.labels, samples.labels)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_library(solver, xp):
    features = X.astype(np.float32)
    expected = LeastSquaresMetaPurifier(solver).fit_transform(features, NOISY, trusted=TRUSTED)
    purifier = LeastSquaresMetaPurifier(solver)
    found = purifier.fit_transform(xp.asarray(features), NOISY, trusted=TRUSTED)
    assert type(found.features) is type(xp.asarray(features))
    assert np.mean(found.labels == expected.labels) > 0.98
    later = purifier.transform(xp.asarray(features + 1))
    assert set(later.status) == {"predicted"}


@pytest.mark.parametrize("solver", SOLVERS)
def test_in_a_pipeline_with_the_others(solver):
    noisy = np.where(RNG.random(600) < 0.4, RNG.integers(0, 4, 600), TRUTH)
    pipe = Pipeline(
        [
            ("clean", GMMCleaner()),
            ("relabel", CredibilityRelabeler()),
            ("purify", LeastSquaresMetaPurifier(solver)),
            ("classify", PurifiedClassifier()),
        ]
    ).fit(X, noisy)
    assert pipe.score(X, TRUTH) > 0.8
    # The given labels are purified, whatever the steps before have made of them.
    alone = LeastSquaresMetaPurifier(solver).fit_transform(X, noisy)
    np.testing.assert_array_equal(pipe[:-1].transform(X).labels, alone.labels)


def test_groups_and_estimator():
    noisy = np.where(RNG.random(600) < 0.4, RNG.integers(0, 4, 600), TRUTH)
    twice, y = np.vstack([X, X]), np.append(noisy, noisy)
    groups = np.tile(np.arange(600), 2)
    leaky = LeastSquaresMetaPurifier().fit(twice, y)
    purifier = LeastSquaresMetaPurifier(estimator=LeaveOneOutRidge("linear"))
    honest = purifier.fit(twice, y, groups=groups)
    assert np.mean(honest.transduction_ == np.tile(TRUTH, 2)) > np.mean(
        leaky.transduction_ == np.tile(TRUTH, 2)
    )
    for settings in ({"estimator": GMMCleaner()}, {"solver": "other"}, {"momentum": 1.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            LeastSquaresMetaPurifier(**settings).fit(X, NOISY)


def test_when_all_rows_are_trusted():
    everything = np.ones(600, dtype=bool)
    samples = LeastSquaresMetaPurifier().fit_transform(X, TRUTH, trusted=everything)
    np.testing.assert_array_equal(samples.labels, TRUTH)
    with pytest.raises(ValueError, match="expected rows with a given label that are not trusted"):
        LeastSquaresMetaPurifier("paper").fit(X, TRUTH, trusted=everything)


@pytest.mark.parametrize("batch_size", [None, 200])
def test_the_papers_solver_judges_rows_of_another_library(batch_size, xp):
    purifier = LeastSquaresMetaPurifier("paper", batch_size=batch_size)
    expected = purifier.fit(X, NOISY, trusted=TRUSTED).transform(X + 0.05)
    found = purifier.transform(xp.asarray(X + 0.05))
    np.testing.assert_array_equal(found.labels, expected.labels)
    there = clone(purifier).fit(xp.asarray(X), NOISY, trusted=TRUSTED).transform(X + 0.05)
    assert np.mean(there.labels == expected.labels) > 0.98


def test_nothing_of_an_earlier_fit_stays():
    purifier = LeastSquaresMetaPurifier(n_refits=0).fit(X, NOISY, trusted=TRUSTED)
    assert purifier.trusted_weight_ >= 1
    purifier.set_params(solver="paper").fit(X, NOISY, trusted=TRUSTED)
    fresh = LeastSquaresMetaPurifier("paper").fit(X, NOISY, trusted=TRUSTED)
    assert sorted(vars(purifier)) == sorted(vars(fresh))


@pytest.mark.parametrize("case", ["one noisy row", "equal noisy rows"])
def test_noisy_rows_without_spread(case):
    trusted = np.arange(600) > (0 if case == "one noisy row" else 3)
    rows = X.copy()
    rows[~trusted] = X[0]
    samples = LeastSquaresMetaPurifier("paper").fit_transform(
        rows, np.where(trusted, TRUTH, NOISY), trusted=trusted
    )
    assert np.isfinite(samples.proba).all()


def test_labels_all_verified_leave_prediction_to_the_evidence():
    y = np.full(600, -1)
    y[:12] = TRUTH[:12]
    purifier = LeastSquaresMetaPurifier(missing_label=-1)
    samples = purifier.fit_transform(3 * X, y, trusted=y >= 0)
    evidence = LeaveOneOutRidge().fit(3 * X[:12], TRUTH[:12]).predict(3 * X)
    assert np.mean(samples.labels == TRUTH) > np.mean(evidence == TRUTH) - 0.05
