import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import GMMCleaner, LabelledSamples, TransitionCleaner
from skclean.cleaners.meta_reweighter import MetaReweighter, probe_rows
from skclean.evidence.head import head_proba
from skclean.evidence.probe_gradient import Coefficients

RNG = np.random.default_rng(0)
TRUTH = np.arange(400) % 4
X = 3 * np.eye(4, 6)[TRUTH] + 0.8 * RNG.standard_normal((400, 6))
GIVEN = np.where(RNG.random(400) < 0.5, RNG.integers(0, 4, 400), TRUTH)
RIGHT = GIVEN == TRUTH
# One trusted row of each class.
TRUSTED = np.isin(np.arange(400), [np.flatnonzero(RIGHT & (TRUTH == k))[0] for k in range(4)])
QUICK = {"n_cycles": 1, "cycle_length": 30, "batch_size": 40}


def quick(**settings):
    return MetaReweighter(**{**QUICK, **settings})


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks(
    [quick(cycle_length=5), quick(cycle_length=5, hidden_layer_size=4, batch_size=7)]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("hidden", [None, 8])
@pytest.mark.parametrize("n_probe", [0, 5, 50])
def test_labels_get_better_with_one_trusted_row_of_a_class(hidden, n_probe):
    cleaner = quick(hidden_layer_size=hidden, n_probe=n_probe, cycle_length=100)
    samples = cleaner.fit_transform(X, GIVEN, trusted=TRUSTED)
    assert np.mean(samples.labels == TRUTH) > 0.95
    assert roc_auc_score(RIGHT, samples.clean_proba) > 0.97
    assert abs(cleaner.noise_rate_ - np.mean(~RIGHT)) < 0.05
    assert np.isin(np.flatnonzero(TRUSTED), cleaner.probe_rows_).all()
    assert 0.95 * 4 * n_probe <= len(cleaner.probe_rows_) <= max(4, 4 * n_probe)
    new = 3 * np.eye(4, 6)[TRUTH] + 0.8 * np.random.default_rng(1).standard_normal((400, 6))
    predicted = cleaner.transform(new)
    assert set(predicted.status) == {"predicted"} and np.isnan(predicted.clean_proba).all()
    purified = cleaner.transform(LabelledSamples(new, GIVEN))
    assert set(purified.status) <= {"kept", "corrected", "unknown"}
    # Now and then, a few hidden units lose a class.
    others = [clone(cleaner).set_params(random_state=seed) for seed in (1, 2)]
    fitted = [cleaner, *(other.fit(X, GIVEN, trusted=TRUSTED) for other in others)]
    for rows in (new, LabelledSamples(new, GIVEN)):
        assert np.median([np.mean(c.transform(rows).labels == TRUTH) for c in fitted]) > 0.9


def test_right_labels_are_chosen_and_weighed():
    cleaner = quick(cycle_length=150).fit(X, GIVEN, trusted=TRUSTED)
    drawn = ~TRUSTED & np.isfinite(cleaner.choice_)
    assert roc_auc_score(RIGHT[drawn], cleaner.choice_[drawn]) > 0.9
    assert cleaner.choice_[drawn].min() >= 0 and cleaner.choice_.max() <= 1
    assert cleaner.weight_[drawn].mean() == pytest.approx(1)
    assert (cleaner.weight_ >= 0).all()
    np.testing.assert_array_equal(cleaner.weight_[TRUSTED], 1)
    np.testing.assert_array_equal(cleaner.transform(X).weight, cleaner.weight_)


def untrained(monkeypatch):
    def stay(params, scale, X, given, probe, **settings):
        return Coefficients(params, np.ones(len(given)), np.zeros(len(given)))

    monkeypatch.setattr("skclean.cleaners.meta_reweighter.train_head", stay)


@pytest.mark.parametrize("rule", ["product", "paper"])
def test_the_training_matters(monkeypatch, rule):
    noisy = X + 0.8 * np.random.default_rng(2).standard_normal(X.shape)
    settings = {"rule": rule, "cycle_length": 100, "hidden_layer_size": 8, "threshold": 0.5}
    trained = quick(**settings).fit(noisy, GIVEN, trusted=TRUSTED)
    untrained(monkeypatch)
    start = quick(**settings).fit(noisy, GIVEN, trusted=TRUSTED)
    assert (trained.transduction_ != start.transduction_).any()
    change = np.abs(trained.label_distributions_ - start.label_distributions_).max(axis=1)
    assert np.mean(change[~TRUSTED] > 0) > 0.9


def test_the_rule_of_the_posterior_is_the_transition_cleaner(monkeypatch):
    other = TransitionCleaner(threshold=0.15).fit(X, GIVEN, trusted=TRUSTED)
    for _ in range(2):
        cleaner = quick(rule="posterior").fit(X, GIVEN, trusted=TRUSTED)
        for name in ("transduction_", "label_distributions_", "clean_proba_"):
            np.testing.assert_array_equal(getattr(cleaner, name), getattr(other, name))
        untrained(monkeypatch)


def test_that_cleaner_leaves_labels_of_weak_features_there_too():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((4500, 6))
    truth = (rows + 0.6 * rng.gumbel(size=(4500, 6))).argmax(axis=1)
    given = np.where(rng.random(4500) < 0.2, (truth + 1) % 6, truth)
    other = TransitionCleaner().fit(rows, given)
    own = other.label_distributions_[np.arange(4500), given]
    assert np.sum(own > other.clean_proba_) > 50
    cleaner = quick(rule="posterior", threshold=0.5, cycle_length=1).fit(rows, given)
    np.testing.assert_array_equal(cleaner.transduction_, other.transduction_)
    np.testing.assert_array_equal(cleaner.label_distributions_, other.label_distributions_)


def test_the_rules_by_their_definition():
    y = np.where(np.arange(400) % 50 == 9, -1, GIVEN)
    posterior, product, paper = (
        quick(rule=rule, missing_label=-1).fit(X, y, trusted=TRUSTED)
        for rule in ("posterior", "product", "paper")
    )
    head = head_proba(paper.params_, paper.scale_(X)).astype(np.float64)
    assert np.isnan(paper.choice_[y < 0]).all()
    for i in range(400):
        both = posterior.label_distributions_[i] * head[i] ** 0.25
        share = 0 if y[i] < 0 or np.isnan(paper.choice_[i]) else paper.choice_[i]
        blended = share * (np.arange(4) == y[i]) + (1 - share) * head[i]
        if TRUSTED[i]:
            both = blended = np.eye(4)[y[i]]
        np.testing.assert_allclose(product.label_distributions_[i], both / both.sum(), atol=1e-5)
        np.testing.assert_allclose(paper.label_distributions_[i], blended, atol=1e-5)


def test_verdicts_follow_the_posterior():
    for threshold in (0.0, 0.3, 0.9, 1.0):
        samples = quick(threshold=threshold).fit_transform(X, GIVEN, trusted=TRUSTED)
        clean = samples.proba[np.arange(400), GIVEN]
        np.testing.assert_array_equal(samples.clean_proba, clean)
        best = samples.proba.argmax(axis=1)
        for i in np.flatnonzero(~TRUSTED):
            if clean[i] > threshold:
                expected = "kept", GIVEN[i]
            else:
                expected = ("corrected" if best[i] != GIVEN[i] else "unknown"), best[i]
            assert (samples.status[i], samples.labels[i]) == expected


def test_a_later_batch_is_judged_by_the_head():
    cleaner = quick().fit(X[:300], GIVEN[:300], trusted=TRUSTED[:300])
    q = head_proba(cleaner.params_, cleaner.scale_(X[300:]))
    np.testing.assert_allclose(cleaner.transform(X[300:]).proba, q, rtol=1e-4)
    gamma = q * cleaner.transition_matrix_[:, GIVEN[300:]].T
    gamma /= gamma.sum(axis=1, keepdims=True)
    later = cleaner.transform(LabelledSamples(X[300:], GIVEN[300:]))
    np.testing.assert_allclose(later.proba, gamma, rtol=1e-4)


def test_trusted_rows_stay():
    samples = quick(threshold=1.0).fit_transform(X, GIVEN, trusted=~RIGHT)
    assert set(samples.status[~RIGHT]) == {"trusted"}
    np.testing.assert_array_equal(samples.labels[~RIGHT], GIVEN[~RIGHT])
    np.testing.assert_array_equal(samples.clean_proba[~RIGHT], 1)
    everything = quick().fit(X, TRUTH, trusted=np.ones(400, dtype=bool))
    np.testing.assert_array_equal(everything.transduction_, TRUTH)
    assert np.mean(everything.transform(X + 0.01).labels == TRUTH) > 0.9


def test_trusted_rows_are_needed_where_none_stand_in():
    with pytest.raises(ValueError, match="expected trusted rows beside n_probe=0, got none; do"):
        quick(n_probe=0).fit(X, GIVEN)
    samples = quick().fit_transform(X, GIVEN)
    assert np.mean(samples.labels == TRUTH) > 0.95


@pytest.mark.parametrize("missing", [None, -1])
def test_missing_labels_are_predicted(missing):
    y = GIVEN.astype(object if missing is None else int)
    y[20:80] = missing
    cleaner = quick(missing_label=missing)
    samples = cleaner.fit_transform(X, y, trusted=TRUSTED & (np.arange(400) < 20))
    assert set(samples.status[20:80]) == {"predicted"}
    assert np.isnan(samples.clean_proba[20:80]).all()
    np.testing.assert_array_equal(samples.weight[20:80], 1)
    assert np.isnan(cleaner.choice_[20:80]).all()
    assert np.mean(samples.labels == TRUTH) > 0.95


def test_the_unit_of_the_features_is_no_matter():
    plain = quick().fit_transform(X, GIVEN, trusted=TRUSTED)
    moved = quick().fit_transform(1e3 * X + 5, GIVEN, trusted=TRUSTED)
    np.testing.assert_array_equal(moved.labels, plain.labels)
    np.testing.assert_allclose(moved.weight, plain.weight, atol=0.05)


def test_names_of_the_classes_are_no_matter():
    plain = quick().fit_transform(X, GIVEN, trusted=TRUSTED)
    named = quick().fit_transform(X, np.array(list("wxyz"))[GIVEN], trusted=TRUSTED)
    np.testing.assert_array_equal(named.labels, np.array(list("wxyz"))[plain.labels])
    np.testing.assert_array_equal(named.weight, plain.weight)


@pytest.mark.parametrize("hidden", [None, 5])
def test_every_library_trains_the_same_head(xp, hidden):
    settings = {"cycle_length": 5, "n_probe": 0, "hidden_layer_size": hidden}
    plain = quick(**settings).fit(X, GIVEN, trusted=TRUSTED)
    there = quick(**settings).fit(xp.asarray(X), GIVEN, trusted=TRUSTED)
    for a, b in zip(there.params_, plain.params_, strict=True):
        assert type(a) is type(xp.asarray(X))
        np.testing.assert_allclose(xp.to_numpy(a), b, atol=1e-3)
    np.testing.assert_allclose(there.weight_, plain.weight_, atol=1e-2)
    np.testing.assert_array_equal(there.choice_, plain.choice_)
    new = X + 0.01
    found = there.transform(xp.asarray(new)).proba
    np.testing.assert_allclose(found, plain.transform(new).proba, atol=1e-3)


def test_clone_pickle_and_repeat():
    cleaner = quick(hidden_layer_size=5).fit(X, GIVEN, trusted=TRUSTED)
    again = clone(cleaner).fit(X, GIVEN, trusted=TRUSTED)
    np.testing.assert_array_equal(again.weight_, cleaner.weight_)
    back = pickle.loads(pickle.dumps(cleaner))
    for rows in (X, X + 0.1):
        np.testing.assert_array_equal(back.transform(rows).proba, cleaner.transform(rows).proba)
    other = quick(hidden_layer_size=5, random_state=1).fit(X, GIVEN, trusted=TRUSTED)
    assert (other.weight_ != cleaner.weight_).any()


def test_in_a_pipeline():
    trusted = LabelledSamples(X, GIVEN, trusted=TRUSTED)
    for steps in ([GMMCleaner(), quick()], [quick(), GMMCleaner()]):
        pipe = Pipeline([("first", steps[0]), ("second", steps[1])])
        samples = pipe.fit_transform(trusted)
        np.testing.assert_array_equal(samples.labels, pipe.transform(trusted).labels)
        known = samples.known
        assert np.mean(samples.labels[known] == TRUTH[known]) > 0.9


def test_a_class_without_trusted_rows_and_one_of_a_single_row():
    y = GIVEN.copy()
    y[y == 3] = 2
    y[7] = 3
    samples = quick().fit_transform(X, y, trusted=TRUSTED & (y < 2))
    assert len(samples) == 400
    same = quick().fit_transform(np.ones((40, 3)), np.arange(40) % 2)
    np.testing.assert_array_equal(same.labels, np.arange(40) % 2)


def test_the_probe_is_made_of_trusted_and_credible_rows():
    posterior = np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.6, 0.4], [0.2, 0.8], [1.0, 0.0]])
    given, trusted = np.array([0, 0, 1, 0, 1, 0]), np.arange(6) == 5
    for n_probe, expected in [(0, [5]), (1, [4, 5]), (2, [0, 4, 5]), (9, [0, 2, 4, 5])]:
        rows, codes = probe_rows(posterior, given, trusted, n_probe)
        np.testing.assert_array_equal(np.sort(rows), expected)
        np.testing.assert_array_equal(codes, (rows == 4).astype(int))


def test_wrong_parameters():
    for settings in (
        {"threshold": 2.0},
        {"rule": "mean"},
        {"n_cycles": 0},
        {"hidden_layer_size": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            quick(**settings).fit(X, GIVEN)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_names_the_learning_rate():
    cleaner = quick(learning_rate=1e3, hidden_layer_size=16)
    with pytest.raises(ValueError, match="MetaReweighter: .*learning_rate=1000.0; do lower it"):
        cleaner.fit(X, GIVEN)


def test_new_rows_of_features_in_different_units_are_predicted():
    far = X * np.array([1e3, 1, 1, 1, 1, 1e-2])
    plain, moved = (quick().fit(rows[:300], GIVEN[:300]).transform(rows[300:]) for rows in (X, far))
    right = [np.mean(rows.labels == TRUTH[300:]) for rows in (plain, moved)]
    assert right[0] > 0.95 and right[1] > 0.7, right
