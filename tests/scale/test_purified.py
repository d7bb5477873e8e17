from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
pd = pytest.importorskip("pandas")

from skclean import LabelledSamples, TransitionCleaner, _files  # noqa: E402
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.evidence import LeaveOneOutRidge  # noqa: E402
from skclean.scale import purified as module  # noqa: E402
from skclean.scale import read_parquet_embeddings, write_purified  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
X = DIGITS.data.astype(np.float32)
NAMES = np.array([f"digit {k}" for k in range(10)])
GIVEN = NAMES[DIGITS.target_noisy]


def test_purified_from_file_to_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNIT_ROWS", 600)
    path = tmp_path / "a.parquet"
    table = pa.table({"embedding": pa.array(list(X), pa.list_(pa.float32())), "y": GIVEN})
    pq.write_table(table, path, row_group_size=500)
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
    monkeypatch.setattr(module, "UNIT_ROWS", 2)
    with pytest.raises(OSError, match="boom"):
        broken = purified(chunked(X[:4], [2, 2], read))
        write_purified(broken, out, embedding="embedding", overwrite=True)
    assert closed
    assert pq.read_table(out).num_rows == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize("sizes", [[1000, 797], [700, 700, 397], [600, 600, 597], [199] * 9 + [6]])
def test_chunks_of_features_are_read_once_in_order(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(module, "UNIT_ROWS", 600)
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
    monkeypatch.setattr(module, "UNIT_ROWS", 2)
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


def test_rows_that_could_not_be_read_have_no_label(tmp_path):
    labels = ["a", "b", "a"]
    samples = LabelledSamples(np.eye(3), labels, labels=labels, readable=[True, True, False])
    found = pq.read_table(write_purified(samples, tmp_path / "p.parquet"))
    assert found["label"].to_pylist() == ["a", "b", None]


def test_columns_of_a_table(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": [7, 8, 9, 10], "text": list("abcd")}, index=[3, 2, 1, 0])
    for columns in (dict(frame), frame, pa.Table.from_pandas(frame, preserve_index=False)):
        out = write_purified(
            purified(X[:4]), tmp_path / "o.parquet", columns=columns, overwrite=True
        )
        found = pq.read_table(out)
        assert found.column_names[:3] == ["id", "text", "given"]
        assert found["id"].to_pylist() == [7, 8, 9, 10]


def test_nothing_to_write(tmp_path):
    with pytest.raises(ValueError, match="expected purified labels, got ndarray"):
        write_purified(np.ones((3, 2)), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no cleaner has seen"):
        write_purified(LabelledSamples(X, GIVEN), tmp_path / "out.parquet")
    samples = LabelledSamples(X[:2], GIVEN[:2], labels=GIVEN[:2])
    with pytest.raises(ValueError, match="3 in 'id'"):
        write_purified(samples, tmp_path / "out.parquet", columns={"id": [1, 2, 3]})


@pytest.mark.parametrize("kind", ["dask", "numpy"])
def test_a_folder_has_the_rows_of_the_file(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, "UNIT_ROWS", 600)
    found = []

    def read(i, values):
        found.append(i)
        return values

    features = chunked(X, [700, 700, 397], read) if kind == "dask" else X
    proba = np.random.default_rng(0).dirichlet(np.ones(10), len(X))
    samples = purified(features, proba=da.from_array(proba, 500) if kind == "dask" else proba)
    found.clear()
    columns = {
        "id": np.arange(1797),
        "kind": pd.Categorical(np.arange(1797) % 3),
        "text": [None if i < 1000 else str(i) for i in range(1797)],
    }
    options = {"columns": columns, "embedding": "embedding"}
    folder = write_purified(samples, tmp_path / "out", **options)
    names = [f"part-0000{i}.parquet" for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [pq.read_metadata(folder / name).num_rows for name in names] == [600, 600, 597]
    assert sorted(found) == list(range(3)) * (kind == "dask")
    expected = pq.read_table(write_purified(samples, tmp_path / "out.parquet", **options))
    written = pa.concat_tables([pq.read_table(folder / name) for name in names])
    assert written.unify_dictionaries().equals(expected.unify_dictionaries())
    back = read_parquet_embeddings(folder, label="label", columns=["id"])
    np.testing.assert_array_equal(back.features.compute(), X)
    np.testing.assert_array_equal(back.labels, GIVEN)


def test_processes_write_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNIT_ROWS", 1000)
    samples = purified(da.from_array(X, 700), clean_proba=np.linspace(0, 1, len(X)))
    with dask.config.set(scheduler="processes", num_workers=1):
        folder = write_purified(samples, tmp_path / "out", embedding="x")
    found = read_parquet_embeddings(folder, "x", label="given", columns=["clean_proba"])
    assert found.features.chunks[0] == (1000, 797)
    np.testing.assert_array_equal(found.features.compute(), X)
    np.testing.assert_array_equal(found.labels, GIVEN)
    np.testing.assert_array_equal(found.columns["clean_proba"], samples.clean_proba)


def test_a_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNIT_ROWS", 2)

    def read(i, values):
        if i == 1:
            raise OSError("boom")
        return values

    broken = purified(chunked(X[:4], [2, 2], read))
    with pytest.raises(OSError, match="boom"):
        write_purified(broken, tmp_path / "out", embedding="embedding")
    assert not list(tmp_path.iterdir())
    folder = write_purified(purified(X[:6]), tmp_path / "out")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_purified(purified(X[:4]), folder)
    with pytest.raises(OSError, match="boom"):
        write_purified(broken, folder, embedding="embedding", overwrite=True)
    assert len(list(folder.iterdir())) == 3
    write_purified(purified(X[:4]), folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_made_meanwhile_stays(tmp_path):
    def read(i, values):
        (tmp_path / "out").mkdir(exist_ok=True)
        return values

    samples = purified(chunked(X[:4], [4], read))
    with pytest.raises(FileExistsError):
        write_purified(samples, tmp_path / "out", embedding="x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_of_the_user_is_replaced(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").touch()
    with pytest.raises(ValueError, match="notes.txt; do name another"):
        write_purified(purified(X[:4]), folder, overwrite=True)
    with pytest.raises(ValueError, match="that write_purified wrote"):
        (tmp_path / "file").touch()
        write_purified(purified(X[:4]), tmp_path / "file", overwrite=True)
    with pytest.raises(ValueError, match="expected a file"):
        (tmp_path / "a.parquet").mkdir()
        write_purified(purified(X[:4]), tmp_path / "a.parquet", overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def a_dataset(folder):
    pq.write_table(pa.table({"x": [1]}), folder / "part-0.parquet")


def a_table_of_ours_among_others(folder):
    write_purified(purified(X[:4]), folder / "part-00000.parquet")
    pq.write_table(pa.table({"x": [1]}), folder / "part-00001.parquet")


def no_parquet(folder):
    (folder / "part-00000.parquet").write_text("x")


def a_folder(folder):
    (folder / "part-00000.parquet").mkdir()


def a_link(folder):
    path = write_purified(purified(X[:4]), folder.with_name("elsewhere.parquet"))
    (folder / "part-00000.parquet").symlink_to(path)


@pytest.mark.parametrize(
    "make", [a_dataset, a_table_of_ours_among_others, no_parquet, a_folder, a_link]
)
def test_a_folder_of_others_stays(tmp_path, make):
    folder = tmp_path / "out"
    folder.mkdir()
    make(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="that write_purified wrote"):
        write_purified(purified(X[:4]), folder, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_working_folder_stays(tmp_path, monkeypatch):
    folder = write_purified(purified(X[:4]), tmp_path / "out")
    monkeypatch.chdir(folder)
    for path in (".", folder):
        with pytest.raises(ValueError, match="that write_purified wrote"):
            write_purified(purified(X[:4]), path, overwrite=True)
    monkeypatch.chdir(tmp_path)
    write_purified(purified(X[:4]), folder, overwrite=True)


def test_folders_behind_links(tmp_path):
    folder, link = tmp_path / "far" / "out", tmp_path / "link"
    folder.mkdir(parents=True)
    link.symlink_to(folder)
    for n in (4, 6):
        assert write_purified(purified(X[:n]), link, overwrite=True) == link
        assert pq.read_table(folder).num_rows == n
    assert link.is_symlink() and list(folder.parent.iterdir()) == [folder]
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match="dangling, a link to nothing"):
        write_purified(purified(X[:4]), dangling, overwrite=True)
    assert sorted(tmp_path.iterdir()) == [dangling, tmp_path / "far", link]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("run-1.5", "folder"), ("run.2", "folder"), ("run", "folder"), ("a.pq", "file")],
)
def test_a_name_tells_a_file_from_a_folder(tmp_path, name, kind):
    path = write_purified(purified(X[:4]), tmp_path / name)
    assert path.is_dir() == (kind == "folder")
    assert pq.read_table(path).num_rows == 4


@pytest.mark.parametrize("name", ["a.csv", "a.npy", "a.parquet.gz", "v1.5.final"])
def test_names_of_other_kinds_of_files(tmp_path, name):
    with pytest.raises(ValueError, match="of a folder, without a suffix, got"):
        write_purified(purified(X[:4]), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exchange", [True, False])
def test_several_writers_of_a_folder(tmp_path, monkeypatch, exchange):
    """Each writes all that it has; where names can be exchanged, the folder is never away."""
    names = [tmp_path / "a", tmp_path / "b"]
    for name in names:
        name.mkdir()
    exchange = exchange and _files._exchanged(*names)
    for name in names:
        name.rmdir()
    if not exchange:
        monkeypatch.setattr(_files, "_exchanged", lambda one, other: False)
    monkeypatch.setattr(module, "UNIT_ROWS", 4)
    folder, sizes = write_purified(purified(X[:4]), tmp_path / "out"), (6, 9, 14)

    def write(n):
        for _ in range(8):
            write_purified(purified(X[:n]), folder, overwrite=True)

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, n) for n in sizes]
        there = [folder.exists()]
        while not all(writer.done() for writer in writers):
            there.append(folder.exists())
    for writer in writers:
        writer.result()
    assert all(there) or not exchange
    assert pq.read_table(folder).num_rows in sizes
    assert list(tmp_path.iterdir()) == [folder]


def test_the_first_of_several_writers_wins(tmp_path):
    def write(n):
        try:
            write_purified(purified(X[:n]), tmp_path / "out")
        except FileExistsError:
            return None
        return n

    with ThreadPoolExecutor() as pool:
        (written,) = filter(None, pool.map(write, range(4, 12)))
    assert pq.read_table(tmp_path / "out").num_rows == written
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
