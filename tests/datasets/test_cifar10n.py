"""The fetcher of CIFAR-10N on small local files of the published formats."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from http.client import HTTPResponse

import numpy as np
import pytest

from skclean.datasets import _cifar10n, _download, fetch_cifar10n
from skclean.datasets._download import RemoteFile, fetch_file
from skclean.datasets._pickle import load_arrays

ROWS = 20  # per batch
FIELDS = ["aggre_label", "random_label1", "random_label2", "random_label3", "worse_label"]


class Dangerous:
    """Pickles to a call of a function that has no business in a data file."""

    def __reduce__(self):
        return exec, ("raise RuntimeError('code of the file was run')",)


def labels_of(seed=0):
    rng = np.random.default_rng(seed)
    content = {"clean_label": rng.permutation(np.arange(5 * ROWS) % 10)}
    for i, field in enumerate(FIELDS):
        content[field] = (content["clean_label"] + (np.arange(5 * ROWS) % (i + 2) == 0)) % 10
    return content


def python2_pickle(batch):
    """Protocol 2 of `batch` with its keys as byte strings, as in the published archive."""
    return pickle.dumps({k.encode(): v for k, v in batch.items()}, protocol=2)


def write_archive(path, labels, extra=None):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (6 * ROWS, 3072), dtype=np.uint8)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    target = np.concatenate([labels["clean_label"], np.arange(ROWS) % 10])
    with tarfile.open(path, "w:gz") as tar:
        for i, name in enumerate(names):
            rows = slice(i * ROWS, (i + 1) * ROWS)
            batch = {"data": pixels[rows], "labels": target[rows].tolist()}
            content = python2_pickle(batch | (extra or {}))
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return pixels, target


def remote(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return RemoteFile(path.name, path.as_uri(), digest)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder with small files of the published formats, which the URLs are pointed at."""
    folder = tmp_path / "server"
    folder.mkdir()
    labels = labels_of()
    pixels, target = write_archive(folder / _cifar10n.IMAGES.filename, labels)
    with open(folder / _cifar10n.LABELS.filename, "wb") as stream:
        pickle.dump(labels, stream, protocol=2)
    monkeypatch.setattr(_cifar10n, "_ROWS_PER_BATCH", ROWS)
    for name in ("IMAGES", "LABELS"):
        monkeypatch.setattr(_cifar10n, name, remote(folder / getattr(_cifar10n, name).filename))
    return {"folder": folder, "labels": labels, "pixels": pixels, "target": target}


def fetch(tmp_path, **kwargs):
    return fetch_cifar10n(data_home=tmp_path / "home", delay=0, n_retries=0, **kwargs)


@pytest.mark.parametrize("noise, field", [("worse", "worse_label"), ("random2", "random_label2")])
def test_fetch_returns_images_in_torchvision_order_and_the_named_labels(
    tmp_path, server, noise, field
):
    data = fetch(tmp_path, noise=noise)
    assert data.data.shape == (5 * ROWS, 3072) and data.data.dtype == np.uint8
    # channel c of pixel (row, column) of the published format is at c * 1024 + row * 32 + column
    assert data.images[7, 3, 5, 2] == server["pixels"][7, 2 * 1024 + 3 * 32 + 5]
    np.testing.assert_array_equal(data.data, data.images.reshape(5 * ROWS, -1))
    np.testing.assert_array_equal(data.target, server["target"][: 5 * ROWS])
    np.testing.assert_array_equal(data.target_noisy, server["labels"][field])
    assert data.target.dtype == data.target_noisy.dtype == np.int64
    for y, g in ((0, 0), (3, 4), (9, 0)):
        share = np.mean(data.target_noisy[data.target == y] == g)
        assert data.transition[y, g] == pytest.approx(share)
    assert len(data.target_names) == 10 and data.frame is None and "CIFAR-10N" in data.DESCR


def test_fetch_test_subset_has_true_labels_alone(tmp_path, server):
    data = fetch(tmp_path, subset="test")
    assert data.images.shape == (ROWS, 32, 32, 3)
    np.testing.assert_array_equal(data.target, server["target"][5 * ROWS :])
    assert data.target_noisy is None and data.transition is None
    X, y = fetch(tmp_path, subset="test", return_X_y=True)
    np.testing.assert_array_equal(y, data.target)
    assert X.shape == (ROWS, 3072)


