import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skclean._array import to_numpy
from skclean._validation import check_given_matches, check_groups, open_features, open_samples
from skclean.samples import LabelledSamples

X = np.arange(12.0).reshape(6, 2)
Y = [0, 1, 2, 0, 1, 2]


class Cleaner(BaseEstimator):
    """Something to speak in errors."""


def opened(X=X, y=Y, estimator=None, reset=True, require_labels=True, **options):
    estimator = Cleaner() if estimator is None else estimator
    return open_samples(
        X, y, estimator=estimator, reset=reset, require_labels=require_labels, **options
    )


def test_array_and_labels():
    cleaner = Cleaner()
    samples = opened(estimator=cleaner, trusted=[True] + [False] * 5)
    np.testing.assert_array_equal(samples.features, X)
    np.testing.assert_array_equal(samples.given, Y)
    np.testing.assert_array_equal(samples.trusted, [True] + [False] * 5)
    assert cleaner.n_features_in_ == 2
    assert not samples.purified


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int64, np.float64),
        (np.uint8, np.float64),
        (bool, np.float64),
        (object, np.float64),
    ],
)
def test_dtypes(dtype, expected):
    assert opened((X % 2).astype(dtype)).dtype == expected
    assert opened(LabelledSamples((X % 2).astype(dtype), Y), None).dtype == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_copied(dtype, tmp_path):
    for features in (
        X.astype(dtype),
        np.asfortranarray(X.astype(dtype)),
        X.astype(dtype)[::-2],
        np.memmap(tmp_path / "x", dtype=dtype, mode="w+", shape=(6, 2)),
    ):
        y = Y[: len(features)]
        assert np.shares_memory(opened(features, y).features, features)
        assert np.shares_memory(opened(LabelledSamples(features, y), None).features, features)
        assert features.flags.writeable


