"""Probabilities as users bring them: by the names of their columns, and rounded."""

import numpy as np
import pytest

from skclean import LabelledSamples
from skclean.metrics import noise_corrected_accuracy

X = np.zeros((3, 1))
Y = ["cat", "dog", "cat"]
PROBA = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])


def frame_of(proba, names):
    return pytest.importorskip("pandas").DataFrame(proba, columns=names)


def test_columns_of_a_frame_are_found_by_the_names_of_the_classes():
    swapped = frame_of(PROBA[:, ::-1], ["dog", "cat"])
    np.testing.assert_array_equal(LabelledSamples(X, Y, proba=swapped).proba, PROBA)
    samples = LabelledSamples(X, Y).with_labels(proba=swapped, status=["predicted"] * 3)
    np.testing.assert_array_equal(samples.labels, Y)
    alone = LabelledSamples(X, proba=swapped)
    assert alone.classes.tolist() == ["cat", "dog"] and alone.classes.dtype.kind == "U"
    np.testing.assert_array_equal(alone.labels, Y)


def test_names_of_columns_read_from_a_file_are_text():
    swapped = frame_of(PROBA[:, ::-1], ["10", "2"])
    np.testing.assert_array_equal(LabelledSamples(X, [2, 10, 2], proba=swapped).proba, PROBA)


@pytest.mark.parametrize("names", [None, ["0", "1"]])
def test_columns_that_have_no_names_are_taken_by_position(names):
    frame = frame_of(PROBA, names)
    np.testing.assert_array_equal(LabelledSamples(X, Y, proba=frame).proba, PROBA)
    np.testing.assert_array_equal(LabelledSamples(X, proba=frame).classes, [0, 1])


@pytest.mark.parametrize("names", [["dog", "cow"], ["dog", "dog"], [1, 2]])
def test_columns_of_other_names_are_refused(names):
    with pytest.raises(ValueError, match=r"named after the 2 classes \[cat, dog\], got"):
        LabelledSamples(X, Y, proba=frame_of(PROBA, names))


@pytest.mark.parametrize("proba", [PROBA[:, 1], PROBA[:, 1:]])
def test_one_column_for_two_classes(proba):
    with pytest.raises(ValueError, match=r"here numpy.column_stack\(\[1 - p, p\]\)"):
        LabelledSamples(X, Y, proba=proba)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_classes", "digits"),
    [(3, 2), (3, 3), (3, 4), (10, 2), (10, 3), (10, 4), (300, 3), (1000, 4)],
)
def test_rounded_probabilities_are_made_to_sum_to_one(n_classes, digits, dtype):
    proba = np.random.default_rng(0).dirichlet(np.full(n_classes, 0.3), size=200)
    rounded = proba.round(digits).astype(dtype)
    samples = LabelledSamples(np.zeros((200, 1)), proba=rounded)
    assert samples.proba.dtype == dtype
    np.testing.assert_allclose(samples.proba.sum(axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(samples.labels, rounded.argmax(axis=1))


def test_rounded_probabilities_on_dask():
    da = pytest.importorskip("dask.array")
    proba = np.random.default_rng(0).dirichlet(np.full(10, 0.3), size=200).round(2)
    samples = LabelledSamples(da.zeros((200, 1)), proba=da.from_array(proba))
    expected = LabelledSamples(np.zeros((200, 1)), proba=proba).proba
    np.testing.assert_array_equal(samples.proba.compute(), expected)


@pytest.mark.parametrize(
    "row", [[0.5, 0.52], [0.5, 0.5105], [0, 0], [np.nan, 0.98], [1.01, -0.03], [1, 1]]
)
def test_what_rounding_does_not_explain_is_refused(row):
    with pytest.raises(ValueError, match="sum to 1, got .* in row 1"):
        LabelledSamples(X, proba=[[0.5, 0.5], row, [0.2, 0.8]])


@pytest.mark.parametrize(
    ("n_classes", "values"), [(300, [0.4]), (1000, [0.5, 0.2, 0.1, 0.07, 0.03])]
)
def test_what_lacks_much_of_very_many_classes_is_refused(n_classes, values):
    row = np.zeros((1, n_classes))
    row[0, : len(values)] = values
    with pytest.raises(ValueError, match="sum to 1, got"):
        LabelledSamples(X[:1], proba=row)


def test_the_row_that_rounding_does_not_explain_is_named():
    with pytest.raises(ValueError, match=r"got \[0.5, 0.6, 0.0\] in row 1"):
        LabelledSamples(X, proba=[[0.33, 0.33, 0.33], [0.5, 0.6, 0], [0.33, 0.33, 0.33]])
    with pytest.raises(ValueError, match=r"got \[0.33, 0.33, 0.33\] in row 1"):
        LabelledSamples(X[:2], proba=[[1 / 3] * 3, [0.33] * 3])


def test_a_transition_matrix_is_not_rescaled():
    with pytest.raises(ValueError, match="transition.*sum to 1"):
        noise_corrected_accuracy([0, 1, 2], [0, 1, 2], np.full((3, 3), 0.33))


@pytest.mark.parametrize(
    ("y", "names"),
    [
        ([2.0, 1.0, np.nan], [2, 1]),
        ([2, 1, 2], [2.0, 1.0]),
        ([1, 0, 1], [True, False]),
        ([True, False, True], [1, 0]),
        ([1.0, 0.0, 1.0], [1, 0]),
    ],
)
def test_names_are_compared_by_value(y, names):
    swapped = frame_of(PROBA[:, ::-1], names)
    np.testing.assert_array_equal(LabelledSamples(X, y, proba=swapped).proba, PROBA)


@pytest.mark.parametrize("names", [["a", "a"], [np.nan, 1], [("p", "a"), ("p", "b")]])
def test_what_names_no_class_each_is_refused(names):
    with pytest.raises(ValueError, match="columns of proba named after one class each"):
        LabelledSamples(X, proba=frame_of(PROBA, names))


def test_a_table_of_arrow_has_its_columns_by_position():
    table = pytest.importorskip("pyarrow").table({"b": PROBA[:, 0], "a": PROBA[:, 1]})
    np.testing.assert_array_equal(LabelledSamples(X, Y, proba=table).proba, PROBA)
    np.testing.assert_array_equal(LabelledSamples(X, proba=table).classes, [0, 1])
