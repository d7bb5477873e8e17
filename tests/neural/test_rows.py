import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skclean import LabelledSamples, NeuralRetrainer  # noqa: E402
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.neural.rows import (  # noqa: E402
    DeviceFeatures,
    DeviceRows,
    feature_moments,
    held_out,
    training_rows,
)

ALL = np.ones(6, dtype=bool)
FEATURES = np.arange(18, dtype=np.float32).reshape(6, 3)
Y = ["a", "b", "c", "a", None, "b"]
STATUS = ["kept", "corrected", "unknown", "trusted", "unknown", "predicted"]
PROBA = np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]] * 2)


def samples(**changes):
    fields = {"status": STATUS, "proba": PROBA, "trusted": np.arange(6) == 3}
    return LabelledSamples(FEATURES, Y, **fields | changes)


def test_known_rows_are_labelled_and_all_are_candidates():
    rows = training_rows(samples(), False, ALL)
    assert rows.codes.tolist() == [0, 2, -1, 0, -1, 0 if PROBA[5].argmax() == 0 else 2][:5] + [0]
    assert rows.labelled.tolist() == [0, 1, 3, 5]
    assert rows.candidates.tolist() == list(range(6))
    np.testing.assert_allclose(rows.target[[0, 1, 3, 5]], np.eye(3)[[0, 2, 0, 0]])
    np.testing.assert_allclose(rows.target[[2, 4]], PROBA[[2, 4]], rtol=1e-6)
    assert (rows.weight == 1).all() and rows.trusted.tolist() == (np.arange(6) == 3).tolist()


def test_soft_targets_but_for_trusted_rows():
    rows = training_rows(samples(), True, ALL)
    np.testing.assert_allclose(np.delete(rows.target, 3, 0), np.delete(PROBA, 3, 0), rtol=1e-6)
    np.testing.assert_array_equal(rows.target[3], [1, 0, 0])


def test_trusted_rows_keep_their_given_labels():
    fields = {"labels": ["c"] * 6, "status": ["corrected", "unknown"] * 3, "proba": None}
    rows = training_rows(samples(**fields, trusted=np.arange(6) < 2), False, ALL)
    assert rows.codes.tolist() == [0, 1, 2, -1, 2, -1]
    np.testing.assert_array_equal(rows.target[:2], np.eye(3)[:2])


@pytest.mark.parametrize("where", ["argument", "container"])
def test_unreadable_rows_are_nowhere(where):
    readable = np.arange(6) != 0
    if where == "argument":
        rows = training_rows(samples(), False, readable)
    else:
        rows = training_rows(samples(readable=readable), False, ALL)
    assert 0 not in rows.labelled and 0 not in rows.candidates


def test_features_that_float32_does_not_hold():
    rows, X = np.arange(6), FEATURES.astype(np.float64)
    for wrong in (X * 1e38, X * 1e-60):
        with pytest.raises(ValueError, match=r"greatest size is from 1.18e-38 to 1.7e\+38, .* got"):
            feature_moments(wrong, rows)
    for scale in (1e-38, 1e37):
        np.testing.assert_allclose(
            feature_moments(X * scale, rows)[1], feature_moments(X, rows)[1] * scale
        )
    with pytest.warns(UserWarning, match="differ by more than a millionth"):
        assert feature_moments(X + 1e9, rows)[1] == 1
    for constant in (np.zeros((6, 3)), np.full((6, 3), 7.1)):
        mean, spread = feature_moments(constant, rows)
        assert spread == 1
        np.testing.assert_allclose(mean, constant[0])


@pytest.mark.parametrize("objective", ["supervised", "mixmatch"])
def test_features_of_any_size_that_float32_holds_are_learned_alike(objective):
    pytest.importorskip("lightning_fabric")
    digits = load_noisy_digits(noise_rate=0.3, random_state=0)
    X, y = digits.data[:200] / 16, digits.target_noisy[:200]
    options = {"epochs": 2, "hidden_units": 16, "graph": objective == "mixmatch"}

    def learned(X):
        return NeuralRetrainer(objective, **options).fit(X, y).predict_proba(X)

    expected = learned(X)
    for scale in (1e-37, 1e-30, 1e30, 1e38):
        np.testing.assert_allclose(learned(X * scale), expected, atol=1e-3)


