import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
pd = pytest.importorskip("pandas")

from skclean import LabelledSamples, TransitionCleaner  # noqa: E402
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.evidence import LeaveOneOutRidge  # noqa: E402
from skclean.scale import parquet, read_parquet_embeddings, write_purified  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
X = DIGITS.data.astype(np.float32)
NAMES = np.array([f"digit {k}" for k in range(10)])
GIVEN = NAMES[DIGITS.target_noisy]


def write(path, X=X, kind=None, **columns):
    lists = pa.array(list(X), kind or pa.list_(pa.float32()))
    pq.write_table(pa.table({"embedding": lists, **columns}), path, row_group_size=500)
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (pa.list_(pa.float32()), np.float32),
        (pa.list_(pa.float32(), 64), np.float32),
        (pa.large_list(pa.float64()), np.float64),
        (pa.list_(pa.int16()), np.float64),
    ],
)
def test_lists_of_any_kind(tmp_path, kind, dtype):
    found = read_parquet_embeddings(write(tmp_path / "a.parquet", X.astype(dtype), kind))
    assert found.features.chunks[0] == (500, 500, 500, 297)
    assert found.features.dtype == dtype
    assert found.labels is None
    np.testing.assert_array_equal(found.features.compute(), X)


def test_a_folder_with_labels(tmp_path):
    labels = [None if i == 3 else label for i, label in enumerate(GIVEN)]
    write(tmp_path / "a.parquet", X[:1000], y=labels[:1000], id=np.arange(1000))
    write(tmp_path / "b.parquet", X[1000:], y=labels[1000:], id=np.arange(1000, 1797))
    found = read_parquet_embeddings(tmp_path, label="y", columns=["id"])
    np.testing.assert_array_equal(found.features.compute(), X)
    assert found.labels[3] is None
    np.testing.assert_array_equal(np.delete(found.labels, 3), np.delete(GIVEN, 3))
    np.testing.assert_array_equal(found.columns["id"], np.arange(1797))


def test_purified_from_file_to_file(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "UNIT_ROWS", 600)
    path = write(tmp_path / "a.parquet", y=pa.array(GIVEN).dictionary_encode())
    found = read_parquet_embeddings(path, label="y")
    cleaner = TransitionCleaner(estimator=LeaveOneOutRidge("linear"))
    expected = cleaner.fit_transform(X, GIVEN)
    purified = cleaner.fit_transform(found.features, found.labels)
    out = write_purified(purified, tmp_path / "out.parquet", columns={"id": np.arange(1797)})
    table = pq.read_table(out)
    assert pq.ParquetFile(out).num_row_groups == 3
    assert table.column_names[:4] == ["id", "given", "label", "status"]
    np.testing.assert_array_equal(table["given"].to_numpy(), GIVEN)
    known = expected.known
    np.testing.assert_array_equal(table["label"].to_numpy()[known], expected.labels[known])
    assert table["label"].null_count == (~known).sum()
    np.testing.assert_array_equal(table["status"].to_numpy(), expected.status)
    np.testing.assert_array_equal(table["clean_proba"].to_numpy(), expected.clean_proba)
    proba = table["proba"].combine_chunks().flatten().to_numpy().reshape(-1, 10)
    np.testing.assert_array_equal(proba, expected.proba)
    np.testing.assert_array_equal(table["label_proba"].to_numpy()[known], proba.max(axis=1)[known])


def test_what_is_written_can_be_read(tmp_path):
    samples = LabelledSamples(X, GIVEN, labels=GIVEN, status=["kept"] * len(X))
    out = write_purified(samples, tmp_path / "out.parquet", embedding="embedding")
    found = read_parquet_embeddings(out, label="label")
    np.testing.assert_array_equal(found.features.compute(), X)
    np.testing.assert_array_equal(found.labels, GIVEN)


def purified(X, y=GIVEN, **fields):
    return LabelledSamples(X, y[: len(X)], labels=y[: len(X)], status=["kept"] * len(X), **fields)


