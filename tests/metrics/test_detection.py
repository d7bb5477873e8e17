"""Detection scores and calibration error against slow twins."""

import numpy as np
import pytest

from skclean.metrics import calibration_error, detection_scores
from skclean.samples import LabelledSamples


def slow_detection(y_true, y_given, clean_proba, threshold):
    """Precision, recall, F1 and AUC by counting rows and pairs of rows."""
    tp = fp = fn = 0
    for t, g, p in zip(y_true, y_given, clean_proba, strict=True):
        flagged, wrong = p <= threshold, t != g
        tp, fp, fn = tp + (flagged and wrong), fp + (flagged and not wrong), fn + (wrong > flagged)
    right = [p for t, g, p in zip(y_true, y_given, clean_proba, strict=True) if t == g]
    wrong = [p for t, g, p in zip(y_true, y_given, clean_proba, strict=True) if t != g]
    pairs = [(r > w) + (r == w) / 2 for r in right for w in wrong]
    return tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn), np.mean(pairs)


def slow_calibration_error(correct, proba, n_bins):
    """Equation 3 of Guo et al. (2017), "On Calibration of Modern Neural Networks"."""
    error = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        rows = [i for i, p in enumerate(proba) if low <= p < high or (p == 1 and b == n_bins - 1)]
        if rows:
            gap = np.mean([correct[i] for i in rows]) - np.mean([proba[i] for i in rows])
            error += len(rows) / len(proba) * abs(gap)
    return error


def noisy(seed=0, n=200):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(3, size=n)
    y_given = np.where(rng.random(n) < 0.3, rng.integers(3, size=n), y_true)
    clean_proba = np.clip((y_true == y_given) * 0.3 + rng.random(n) * 0.7, 0, 1).round(1)
    return y_true, y_given, clean_proba


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("names", [None, ["a", "bb", "c"]])
def test_detection_scores_equal_their_slow_twin(threshold, names):
    y_true, y_given, clean_proba = noisy()
    expected = slow_detection(y_true, y_given, clean_proba, threshold)
    if names:
        y_true, y_given = np.array(names)[y_true], np.array(names)[y_given]
    scores = detection_scores(y_true, y_given, clean_proba, threshold=threshold)
    np.testing.assert_allclose(scores[:4], expected)
    assert scores.flagged == (clean_proba <= threshold).mean()
    assert scores.wrong == (y_true != y_given).mean() and scores.n == 200
    assert list(scores._asdict())[:4] == ["precision", "recall", "f1", "auc"]


def test_detection_scores_do_not_depend_on_the_order_of_rows():
    y_true, y_given, clean_proba = noisy()
    order = np.random.default_rng(1).permutation(len(y_true))
    assert detection_scores(y_true, y_given, clean_proba) == pytest.approx(
        detection_scores(y_true[order], y_given[order], clean_proba[order])
    )


def test_rows_that_were_not_judged_are_left_out():
    y_true, y_given, clean_proba = noisy()
    clean_proba[::3] = np.nan
    rest = ~np.isnan(clean_proba)
    scores = detection_scores(y_true, y_given, clean_proba)
    assert scores == detection_scores(y_true[rest], y_given[rest], clean_proba[rest])
    assert scores.n == rest.sum()


def test_nothing_wrong_and_nothing_flagged_is_nan_without_a_warning():
    scores = detection_scores([0, 1], [0, 1], [0.9, 0.8])
    assert np.isnan(scores[:4]).all() and scores.flagged == scores.wrong == 0
    scores = detection_scores([0, 1], [0, 1], [0.9, 0.1])
    assert scores.precision == 0 and np.isnan(scores.recall) and scores.f1 == 0
    scores = detection_scores([0, 1], [1, 0], [0.9, 0.8])
    assert np.isnan(scores.precision) and scores.recall == 0 and scores.f1 == 0
    assert np.isnan(scores.auc)


@pytest.mark.parametrize("n_bins", [1, 3, 10])
def test_calibration_error_equals_its_slow_twin(n_bins):
    rng = np.random.default_rng(0)
    proba = np.concatenate([rng.random(300), [0, 1, 1, 0.5]])
    correct = rng.random(304) < proba**2
    error = calibration_error(correct, proba, n_bins=n_bins)
    assert error == pytest.approx(slow_calibration_error(correct, proba, n_bins), abs=1e-12)


