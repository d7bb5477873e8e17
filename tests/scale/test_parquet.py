import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
da = pytest.importorskip("dask.array")

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


def test_a_file_is_whole_or_not_there(tmp_path):
    samples = LabelledSamples(X[:4], GIVEN[:4], labels=GIVEN[:4], status=["kept"] * 4)
    out = write_purified(samples, tmp_path / "out.parquet")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_purified(samples, out)
    assert write_purified(samples, out, overwrite=True) == out
    with pytest.raises(Exception, match="boom"):
        write_purified(samples, out, columns={"x": [Broken()] * 4}, overwrite=True)
    assert pq.read_table(out).num_rows == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


class Broken:
    """What no file can hold."""

    def __arrow_c_array__(self, *_):
        raise RuntimeError("boom")

    def __repr__(self):
        return "boom"


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