def test_every_library_stays_where_it_is(xp):
    cleaner = Cleaner()
    features = xp.asarray(X.astype(np.float32))
    samples = opened(features, estimator=cleaner)
    assert type(samples.features) is type(features)
    np.testing.assert_array_equal(to_numpy(samples.features), X)
    assert cleaner.n_features_in_ == 2
    integers = opened(xp.asarray(X.astype(np.int64)))
    assert to_numpy(integers.features).dtype == np.float64
    for bad, message in [
        (X[:, :1], "X has 1 features, but Cleaner is expecting 2"),
        (X[:, 0], "Reshape your data"),
        (np.where(X == 3, np.nan, X), "NaN"),
        (np.where(X == 3, np.inf, X), "inf"),
        (np.where(X == 3, -1e71, X), "at most 1e\\+70 in size as float64.*scale"),
        (np.where(X == 3, 2e15, X).astype(np.float32), "at most 1e\\+15 in size as float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_features(xp.asarray(bad), estimator=cleaner, reset=False)
    with pytest.raises(ValueError, match="sample"):
        opened(xp.asarray(X[:0]), [])
    with pytest.raises(ValueError, match="omplex"):
        opened(xp.asarray(X * 1j))


def test_torch_half_precision():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float16, torch.bfloat16):
        assert opened(torch.ones(6, 2, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (X, None, {}, "requires y to be passed, but the target y is None"),
        (X, [0] * 6, {}, r"at least two classes, got one class, .*0.* in 6 sample"),
        (X, [None] * 6, {}, "got no label in 6"),
        (X[:1], [1], {}, "one class"),
        (X, Y[:5], {}, "expected y of 6 rows.*got 5.*inconsistent numbers of samples"),
        (X, np.column_stack([Y, Y]), {}, "1d array"),
        (X, [0.1, 0.2, 0.3, 1, 2, 3], {}, "Cleaner: Unknown label type: continuous"),
        (X, [0, 1, np.inf, 0, 1, 2], {}, "infinity"),
        (X[:0], [], {}, "0 sample"),
        (X[:, :0], Y, {}, "0 feature"),
        (X[:, 0], Y, {}, "Reshape your data"),
        (np.where(X == 3, np.nan, X), Y, {}, "Cleaner: expected finite .* in 1 rows, the first 1;"),
        (np.where(X == 3, np.inf, X), Y, {}, "NaN or infinity in 1 rows, the first 1;"),
        (X * 1j, Y, {}, "Complex data not supported"),
        (X, Y, {"trusted": [0, 3]}, r"Cleaner: expected trusted as a boolean mask.*isin"),
        (X, Y, {"trusted": [0, 1, 0, 0, 1, 0]}, "boolean mask.*do pass a mask: trusted == 1"),
        (
            X,
            Y,
            {"trusted": [True] * 5 + [None]},
            "do fill in False where it is missing: row 5",
        ),
        (X, Y, {"trusted": np.ones(5, bool)}, r"trusted of shape \(6,\).*got \(5,\)"),
        (X, [0, 1, None, 0, 1, 2], {"trusted": np.ones(6, bool)}, "got none in row 2"),
        (LabelledSamples(X), None, {}, "requires y to be passed, but the target y is None"),
        (LabelledSamples(X, Y), Y[::-1], {}, "other labels in 4 rows, the first 0"),
        (LabelledSamples(X, Y), Y[:5], {}, "expected y of 6 rows, got 5"),
        (
            LabelledSamples(X, Y, trusted=np.eye(6, dtype=bool)[0]),
            None,
            {"trusted": np.ones(6, bool)},
            "trusted equal to that of the container",
        ),
    ],
)
def test_what_is_refused(X, y, options, message):
    with pytest.raises(ValueError, match=message):
        opened(X, y, **options)


def test_sparse_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for matrix in (sparse.csr_matrix(X), sparse.coo_array(X)):
        with pytest.raises(ValueError, match=r"Cleaner: expected dense.*TruncatedSVD"):
            opened(matrix)


def test_the_labels_of_a_container_win():
    samples = LabelledSamples(X, ["u", "v", None, "u", "v", "v"], inputs=X)
    for y in (
        None,
        ["u", "v", None, "u", "v", "v"],
        ["u", "v", -1, "u", "v", "v"],
        np.array(["u", "v", "", "u", "v", "v"]),
    ):
        result = opened(samples, y)
        np.testing.assert_array_equal(result.given, [0, 1, -1, 0, 1, 1])
        np.testing.assert_array_equal(result.inputs, X)
    with pytest.raises(ValueError, match="other labels in 1 rows, the first 2"):
        opened(samples, ["u", "v", "u", "u", "v", "v"])


@pytest.mark.filterwarnings("error")
def test_container_and_y_of_another_missing_label():
    samples = LabelledSamples(X, [0, 1, 9, 0, 1, 1], missing_label=9)
    assert opened(samples, [0, 1, 9, 0, 1, 1]).given[2] == -1
    samples = LabelledSamples(X, [0, 1, -1, 2, 1, 1], missing_label=-1)
    assert opened(samples, [0.0, 1, np.nan, 2, 1, 1]).given[2] == -1


def test_y_joins_a_container_without_labels():
    samples = opened(LabelledSamples(X, classes=[0, 1, 2, 3], inputs=X), Y)
    np.testing.assert_array_equal(samples.given, Y)
    np.testing.assert_array_equal(samples.classes, [0, 1, 2, 3])
    assert samples.inputs is not None


def test_purified_labels_stay():
    before = LabelledSamples(X, Y, proba=np.eye(3)[Y], status=["kept"] * 6)
    assert opened(before, Y).proba is before.proba


def test_no_row_and_no_label_are_fine_outside_fit():
    cleaner = Cleaner()
    opened(estimator=cleaner)
    assert len(opened(X[:0], None, cleaner, reset=False, require_labels=False)) == 0
    assert opened(X, None, cleaner, reset=False, require_labels=False).given is None


def test_missing_label_is_handed_on():
    with pytest.warns(UserWarning, match="Cleaner: 2 rows"):
        opened(y=[0, 1, 2, 0, -1, -1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = opened(y=[0, 1, 2, 0, -1, -1], missing_label=-1)
        np.testing.assert_array_equal(samples.given, [0, 1, 2, 0, -1, -1])
        samples = opened(y=[0, 1, 2, 0, -1, -1], missing_label=None)
        np.testing.assert_array_equal(samples.classes, [-1, 0, 1, 2])


def refused(features):
    """The messages by which an array or frame, and the container of it, are refused."""
    messages = []
    for call in (opened, LabelledSamples):
        with pytest.raises((TypeError, ValueError)) as caught:
            call(features)
        messages.append(str(caught.value))
    return messages


@pytest.mark.parametrize(
    ("column", "found", "row"),
    [
        (["a", 1, 2, 3, 4, 5], "'a'", 0),
        ([1, None, 2, {}, 4, 5], "{}", 3),
        ([1, None, np.nan, 2, "a", "b"], "'a'", 4),
        ([1, 2, 3, 4, 5, 10**400], "10000", 5),
    ],
)
def test_what_is_no_number_is_named(column, found, row):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X.copy(), columns=["v", "w"])
    frame["u"] = np.array(column, dtype=object)
    frame.loc[1, "v"] = None
    array = frame.to_numpy(dtype=object)
    array[1, 0] = None
    for features, name in ((frame, "'u'"), (array, 2), (array.tolist(), 2)):
        for message in refused(features):
            assert f": expected numbers as features, got {found}" in message
            assert f" in column {name}, row {row}; do encode" in message


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("alone", [False, True])
def test_times_are_no_features(zone, alone):
    pd = pytest.importorskip("pandas")
    times = pd.date_range("2020", periods=len(X), tz=zone)
    frame = pd.DataFrame({"at": times, "for": times - times[0]})
    frame = frame if alone else frame.assign(u=1.0)
    for message in refused(frame):
        assert "got dates or times in columns [at, for]; do leave them out" in message
    for message in refused(np.array(times.tz_localize(None))[:, None]):
        assert "got dates or times in an array of datetime64" in message


def test_times_among_objects_are_no_features():
    times = np.arange(len(X)).astype("M8[D]")
    mixed = np.ones((len(X), 2), dtype=object)
    mixed[:, 1] = list(times)
    for message in refused(mixed):
        assert "got dates or times in an array of object" in message
    for message in refused([[time] for time in times]):
        assert "got dates or times in an array of datetime64[D]" in message
    pd = pytest.importorskip("pandas")
    for message in refused(pd.DataFrame(mixed, columns=["u", "at"])):
        assert "got dates or times in columns [at]" in message
    numbers = pd.DataFrame(np.ones((len(X), 2), dtype=object), columns=["u", "v"])
    np.testing.assert_array_equal(LabelledSamples(numbers).features, 1)


def test_times_in_a_table_of_arrow_are_no_features():
    pa = pytest.importorskip("pyarrow")
    times = pa.array(np.arange(len(X)).astype("M8[s]"))
    columns = {"at": times, "on": times.cast("date32"), "coded": times.dictionary_encode()}
    for table in (pa.table(columns), pa.table({"u": np.ones(len(X)), **columns})):
        for message in refused(table):
            assert "got dates or times in columns [at, on, coded]; do leave them out" in message


def test_missing_values_of_pandas_are_to_be_imputed():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X.copy(), columns=["u", "v"])
    frame["w"] = pd.Series([1, pd.NA, 2, 3, 4, 5], dtype="Int64")
    assert np.isnan(LabelledSamples(frame).features[1, 2])
    with pytest.raises(ValueError, match="in 1 rows, the first 1; do impute"):
        opened(frame)
    for message in refused(frame.astype(object)):
        assert "got <NA> in column 'w', row 1; do impute" in message
    for message in refused(frame.assign(z=pd.Series([pd.NA, *"aabb", pd.NA], dtype=object))):
        assert "got 'a' in column 'z', row 1; do encode" in message


def test_a_table_of_arrow_is_named_by_position():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"u": X[:, 0], "v": list("abcdef")})
    for message in refused(table):
        assert "got 'a' in column 1, row 0;" in message


