import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples
from skclean.cleaners.prototype import PrototypeCleaner
from skclean.evidence.prototype_training import loss_of_given
from skclean.exceptions import NothingToSeparateWarning

TRUTH = np.arange(300) % 3
RNG = np.random.default_rng(0)
X = 3 * np.eye(3, 6)[TRUTH] + 0.8 * RNG.standard_normal((300, 6))
WRONG = RNG.random(300) < 0.3
GIVEN = np.where(WRONG, (TRUTH + RNG.integers(1, 3, 300)) % 3, TRUTH)


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([PrototypeCleaner(n_components=8, max_iter=1)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"class_aware": True},
        {"objective": "paper", "alpha": 1.0},
        {"hidden_units": 16},
        {"alpha": 1.0, "class_prior": "given", "lambda_neg": 0.5},
        {"estimator": LogisticRegression(), "cv": 3},
    ],
)
def test_wrong_labels_are_withheld(settings):
    cleaner = PrototypeCleaner(**settings)
    samples = cleaner.fit_transform(X, GIVEN)
    assert np.mean((samples.status == "unknown") == WRONG) > 0.92
    assert set(samples.status) == {"kept", "unknown"}
    np.testing.assert_array_equal(samples.status == "kept", samples.clean_proba > 0.5)
    np.testing.assert_array_equal(samples.labels[samples.known], GIVEN[samples.known])
    assert roc_auc_score(~WRONG, samples.clean_proba) > 0.97
    assert np.mean(samples.proba.argmax(axis=1) == TRUTH) > 0.97
    assert abs(cleaner.noise_rate_ - WRONG.mean()) < 0.08


