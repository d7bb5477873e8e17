import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from skclean import LabelledSamples  # noqa: E402
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.scale import parquet, read_parquet_embeddings  # noqa: E402

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


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="Parquet file"):
        read_parquet_embeddings(tmp_path)


@pytest.mark.parametrize("chunk_size", [1, 200 * 64 * 4, 10**9])
def test_large_row_groups_are_read_in_slices(tmp_path, monkeypatch, chunk_size):
    monkeypatch.setattr(parquet, "UNIT_ROWS", 100)
    monkeypatch.setattr(parquet, "BLOCK_ROWS", 30)
    path = write(tmp_path / "a.parquet")
    with dask.config.set({"array.chunk-size": chunk_size}):
        found = read_parquet_embeddings(path)
    sizes = {1: 100, 200 * 64 * 4: 200}.get(chunk_size, 500)
    assert max(found.features.chunks[0]) == sizes
    np.testing.assert_array_equal(found.features.compute(), X)
    np.testing.assert_array_equal(found.features[570:1010].compute(), X[570:1010])


def test_rows_of_a_slice_are_named_by_their_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "UNIT_ROWS", 100)
    monkeypatch.setattr(parquet, "BLOCK_ROWS", 30)
    write(tmp_path / "a.parquet", [*X[:777], [1.0], *X[778:]])
    with dask.config.set({"array.chunk-size": 1}):
        features = read_parquet_embeddings(tmp_path / "a.parquet").features
    with pytest.raises(ValueError, match="got 1 in row 277 of row group 1"):
        features.compute()
    assert features[:700].compute().shape == (700, 64)


def test_a_broken_file_is_named(tmp_path):
    write(tmp_path / "a.parquet", X[:9])
    content = (tmp_path / "a.parquet").read_bytes()
    for broken in (content[: len(content) // 2], content[:-8] + b"\x10\0\0\0PAR1"):
        (tmp_path / "b.parquet").write_bytes(broken)
        with pytest.raises(ValueError, match="expected a whole Parquet file, got .*b.parquet"):
            read_parquet_embeddings(tmp_path)
