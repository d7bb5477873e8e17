"""Noise-corrected accuracy against its formula and against the truth it estimates."""

import numpy as np
import pytest

from skclean.datasets import make_pair_noise, make_symmetric_noise
from skclean.metrics import noise_corrected_accuracy
from skclean.metrics._corrected import corrected_trace


def slow_trace(given, predicted, transition):
    """Trace of the M that solves N = Tᵀ M, with N counted row by row."""
    n_classes = len(transition)
    N = np.zeros((n_classes, n_classes))
    for k, j in zip(given, predicted, strict=True):
        N[k, j] += 1 / len(given)
    return np.trace(np.linalg.solve(np.transpose(transition), N))


def predictions(n, accuracy, n_classes=10, seed=0):
    """True labels, and predictions whose mistakes depend on the true class alone."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    wrong = rng.random(n) >= accuracy
    return y, np.where(wrong, (y + rng.integers(1, n_classes, size=n)) % n_classes, y)


def pair_transition(rate, n_classes=10):
    return (1 - rate) * np.eye(n_classes) + rate * np.roll(np.eye(n_classes), 1, axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_trace_equals_its_slow_twin(seed):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(4), size=4) * 0.4 + 0.6 * np.eye(4)
    given, predicted = rng.integers(4, size=(2, 100))
    fast = corrected_trace(given, predicted, transition)
    assert fast == pytest.approx(slow_trace(given, predicted, transition), abs=1e-12)


@pytest.mark.parametrize("accuracy", [0.55, 0.9])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make_noise", [make_symmetric_noise, make_pair_noise])
def test_within_a_point_of_the_clean_accuracy_at_forty_percent_noise(make_noise, accuracy, seed):
    y, y_pred = predictions(50_000, accuracy, seed=seed)
    y_noisy, transition = make_noise(y, 0.4, random_state=seed)
    clean = (y == y_pred).mean()
    assert abs((y_noisy == y_pred).mean() - clean) > 0.1
    assert noise_corrected_accuracy(y_noisy, y_pred, transition) == pytest.approx(clean, abs=0.01)


def test_unbiased_over_repetitions():
    errors = []
    for seed in range(40):
        y, y_pred = predictions(1000, 0.8, seed=seed)
        y_noisy, transition = make_symmetric_noise(y, 0.4, random_state=seed)
        errors.append(noise_corrected_accuracy(y_noisy, y_pred, transition) - (y == y_pred).mean())
    assert abs(np.mean(errors)) < 3 * np.std(errors) / 40**0.5


@pytest.mark.parametrize("rate", [0.495, 0.5])
def test_nearly_singular_transition_stays_close_to_the_truth(rate):
    y, y_pred = predictions(5000, 0.9)
    y_noisy, _ = make_pair_noise(y, rate, random_state=0)
    estimate = noise_corrected_accuracy(y_noisy, y_pred, pair_transition(rate))
    assert estimate == pytest.approx((y == y_pred).mean(), abs=0.05)


def test_without_noise_it_is_the_accuracy():
    y, y_pred = predictions(500, 0.7)
    assert noise_corrected_accuracy(y, y_pred, np.eye(10)) == pytest.approx((y == y_pred).mean())


def test_invariant_to_the_order_of_rows_and_classes():
    y, y_pred = predictions(500, 0.7, n_classes=4)
    y_noisy, transition = make_pair_noise(y, 0.3, random_state=0)
    expected = noise_corrected_accuracy(y_noisy, y_pred, transition)
    order = np.array([2, 0, 3, 1])  # the new code of each class
    back = np.argsort(order)
    permuted = noise_corrected_accuracy(
        order[y_noisy][::-1], order[y_pred][::-1], transition[np.ix_(back, back)]
    )
    assert permuted == pytest.approx(expected)


def test_names_missing_labels_and_classes_that_do_not_occur():
    y, y_pred = predictions(500, 0.7, n_classes=3)
    y_noisy, transition = make_pair_noise(y, 0.3, random_state=0)
    expected = noise_corrected_accuracy(y_noisy[:300], y_pred[:300], transition)
    names = np.array(["a", "b", "c"])
    given = names[y_noisy].astype(object)
    given[300:] = None
    assert noise_corrected_accuracy(given, names[y_pred], transition) == pytest.approx(expected)
    given = np.where(np.arange(500) < 300, y_noisy, -1)
    wide = np.eye(4)
    wide[:3, :3] = transition
    assert noise_corrected_accuracy(given, y_pred, wide, classes=[0, 1, 2, 3]) == pytest.approx(
        expected
    )
    assert np.isnan(noise_corrected_accuracy([-1], [0], wide, classes=[0, 1, 2, 3]))


def test_clipped_to_the_unit_interval():
    assert noise_corrected_accuracy([0, 1], [0, 1], pair_transition(0.3, 2)) == 1
    assert noise_corrected_accuracy([0, 1], [1, 0], pair_transition(0.3, 2)) == 0


@pytest.mark.parametrize(
    "args, message",
    [
        (([0, 1], [0, 1], [[0.5, 0.4], [0, 1]]), "sum to 1"),
        (([0, 1], [0, 1], [[0.5, 0.5]]), r"shape \(1, 1\)"),
        (([0, 1], [0, 1], np.eye(3)), "do pass classes"),
        (([0, 1], [0], np.eye(2)), "as many given as predicted"),
    ],
)
def test_errors_say_what_was_expected(args, message):
    with pytest.raises(ValueError, match=message):
        noise_corrected_accuracy(*args)


def test_prediction_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match="labels of the 2 classes"):
        noise_corrected_accuracy([0, 1], [0, 2], np.eye(2), classes=[0, 1])