def chunked(X, sizes, read):
    """A dask array whose chunks are read by a function of their number and values."""
    parts = np.split(X, np.cumsum(sizes)[:-1])
    read = dask.delayed(read)
    return da.concatenate(
        [da.from_delayed(read(i, part), part.shape, X.dtype) for i, part in enumerate(parts)]
    )


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    out = write_purified(purified(X[:4]), tmp_path / "out.parquet")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_purified(purified(X[:4]), out)
    assert write_purified(purified(X[:4]), out, overwrite=True) == out

    def read(i, values):
        if i == 1:
            raise OSError("boom")
        return values

    closed = []
    close = pq.ParquetWriter.close
    monkeypatch.setattr(pq.ParquetWriter, "close", lambda self: closed.append(close(self)))
    monkeypatch.setattr(parquet, "UNIT_ROWS", 2)
    with pytest.raises(OSError, match="boom"):
        broken = purified(chunked(X[:4], [2, 2], read))
        write_purified(broken, out, embedding="embedding", overwrite=True)
    assert closed
    assert pq.read_table(out).num_rows == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize("sizes", [[1000, 797], [700, 700, 397], [600, 600, 597], [199] * 9 + [6]])
def test_chunks_of_features_are_read_once_in_order(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(parquet, "UNIT_ROWS", 600)
    found = []

    def read(i, values):
        found.append(i)
        return values

    with dask.config.set(scheduler="synchronous"):
        samples = purified(chunked(X, sizes, read))
        found.clear()
        out = write_purified(samples, tmp_path / "out.parquet", embedding="embedding")
    assert sorted(found) == list(range(len(sizes)))
    group = (np.cumsum(sizes) - sizes) // 600
    assert (np.diff(group[found]) >= 0).all()
    assert pq.ParquetFile(out).num_row_groups == 3
    np.testing.assert_array_equal(read_parquet_embeddings(out).features.compute(), X)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": {"label": [1] * 4, "proba": [1] * 4, "id": [1] * 4}}, "got 'label', 'proba';"),
        ({"embedding": "proba"}, "got 'proba';"),
        ({"columns": {"x": [1] * 4}, "embedding": "x"}, "got 'x';"),
        ({"columns": {"x": np.zeros((4, 2))}}, "got 4 x 2 in 'x'"),
        ({"columns": {"x": np.array([1, "a", 2, 3], object)}}, "one type in column 'x'"),
    ],
)
def test_columns_that_cannot_be_written(tmp_path, options, said):
    samples = purified(X[:4], np.arange(4), proba=np.eye(4))
    with pytest.raises(ValueError, match=said):
        write_purified(samples, tmp_path / "out.parquet", **options)
    assert not list(tmp_path.iterdir())


def test_features_that_are_no_rows(tmp_path):
    samples = purified(np.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match=r"got \(4, 2, 3\)"):
        write_purified(samples, tmp_path / "out.parquet", embedding="embedding")
    assert pq.read_table(write_purified(samples, tmp_path / "out.parquet")).num_rows == 4


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (np.array([None, None, None, "x"], object), pa.string(), [None, None, None, "x"]),
        (np.array([1, 2, 3, 1.5], object), pa.float64(), [1, 2, 3, 1.5]),
        (np.array([1.5, np.nan, 2, 3]), pa.float64(), [1.5, None, 2, 3]),
        (pd.Series([2**60 + 1, None, 2, 3], dtype="Int64"), pa.int64(), [2**60 + 1, None, 2, 3]),
        (pd.Categorical(["a", "b", None, "a"]), None, ["a", "b", None, "a"]),
        (pa.chunked_array([[1, None], [2, 3]]), pa.int64(), [1, None, 2, 3]),
        ([[1], [2, 3], [4], []], pa.list_(pa.int64()), [[1], [2, 3], [4], []]),
        (da.arange(4, chunks=3), pa.int64(), [0, 1, 2, 3]),
    ],
)
def test_a_column_has_one_type(tmp_path, monkeypatch, values, kind, expected):
    monkeypatch.setattr(parquet, "UNIT_ROWS", 2)
    out = write_purified(purified(X[:4]), tmp_path / "out.parquet", columns={"x": values})
    written = pq.read_table(out)["x"]
    assert pq.ParquetFile(out).num_row_groups == 2
    assert pa.types.is_dictionary(written.type) if kind is None else written.type.equals(kind)
    assert written.to_pylist() == expected


