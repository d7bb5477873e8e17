"""Fixtures that all tests share."""

from types import SimpleNamespace

import numpy as np
import pytest


def _numpy():
    return SimpleNamespace(name="numpy", xp=np, asarray=np.asarray, to_numpy=np.asarray)


def _array_api_strict():
    strict = pytest.importorskip("array_api_strict")
    return SimpleNamespace(
        name="array_api_strict", xp=strict, asarray=strict.asarray, to_numpy=np.asarray
    )


def _torch():
    torch = pytest.importorskip("torch")
    return SimpleNamespace(
        name="torch",
        xp=torch,
        asarray=lambda x: torch.from_numpy(np.array(x)),
        to_numpy=lambda x: x.detach().cpu().numpy(),
    )


def _cupy():
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
def xp(request):
    """An array library, each in turn; a test is skipped for those that are not installed.

    Has `name`, the library itself as `xp`, `asarray(numpy_array)`, which copies into the library
    with the dtype kept, and `to_numpy(array)`, which leads back.
    """
    return _LIBRARIES[request.param]()