def test_columns_of_lists_are_to_be_stacked():
    pd = pytest.importorskip("pandas")
    rows = pd.Series(X.tolist())
    for lists in (rows, rows.map(np.array).to_frame("e")):
        for message in refused(lists):
            assert f"got {X.shape[1]} values in column" in message
            assert "do make an array of them: numpy.stack(column)" in message


def test_a_lazy_frame_is_to_be_collected():
    class LazyFrame:
        def collect(self):
            raise AssertionError

    for message in refused(LazyFrame()):
        assert message.endswith("expected an array, got a LazyFrame; do call X.collect().")
    pd = pytest.importorskip("pandas")
    assert LabelledSamples(pd.DataFrame({"collect": X[:, 0]})).n_features == 1


def test_names_and_width_come_before_cells():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["u", "v"]).astype(object)
    frame.loc[0, "u"] = None
    cleaner = Cleaner()
    opened(X, estimator=cleaner)
    with pytest.raises(ValueError, match="^X has 1 features, but Cleaner is expecting 2"):
        opened(frame.to_numpy()[:, :1], None, cleaner, reset=False, require_labels=False)
    with pytest.raises(TypeError, match="^Feature names are only supported"):
        opened(frame.assign(w="a").rename(columns={"v": 0}))


def test_a_large_array_of_another_width_is_refused_without_a_copy():
    cleaner, features = Cleaner(), np.zeros((10_000, 50))
    opened(X, estimator=cleaner)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="X has 50 features"):
            opened(features, None, cleaner, reset=False, require_labels=False)
        assert tracemalloc.get_traced_memory()[1] < features.nbytes / 2
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("error")
def test_complex_features_are_not_searched():
    for features in (X * 1j, (X * 1j).tolist()):
        for message in refused(features):
            assert "omplex" in message and "in column" not in message