def test_times_of_a_zone(tmp_path):
    times = pd.date_range("2020-01-01", periods=4, tz="UTC")
    out = write_purified(purified(X[:4]), tmp_path / "out.parquet", columns={"time": times})
    written = pq.read_table(out)["time"]
    assert written.type.tz == "UTC"
    assert written.to_pylist() == list(times)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "c"]), ["a", "b", "a", "c"]),
        (pa.nulls(2), pa.array(["a", "b"]), [None, None, "a", "b"]),
        (pa.array([1, 2], pa.int64()), pa.array([3, 4], pa.int32()), [1, 2, 3, 4]),
        (pa.array([2**60 + 1, None]), pa.array([3, 4]), [2**60 + 1, None, 3, 4]),
    ],
)
def test_files_of_other_types(tmp_path, first, second, expected):
    write(tmp_path / "a.parquet", X[:2], y=first)
    write(tmp_path / "b.parquet", X[:2], y=second)
    found = read_parquet_embeddings(tmp_path, label="y", columns=["y"])
    assert found.labels.tolist() == expected
    assert found.columns["y"].tolist() == expected


def test_files_of_types_that_do_not_go_together(tmp_path):
    write(tmp_path / "a.parquet", X[:2], y=["a", "b"])
    write(tmp_path / "b.parquet", X[:2], y=[1, 2])
    with pytest.raises(ValueError, match="one type in all files"):
        read_parquet_embeddings(tmp_path, label="y")


def test_integer_labels_with_missing_ones(tmp_path):
    path = write(tmp_path / "a.parquet", X[:4], y=pa.array([0, None, 7, 7]))
    samples = LabelledSamples(X[:4], read_parquet_embeddings(path, label="y").labels)
    assert samples.classes.dtype.kind == "i"
    np.testing.assert_array_equal(samples.given, [0, -1, 1, 1])


def test_tensors_of_fixed_shape(tmp_path):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(X.reshape(-1, 8, 8))
    pq.write_table(pa.table({"embedding": tensors}), tmp_path / "a.parquet", row_group_size=500)
    found = read_parquet_embeddings(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found.features.compute(), X)


@pytest.mark.parametrize("lists", [[["a"], ["b"]], [[True], [False]], [{"a": 1.0}, {"a": 2.0}]])
def test_lists_of_no_numbers(tmp_path, lists):
    pq.write_table(pa.table({"embedding": pa.array(lists)}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="lists of numbers"):
        read_parquet_embeddings(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"embedding": "vector"}, "'vector'"),
        ({"embedding": "y"}, "lists of numbers"),
        ({"label": "target"}, "'target'"),
    ],
)
def test_other_columns_are_refused(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        read_parquet_embeddings(write(tmp_path / "a.parquet", y=GIVEN), **options)


@pytest.mark.parametrize(("row", "said"), [(None, "got none"), ([1.0], "got 1 in row 2")])
def test_rows_of_other_lengths_are_named(tmp_path, row, said):
    lists = [X[0], X[1], row, X[3]]
    pq.write_table(pa.table({"embedding": pa.array(lists)}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=said):
        read_parquet_embeddings(tmp_path / "a.parquet").features.compute()


def test_nothing_to_read_or_write(tmp_path):
    with pytest.raises(ValueError, match="Parquet file"):
        read_parquet_embeddings(tmp_path)
    with pytest.raises(ValueError, match="no cleaner has seen"):
        write_purified(LabelledSamples(X, GIVEN), tmp_path / "out.parquet")
    samples = LabelledSamples(X[:2], GIVEN[:2], labels=GIVEN[:2])
    with pytest.raises(ValueError, match="3 in 'id'"):
        write_purified(samples, tmp_path / "out.parquet", columns={"id": [1, 2, 3]})
