import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer, make_blobs, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from skclean import GMMCleaner, LabelledSamples, TransitionCleaner
from skclean.datasets import (
    load_noisy_digits,
    make_asymmetric_noise,
    make_pair_noise,
    make_symmetric_noise,
)
from skclean.evidence import LeaveOneOutRidge

RNG = np.random.default_rng(0)
TRUTH = np.arange(400) % 4
X = 3 * np.eye(4, 6)[TRUTH] + 0.8 * RNG.standard_normal((400, 6))
GIVEN = np.where(RNG.random(400) < 0.3, RNG.integers(0, 4, 400), TRUTH)
WRONG = GIVEN != TRUTH


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks([TransitionCleaner()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_f1_threshold_flags_what_is_worth_a_look():
    rng = np.random.default_rng(0)
    truth = np.arange(6000) % 3
    X = 1.8 * np.eye(3, 4)[truth] + rng.standard_normal((6000, 4))
    given = np.where(rng.random(6000) < 0.2, rng.integers(0, 3, 6000), truth)
    half, f1 = (TransitionCleaner(threshold).fit(X, given) for threshold in (0.5, "f1"))
    assert half.threshold_ == 0.5 < f1.threshold_ < 1
    np.testing.assert_array_equal(half.clean_proba_, f1.clean_proba_)
    wrong, flagged = given != truth, f1.clean_proba_ <= f1.threshold_
    scores = [f1_score(wrong, c.clean_proba_ <= c.threshold_) for c in (half, f1)]
    assert scores[1] > scores[0] + 0.03
    rows = f1.transform(LabelledSamples(X, given))
    np.testing.assert_array_equal(rows.status != "kept", flagged)
    # A flagged label that is still the likeliest is withheld, and no other is put in its place.
    likeliest = rows.proba.argmax(axis=1) == given
    np.testing.assert_array_equal(rows.status == "unknown", flagged & likeliest)
    assert np.mean(likeliest[flagged]) > 0.1
    new = f1.transform(LabelledSamples(X[:500] + 0.01, given[:500]))
    np.testing.assert_array_equal(new.status != "kept", new.clean_proba <= f1.threshold_)
    with pytest.raises(ValueError, match="threshold"):
        TransitionCleaner("f2").fit(X, given)


@pytest.mark.parametrize(("n", "n_classes"), [(60, 2), (300, 3), (6000, 2)])
def test_f1_threshold_keeps_labels_that_the_features_say_nothing_of(n, n_classes):
    rng = np.random.default_rng(0)
    X, given = rng.standard_normal((n, 4)), rng.integers(0, n_classes, n)
    cleaner = TransitionCleaner("f1").fit(X, given)
    assert not cleaner.informative_ and cleaner.audit().n_flagged == 0


@pytest.fixture(scope="module")
def digits():
    # Half of the landmarks are enough here, and quicker.
    return load_noisy_digits(noise_rate=0.0)


def clean(digits, given):
    return TransitionCleaner(estimator=LeaveOneOutRidge(n_landmarks=400)).fit(digits.data, given)


def test_clean_labels_look_clean(digits):
    cleaner = clean(digits, digits.target)
    audit = cleaner.audit()
    assert audit.looks_clean and audit.n_flagged <= 0.01 * len(digits.target)
    assert cleaner.noise_rate_ < 0.02
    np.testing.assert_allclose(cleaner.transition_matrix_, np.eye(10), atol=0.03)
    assert "look clean" in str(audit)


@pytest.mark.parametrize(
    "maker, rate, floor", [("sym", 0.2, 0.95), ("sym", 0.5, 0.95), ("pair", 0.3, 0.93)]
)
def test_noise_is_found(maker, rate, floor, digits):
    make = make_symmetric_noise if maker == "sym" else make_pair_noise
    given, T = make(digits.target, rate, random_state=0)
    cleaner = clean(digits, given)
    wrong = given != digits.target
    flagged = cleaner.transduction_ != given
    assert f1_score(wrong, flagged) > floor
    assert np.mean(cleaner.transduction_ == digits.target) > 0.96
    np.testing.assert_allclose(cleaner.transition_matrix_, T, atol=0.09)
    assert abs(cleaner.noise_rate_ - wrong.mean()) < 0.02
    low, high = cleaner.audit().interval
    assert low < wrong.sum() < high and not cleaner.audit().looks_clean
    assert cleaner.converged_ and cleaner.n_iter_ > 1
    # Calibrated in ten bins.
    bins = np.minimum((10 * cleaner.clean_proba_).astype(int), 9)
    error = sum(abs(np.sum((cleaner.clean_proba_ - ~wrong)[bins == b])) for b in range(10))
    assert error / len(given) < 0.03


def fit(X=X, y=GIVEN, **settings):
    return TransitionCleaner(**settings).fit(X, y)


def test_verdicts_follow_the_posterior():
    for threshold in (0.0, 0.3, 0.9, 1.0):
        samples = TransitionCleaner(threshold).fit_transform(X, GIVEN)
        clean = samples.proba[np.arange(400), GIVEN]
        np.testing.assert_allclose(samples.clean_proba, clean)
        best = samples.proba.argmax(axis=1)
        for i in range(400):
            if clean[i] > threshold:
                expected = "kept", GIVEN[i]
            elif best[i] != GIVEN[i]:
                expected = "corrected", best[i]
            else:
                expected = "unknown", best[i]
            assert (samples.status[i], samples.labels[i]) == expected
        np.testing.assert_allclose(samples.proba.sum(axis=1), 1)


def test_a_later_batch_is_judged_by_the_stored_model():
    cleaner = fit(X[:300], GIVEN[:300])
    samples = cleaner.transform(LabelledSamples(X[300:], GIVEN[300:]))
    scores = cleaner.evidence_.model._ridge.predict(X[300:])
    q = cleaner.model_.class_proba(scores)
    gamma = q * cleaner.transition_matrix_[:, GIVEN[300:]].T
    np.testing.assert_allclose(samples.proba, gamma / gamma.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.mean(samples.labels == TRUTH[300:]) > 0.95
    assert set(samples.status) == {"kept", "corrected"}
    bare = cleaner.transform(X[300:])
    np.testing.assert_allclose(bare.proba, q, atol=1e-5)
    assert set(bare.status) == {"predicted"} and np.isnan(bare.clean_proba).all()


def test_labels_that_less_noise_would_leave_stay_where_features_say_little():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((9000, 6))
    truth = (rows + 0.6 * rng.gumbel(size=(9000, 6))).argmax(axis=1)
    given = np.where(rng.random(9000) < 0.2, (truth + 1) % 6, truth)
    cleaner = TransitionCleaner().fit(rows[:6000], given[:6000])
    share, T = cleaner.model_.least_share, cleaner.transition_matrix_
    assert share < 0.8
    stayed = 0
    for part in (slice(0, 6000), slice(6000, None)):
        samples = cleaner.transform(LabelledSamples(rows[part], given[part]))
        posterior = cleaner.model_.posterior(
            cleaner.evidence_.model._ridge.predict(rows[part]), given[part]
        )
        if part.start == 0:
            posterior = np.array(cleaner._fit_model(LabelledSamples(rows[part], given[part])))
        less = share * T + (1 - share) * np.eye(6)
        for i, k in enumerate(given[part]):
            q = posterior[i] / T[:, k]
            cautious = q * less[:, k] / (q @ less[:, k])
            clean = posterior[i, k] / posterior[i].sum()
            stays = clean < 0.5 and cautious.argmax() == k and posterior[i].argmax() != k
            stayed += stays
            expected = cautious if stays else posterior[i] / posterior[i].sum()
            np.testing.assert_allclose(samples.proba[i], expected, atol=2e-5)
            assert samples.clean_proba[i] == pytest.approx(clean, abs=2e-5)
            assert (samples.status[i] == "unknown") >= stays
            assert samples.labels[i] == (k if clean > 0.5 else expected.argmax())
    assert stayed > 20


def test_trusted_rows_are_clamped():
    samples = TransitionCleaner(1.0).fit_transform(X, GIVEN, trusted=WRONG)
    assert set(samples.status[WRONG]) == {"trusted"}
    np.testing.assert_array_equal(samples.labels[WRONG], GIVEN[WRONG])
    np.testing.assert_array_equal(samples.clean_proba[WRONG], 1)
    np.testing.assert_array_equal(samples.proba[WRONG], np.eye(4)[GIVEN[WRONG]])
    everything = TransitionCleaner().fit(X, GIVEN, trusted=np.ones(400, dtype=bool))
    np.testing.assert_array_equal(everything.transduction_, GIVEN)
    assert everything.noise_rate_ == 0


@pytest.mark.parametrize("missing", [None, np.nan, -1, "?"])
def test_missing_labels_are_predicted(missing):
    y = GIVEN.astype(float if missing in (-1,) or missing is np.nan else object)
    if missing == "?":
        y = np.array(["a", "b", "c", "d"])[GIVEN].astype(object)
    y[:40] = missing
    samples = TransitionCleaner(missing_label=missing).fit_transform(X, y)
    assert set(samples.status[:40]) == {"predicted"} and np.isnan(samples.clean_proba[:40]).all()
    truth = np.array(["a", "b", "c", "d"])[TRUTH] if missing == "?" else TRUTH
    assert np.mean(samples.labels == truth) > 0.95


def test_evidence_of_the_user():
    proba = LogisticRegression().fit(X, TRUTH).predict_proba(X)
    cleaner = TransitionCleaner().fit(LabelledSamples(X, GIVEN, proba=proba))
    assert np.mean(cleaner.transduction_ == TRUTH) > 0.96
    crossed = fit(estimator=LogisticRegression(), cv=4)
    assert np.mean(crossed.transduction_ == TRUTH) > 0.96
    np.testing.assert_allclose(cleaner.assess(GIVEN, proba), cleaner.clean_proba_, atol=1e-3)


def test_a_classifier_that_has_seen_the_labels_is_warned_of():
    with pytest.warns(UserWarning, match="LogisticRegression that was fitted to them.*set cv=5"):
        fit(estimator=LogisticRegression())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "fitted to them")
        fit(estimator=LogisticRegression(), cv=3)


def assessed(n, noise, seed):
    """Which labels are wrong, and which are assessed as such by probabilities of the classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    proba = softmax(2.5 * (2.5 * np.eye(3)[truth] + rng.standard_normal((n, 3))), axis=1)
    given = make_symmetric_noise(truth, noise, random_state=seed)[0]
    return given != truth, TransitionCleaner().assess(given, proba) <= 0.5


def test_few_labels_are_not_assessed_as_wrong_where_classes_overlap():
    assert np.mean([assessed(200, 0.0, seed)[1] for seed in range(8)]) < 0.005


@pytest.mark.parametrize("n", [300, 3000])
def test_wrong_labels_are_assessed_by_probabilities_that_have_not_seen_them(n):
    found = [f1_score(*assessed(n, 0.3, seed)) for seed in range(4)]
    assert np.mean(found) > 0.8


class TooSure(GaussianNB):
    def fit(self, X, y):
        return super().fit(np.repeat(X, 20, axis=1), y)

    def predict_proba(self, X):
        return super().predict_proba(np.repeat(X, 20, axis=1))


def overlapping(rate):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    X = 2.5 * np.eye(3, 2)[truth] + rng.standard_normal((600, 2))
    return X, make_pair_noise(truth, rate, random_state=5)[0], truth


@pytest.mark.parametrize("n_trusted", [1, 4, 20])
def test_a_few_trusted_rows_do_not_speak_for_a_classifier_too_sure_of_itself(n_trusted):
    X, given, truth = overlapping(0)
    proba = cross_val_predict(TooSure(), X, given, method="predict_proba")
    for seed in range(5):
        trusted = np.zeros(600, dtype=bool)
        trusted[np.random.default_rng(seed).choice(600, n_trusted, replace=False)] = True
        rows = LabelledSamples(X, given, proba=proba, trusted=trusted)
        with pytest.warns(UserWarning, match="noise pattern is that of the features"):
            assert np.mean(TransitionCleaner().fit(rows).transduction_ == truth) > 0.98


@pytest.mark.parametrize("rate", [0, 0.2])
@pytest.mark.parametrize("brought", [True, False])
def test_a_classifier_too_sure_of_itself_does_not_pass_for_noise(rate, brought):
    X, given, truth = overlapping(rate)
    if brought:
        proba = cross_val_predict(TooSure(), X, given, method="predict_proba")
        rows, cleaner = LabelledSamples(X, given, proba=proba), TransitionCleaner()
    else:
        rows, cleaner = LabelledSamples(X, given), TransitionCleaner(estimator=TooSure(), cv=5)
    advice = "leave proba out" if brought else "set estimator=None"
    with pytest.warns(UserWarning, match=f"noise pattern is that of the features, do {advice}"):
        cleaner.fit(rows)
    alone = TransitionCleaner().fit(X, given)
    np.testing.assert_array_equal(cleaner.transition_matrix_, alone.transition_matrix_)
    assert cleaner.noise_rate_ == pytest.approx(rate, abs=0.05)
    assert np.mean(cleaner.transduction_ == truth) > (0.9 if rate else 0.999)
    # Features that say nothing have no say, nor have the probabilities themselves.
    proba = np.exp(cleaner.evidence_.scores)
    proba /= proba.sum(axis=1, keepdims=True)
    for features in (np.random.default_rng(1).standard_normal((600, 2)), proba):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = TransitionCleaner().fit(LabelledSamples(features, given, proba=proba))
        assert np.mean(found.transduction_ == truth) < (0.89 if rate else 0.95)


@pytest.mark.parametrize("share", [0.3, 0])
def test_errors_in_a_region_of_each_class(share):
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 1000)
    X = 6 * np.eye(3, 6)[truth] + rng.standard_normal((1000, 6))
    wrong = (X[:, 5] > 0) & (rng.random(1000) < share)
    given = np.where(wrong, (truth + 1) % 3, truth)
    cleaner = TransitionCleaner().fit(X, given)
    assert np.mean(cleaner.transduction_ == truth) > (0.98 if share else 0.998)
    assert cleaner.noise_rate_ == pytest.approx(wrong.mean(), abs=0.02)


def test_as_much_noise_as_explains_few_labels_where_classes_stand_apart():
    X, truth = make_moons(300, noise=0.2, random_state=5)
    given = make_symmetric_noise(truth, 0.2, random_state=6)[0]
    assert np.mean(TransitionCleaner().fit(X, given).transduction_ == truth) > 0.95


def clean_classifier(n=900, n_trusted=0):
    """Probabilities of a classifier of right labels, and features that tell where labels are wrong.

    Container, true labels.
    """
    rng = np.random.default_rng(3)
    truth, wrong = rng.integers(0, 4, n), rng.random(n) < 0.25
    Z = rng.standard_normal((n, 4)) + 2.4 * np.eye(4)[truth]
    mark = 3.0 * wrong + 0.6 * rng.standard_normal(n)
    trusted = np.arange(n) < n_trusted
    given = np.where(wrong & ~trusted, (truth + 1) % 4, truth)
    proba = softmax(2.4 * Z, axis=1)
    return LabelledSamples(np.c_[Z, mark], given, proba=proba, trusted=trusted), truth


def test_trusted_rows_decide_between_features_and_a_classifier_of_other_labels():
    rows, truth = clean_classifier()
    with pytest.warns(UserWarning, match="pass verified rows as trusted"):
        TransitionCleaner().fit(rows)
    rows, truth = clean_classifier(n_trusted=120)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cleaner = TransitionCleaner().fit(rows)
    assert np.mean(cleaner.transduction_[120:] == truth[120:]) > 0.93
    assert np.mean(rows.labels[120:] == truth[120:]) < 0.8


def test_features_and_probabilities_are_compared_by_the_same_rows(monkeypatch):
    # Features that say less than the probabilities, and labels that are likelier where trusted.
    rng = np.random.default_rng(0)
    truth, n = rng.integers(0, 3, 4000), 4000
    Z = 2.0 * np.eye(3)[truth] + rng.standard_normal((n, 3))
    trusted = rng.random(n) < 0.15
    given = np.where(trusted, truth, make_symmetric_noise(truth, 0.7, random_state=1)[0])
    proba = softmax(2.0 * Z, axis=1)
    rows = LabelledSamples(Z[:, :2], given, proba=proba, trusted=trusted)
    monkeypatch.setattr("skclean.cleaners.transition._FEATURE_ROWS", 800)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cleaner = TransitionCleaner().fit(rows)
    assert cleaner.evidence_.scores.shape == (n, 3)
    assert np.mean(cleaner.transform(rows).labels == truth) > 0.85


def test_groups_that_leave_features_nothing_to_learn_from_beside_probabilities():
    proba = softmax(4 * X[:, :4], axis=1)
    rows = LabelledSamples(X, GIVEN, proba=proba)
    alone = TransitionCleaner().fit(rows, groups=np.zeros(400, int))
    assert alone.transduction_.shape == (400,)


def test_features_beside_probabilities_of_any_library(xp):
    blurred = X[:, :4] + np.random.default_rng(1).standard_normal((400, 4))
    proba = softmax(3 * blurred, axis=1)
    expected = TransitionCleaner()
    with pytest.warns(UserWarning, match="noise pattern is that of the features"):
        expected.fit(LabelledSamples(X, GIVEN, proba=proba))
    rows = LabelledSamples(xp.asarray(X), GIVEN, proba=xp.asarray(proba))
    with pytest.warns(UserWarning, match="noise pattern is that of the features"):
        found = TransitionCleaner().fit(rows)
    assert np.mean(found.transduction_ == expected.transduction_) > 0.99
    np.testing.assert_allclose(found.transition_matrix_, expected.transition_matrix_, atol=1e-3)


def test_torch_and_strict_arrays_give_the_same_labels(xp):
    expected = fit()
    found = TransitionCleaner()
    samples = found.fit_transform(LabelledSamples(xp.asarray(X), GIVEN))
    np.testing.assert_array_equal(samples.labels, expected.transduction_)
    np.testing.assert_allclose(found.clean_proba_, expected.clean_proba_, atol=0.05)
    assert type(samples.features) is type(xp.asarray(X))
    new = found.transform(LabelledSamples(xp.asarray(X + 0.01), GIVEN))
    assert np.mean(new.labels == expected.transduction_) > 0.98


def test_names_order_and_units_do_not_matter():
    expected = fit()
    names = np.array(["d", "b", "c", "a"])
    named = fit(y=names[GIVEN])
    assert np.mean(named.transduction_ == names[expected.transduction_]) > 0.99
    back = np.argsort(names)
    np.testing.assert_allclose(
        named.transition_matrix_, expected.transition_matrix_[np.ix_(back, back)], atol=0.02
    )
    order = RNG.permutation(400)
    shuffled = fit(X[order], GIVEN[order])
    assert np.mean(shuffled.transduction_ == expected.transduction_[order]) > 0.99
    linear = fit(estimator=LeaveOneOutRidge("linear"))
    moved = fit(X[order], GIVEN[order], estimator=LeaveOneOutRidge("linear"))
    np.testing.assert_array_equal(moved.transduction_, linear.transduction_[order])
    for changed in (X * 1e-5, X * 1e5 + 3, X - 1e3):
        assert np.mean(fit(changed).transduction_ == expected.transduction_) > 0.99


@pytest.mark.parametrize(
    "y", [GIVEN > 1, np.array([3, 10, 12, 90])[GIVEN], GIVEN.astype(float), GIVEN.astype(np.uint8)]
)
def test_kinds_of_labels(y):
    found = fit(y=y).transduction_
    assert found.dtype == y.dtype and set(found) <= set(y)
    assert np.mean(found == y) > 0.6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_kinds_of_features(dtype, tmp_path):
    features = (100 * X).astype(dtype)
    expected = fit(features.astype(float)).transduction_
    features.flags.writeable = False
    np.save(tmp_path / "X.npy", features)
    for form in (
        features,
        np.asfortranarray(features),
        np.repeat(features, 2, axis=1)[:, ::2],
        np.load(tmp_path / "X.npy", mmap_mode="r"),
    ):
        assert np.mean(fit(form).transduction_ == expected) > 0.99


def test_dataframes():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"), index=np.arange(400) + 7)
    series = pandas.Series(np.array(["p", "q", "r", "s"])[GIVEN], index=frame.index)
    cleaner = fit(frame, series)
    np.testing.assert_array_equal(cleaner.feature_names_in_, list("abcdef"))
    assert np.mean(cleaner.transduction_ == np.array(["p", "q", "r", "s"])[TRUTH]) > 0.95


def test_nothing_of_the_callers_is_changed():
    copies = X.copy(), GIVEN.copy()
    state = np.random.get_state()[1].copy()
    threads = [(p["user_api"], p["num_threads"]) for p in threadpool_info()]
    for cleaner in (TransitionCleaner(), GMMCleaner()):
        cleaner.fit(X, GIVEN).transform(LabelledSamples(X + 1, GIVEN))
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(GIVEN, copies[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert [(p["user_api"], p["num_threads"]) for p in threadpool_info()] == threads


def test_one_rare_class_among_a_thousand():
    rng = np.random.default_rng(1)
    y = np.zeros(1001, dtype=int)
    y[7] = 1
    features = rng.standard_normal((1001, 3)) + 4 * y[:, None]
    cleaner = fit(features, y)
    assert np.sum(cleaner.transduction_ != y) <= 1
    assert np.isfinite(cleaner.label_distributions_).all()


@pytest.mark.parametrize("case", ["single rows", "two rows", "empty", "constant", "copies", "wide"])
def test_degenerate_data(case):
    features, y, classes = X[:40], GIVEN[:40], None
    if case == "single rows":
        features, y = X[:4], np.arange(4)
    elif case == "two rows":
        features, y = X[:8], TRUTH[:8]
    elif case == "empty":
        classes = np.arange(6)
    elif case == "constant":
        features = np.ones((40, 2))
    elif case == "copies":
        features = np.repeat(X[:4], 10, axis=0)
    elif case == "wide":
        features = np.hstack([X[:40]] * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        samples = TransitionCleaner().fit_transform(LabelledSamples(features, y, classes=classes))
    assert np.isfinite(samples.proba).all() and set(samples.labels) <= set(range(4))


def test_a_cluster_that_is_all_wrong_is_believed():
    given = TRUTH.copy()
    rows = np.flatnonzero(TRUTH == 2)
    given[rows] = 1
    cleaner = TransitionCleaner().fit(LabelledSamples(X, given, classes=np.arange(4)))
    # Nothing tells a class under another's name from a class of two clusters.
    assert np.mean(cleaner.transduction_ == given) > 0.97


@pytest.mark.parametrize("cleaner", [TransitionCleaner(), GMMCleaner()])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"X": np.where(X > 3, np.nan, X)}, "NaN"),
        ({"X": np.where(X > 3, np.inf, X)}, "inf"),
        ({"X": X[:-1]}, "as many as X"),
        ({"X": X[:0], "y": GIVEN[:0]}, "minimum of 1 is required|at least"),
        ({"y": np.zeros(400)}, "at least two classes"),
        ({"y": np.full(400, -1)}, "at least two classes"),
        ({"y": None}, "do pass y"),
        ({"X": sparse.csr_matrix(X)}, "TruncatedSVD"),
        ({"trusted": np.arange(3)}, "boolean mask"),
        ({"trusted": np.ones(3, dtype=bool)}, "trusted of shape"),
        ({"groups": np.zeros(400)}, "at least two groups"),
    ],
)
def test_what_is_refused(cleaner, change, message):
    data = {"X": X, "y": GIVEN} | change
    with pytest.raises(ValueError, match=message):
        cleaner.fit(**data)


def test_wrong_parameters_and_probabilities():
    for settings in ({"threshold": 1.01}, {"max_iter": 0}, {"tol": -1.0}, {"cv": "five"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            fit(**settings)
    with pytest.raises(ValueError, match="sum to 1"):
        LabelledSamples(X, GIVEN, proba=np.full((400, 4), 0.3))


@pytest.mark.parametrize("n", [400, 600])
def test_wrong_labels_among_few_rows_of_classes_far_apart(n):
    rng = np.random.RandomState(0)
    truth = rng.randint(0, 3, n)
    X = rng.standard_normal((n, 5))
    X[np.arange(n), truth] += 8
    noisy = np.where(rng.random_sample(n) < 0.3, rng.randint(0, 3, n), truth)
    cleaner = TransitionCleaner().fit(X, noisy)
    assert np.mean(cleaner.transduction_ == truth) > 0.98
    low, high = cleaner.audit().interval
    assert low < np.sum(noisy != truth) < high


def test_few_rows_of_real_data_are_mended_and_left_alone_when_clean():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    assert TransitionCleaner().fit(X, y).audit().n_flagged == 0
    for one_class in (False, True):
        if one_class:
            noisy = make_asymmetric_noise(y, 0.3, {0: 1}, random_state=0)[0]
        else:
            noisy = make_symmetric_noise(y, 0.3, random_state=0)[0]
        cleaner = TransitionCleaner().fit(X, noisy)
        assert np.mean(noisy == y) < 0.89
        assert np.mean(cleaner.transduction_ == y) > 0.96
        low, high = cleaner.audit().interval
        assert low < np.sum(noisy != y) < high


@pytest.mark.parametrize("n", [400, 1500, 4000, 8000])
@pytest.mark.parametrize("slope", [0.2, 0.3, 0.4])
def test_labels_that_features_hardly_predict_are_not_wrong(n, slope):
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (n, 3))
    y = (rng.random(n) < 0.5 + slope * X[:, 0]).astype(int)
    assert np.mean(TransitionCleaner().fit(X, y).transduction_ == y) > 0.99
    if n == 8000:
        cleaner = TransitionCleaner(estimator=LogisticRegression(), cv=5)
        assert np.mean(cleaner.fit(X, y).transduction_ == y) > 0.9


@pytest.mark.parametrize("n", [2500, 8000])
def test_classes_that_features_do_not_tell_apart_are_not_taken_for_one(n):
    rng = np.random.default_rng(0)
    X, group = make_blobs(n, 5, centers=6, random_state=0)
    y = (rng.dirichlet(np.ones(24), 6)[group].cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    assert np.mean(TransitionCleaner().fit(X, y).transduction_ == y) > 0.99


@pytest.mark.parametrize("n", [2500, 7000])
@pytest.mark.parametrize("share", [0.9, 0.95])
def test_one_group_of_classes_may_hold_most_rows(n, share):
    rng, few = np.random.default_rng(0), n - int(n * share)
    X, group = make_blobs([n - few, few], 5, centers=rng.uniform(-10, 10, (2, 5)), random_state=0)
    shares = np.repeat(np.eye(2), [12, 4], axis=1) * np.r_[2.5, np.ones(15)]
    shares /= shares.sum(axis=1, keepdims=True)
    y = (shares[group].cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    assert np.mean(TransitionCleaner().fit(X, y).transduction_ == y) > 0.99


def test_rare_classes_among_wrong_labels_are_still_told():
    rng = np.random.default_rng(0)
    truth = rng.choice(10, 4000, p=0.6 ** np.arange(10) / np.sum(0.6 ** np.arange(10)))
    X = rng.standard_normal((10, 20))[truth] * 2 + rng.standard_normal((4000, 20))
    given = make_symmetric_noise(truth, 0.8, random_state=0)[0]
    assert np.mean(TransitionCleaner().fit(X, given).transduction_ == truth) > 0.8


def test_many_labels_that_are_likelier_to_be_right_are_not_wrong():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((8000, 2))
    proba = softmax(2 * X @ rng.standard_normal((2, 10)), axis=1)
    y = (proba.cumsum(axis=1) > rng.random((8000, 1))).argmax(axis=1)
    assert np.mean(TransitionCleaner().fit(X, y).transduction_ == y) > 0.99


@pytest.mark.parametrize(
    ("make", "centers", "rate", "right"),
    [(make_pair_noise, 3, 0.4, 0.95), (make_symmetric_noise, 5, 0.2, 0.89)],
)
def test_wrong_labels_among_many_rows_of_classes_that_stand_apart(make, centers, rate, right):
    X, truth = make_blobs(8000, 2, centers=centers, cluster_std=2, random_state=1)
    given = make(truth, rate, random_state=0)[0]
    assert np.mean(TransitionCleaner().fit(X, given).transduction_ == truth) > right


def test_few_rows_of_overlapping_classes_do_not_look_clean():
    rng = np.random.RandomState(1)
    truth = rng.randint(0, 3, 90)
    X = rng.standard_normal((90, 5))
    X[np.arange(90), truth] += 1.6
    noisy = np.where(rng.random_sample(90) < 0.4, rng.randint(0, 3, 90), truth)
    cleaner = TransitionCleaner().fit(X, noisy)
    audit = cleaner.audit()
    assert cleaner.informative_ and not audit.informative and not audit.looks_clean
    assert np.sum(noisy != truth) < audit.interval[1] == audit.n_doubtful
    assert "too weak" in str(audit)


def test_the_audit_of_weak_evidence_says_what_may_be_wrong():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 4))
    proba = softmax(rng.choice([0.4, 1.2], 6000)[:, None] * X, axis=1)
    given = (proba.cumsum(axis=1) > rng.random((6000, 1))).argmax(axis=1)
    cleaner = TransitionCleaner(estimator=LeaveOneOutRidge("linear")).fit(X, given)
    np.testing.assert_array_equal(cleaner.transduction_, given)
    audit = cleaner.audit()
    assert audit.n_doubtful > 2000 and not audit.looks_clean
    assert "too weak to tell" in str(audit) and f"up to about {audit.n_doubtful:.0f}" in str(audit)


def test_wrong_labels_that_are_not_believed_do_not_look_clean():
    X, truth = make_blobs(8000, 10, centers=3, cluster_std=12, random_state=1)
    given = make_pair_noise(truth, 0.4, random_state=0)[0]
    cleaner = TransitionCleaner(estimator=LeaveOneOutRidge("linear")).fit(X, given)
    audit = cleaner.audit()
    if cleaner.model_.support == -np.inf:
        assert not audit.looks_clean and audit.interval[1] > np.sum(given != truth)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
@pytest.mark.parametrize(("n", "n_classes"), [(300, 30), (1000, 100)])
def test_few_rows_of_each_of_many_classes_that_stand_apart(n, n_classes, rate):
    X, y = make_blobs(n, 32, centers=n_classes, cluster_std=1.0, random_state=0)
    given, _ = make_symmetric_noise(y, rate, random_state=1)
    cleaner = TransitionCleaner().fit(X, given)
    np.testing.assert_array_equal(cleaner.transduction_, y)
    assert cleaner.noise_rate_ == pytest.approx(np.mean(given != y), abs=0.01)
    np.testing.assert_array_equal(TransitionCleaner().fit(X, y).transduction_, y)


def test_posteriors_that_are_sure_of_every_row_are_not_fitted_to():
    X, y = make_blobs(300, 32, centers=30, cluster_std=1.0, random_state=0)
    given, _ = make_symmetric_noise(y, 0.2, random_state=1)
    once, again = TransitionCleaner().fit(X, given), TransitionCleaner(n_refits=1).fit(X, given)
    np.testing.assert_array_equal(again.clean_proba_, once.clean_proba_)
    np.testing.assert_array_equal(again.transduction_, y)
    X, y = make_blobs(1000, 4, centers=5, cluster_std=3.0, random_state=0)
    given, _ = make_symmetric_noise(y, 0.4, random_state=1)
    once, again = TransitionCleaner().fit(X, given), TransitionCleaner(n_refits=1).fit(X, given)
    assert np.abs(again.clean_proba_ - once.clean_proba_).max() > 0.01