@pytest.mark.parametrize("lambda_neg", [None, 0.4])
@pytest.mark.parametrize("objective", ["paper", "balanced"])
def test_the_training_gets_the_weights_of_its_objective(monkeypatch, objective, lambda_neg):
    caught = {}

    def caught_training(model, features, proba, rows, given, predicted, weights, **settings):
        caught.update(settings, weights=weights, model=model)
        return model, 1

    monkeypatch.setattr("skclean.cleaners.prototype.train_prototypes", caught_training)
    # Few wrong labels: each is more than ten times an average row in the mean of equation 3.
    given = np.where(np.cumsum(WRONG) <= 20, GIVEN, TRUTH)
    settings = {"objective": objective, "lambda_neg": lambda_neg, "alpha": 0.7}
    cleaner = PrototypeCleaner(class_prior="given", **settings).fit(X, given)
    proba = np.asarray(cleaner.evidence_.proba())
    clean = cleaner.mixture_.clean_proba(-np.log(proba[np.arange(300), given]), given)
    inside = clean > 0.5
    n_confident, best = 0, proba.argmax(axis=1)
    for i in np.flatnonzero(~inside):
        own = [proba[j, best[i]] for j in np.flatnonzero(inside) if given[j] == best[i]]
        n_confident += proba[i, best[i]] > np.mean(own)
    weights, size = caught["weights"], np.bincount(given)
    if objective == "paper":  # equations 2 and 3: averages over a hard partition
        positive, negative = inside / inside.sum(), ~inside / (~inside).sum()
        assert caught["lambda_neg"] == (lambda_neg or 1 / 3) and negative.max() > 10 / 300
        assert caught["model"].offset == 0
        assert caught["model"].embedding.proba_center is None
    else:  # equation 14, classes of equal weight
        positive, negative = clean / size[given], (1 - clean) / size[given]
        positive, negative = (np.minimum(w / w.sum(), 10 / 300) for w in (positive, negative))
        assert ((positive > 0) & (negative > 0)).sum() > 200
        assert caught["lambda_neg"] == (lambda_neg or 1.0)
    np.testing.assert_allclose(weights.positive, positive, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(weights.negative, negative, rtol=1e-3, atol=1e-9)
    each = 1 / n_confident if objective == "paper" else min(1 / n_confident, 10 / 300)
    np.testing.assert_allclose(np.unique(weights.confident), [0, 0.7 * each])


def test_the_objectives_of_the_paper_and_of_its_weights_give_other_scores():
    scores = {
        (objective, lambda_neg): PrototypeCleaner(
            objective=objective, lambda_neg=lambda_neg, max_iter=2
        )
        .fit(X, GIVEN)
        .clean_proba_
        for objective in ("paper", "balanced")
        for lambda_neg in (None, 0.1, 1.0, 1 / 3)
    }
    for objective, default in [("paper", 1 / 3), ("balanced", 1.0)]:
        for lambda_neg in (0.1, 1.0, 1 / 3):
            same = np.array_equal(scores[objective, lambda_neg], scores[objective, None])
            assert same == (lambda_neg == default)


@pytest.mark.filterwarnings("ignore::skclean.exceptions.NothingToSeparateWarning")
def test_the_objective_of_the_paper_stays_finite():
    rng = np.random.default_rng(0)
    # One wrong label is all of the average of equation 3.
    lone = np.where(np.arange(300) == 0, (TRUTH + 1) % 3, TRUTH)
    for hidden_units in (None, 16, 128):
        cleaner = PrototypeCleaner(objective="paper", alpha=1.0, hidden_units=hidden_units)
        for rows, given in [
            (X, GIVEN),
            (X[:40, :2], GIVEN[:40]),
            (X[:, :1], rng.permutation(TRUTH)),
            (X, lone),
        ]:
            samples = cleaner.fit_transform(rows, given)
            assert np.isfinite(samples.clean_proba).all() and np.isfinite(samples.proba).all()


def test_fit_transform_is_fit_and_transform_and_survives_pickling():
    direct = PrototypeCleaner().fit_transform(X, GIVEN)
    cleaner = PrototypeCleaner().fit(X, GIVEN)
    copy = pickle.loads(pickle.dumps(cleaner))
    for other in (cleaner.transform(X), copy.transform(X), clone(cleaner).fit_transform(X, GIVEN)):
        np.testing.assert_array_equal(other.status, direct.status)
        np.testing.assert_array_equal(other.clean_proba, direct.clean_proba)
        np.testing.assert_array_equal(other.proba, direct.proba)


def test_unit_and_offset_of_the_features_do_not_matter():
    expected = PrototypeCleaner().fit_transform(X, GIVEN)
    for scale, offset in [(1e4, 0), (1e-4, 0), (1, 100)]:
        found = PrototypeCleaner().fit_transform(scale * X + offset, GIVEN)
        np.testing.assert_array_equal(found.status, expected.status)


def test_classes_may_be_renamed():
    names = np.array(["ant", "bee", "cat"])
    expected = PrototypeCleaner().fit_transform(X, GIVEN)
    found = PrototypeCleaner().fit_transform(X, names[GIVEN])
    np.testing.assert_array_equal(found.labels, names[expected.labels])
    turned = PrototypeCleaner().fit_transform(X, 2 - GIVEN)
    assert np.mean(turned.status == expected.status) > 0.97


def test_classes_of_several_modes():
    rng = np.random.default_rng(0)
    mode = rng.integers(0, 9, 600)
    truth = mode % 3  # three modes a class, in a ring that no linear score divides
    angle = 2 * np.pi * mode / 9
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.08 * rng.standard_normal((600, 2))
    wrong = rng.random(600) < 0.3
    given = np.where(wrong, (truth + rng.integers(1, 3, 600)) % 3, truth)
    samples = PrototypeCleaner().fit_transform(rows, given)
    assert np.mean((samples.status == "unknown") == wrong) > 0.95


def test_few_rows_and_rare_classes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToSeparateWarning)
        for rows in (2, 3, 10, 40):
            samples = PrototypeCleaner().fit_transform(X[:rows], np.arange(rows) % 2)
            assert np.isfinite(samples.clean_proba).all() and np.isfinite(samples.proba).all()
        rare = GIVEN.copy()
        rare[0] = 3  # a class of one row
        samples = PrototypeCleaner().fit_transform(X, rare)
        assert np.mean((samples.status == "unknown")[1:] == WRONG[1:]) > 0.92
        twice = PrototypeCleaner().fit_transform(
            np.repeat(X, 2, axis=0), np.repeat(GIVEN, 2), groups=np.repeat(np.arange(300), 2)
        )
        assert np.mean((twice.status == "unknown") == np.repeat(WRONG, 2)) > 0.92
        constant = PrototypeCleaner().fit(np.ones((20, 3)), np.arange(20) % 2)
        assert np.isfinite(constant.label_distributions_).all()