def test_masked_features_are_refused():
    features = np.ma.masked_array(X, mask=X == 7)
    for message in refused(features):
        assert "expected features without masked values, got one in row 3" in message
    np.testing.assert_array_equal(opened(np.ma.masked_array(X)).features, X)


def test_features_of_no_shape_are_refused():
    ragged = [np.zeros((2, 3)), np.zeros((2, 4))] * 3
    for features in ([[1.0, 2.0]] * 5 + [[1.0]], "data.npy", [X] * 6, ragged):
        with pytest.raises(ValueError, match="inhomogeneous|dim 3|convert string"):
            opened(features)


def test_feature_names():
    pd = pytest.importorskip("pandas")
    cleaner, frame = Cleaner(), pd.DataFrame(X, columns=["u", "v"], index=list("abcdef"))
    samples = opened(frame, estimator=cleaner)
    assert cleaner.feature_names_in_.tolist() == ["u", "v"] == samples.feature_names.tolist()
    assert samples.index.tolist() == list("abcdef")
    next_one = Cleaner()
    opened(samples, Y, estimator=next_one)
    assert next_one.feature_names_in_.tolist() == ["u", "v"]
    turned = LabelledSamples(frame[["v", "u"]], Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(samples, Y, next_one, reset=False)
        opened(frame, Y, next_one, reset=False)
    with pytest.raises(ValueError, match="feature names should match"):
        opened(turned, None, next_one, reset=False)
    opened(X, estimator=next_one)
    assert not hasattr(next_one, "feature_names_in_")


def test_given_matches():
    samples = LabelledSamples(X, Y)
    check_given_matches(samples, Y, Cleaner())
    check_given_matches(samples, None, Cleaner())
    with pytest.raises(ValueError, match="Cleaner: expected a container with labels"):
        check_given_matches(LabelledSamples(X), Y, Cleaner())
    predicted = LabelledSamples(X, classes=[0, 1, 2], proba=np.eye(3)[Y], status=["predicted"] * 6)
    check_given_matches(predicted, None, Cleaner())
    with pytest.raises(ValueError, match="expected y=None"):
        check_given_matches(predicted, Y, Cleaner())


def test_groups():
    assert check_groups(None, 6, Cleaner()) is None
    np.testing.assert_array_equal(check_groups(list("zazzaz"), 6, Cleaner()), [1, 0, 1, 1, 0, 1])
    with pytest.raises(ValueError, match=r"groups of shape \(6,\)"):
        check_groups([1, 2], 6, Cleaner())


@pytest.mark.parametrize(
    "groups, message",
    [
        ([0.0, np.nan, 1.0], "got none in 1 rows, the first 1; do give"),
        (["a", "b", None], "got none in 1 rows, the first 2; do give"),
        ([None, "b", np.nan], "got none in 2 rows, the first 0; do give"),
        (np.array(["a", 1, "b"], dtype=object), "expected groups of one type"),
    ],
)
def test_groups_that_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        check_groups(groups, 3, Cleaner())


def test_groups_of_pandas_with_a_missing_one_are_refused():
    pd = pytest.importorskip("pandas")
    for groups in (pd.Series([1, pd.NA, 2], dtype="Int64"), pd.Series(["a", None, "b"])):
        with pytest.raises(ValueError, match="Cleaner: expected a group in every row"):
            check_groups(groups, 3, Cleaner())
    np.testing.assert_array_equal(check_groups(pd.Series([5, 3, 5]), 3, Cleaner()), [1, 0, 1])


def test_torch_features_leave_their_graph_behind():
    torch = pytest.importorskip("torch")
    features = torch.ones((3, 2), requires_grad=True)
    assert not LabelledSamples(features).features.requires_grad
    assert not LabelledSamples(np.ones((3, 2))).with_features(features).features.requires_grad
    assert not open_features(features, estimator=Cleaner(), reset=True).requires_grad
    assert features.requires_grad
