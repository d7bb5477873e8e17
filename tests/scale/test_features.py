import pickle

import numpy as np
import pytest

da = pytest.importorskip("dask.array")

from skclean.scale import open_features  # noqa: E402

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)


def test_npy(tmp_path):
    np.save(tmp_path / "X.npy", X)
    features = open_features(tmp_path / "X.npy")
    assert features.shape == (50, 3)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features.compute(), X)
    np.testing.assert_array_equal(features[7:9].compute(), X[7:9])


def test_a_file_is_named_and_not_sent(tmp_path):
    big = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (200_000, 10))
    big.flush()
    assert len(pickle.dumps(open_features(tmp_path / "X.npy"))) < 50_000


def test_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.save(str(tmp_path / "X.zarr"), X)
    np.testing.assert_array_equal(open_features(tmp_path / "X.zarr").compute(), X)


def test_one_dimension_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X[:, 0])
    with pytest.raises(ValueError, match="rows, features"):
        open_features(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "content",
    [
        b"no array",
        b"",
        b"PK\x03\x04 no archive",
        {"X": X},
        np.array([["a", None]], dtype=object),
        np.array([["a", "b"]]),
        np.zeros((3, 2), "M8[D]"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content):
    file = tmp_path / "x.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(tmp_path / "x.npz", **content)
        (tmp_path / "x.npz").rename(file)
    else:
        np.save(file, content)
    with pytest.raises(ValueError, match="expected a whole .npy file of numbers, got .*x.npy"):
        open_features(file)
