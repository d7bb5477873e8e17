import numpy as np
import pytest

from skclean._array import (
    array_namespace,
    device,
    from_numpy,
    is_host,
    is_numpy,
    take_rows,
    to_numpy,
)


def test_there_and_back(xp):
    values = np.arange(12.0).reshape(4, 3)
    x = xp.asarray(values)
    np.testing.assert_array_equal(to_numpy(x), values)
    np.testing.assert_array_equal(to_numpy(from_numpy(values, x)), values)
    assert type(from_numpy(values, x)) is type(x)
    assert is_host(x) == (xp.name in ("numpy", "torch"))
    assert is_numpy(x) == (xp.name == "numpy")


@pytest.mark.parametrize("rows", [slice(1, 3), slice(None, None, 2), np.array([3, 0, 0])])
def test_take_rows(xp, rows):
    values = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(to_numpy(take_rows(xp.asarray(values), rows)), values[rows])


def test_namespace_computes(xp):
    x = xp.asarray(np.array([[1.0, 3.0]]))
    assert float(array_namespace(None, x).mean(x)) == 2


@pytest.mark.parametrize("x", [[[1.0]], np.memmap, "frame"])
def test_arrays_of_unknown_kind_are_numpys(x, tmp_path):
    if x is np.memmap:
        x = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(2, 2))
    elif isinstance(x, str):
        x = pytest.importorskip("pandas").DataFrame({"a": [1.0]})
    assert array_namespace(x).asarray(x).ndim == 2
    assert is_numpy(x)
    assert is_host(x)
    assert device(x) == "cpu"


def test_to_numpy_copies_nothing_on_the_host():
    x = np.zeros((2, 2))
    assert to_numpy(x) is x


def test_bfloat16_becomes_float32():
    torch = pytest.importorskip("torch")
    assert to_numpy(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32


def test_mixed_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError):
        array_namespace(torch.ones(1), np.ones(1))