def test_calibration_error_of_calibrated_and_of_inverted_probabilities():
    rng = np.random.default_rng(0)
    proba = rng.random(100_000)
    correct = rng.random(100_000) < proba
    assert calibration_error(correct, proba) < 0.01
    assert calibration_error([True, False], [0.0, 1.0]) == 1
    assert calibration_error([True, False, True], [np.nan, np.nan, 1.0]) == 0
    assert np.isnan(calibration_error([True], [np.nan]))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: detection_scores([0, 1], [0], [0.5]), "as many true labels"),
        (lambda: detection_scores([0, 1], [0, 1], [0.5]), "clean_proba of shape"),
        (lambda: detection_scores([0, 1], [0, 1], [0.5, 2]), r"clean_proba in \[0, 1\]"),
        (lambda: detection_scores([0, 1], [0, 1], [np.nan, np.nan]), "at least one row"),
        (lambda: detection_scores([0, 1], ["0", "1"], [0.5, 0.5]), "labels of one type"),
        (lambda: detection_scores([b"a", b"b"], ["a", "b"], [0.5, 0.5]), "labels of one type"),
        (lambda: detection_scores([0, 1], [0, 1], [0.5, 0.5], threshold=2), "threshold"),
        (lambda: calibration_error([1, 0], [0.5]), "proba of shape"),
        (lambda: calibration_error([1, 0], [0.5, -1]), "proba in"),
        (lambda: calibration_error([1, 0], [0.5, 1], n_bins=0), "n_bins"),
        (lambda: calibration_error([1, 0], [0.5, 1], n_bins=2.5), "n_bins as an integer"),
        (lambda: detection_scores([0, 1], [0, 1], [0.5, 0.5], threshold="f1"), "threshold in"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_container_brings_its_given_labels_and_clean_proba():
    y_true, y_given = np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", None], dtype=object)
    samples = LabelledSamples(np.zeros((4, 1)), y_given, clean_proba=[0.9, 0.1, 0.4, np.nan])
    expected = detection_scores(y_true[:3], ["a", "b", "b"], [0.9, 0.1, 0.4])
    assert detection_scores(y_true, samples) == expected
    # A row without a given label is not judged, whatever probability it is passed.
    assert detection_scores(y_true, samples, [0.9, 0.1, 0.4, 0.2]) == expected
    with pytest.raises(ValueError, match="detection_scores: expected clean_proba, got None"):
        detection_scores(y_true, samples.with_labels(clean_proba=None))
    with pytest.raises(ValueError, match="detection_scores: expected a container with given"):
        detection_scores(y_true, LabelledSamples(np.zeros((4, 1))))


def test_labels_of_another_type_are_told_of_in_arrays_of_objects():
    true = np.array(["1", "2"], dtype=object)
    with pytest.raises(ValueError, match="labels of one type, got <U1 and int64"):
        detection_scores(true, np.array([1, 2], dtype=np.int64), [0.1, 0.9])
    assert detection_scores(true, np.array(["1", "1"]), [0.1, 0.9]).wrong == 0.5


def test_missing_labels_of_pandas():
    pd = pytest.importorskip("pandas")
    true = pd.Series(["a", None, "b"], dtype="string")
    assert detection_scores(true, ["a", "b", "a"], [0.9, np.nan, 0.1]).n == 2
    with pytest.raises(ValueError, match="a true label in every row that counts, got none in 1"):
        detection_scores(true, ["a", "b", "a"], [0.9, 0.2, 0.1])
    assert detection_scores(["a", "b", "b"], true, [0.9, 0.2, 0.1]).wrong == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="at least one row with a clean_proba"):
        detection_scores([0, 1], LabelledSamples(np.eye(2), [None, None]), [0.1, 0.2])


@pytest.mark.skipif(np.__version__ < "2", reason="NumPy 1 has no StringDType")
def test_missing_labels_of_numpy_strings():
    kind = np.dtypes.StringDType(na_object=None)
    labels, holed = np.array(["a", "b", "a"]), np.array(["a", None, "a"], dtype=kind)
    with pytest.raises(ValueError, match="a true label in every row that counts, got none in 1"):
        detection_scores(holed, labels, [0.9, 0.9, 0.1])
    scores = detection_scores(labels, holed, [0.9, np.nan, 0.1])
    assert scores.n == 2 and scores.wrong == 0
