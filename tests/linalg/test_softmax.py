import numpy as np
import pytest

from skclean.linalg.softmax import softmax


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax(xp, dtype):
    z = np.array([[1000.0, -1000.0, 0.5], [999.0, 0.0, -0.25]], dtype=dtype)
    for axis in (0, 1):
        shifted = np.exp(z.astype(float) - z.max(axis=axis, keepdims=True))
        found = softmax(xp.asarray(z), axis=axis)
        assert found.dtype == xp.asarray(z).dtype
        expected = shifted / shifted.sum(axis=axis, keepdims=True)
        np.testing.assert_allclose(xp.to_numpy(found), expected, rtol=1e-5, atol=1e-30)