def test_asymmetric_noise_is_found_better_than_by_the_mixtures():
    rng = np.random.default_rng(0)
    truth = np.arange(1000) % 5
    rows = 1.6 * np.eye(5, 20)[truth] + rng.standard_normal((1000, 20))
    wrong = (truth < 2) & (rng.random(1000) < 0.4)
    given = np.where(wrong, truth + 2, truth)
    gmm = GMMCleaner().fit(rows, given)
    samples = LabelledSamples(rows, given, proba=gmm.label_distributions_)
    auc = [
        roc_auc_score(~wrong, cleaner.fit(samples).clean_proba_)
        for cleaner in (PrototypeCleaner(), gmm, GMMCleaner(class_aware=True))
    ]
    assert auc[0] > max(auc[1:])


def test_it_says_that_there_is_nothing_to_separate():
    proba = np.full((300, 3), 1 / 3)
    with pytest.warns(NothingToSeparateWarning, match="PrototypeCleaner: one Gaussian"):
        cleaner = PrototypeCleaner().fit(LabelledSamples(X, GIVEN, proba=proba))
    np.testing.assert_array_equal(cleaner.clean_proba_, 1)
    np.testing.assert_array_equal(cleaner.transduction_, GIVEN)
    assert not cleaner.informative_


def test_later_rows_are_judged_by_the_trained_prototypes():
    cleaner = PrototypeCleaner().fit(X[:200], GIVEN[:200])
    samples = cleaner.transform(LabelledSamples(X[200:], GIVEN[200:]))
    assert np.mean((samples.status == "unknown") == WRONG[200:]) > 0.9
    bare = cleaner.transform(X[200:])
    assert set(bare.status) == {"predicted"} and np.mean(bare.labels == TRUTH[200:]) > 0.95


def test_trusted_rows_stay_and_supervise():
    samples = PrototypeCleaner().fit_transform(X, GIVEN, trusted=WRONG)
    assert set(samples.status[WRONG]) == {"trusted"}
    np.testing.assert_array_equal(samples.clean_proba[WRONG], 1)
    np.testing.assert_array_equal(samples.labels[WRONG], GIVEN[WRONG])
    # Among look-alikes of trusted rows a label counts as right more often.
    rng = np.random.default_rng(1)
    rows, given = np.repeat(X, 2, axis=0), np.repeat(GIVEN, 2)
    rows += 0.01 * rng.standard_normal(rows.shape)
    first, wrong = np.arange(600) % 2 == 0, np.repeat(WRONG, 2)
    plain = PrototypeCleaner().fit(rows, given).clean_proba_
    told = PrototypeCleaner().fit(rows, given, trusted=first & wrong).clean_proba_
    assert told[wrong & ~first].mean() > plain[wrong & ~first].mean()


@pytest.mark.parametrize("missing", [None, np.nan, -1])
def test_missing_labels_are_predicted(missing):
    y = GIVEN.astype(object if missing is None else float)
    y[:30] = missing
    cleaner = PrototypeCleaner(missing_label=missing)
    samples = cleaner.fit_transform(X, y)
    assert set(samples.status[:30]) == {"predicted"}
    assert np.isnan(samples.clean_proba[:30]).all() and not np.isnan(samples.clean_proba[30:]).any()
    assert np.mean(samples.labels[:30] == TRUTH[:30]) > 0.95
    assert np.mean((samples.status == "unknown")[30:] == WRONG[30:]) > 0.92


def test_it_stands_in_a_pipeline_with_others():
    steps = [("clean", PrototypeCleaner()), ("relabel", CredibilityRelabeler())]
    samples = Pipeline(steps).fit_transform(X, GIVEN)
    known = samples.known
    assert {"kept", "corrected"} <= set(samples.status)
    assert np.mean(samples.labels[known] == TRUTH[known]) > 0.97 and known.mean() > 0.9
    steps = [("gmm", GMMCleaner()), ("clean", PrototypeCleaner())]
    alone = PrototypeCleaner().fit_transform(X, GIVEN)
    np.testing.assert_array_equal(Pipeline(steps).fit_transform(X, GIVEN).status, alone.status)


