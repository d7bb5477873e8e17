"""ConvKMeans: features of images from k-means on their patches, without labels or a GPU."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement
from threadpoolctl import threadpool_limits

from skclean._threads import one_blas_thread
from skclean._validation import Interval
from skclean.embeddings.patches import (
    auto_stride,
    bordered_filters,
    extract_patches,
    normalise_contrast,
    pooled_triangle_code,
    principal_axes,
    region_weights,
    zca_whitening,
)

#: Images that patches and principal axes are learnt from, at most.
MAX_IMAGES = 10_000
#: Pooled values held at a time while principal axes are learnt, at most (0.6 GB of float32).
MAX_POOLED = 150_000_000
#: Least patches per centroid and images per component, where there are more than `FEW` of these.
PER_CENTROID, PER_COMPONENT, FEW = 50, 4, 64
#: Patches of one image, at most: more of them say little more, and cost as much as of many.
MOST_PATCHES = 100
#: Images that a thread handles at a time.
BLOCK_IMAGES = 32
#: Bytes of pixels read at a time.
READ_BYTES = 1 << 26


class ConvKMeans(BaseEstimator):
    """Convolutional k-means features.

    Patches of the images are normalised in contrast, whitened and clustered. An image is described
    by how near its patches lie to each centroid: the triangle code, averaged over a grid of
    regions, then its square root, projected on principal components that are partly whitened.

    Parameters
    ----------
    n_filters : int, default=1600
        Centroids; where patches are few, one for 50 patches, or 64.
    patch_size : int, default=6
        Side of a patch in pixels, cut to the sides of the image.
    stride : int or None, default=None
        Pixels from a patch to the next. None is 1, more where an image had more than 1024 patches.
    grid : int, default=3
        Regions along each side of the image.
    contrast_eps : float, default=1.0
        Added to the variance of a patch before patches are divided by its root; relative to the
        mean variance of patches.
    whitening_eps : float, default=0.3
        Added to the eigenvalues of the covariance matrix of normalised patches.
    n_components : int or None, default=1536
        Principal components; where images are few, one for 4 images, or 64, and no more than the
        codes have. None gives the pooled codes themselves, ``grid**2 * n_filters`` of them.
    power : float in [0, 1], default=0.5
        How far principal components are whitened: 0 not at all, 1 to equal variance.
    n_patches : int, default=100_000
        Patches that centroids are learnt from, of up to 10,000 images and up to 100 of each.
    n_jobs : int or None, default=None
        Threads; None is one per core.

    Attributes
    ----------
    filters_ : ndarray of shape (K, d)
        Centroids of whitened patches.
    whitening_ : ndarray of shape (d, d)
    patch_mean_ : ndarray of shape (d,)
        Mean of the normalised patches.
    centre_ : float
        Mean of the pixels.
    contrast_floor_ : float
        Variance added to that of a patch.
    patch_shape_ : (int, int)
    stride_ : int
    image_shape_ : (int, int, int)
        Channels, height and width.
    pooled_mean_, axes_ : ndarray of shape (D,) and (D, k)
        Of the principal components; None without.
    n_features_out_ : int

    References
    ----------
    Coates, Ng & Lee, "An analysis of single-layer networks in unsupervised feature learning",
    AISTATS 2011, eq. 2; Coates & Ng, "Learning feature representations with k-means", 2012. Their
    patches lose their own mean, their codes are summed over quadrants; here the mean of all is
    subtracted, and the roots of means over 3 x 3 regions have more compact distances.
    """

    _parameter_constraints: dict = {
        "n_filters": [Interval(Integral, 1, None, closed="left")],
        "patch_size": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left"), None],
        "grid": [Interval(Integral, 1, None, closed="left")],
        "contrast_eps": [Interval(Real, 0, None, closed="neither")],
        "whitening_eps": [Interval(Real, 0, None, closed="neither")],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "power": [Interval(Real, 0, 1, closed="both")],
        "n_patches": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_filters=1600,
        patch_size=6,
        *,
        stride=None,
        grid=3,
        contrast_eps=1.0,
        whitening_eps=0.3,
        n_components=1536,
        power=0.5,
        n_patches=100_000,
        n_jobs=None,
    ):
        self.n_filters = n_filters
        self.patch_size = patch_size
        self.stride = stride
        self.grid = grid
        self.contrast_eps = contrast_eps
        self.whitening_eps = whitening_eps
        self.n_components = n_components
        self.power = power
        self.n_patches = n_patches
        self.n_jobs = n_jobs

    def fit_images(self, source: Any, random_state: Any = None) -> Self:
        """Learn centroids and principal axes.

        Parameters
        ----------
        source : ImageSource
            At least one image.
        random_state : int, RandomState instance or None, default=None
            Draws images, patches and first centroids.

        Returns
        -------
        self
            State in float64 for float64 images, else in float32.

        Raises
        ------
        ValueError
            If there is no image, or a parameter is out of range.
        """
        self._validate_params()
        rng = check_random_state(random_state)
        usable = np.flatnonzero(source.readable)
        if not len(usable):
            raise ValueError(
                f"ConvKMeans: expected at least one readable image, got none of {source.n}; do "
                "pass images."
            )
        _, height, width = self.image_shape_ = tuple(source.shape)
        self.patch_shape_ = min(self.patch_size, height), min(self.patch_size, width)
        self.stride_ = self.stride or auto_stride(height, width, self.patch_shape_)
        order = np.sort(rng.permutation(usable)[:MAX_IMAGES])
        self._fit_filters(self._draw_patches(source, order, rng), rng)
        self.pooled_mean_ = self.axes_ = None
        n_pooled = len(self._regions()) * len(self.filters_)
        self.n_features_out_ = n_pooled
        if self.n_components is not None:
            n_rows = max(1, MAX_POOLED // n_pooled)
            order = np.sort(rng.permutation(order)[:n_rows])
            pooled = self._pool(source, order, n_pooled)
            k = _supported(self.n_components, len(pooled), PER_COMPONENT)
            self.pooled_mean_, self.axes_ = principal_axes(pooled, k, self.power, rng)
            self.n_features_out_ = self.axes_.shape[1]
        return self

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """Features of images, each from its image alone, up to rounding.

        Parameters
        ----------
        images : ndarray of shape (b, C, H, W), uint8, float32 or float64
            Of the shape and value range of those of the fit.

        Returns
        -------
        ndarray of shape (b, n_features_out_)
            float64 for float64 images, else float32.

        Raises
        ------
        NotFittedError
            Before `fit_images`.
        ValueError
            If the images have another shape.
        """
        if not hasattr(self, "n_features_out_"):
            raise NotFittedError("ConvKMeans: expected a fitted estimator; do call fit_images.")
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.image_shape_:
            raise ValueError(
                f"ConvKMeans: expected images of shape (b, {str(self.image_shape_)[1:]}, got "
                f"{images.shape}; do bring them to the shape of those of the fit."
            )
        return self._embed(images)

    def _draw_patches(self, source, order, rng):
        """Raw patches (n, d), about as many of each image, in the dtype of the computation."""
        _, height, width = self.image_shape_
        (ph, pw), width = self.patch_shape_, width - self.patch_shape_[1] + 1
        positions = (height - ph + 1) * width
        wanted = min(-(-self.n_patches // len(order)), MOST_PATCHES, positions)
        drawn = []
        for _, images in _read(source, order):
            dtype = _float_dtype(images)
            for image in images:
                corners = sample_without_replacement(positions, wanted, random_state=rng)
                for y, x in zip(*np.divmod(corners, width)):
                    drawn.append(image[:, y : y + ph, x : x + pw].astype(dtype).ravel())
        return np.stack(drawn)

    def _fit_filters(self, patches, rng):
        self.centre_ = float(patches.mean(dtype=np.float64))
        patches -= self.centre_
        # Patches of a single pixel have no contrast: their own spread stands in.
        contrast, spread = patches.var(axis=1).mean(), np.mean(patches**2)
        self.contrast_floor_ = float(self.contrast_eps * max(contrast, 0.01 * spread)) or 1.0
        normalise_contrast(patches, 0, self.contrast_floor_)
        mean, whitening = zca_whitening(patches, self.whitening_eps)
        self.patch_mean_ = mean.astype(patches.dtype)
        self.whitening_ = whitening.astype(patches.dtype)
        patches -= self.patch_mean_
        kmeans = KMeans(
            _supported(self.n_filters, len(patches), PER_CENTROID),
            init="random",
            n_init=1,
            max_iter=15,
            random_state=rng,
            copy_x=False,
        )
        # One thread, as others add up in no certain order. Equal patches are no reason to warn.
        with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.filters_ = kmeans.fit(patches @ self.whitening_).cluster_centers_

    def _pool(self, source, order, width):
        pooled, done = np.empty((len(order), width), dtype=_float_dtype(source)), 0
        for _, images in _read(source, order):
            pooled[done : done + len(images)] = self._embed(images)
            done += len(images)
        return pooled

    def _regions(self):
        _, height, width = self.image_shape_
        shape = [
            len(range(0, side - patch + 1, self.stride_))
            for side, patch in zip((height, width), self.patch_shape_)
        ]
        return region_weights(*shape, self.grid)

    def _embed(self, images):
        """Features (b, n_features_out_), or pooled codes while there are no axes."""
        dtype = _float_dtype(images)
        regions = self._regions().astype(dtype)
        bordered = bordered_filters(self.filters_.astype(dtype, copy=False))
        mean, whitening = self.patch_mean_.astype(dtype), self.whitening_.astype(dtype)
        if self.axes_ is not None:
            shift, axes = self.pooled_mean_.astype(dtype), self.axes_.astype(dtype, copy=False)

        def embed(start):
            block = images[start : start + BLOCK_IMAGES]
            codes = np.empty((len(block), len(regions) * len(self.filters_)), dtype=dtype)
            for image, code in zip(block, codes):
                patches = extract_patches(
                    image.astype(dtype, copy=False), self.patch_shape_, self.stride_
                )
                patches = patches.reshape(-1, len(mean))
                normalise_contrast(patches, self.centre_, self.contrast_floor_)
                patches -= mean
                code[:] = pooled_triangle_code(patches @ whitening, bordered, regions).ravel()
            np.sqrt(codes, out=codes)
            features[start : start + len(block)] = (
                codes if self.axes_ is None else (codes - shift) @ axes
            )

        features = np.empty((len(images), self.n_features_out_), dtype=dtype)
        n_threads = effective_n_jobs(-1 if self.n_jobs is None else self.n_jobs)
        with one_blas_thread(), ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(embed, range(0, len(images), BLOCK_IMAGES)))
        return features


def _supported(wanted, n, each):
    """As many as wanted, of which n rows support one for `each` or `FEW`, but no more than rows."""
    return min(wanted, max(n // each, FEW), n)


def _float_dtype(images):
    return np.float64 if images.dtype == np.float64 else np.float32


def _read(source, order) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images in batches of `READ_BYTES`, up to `MAX_IMAGES` of them."""
    size = 8 * int(np.prod(source.shape))
    return source.batches(order, int(np.clip(READ_BYTES // size, 1, MAX_IMAGES)))
