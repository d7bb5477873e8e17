import numpy as np
import pytest

from skclean.linalg.triangular import inverse, squared_norms


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (40, 65)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squared_norms(xp, shape, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape).astype(dtype)
    L = np.tril(rng.standard_normal((shape[1], shape[1]))).astype(dtype)
    slow = [sum(sum(x[j] * L[j, i] for j in range(len(x))) ** 2 for i in range(len(x))) for x in X]
    for order in "CF":
        found = squared_norms(*(xp.asarray(np.asarray(a, order=order)) for a in (X, L)))
        assert xp.to_numpy(found).dtype == dtype
        rtol = 1e-4 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(xp.to_numpy(found), slow, rtol=rtol)


@pytest.mark.parametrize("size", [1, 97, 300])
def test_inverse(xp, size):
    rng = np.random.default_rng(0)
    # Of a kernel matrix of rows near one another, as the landmarks' is.
    points = rng.standard_normal((size, 2))
    distance = np.sum((points[:, None] - points) ** 2, axis=2)
    L = np.linalg.cholesky(np.exp(-0.1 * distance) + 1e-5 * np.eye(size))
    found = xp.to_numpy(inverse(xp.asarray(L)))
    expected = np.linalg.inv(L)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(found @ L, np.eye(size), atol=1e-9)
