"""Fixtures that all tests share."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from skclean import _array


def _numpy(_):
    return SimpleNamespace(name="numpy", xp=np, asarray=np.asarray, to_numpy=np.asarray)


def _array_api_strict(monkeypatch):
    """Arrays on a device other than the host, which only `to_numpy` of the library leads back."""
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    kind = type(strict.asarray(0))
    convert = kind.__array__

    def by_to_numpy(self, dtype=None, copy=None):
        if sys._getframe(1).f_code is _array.to_numpy.__code__:
            return np.asarray(self._array)
        return convert(self, dtype, copy)

    monkeypatch.setattr(kind, "__array__", by_to_numpy)
    monkeypatch.setattr(kind, "__dlpack_device__", lambda self: (2, 0))
    return SimpleNamespace(
        name="array_api_strict",
        xp=strict,
        asarray=lambda x: strict.asarray(x, device=device),
        to_numpy=lambda x: np.asarray(x._array),
    )


def _torch(_):
    torch = pytest.importorskip("torch")
    return SimpleNamespace(
        name="torch",
        xp=torch,
        asarray=lambda x: torch.from_numpy(np.array(x)),
        to_numpy=lambda x: x.detach().cpu().numpy(),
    )


def _cupy(_):
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        pytest.skip("no CUDA device")
    return SimpleNamespace(name="cupy", xp=cupy, asarray=cupy.asarray, to_numpy=cupy.asnumpy)


_LIBRARIES = {
    "numpy": _numpy,
    "array_api_strict": _array_api_strict,
    "torch": _torch,
    "cupy": _cupy,
}


@pytest.fixture(params=_LIBRARIES)
def xp(request, monkeypatch):
    """An array library, each in turn; a test is skipped for those that are not installed.

    Has `name`, the library itself as `xp`, `asarray(numpy_array)`, which copies into the library
    with the dtype kept, and `to_numpy(array)`, which leads back.
    """
    return _LIBRARIES[request.param](monkeypatch)


@pytest.fixture(autouse=True)
def _draws_of_its_own(request):
    """Let each test draw the same from the `RNG` of its module, whichever tests ran before it.

    The seed is none that a test has of its own: data and noise of one seed would depend on it both.
    """
    rng = getattr(request.module, "RNG", None)
    if rng is not None:
        rng.bit_generator.state = np.random.default_rng(1234).bit_generator.state


@pytest.fixture
def blobs():
    """300 rows of three overlapping classes, their truth as codes, labels of str, a third drawn."""
    X, truth = make_blobs(300, centers=3, n_features=4, cluster_std=2.0, random_state=0)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(300) < 0.3, rng.integers(0, 3, 300), truth)
    return X, truth, np.array(["ant", "bee", "cat"])[noisy]