@pytest.mark.parametrize("constant", [1.7e9, 1.7e9 + 63])
def test_a_constant_column_of_large_size_takes_no_part(constant):
    """Float32 rounds the second one by 63, many times the spread of the others."""
    pytest.importorskip("lightning_fabric")
    digits = load_noisy_digits(noise_rate=0.3, random_state=0)
    X, y = digits.data[:500] / 16, digits.target_noisy[:500]
    fitted = []
    for value in (0, constant):
        samples = np.c_[X, np.full(500, value)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted.append(NeuralRetrainer("supervised", epochs=5, hidden_units=16).fit(samples, y))
        fitted[-1] = fitted[-1].predict_proba(samples)
    np.testing.assert_allclose(fitted[1], fitted[0], atol=1e-2)


def test_rows_of_weight_zero_are_unlabelled():
    rows = training_rows(samples(weight=[0, 1, 1, 2, 1, 1.0]), False, ALL)
    assert rows.labelled.tolist() == [1, 3, 5] and len(rows.candidates) == 6


def test_held_out_rows_are_of_every_class_and_nowhere_else():
    y = np.repeat([0, 1, 2], [40, 20, 1])
    plain = training_rows(LabelledSamples(np.zeros((61, 1)), y), False, np.ones(61, dtype=bool))
    rows = held_out(plain, 0.25, np.random.RandomState(0))
    assert np.bincount(y[rows.held_out], minlength=3).tolist() == [10, 5, 0]
    assert not np.isin(np.flatnonzero(rows.held_out), rows.candidates).any()
    assert held_out(plain, 0.0, np.random.RandomState(0)).usable.all()
    trusted = held_out(training_rows(samples(), False, ALL), "trusted", np.random.RandomState(0))
    assert np.flatnonzero(trusted.held_out).tolist() == [3]


@pytest.mark.parametrize("left", [[], [0], [0, 0]])
def test_trusted_rows_that_are_held_out_leave_two_classes(left):
    y = np.array([0, 1, 2, *left])
    container = LabelledSamples(np.zeros((len(y), 1)), y, trusted=np.arange(len(y)) < 3)
    rows = training_rows(container, False, np.ones(len(y), dtype=bool))
    with pytest.raises(ValueError, match=r"two classes beside the trusted rows.*got [01];"):
        held_out(rows, "trusted", np.random.RandomState(0))


def test_moments_are_one_spread_for_all():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4)) * [1, 2, 0, 4] + 5
    mean, spread = feature_moments(X, np.arange(10, 50))
    np.testing.assert_allclose(mean, X[10:].mean(axis=0))
    np.testing.assert_allclose(spread**2, X[10:].var(axis=0).sum() / 4)
    assert feature_moments(np.full((5, 2), 0.1), np.arange(5))[1] == 1


def test_parts_of_a_batch():
    rows = training_rows(samples(weight=np.arange(1, 7.0)), False, ALL)
    data = DeviceRows(rows, DeviceFeatures(FEATURES, "cpu"), torch.device("cpu"))
    order = np.array([[0, 1, 2, 3], [5, 3, 4, 3]])
    clean = torch.arange(6) / 10
    for step, parts in zip(order, data.batches(order, (2, 1, 1), clean), strict=True):
        for part, own in zip(parts, (step[:2], step[2:3], step[3:]), strict=True):
            assert part.rows.tolist() == own.tolist()
            np.testing.assert_array_equal(part.x, FEATURES[own])
            np.testing.assert_array_equal(part.target, rows.target[own])
            # How far a label counts says nothing where no label is looked at.
            unlabelled = part is parts[1]
            np.testing.assert_array_equal(part.weight, own * 0 + 1.0 if unlabelled else own + 1.0)
            np.testing.assert_allclose(part.embedding, FEATURES[own] - FEATURES.mean(axis=0))
        torch.testing.assert_close(parts[0].clean, clean[parts[0].rows])
        assert parts[1].clean is None and parts[2].clean is None
    (labelled, rest, trusted), _ = data.batches(order, (4, 0, 0))
    assert len(labelled) == 4 and rest is None and trusted is None


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="got no row"):
        training_rows(samples(weight=np.zeros(6)), False, ALL)
    with pytest.raises(ValueError, match="one class, 'a'"):
        training_rows(samples(weight=[1, 0, 1, 1, 1, 0.0]), False, ALL)
    with pytest.raises(ValueError, match="expected proba"):
        training_rows(LabelledSamples(FEATURES, Y), True, ALL)
