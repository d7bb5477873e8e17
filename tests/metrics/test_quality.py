"""Accuracy, coverage and balance of labels, of arrays and of containers."""

import numpy as np
import pytest

from skclean.metrics import class_balance, label_accuracy, label_coverage
from skclean.samples import LabelledSamples

CLASSES = np.array(["ant", "bee", "cow"])
TRUE = CLASSES[[0, 0, 1, 1, 2, 2]]
GIVEN = CLASSES[[0, 1, 1, 1, 0, 2]]


def purified(**kwargs):
    samples = LabelledSamples(np.eye(6), GIVEN, classes=CLASSES)
    codes = np.array([0, 0, 1, 1, 2, -1])
    status = ["kept", "corrected", "kept", "kept", "corrected", "unknown"]
    return samples.with_labels(label_codes=codes, status=status, **kwargs)


def test_label_accuracy_counts_the_known_rows():
    assert label_accuracy(TRUE, GIVEN) == pytest.approx(4 / 6)
    known = np.array([1, 0, 1, 1, 1, 1], dtype=bool)
    assert label_accuracy(TRUE, GIVEN, known=known) == pytest.approx(4 / 5)
    assert label_accuracy(TRUE, purified()) == 1
    assert label_accuracy(TRUE, purified(), known=known & (np.arange(6) < 2)) == 1
    assert np.isnan(label_accuracy(TRUE, GIVEN, known=np.zeros(6, dtype=bool)))


def test_container_before_purification_is_scored_by_its_given_labels():
    assert label_accuracy(TRUE, LabelledSamples(np.eye(6), GIVEN)) == pytest.approx(4 / 6)
    y = GIVEN.astype(object)
    y[1] = None
    samples = LabelledSamples(np.eye(6), y)
    assert label_accuracy(TRUE, samples) == pytest.approx(4 / 5)
    assert label_coverage(samples) == pytest.approx(5 / 6)


def test_label_coverage():
    assert label_coverage(purified()) == pytest.approx(5 / 6)
    assert label_coverage([True, False]) == 0.5


def test_class_balance_of_a_container_knows_the_classes_that_are_gone():
    balance = class_balance(purified())
    np.testing.assert_array_equal(balance.classes, CLASSES)
    np.testing.assert_array_equal(balance.counts, [2, 2, 1])
    np.testing.assert_allclose(balance.share, [0.4, 0.4, 0.2])
    assert balance.ratio == 0.5
    only_bees = class_balance(purified(), known=TRUE == "bee")
    assert only_bees.ratio == 0 and only_bees.effective_classes == pytest.approx(1)
    np.testing.assert_array_equal(only_bees.counts, [0, 2, 0])


@pytest.mark.parametrize("n_classes", [1, 2, 7])
def test_effective_classes_of_balanced_classes_is_their_number(n_classes):
    balance = class_balance(np.repeat(np.arange(n_classes), 5))
    assert balance.effective_classes == pytest.approx(n_classes) and balance.ratio == 1


def test_class_balance_does_not_depend_on_names_or_row_order():
    codes = np.random.default_rng(0).integers(3, size=50)
    by_code, by_name = class_balance(codes), class_balance(CLASSES[codes][::-1])
    np.testing.assert_array_equal(by_code.counts, by_name.counts)
    assert by_code.effective_classes == by_name.effective_classes


def test_class_balance_of_nothing_is_nan():
    balance = class_balance(GIVEN, known=np.zeros(6, dtype=bool), classes=CLASSES)
    assert np.isnan(balance.ratio) and np.isnan(balance.share).all()
    np.testing.assert_array_equal(balance.counts, [0, 0, 0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: label_accuracy([0, 1], [0]), "as many true labels"),
        (lambda: label_accuracy([0, 1], ["a", "b"]), "labels of one type"),
        (lambda: label_accuracy([0, 1], [0, 1], known=[0, 1]), "boolean mask"),
        (lambda: label_accuracy([0, 1], [0, 1], known=[True]), "boolean mask"),
        (lambda: label_coverage([]), "boolean mask"),
        (lambda: class_balance([0, 5], classes=[0, 1]), "labels of the 2 classes"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "holed", [["ant", np.nan, "cow"], np.ma.masked_array(["ant", "bee", "cow"], [0, 1, 0])]
)
def test_missing_labels_are_no_class(holed):
    assert label_accuracy(["ant", "bee", "cow"], holed) == pytest.approx(2 / 3)
    assert class_balance(holed).classes.tolist() == ["ant", "cow"]
    with pytest.raises(ValueError, match="a true label in every row that counts, got none in 1"):
        label_accuracy(holed, ["ant", "bee", "cow"])


def test_a_container_without_any_label():
    samples = LabelledSamples(np.eye(3), [None] * 3)
    assert np.isnan(label_accuracy(TRUE[:3], samples))
    assert len(class_balance(samples).classes) == 0 and np.isnan(class_balance(samples).ratio)
    with pytest.raises(ValueError, match="got one of features alone"):
        class_balance(LabelledSamples(np.eye(3)))


def test_the_truth_is_asked_for_in_the_rows_that_count():
    true = TRUE.astype(object)
    true[0] = None
    assert label_accuracy(true, GIVEN, known=np.arange(6) > 0) == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match="a true label in every row that counts, got none in 1"):
        label_accuracy(true, GIVEN)
