"""Pure functions of convolutional k-means features: patches, their code, principal axes."""

import numpy as np
from scipy.linalg import eigh
from sklearn.utils.extmath import randomized_svd

#: Patches of an image along both sides, at most, where the stride is not given.
MAX_POSITIONS = 1024
#: Patches whose distances are computed at a time: a thread's share of the cache.
BLOCK_PATCHES = 192


def auto_stride(height: int, width: int, patch: tuple[int, int]) -> int:
    """Smallest stride of no more than `MAX_POSITIONS` patches per image."""
    stride = 1
    while (
        len(range(0, height - patch[0] + 1, stride)) * (len(range(0, width - patch[1] + 1, stride)))
        > MAX_POSITIONS
    ):
        stride += 1
    return stride


def extract_patches(image: np.ndarray, patch: tuple[int, int], stride: int = 1) -> np.ndarray:
    """Patches of an image.

    Parameters
    ----------
    image : ndarray of shape (C, H, W)
    patch : (int, int)
        Height and width in pixels, no more than those of the image.
    stride : int, default=1
        Pixels from a patch to the next.

    Returns
    -------
    ndarray of shape (h, w, C * patch[0] * patch[1])
        A copy; ``h = (H - patch[0]) // stride + 1``.
    """
    windows = np.lib.stride_tricks.sliding_window_view(image, patch, axis=(1, 2))
    windows = windows[:, ::stride, ::stride].transpose(1, 2, 0, 3, 4)
    return np.array(windows, order="C").reshape(*windows.shape[:2], -1)


def normalise_contrast(patches: np.ndarray, centre: float, floor: float) -> np.ndarray:
    """Divide patches by their contrast, (p - centre) / sqrt(var(p) + floor), in place.

    Parameters
    ----------
    patches : ndarray of shape (n, d), float
    centre : float
        One value for all patches, so that a patch's brightness is kept (the whitening shrinks it).
    floor : float, positive
        Variance that is added to that of the values of each patch.
    """
    patches -= centre
    mean = patches.mean(axis=1)
    variance = np.einsum("ij,ij->i", patches, patches) / patches.shape[1] - mean**2
    patches /= np.sqrt(np.maximum(variance, 0) + floor)[:, None]
    return patches


def zca_whitening(patches: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and whitening matrix V (D + eps)^(-1/2) V^T (d, d) of patches, in float64.

    Parameters
    ----------
    patches : ndarray of shape (n, d)
    eps : float, positive
        Added to the eigenvalues D of the covariance matrix.
    """
    mean = patches.mean(axis=0, dtype=np.float64)
    centred = patches - mean
    values, vectors = eigh(centred.T @ centred / len(patches))
    return mean, vectors / np.sqrt(np.maximum(values, 0) + eps) @ vectors.T


def bordered_filters(filters: np.ndarray) -> np.ndarray:
    """The matrix [-2 c, 1, |c|^2]^T (d + 2, K) whose product with [z, |z|^2, 1] is |z - c|^2."""
    square = np.sum(filters.astype(np.float64) ** 2, axis=1)[:, None]
    bordered = np.concatenate([-2 * filters, np.ones_like(square), square], axis=1)
    return np.ascontiguousarray(bordered.T, dtype=filters.dtype)


def pooled_triangle_code(
    patches: np.ndarray, bordered: np.ndarray, regions: np.ndarray
) -> np.ndarray:
    """Mean over regions of the triangle code max(0, mean_k z_k - z_k), z_k = |x - c_k|.

    Parameters
    ----------
    patches : ndarray of shape (m, d)
        Whitened.
    bordered : ndarray of shape (d + 2, K)
        `bordered_filters` of the centroids c.
    regions : ndarray of shape (r, m)
        Weight of every patch in each region.

    Returns
    -------
    ndarray of shape (r, K)
    """
    (m, d), dtype = patches.shape, bordered.dtype
    x = np.empty((m, d + 2), dtype=dtype)
    x[:, :d], x[:, d + 1] = patches, 1
    np.einsum("ij,ij->i", patches, patches, out=x[:, d])
    pooled = np.zeros((len(regions), bordered.shape[1]), dtype=dtype)
    held = np.empty((min(m, BLOCK_PATCHES), bordered.shape[1]), dtype=dtype)
    for start in range(0, m, BLOCK_PATCHES):
        rows = slice(start, min(start + BLOCK_PATCHES, m))
        z = np.matmul(x[rows], bordered, out=held[: rows.stop - start])
        np.sqrt(np.maximum(z, 0, out=z), out=z)
        np.subtract(z.mean(axis=1, keepdims=True), z, out=z)
        pooled += regions[:, rows] @ np.maximum(z, 0, out=z)
    return pooled


def region_weights(height: int, width: int, grid: int) -> np.ndarray:
    """Weights (r, height * width) of the means over a grid of regions of equal size.

    r is ``min(grid, height) * min(grid, width)``; sides differ by one position at most.
    """
    sides = []
    for length in (height, width):
        part = np.arange(length) * min(grid, length) // length
        inside = part == np.arange(min(grid, length))[:, None]
        sides.append(inside / inside.sum(axis=1, keepdims=True))
    return np.kron(*sides)


def principal_axes(
    rows: np.ndarray, n_components: int, power: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and axes (D, k) that project rows on scaled principal components.

    Component j is multiplied by l_j^(-power / 2), l_j its variance, then all by one factor that
    gives them unit mean square.

    Parameters
    ----------
    rows : ndarray of shape (n, D)
        Overwritten.
    n_components : int
        k, or less where the rows have fewer components that are not rounding errors; at least 1.
    power : float in [0, 1]
        0 keeps the variances, 1 makes them equal.
    rng : numpy.random.RandomState
    """
    mean = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
    size = np.linalg.norm(rows)
    rows -= mean
    k = min(n_components, *rows.shape)
    _, s, axes = randomized_svd(
        rows, k, n_iter=2, power_iteration_normalizer="QR", random_state=rng
    )
    kept = s > 10 * np.finfo(rows.dtype).eps * size
    if not kept.any():
        return mean, axes[:1].T
    axes, s = axes[kept], s[kept].astype(np.float64)
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    variance = s**2 / len(rows)
    scale = variance ** (-power / 2)
    scale /= np.sqrt(np.mean(variance * scale**2))
    return mean, np.ascontiguousarray((axes * scale[:, None]).T, dtype=rows.dtype)
