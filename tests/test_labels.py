from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from skclean.samples import LabelledSamples

X = np.arange(15.0).reshape(5, 3)


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([True, False, True], [False, True], [1, 0, 1]),
        ([10, -5, 7], [-5, 7, 10], [2, 0, 1]),
        (np.array([3, 250, 3], dtype=np.uint8), [3, 250], [0, 1, 0]),
        ([1.0, 0.0, np.nan], [0.0, 1.0], [1, 0, -1]),
        (["b", None, "a"], ["a", "b"], [1, -1, 0]),
        (["b", np.nan, "a"], ["a", "b"], [1, -1, 0]),
        (np.array(["b", np.nan, "a"], dtype=object), ["a", "b"], [1, -1, 0]),
        ([1, None, 0], [0, 1], [1, -1, 0]),
        (["b", -1, "a"], ["a", "b"], [1, -1, 0]),
        ([-1, 1, 1], [-1, 1], [0, 1, 1]),
        ([[1], [0], [1]], [0, 1], [1, 0, 1]),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_given_labels_of_any_type(y, classes, codes):
    samples = LabelledSamples(X[:3], y)
    np.testing.assert_array_equal(samples.classes, classes)
    assert samples.classes.dtype == np.asarray(classes).dtype or samples.classes.dtype == np.uint8
    np.testing.assert_array_equal(samples.given, codes)
    assert samples.given.dtype == np.int64


def test_pandas_labels():
    pd = pytest.importorskip("pandas")
    for y in (
        pd.Series(["b", None, "a"], index=[5, 6, 7]),
        pd.Series(["b", pd.NA, "a"], dtype="string"),
        pd.Categorical(["b", None, "a"], categories=["b", "unused", "a"]),
        pd.Series([7, pd.NA, 3], dtype="Int64"),
    ):
        np.testing.assert_array_equal(LabelledSamples(X[:3], y).given, [1, -1, 0])
    for y in (pd.Categorical([7, None, 3]), pd.Series([7, None, 3], dtype="category")):
        classes = LabelledSamples(X[:3], y.astype(pd.CategoricalDtype([3, 7]))).classes
        assert classes.tolist() == [3, 7] and classes.dtype == np.int64


@pytest.mark.skipif(np.__version__ < "2", reason="strings of NumPy 2")
def test_strings_of_numpy():
    kind = np.dtypes.StringDType(na_object=None)
    y = np.array(["b", None, "a"], dtype=kind)
    for classes in (None, np.array(["a", "b"], dtype=kind)):
        samples = LabelledSamples(X[:3], y, classes=classes)
        assert samples.given.tolist() == [1, -1, 0] and samples.classes.tolist() == ["a", "b"]


def test_torch_labels():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(LabelledSamples(X[:3], torch.tensor([4, 2, 4])).given, [1, 0, 1])


def test_masked_labels_are_missing():
    for y in ([0, 1, 2, 1, 0], list("abcba")):
        masked = np.ma.masked_array(y, mask=[0, 1, 0, 0, 1])
        samples = LabelledSamples(X, masked)
        np.testing.assert_array_equal(samples.given, [0, -1, 2, 1, -1])


def test_arrow_integers_beside_missing_ones_stay_apart():
    pa = pytest.importorskip("pyarrow")
    large = 2**53
    y = pa.array([large, large + 1, None, large, large + 1])
    for labels in (y, pa.table({"y": y}), pa.record_batch({"y": y})):
        samples = LabelledSamples(X, labels)
        assert samples.classes.tolist() == [large, large + 1]
        assert samples.given.tolist() == [0, 1, -1, 0, 1]


def test_labels_of_other_types_are_named():
    for odd in ({}, date(2020, 1, 1), Decimal(1), b"a"):
        for y, row in (([odd] * 5, 0), ([None, odd, odd, odd, odd], 1), ([0, 1, None, odd, 0], 3)):
            with pytest.raises(ValueError) as caught:
                LabelledSamples(X, y)
            assert f"Unknown label type: {type(odd).__name__}." in str(caught.value)
            assert f"got {odd!r} in row {row};" in str(caught.value)
    with pytest.raises(ValueError, match=r"label type: tuple.*got \(1, 2\) in row 2;"):
        LabelledSamples(X, [None, 1, (1, 2), 0, 1])