def test_every_library_gives_the_same_labels(xp):
    cleaner = PrototypeCleaner(max_iter=3)
    expected = clone(cleaner).fit_transform(X, GIVEN)
    found = cleaner.fit_transform(LabelledSamples(xp.asarray(X), GIVEN))
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_allclose(found.clean_proba, expected.clean_proba, atol=1e-3)
    assert type(found.features) is type(xp.asarray(X))
    new = cleaner.transform(LabelledSamples(xp.asarray(X + 0.01), GIVEN))
    assert np.mean(new.status == expected.status) > 0.97
    proba = GMMCleaner().fit(X, GIVEN).label_distributions_
    clean = clone(cleaner).assess(GIVEN, xp.asarray(proba), xp.asarray(X))
    assert np.mean((clean > 0.5) == ~WRONG) > 0.92


# Inside a training loop


def softmax_of(scores):
    proba = np.exp(scores - scores.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True)


def test_assess_goes_on_from_call_to_call():
    proba = softmax_of(2 * X[:, :3])
    cleaner = PrototypeCleaner(max_iter=1, learning_rate=0.003)
    scores = [cleaner.assess(GIVEN, proba, X) for _ in range(6)]
    again = clone(cleaner)
    np.testing.assert_array_equal(again.assess(GIVEN, proba, X), scores[0])
    auc = [roc_auc_score(~WRONG, s) for s in scores]
    assert auc[-1] > auc[0]
    one = np.abs(scores[1] - scores[0]).mean()
    assert one > np.abs(scores[5] - scores[4]).mean() > 0
    partly = np.where(np.arange(300) < 5, -1, GIVEN)
    found = cleaner.assess(partly, proba, X)
    assert np.isnan(found[:5]).all() and np.isfinite(found[5:]).all()
    assert np.isnan(clone(cleaner).assess(np.full(300, -1), proba, X)).all()


def test_assess_starts_from_the_fit_and_leaves_it_alone():
    fitted = PrototypeCleaner().fit(X, GIVEN)
    before = fitted.transform(X + 0.01).proba
    proba = fitted.label_distributions_
    short = {"max_iter": 1, "learning_rate": 1e-6}
    warm = fitted.set_params(**short).assess(GIVEN, proba, X)
    assert roc_auc_score(~WRONG, warm) > 0.97
    cold = PrototypeCleaner(**short).assess(GIVEN, proba, X)
    assert roc_auc_score(~WRONG, cold) < roc_auc_score(~WRONG, warm)
    np.testing.assert_array_equal(fitted.transform(X + 0.01).proba, before)
    # A new fit forgets the calls.
    again = fitted.fit(X, GIVEN).assess(GIVEN, proba, X)
    np.testing.assert_array_equal(
        again, PrototypeCleaner(**short).fit(X, GIVEN).assess(GIVEN, proba, X)
    )


def test_assess_says_what_it_needs():
    proba, cleaner = softmax_of(X[:, :3]), PrototypeCleaner(max_iter=1)
    with pytest.raises(
        ValueError, match="PrototypeCleaner: expected features .* got None; do pass"
    ):
        cleaner.assess(GIVEN, proba)
    with pytest.raises(ValueError, match=r"features of shape \(300, d\), got \(20, 6\)"):
        cleaner.assess(GIVEN, proba, X[:20])
    with pytest.raises(ValueError, match="finite features"):
        cleaner.assess(GIVEN, proba, np.where(np.arange(6) == 2, np.nan, X))
    cleaner.assess(GIVEN, proba, X)
    with pytest.raises(ValueError, match="6 columns and 3 classes .* got 4 and 3; do clone"):
        cleaner.assess(GIVEN, proba, X[:, :4])
    with pytest.raises(ValueError, match="given labels from -1"):
        cleaner.assess(GIVEN + 3, proba, X)


def test_the_loss_by_its_definition(xp):
    proba, prior = RNG.dirichlet(np.ones(3), 700), np.array([0.5, 0.3, 0.2])
    given = RNG.integers(0, 3, 700)
    plain = loss_of_given(xp.asarray(proba), given)
    freed = loss_of_given(xp.asarray(proba), given, prior)
    for i in range(700):
        assert plain[i] == pytest.approx(-np.log(proba[i, given[i]]))
        odds = [proba[i, k] / prior[k] for k in range(3)]
        assert freed[i] == pytest.approx(-np.log(odds[given[i]] / sum(odds)))


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 1.5},
        {"objective": "mean"},
        {"class_prior": "flat"},
        {"alpha": -1.0},
        {"n_components": 0},
        {"hidden_units": 0},
        {"max_iter": 0},
        {"learning_rate": 0.0},
    ],
)
def test_wrong_parameters(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        PrototypeCleaner(**settings).fit(X, GIVEN)