def test_second_fetch_needs_no_network_and_leaves_no_temporary_files(tmp_path, server):
    first = fetch(tmp_path)
    for path in server["folder"].iterdir():
        path.unlink()
    X, y = fetch(tmp_path, download_if_missing=False, return_X_y=True)
    np.testing.assert_array_equal(X, first.data)
    np.testing.assert_array_equal(y, first.target_noisy)
    kept = sorted(p.name for p in (tmp_path / "home" / "cifar10n").iterdir())
    assert kept == ["CIFAR-10_human.pt", "cifar10.npz"]


def test_files_put_there_by_hand_are_used_and_kept(tmp_path, server):
    folder = tmp_path / "home" / "cifar10n"
    folder.mkdir(parents=True)
    for path in list(server["folder"].iterdir()):
        path.rename(folder / path.name)
    assert len(fetch(tmp_path, download_if_missing=False).data) == 5 * ROWS
    assert (folder / _cifar10n.IMAGES.filename).exists()


def test_environment_variable_names_the_data_home(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SKCLEAN_DATA", str(tmp_path / "elsewhere"))
    fetch_cifar10n(n_retries=0)
    assert (tmp_path / "elsewhere" / "cifar10n" / "cifar10.npz").exists()


def test_missing_files_are_not_downloaded_against_the_users_will(tmp_path, server):
    with pytest.raises(OSError, match="download_if_missing=True"):
        fetch(tmp_path, download_if_missing=False)


@pytest.mark.parametrize("name", ["IMAGES", "LABELS"])
def test_wrong_checksum_is_refused_and_nothing_is_kept(tmp_path, server, monkeypatch, name):
    file = getattr(_cifar10n, name)
    monkeypatch.setattr(_cifar10n, name, RemoteFile(file.filename, file.url, "0" * 64))
    with pytest.raises(OSError, match=r"expected a download from .* to have the SHA-256 0000"):
        fetch(tmp_path)
    assert not (tmp_path / "home" / "cifar10n" / file.filename).exists()


def test_damaged_file_on_disk_is_refused(tmp_path, server):
    fetch(tmp_path)
    folder = tmp_path / "home" / "cifar10n"
    with open(folder / "CIFAR-10_human.pt", "ab") as stream:
        stream.write(b"more")
    with pytest.raises(OSError, match="CIFAR-10_human.pt.*do delete it"):
        fetch(tmp_path)
    whole = (folder / "cifar10.npz").read_bytes()
    for content in (b"", b"junk", whole[:-9]):
        (folder / "cifar10.npz").write_bytes(content)
        with pytest.raises(OSError, match="cifar10.npz.*do delete it"):
            fetch(tmp_path)


def test_labels_in_another_order_are_refused(tmp_path, server, monkeypatch):
    path = server["folder"] / "CIFAR-10_human.pt"
    shuffled = {field: values[::-1] for field, values in server["labels"].items()}
    path.write_bytes(pickle.dumps(shuffled, protocol=2))
    monkeypatch.setattr(_cifar10n, "LABELS", remote(path))
    with pytest.raises(OSError, match="in the order of torchvision"):
        fetch(tmp_path)


def test_labels_out_of_range_are_refused(tmp_path, server, monkeypatch):
    path = server["folder"] / "CIFAR-10_human.pt"
    path.write_bytes(pickle.dumps(server["labels"] | {"worse_label": np.arange(5 * ROWS)}))
    monkeypatch.setattr(_cifar10n, "LABELS", remote(path))
    with pytest.raises(OSError, match=r"worse labels in \[0, 9\]"):
        fetch(tmp_path)


def test_batches_of_the_wrong_size_are_refused(tmp_path, server, monkeypatch):
    monkeypatch.setattr(_cifar10n, "_ROWS_PER_BATCH", ROWS + 1)
    with pytest.raises(OSError, match="as many labels"):
        fetch(tmp_path)
    assert not (tmp_path / "home" / "cifar10n" / "cifar10.npz").exists()


@pytest.mark.parametrize("where", ["images", "labels"])
def test_code_in_a_file_is_not_run(tmp_path, server, monkeypatch, where):
    if where == "images":
        path = server["folder"] / _cifar10n.IMAGES.filename
        write_archive(path, server["labels"], extra={"more": Dangerous()})
        monkeypatch.setattr(_cifar10n, "IMAGES", remote(path))
    else:
        path = server["folder"] / _cifar10n.LABELS.filename
        path.write_bytes(pickle.dumps(server["labels"] | {"more": Dangerous()}, protocol=2))
        monkeypatch.setattr(_cifar10n, "LABELS", remote(path))
    with pytest.raises(pickle.UnpicklingError, match=r"got \w+\.exec"):
        fetch(tmp_path)


@pytest.mark.parametrize(
    "value",
    [OrderedDict, np.float64(1.0), np.random.default_rng(0)],
    ids=["class", "scalar", "rng"],
)
def test_unpickler_knows_arrays_alone(value):
    with pytest.raises(pickle.UnpicklingError, match="expected NumPy arrays"):
        load_arrays(io.BytesIO(pickle.dumps(value, protocol=2)))


def test_unpickler_reads_arrays_of_python_2():
    # {"data": array([7, 8, 9], uint8)} as Python 2 writes it, the format of CIFAR-10's batches
    minus_one = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + 2 * minus_one + b"K\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    state = b"(K\x01(K\x03t" + dtype + b"\x89U\x03\x07\x08\x09tb"
    content = load_arrays(io.BytesIO(b"\x80\x02}U\x04data" + empty + state + b"s."))
    np.testing.assert_array_equal(content[b"data"], np.array([7, 8, 9], dtype=np.uint8))
    assert content[b"data"].dtype == np.uint8


@pytest.mark.parametrize("new_format", [True, False])
def test_unpickler_reads_what_torch_saves(tmp_path, new_format):
    torch = pytest.importorskip("torch")
    labels = labels_of()
    path = tmp_path / "labels.pt"
    torch.save(labels, path, _use_new_zipfile_serialization=new_format)
    with path.open("rb") as stream:
        content = load_arrays(stream)
    assert sorted(content) == sorted(labels)
    for field, values in labels.items():
        np.testing.assert_array_equal(content[field], values)


def test_zip_without_a_pickle_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("other.txt", "text")
    with pytest.raises(pickle.UnpicklingError, match=r"one data\.pkl"):
        load_arrays(stream)


@pytest.mark.parametrize("kwargs", [{"noise": "worst"}, {"subset": "valid"}])
def test_unknown_names_are_refused(tmp_path, kwargs):
    with pytest.raises(ValueError, match=r"fetch_cifar10n: expected .* to be one of"):
        fetch(tmp_path, **kwargs)


def test_network_errors_are_retried_and_then_raised(tmp_path, monkeypatch):
    attempts, waits = [], []

    def broken(url, timeout):
        attempts.append(url)
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(_download, "urlopen", broken)
    monkeypatch.setattr(_download.time, "sleep", waits.append)
    file = RemoteFile("a.bin", "https://example.org/a.bin", None)
    with pytest.warns(UserWarning, match="trying again"):
        with pytest.raises(OSError, match=r"expected to download https://example\.org/a\.bin"):
            fetch_file(file, tmp_path, n_retries=2, delay=0.5)
    assert len(attempts) == 3 and waits == [0.5, 0.5]
    assert list(tmp_path.iterdir()) == []


def test_download_that_fails_once_succeeds(tmp_path, monkeypatch):
    source = tmp_path / "source.bin"
    source.write_bytes(b"content")
    working, calls = _download.urlopen, []

    def flaky(url, timeout):
        calls.append(url)
        if len(calls) == 1:
            raise TimeoutError("timed out")
        return working(url, timeout=timeout)

    monkeypatch.setattr(_download, "urlopen", flaky)
    home = tmp_path / "home"
    home.mkdir()
    file = RemoteFile("a.bin", source.as_uri(), hashlib.sha256(b"content").hexdigest())
    with pytest.warns(UserWarning, match="timed out"):
        assert fetch_file(file, home, delay=0).read_bytes() == b"content"


class Answers:
    """A socket that says this and closes."""

    def __init__(self, content):
        self.content = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + content

    def makefile(self, mode):
        return io.BytesIO(self.content)


def test_a_download_that_breaks_off_is_tried_again(tmp_path, monkeypatch):
    contents = [b"con", b"content"]

    def breaking_off(url, timeout):
        response = HTTPResponse(Answers(contents.pop(0)))
        response.begin()
        return response

    monkeypatch.setattr(_download, "urlopen", breaking_off)
    file = RemoteFile("a.bin", "http://a", hashlib.sha256(b"content").hexdigest())
    with pytest.warns(UserWarning, match="4 more expected"):
        assert fetch_file(file, tmp_path, delay=0).read_bytes() == b"content"


def test_negative_retries_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n_retries"):
        fetch_file(RemoteFile("a", "file:///a", None), tmp_path, n_retries=-1)
