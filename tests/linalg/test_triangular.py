import numpy as np
import pytest

from skclean.linalg.triangular import squared_norms


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