def test_integers_beyond_int64_are_named():
    with pytest.raises(ValueError, match=f"that fit int64, got {2**70} in row 1; .*as strings"):
        LabelledSamples(X, [0, 2**70, None, 1, 0])


def test_minus_one_is_missing_where_two_classes_remain():
    with pytest.warns(
        UserWarning, match="2 rows of y hold -1.*missing_label=-1.*missing_label=None"
    ):
        samples = LabelledSamples(X, [0, -1, 1, -1, 1])
    np.testing.assert_array_equal(samples.given, [0, -1, 1, -1, 1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("y", "missing_label", "codes"),
    [
        ([0, -1, 1, -1, 1], -1, [0, -1, 1, -1, 1]),
        ([0, -1, 1, -1, 1], None, [1, 0, 2, 0, 2]),
        ([1, -1, 1, -1, 1], "auto", [1, 0, 1, 0, 1]),
        ([1, -1, 1, -1, 1], -1, [0, -1, 0, -1, 0]),
        ([0, 9, 1, 9, 1], 9, [0, -1, 1, -1, 1]),
        (["a", "", "b", "", "b"], "", [0, -1, 1, -1, 1]),
        (["a", None, "b", "?", "b"], "?", [0, -1, 1, -1, 1]),
        (["a", -7, "b", None, "b"], -7, [0, -1, 1, -1, 1]),
        ([0, 1, 1, 0, 1], "unknown", [0, 1, 1, 0, 1]),
        ([0.0, np.nan, 1, 2, 1], None, [0, -1, 1, 2, 1]),
    ],
)
def test_missing_label(y, missing_label, codes):
    np.testing.assert_array_equal(LabelledSamples(X, y, missing_label=missing_label).given, codes)


def test_missing_label_of_pandas():
    pd = pytest.importorskip("pandas")
    samples = LabelledSamples(X, [-1, 1, pd.NA, 1, 0], missing_label=pd.NA)
    assert samples.given.tolist() == [0, 2, -1, 2, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_floats_of_every_size(dtype):
    pytest.importorskip("pandas")
    frame = LabelledSamples(X, np.array([2, 0, np.nan, 2, 0], dtype)).to_frame()
    assert frame["given"].tolist()[::3] == [2, 2] and frame["given"].isna().sum() == 1


@pytest.mark.filterwarnings("error")
def test_classes_that_are_named():
    samples = LabelledSamples(X, [2, 0, -1, 2, 0], classes=[0, 1, 2])
    np.testing.assert_array_equal(samples.given, [2, 0, -1, 2, 0])
    samples = LabelledSamples(X, [1, 0, -1, 1, 0], classes=[-1, 0, 1])
    np.testing.assert_array_equal(samples.given, [2, 1, 0, 2, 1])


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([0.5, 1, 2, 3, 4], {}, "continuous"),
        ([np.inf, 1, 2, 3, 4], {}, "infinity"),
        (np.ones((5, 2)), {}, "1d array"),
        (["a", 1, "b", "a", "b"], {}, "one type.* got strings and 1 in row 1.*missing_label"),
        ([b"a", b"b", b"a", b"b", b"a"], {}, "Unknown label type"),
        ([1j, 0, 0, 1, 1], {}, "Unknown label type"),
        (["a", "z", "a", "b", "b"], {"classes": ["a", "b"]}, "got .*z.* in row 1"),
        ([0, 1, 0, 1, 0], {"classes": ["a", "b"]}, "type of the classes"),
        (["a", "b", "a", "b", "a"], {"classes": ["b", "a"]}, "sorted"),
        (["a", "b", "a", "b", "a"], {"classes": ["a", "b", None]}, "sorted"),
        (["a", "b", "a", "b", "a"], {"classes": "a"}, "sorted"),
        ([0, 1, 0, 1, 0], {"missing_label": [-1, 9]}, "one label as missing_label"),
        (["a", "b"], {}, "expected y of 5 rows.*got 2"),
        ("ab", {}, "one label a row"),
    ],
)
def test_labels_that_are_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        LabelledSamples(X, y, **options)
