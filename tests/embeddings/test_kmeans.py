import pickle
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from threadpoolctl import threadpool_info

from skclean.embeddings.kmeans import ConvKMeans
from skclean.embeddings.patches import (
    MAX_POSITIONS,
    auto_stride,
    bordered_filters,
    extract_patches,
    normalise_contrast,
    pooled_triangle_code,
    principal_axes,
    region_weights,
    zca_whitening,
)

SEEDS = [0, 1]
DTYPES = [np.float32, np.float64]


class Source(SimpleNamespace):
    """Images in memory, as the featurizer hands them over."""

    def __init__(self, images):
        super().__init__(images=images, n=len(images), shape=images.shape[1:], dtype=images.dtype)
        self.readable = np.ones(len(images), dtype=bool)

    def batches(self, order, batch_size):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield rows, self.images[rows]


def random_images(n=40, shape=(3, 12, 12), seed=0, dtype=np.uint8):
    """Smooth coloured noise."""
    x = np.random.default_rng(seed).standard_normal((n, *shape)).cumsum(axis=-1)
    x = (x - x.min()) / (x.max() - x.min()) * 255
    return x.round().astype(dtype)


def fitted(images, seed=0, **settings):
    settings = {"n_filters": 20, "patch_size": 4, "n_components": 10, "n_patches": 600} | settings
    return ConvKMeans(**settings).fit_images(Source(images), seed)


def tolerance(dtype):
    return 2e-4 if dtype == np.float32 else 1e-10


@pytest.mark.parametrize("shape, patch, stride", [((3, 7, 9), (3, 2), 2), ((1, 1, 5), (1, 3), 1)])
def test_patches_by_their_definition(shape, patch, stride):
    image = np.random.default_rng(0).random(shape)
    found = extract_patches(image, patch, stride)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            y, x = i * stride, j * stride
            cut = image[:, y : y + patch[0], x : x + patch[1]]
            np.testing.assert_array_equal(found[i, j], cut.ravel())
    assert found.shape[:2] == (
        (shape[1] - patch[0]) // stride + 1,
        (shape[2] - patch[1]) // stride + 1,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_contrast_by_its_definition(dtype, seed):
    patches = np.random.default_rng(seed).random((9, 12)) * 5
    found = normalise_contrast(patches.astype(dtype), 2.0, 0.3)
    for patch, normal in zip(patches, found):
        expected = (patch - 2.0) / np.sqrt(patch.var() + 0.3)
        np.testing.assert_allclose(normal, expected, atol=tolerance(dtype))
    assert found.dtype == dtype


@pytest.mark.parametrize("seed", SEEDS)
def test_whitened_covariance(seed):
    rng = np.random.default_rng(seed)
    patches = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 3
    mean, whitening = zca_whitening(patches, 0.1)
    values, vectors = np.linalg.eigh(np.cov(patches.T, bias=True))
    expected = sum(np.outer(v, v) / np.sqrt(d + 0.1) for d, v in zip(values, vectors.T))
    np.testing.assert_allclose(whitening, expected, atol=1e-9)
    np.testing.assert_allclose(mean, patches.mean(axis=0))
    white = (patches - mean) @ whitening
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvalsh(np.cov(white.T, bias=True))), np.sort(values / (values + 0.1))
    )


def triangle_code_literally(patches, filters, regions):
    """Coates, Ng & Lee 2011, eq. 2, and the mean over each region."""
    codes = np.empty((len(patches), len(filters)))
    for i, x in enumerate(patches):
        z = np.array([np.sqrt(np.sum((x - c) ** 2)) for c in filters])
        for k in range(len(filters)):
            codes[i, k] = max(0.0, z.mean() - z[k])
    return np.array([sum(w * code for w, code in zip(r, codes)) for r in regions])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("block", [4, 192])
def test_triangle_code_by_its_definition(dtype, seed, block, monkeypatch):
    monkeypatch.setattr("skclean.embeddings.patches.BLOCK_PATCHES", block)
    rng = np.random.default_rng(seed)
    filters = rng.standard_normal((7, 12)).astype(dtype) * 3
    # A patch that is a centroid has a distance of zero, and a square that may round below it.
    patches = np.concatenate([rng.standard_normal((29, 12)).astype(dtype) * 3, filters[:1]])
    regions = region_weights(5, 6, 2)
    found = pooled_triangle_code(patches, bordered_filters(filters), regions.astype(dtype))
    expected = triangle_code_literally(patches.astype(float), filters.astype(float), regions)
    np.testing.assert_allclose(found, expected, atol=5e-4 if dtype == np.float32 else 1e-7)
    assert found.dtype == dtype


def test_rotated_patches_have_the_same_code():
    rng = np.random.default_rng(0)
    patches, filters = rng.standard_normal((30, 5)), rng.standard_normal((8, 5))
    rotation, regions = np.linalg.qr(rng.standard_normal((5, 5)))[0], region_weights(5, 6, 3)
    codes = pooled_triangle_code(patches, bordered_filters(filters), regions)
    turned = pooled_triangle_code(patches @ rotation, bordered_filters(filters @ rotation), regions)
    np.testing.assert_allclose(turned, codes, atol=1e-10)


@pytest.mark.parametrize("height, width, grid", [(27, 27, 3), (5, 7, 2), (1, 4, 3), (1, 1, 2)])
def test_regions_share_the_positions(height, width, grid):
    weights = region_weights(height, width, grid)
    assert weights.shape == (min(grid, height) * min(grid, width), height * width)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert ((weights > 0).sum(axis=0) == 1).all()
    for w in weights.reshape(-1, height, width) > 0:
        rows, columns = np.flatnonzero(w.any(axis=1)), np.flatnonzero(w.any(axis=0))
        assert w.sum() == len(rows) * len(columns)
        for found, side in ((rows, height), (columns, width)):
            np.testing.assert_array_equal(found, np.arange(found[0], found[-1] + 1))
            assert len(found) in (side // min(grid, side), -(-side // min(grid, side)))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_principal_axes_by_their_definition(power, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 12)) @ np.diag(2.0 ** -np.arange(12)) + 4
    mean, axes = principal_axes(X.astype(dtype), 4, power, np.random.RandomState(0))
    Z = X - X.mean(axis=0)
    values, vectors = np.linalg.eigh(Z.T @ Z / 200)
    expected = np.empty((200, 4))
    for j in range(4):
        variance, direction = values[-1 - j], vectors[:, -1 - j]
        direction = direction * np.sign(direction[np.abs(direction).argmax()])
        expected[:, j] = Z @ direction * variance ** (-power / 2)
    expected /= np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(
        (X.astype(dtype) - mean) @ axes, expected, atol=5e-3 if dtype == np.float32 else 1e-6
    )
    assert axes.dtype == mean.dtype == dtype


@pytest.mark.parametrize("n, kept", [(1, 1), (2, 1), (5, 4)])
def test_components_that_are_rounding_errors_are_left_out(n, kept):
    X = np.random.default_rng(0).random((n, 30), dtype=np.float32) + 5
    X = np.concatenate([X, X, X]) if n > 1 else X
    mean, axes = principal_axes(X.copy(), 10, 1.0, np.random.RandomState(0))
    assert axes.shape == (30, kept)
    projected = (X - mean) @ axes
    np.testing.assert_allclose(np.mean(projected**2), float(n > 1), atol=1e-3)


def test_stride_bounds_the_patches():
    assert auto_stride(32, 32, (6, 6)) == 1
    for height, width in [(96, 96), (224, 200), (1, 5000)]:
        patch = min(6, height), min(6, width)
        counts = [
            len(extract_patches(np.zeros((1, height, width)), patch, s).reshape(-1, patch[0]))
            for s in (auto_stride(height, width, patch), auto_stride(height, width, patch) - 1)
        ]
        counts = [c // patch[1] for c in counts]
        assert counts[0] <= MAX_POSITIONS < counts[1]


def features_literally(model, image):
    """The features of one image, step by step in float64."""
    image, filters = image.astype(float), model.filters_.astype(float)
    (ph, pw), codes, where = model.patch_shape_, [], []
    ys = range(0, image.shape[1] - ph + 1, model.stride_)
    xs = range(0, image.shape[2] - pw + 1, model.stride_)
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            patch = image[:, y : y + ph, x : x + pw].ravel()
            patch = (patch - model.centre_) / np.sqrt(patch.var() + model.contrast_floor_)
            z = model.whitening_.astype(float).T @ (patch - model.patch_mean_)
            distance = np.sqrt(np.sum((z - filters) ** 2, axis=1))
            codes.append(np.maximum(distance.mean() - distance, 0))
            sides = len(ys), len(xs)
            grid = [min(model.grid, s) for s in sides]
            where.append([k * g // s for k, g, s in zip((i, j), grid, sides)])
    pooled = []
    for row in range(max(w[0] for w in where) + 1):
        for column in range(max(w[1] for w in where) + 1):
            here = [c for c, w in zip(codes, where) if w == [row, column]]
            pooled += list(np.sqrt(np.mean(here, axis=0)))
    if model.axes_ is None:
        return np.array(pooled)
    return (np.array(pooled) - model.pooled_mean_) @ model.axes_.astype(float)


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 8, 8), (3, 9, 14), (1, 1, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("settings", [{}, {"n_components": None, "stride": 2, "grid": 2}])
def test_features_by_their_definition(shape, dtype, settings):
    images = random_images(shape=shape, dtype=dtype)
    model = fitted(images, **settings)
    found = model.embed_images(images[:5])
    expected = np.array([features_literally(model, image) for image in images[:5]])
    np.testing.assert_allclose(found, expected, atol=1e-7 if dtype == np.float64 else 2e-3)
    assert found.dtype == (np.float64 if dtype == np.float64 else np.float32)
    assert found.shape == (5, model.n_features_out_)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_row_depends_on_its_image_alone(dtype):
    images = random_images(n=80, dtype=dtype)
    model = fitted(images)
    whole = model.embed_images(images)
    for rows in ([3], [79, 0, 40], np.arange(80)[::-1]):
        np.testing.assert_allclose(
            model.embed_images(images[rows]), whole[rows], rtol=0, atol=1e-6 * np.abs(whole).max()
        )
    np.testing.assert_array_equal(model.embed_images(images), whole)
    assert model.embed_images(images[:0]).shape == (0, model.n_features_out_)
    one = clone(model).set_params(n_jobs=1).fit_images(Source(images), 0)
    np.testing.assert_array_equal(one.embed_images(images), whole)


def test_scale_and_offset_of_the_values_do_not_matter():
    images = random_images(dtype=np.float64)
    features = fitted(images).embed_images(images)
    for scale, offset in [(2.0**-8, 0), (1 / 255, 0), (1000, 0), (1 / 127.5, -1)]:
        moved = images * scale + offset
        found = fitted(moved).embed_images(moved)
        np.testing.assert_allclose(found, features, atol=1e-6)


def test_the_dtype_of_the_same_images_hardly_matters():
    images = random_images()
    features = fitted(images).embed_images(images)
    found = fitted(images.astype(np.float32)).embed_images(images.astype(np.float32))
    np.testing.assert_array_equal(found, features)
    found = fitted(images.astype(np.float64)).embed_images(images.astype(np.float64))
    np.testing.assert_allclose(np.corrcoef(found.ravel(), features.ravel())[0, 1], 1, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(
    "images",
    [
        random_images(n=1),
        random_images(n=3),
        random_images(shape=(1, 1, 1)),
        random_images(shape=(1, 1, 2)),
        random_images(shape=(3, 2, 5)),
        np.full((5, 3, 8, 8), 7),
        np.zeros((1, 1, 4, 4)),
        np.repeat(random_images(n=1), 6, axis=0),
        np.arange(8)[:, None, None, None] * np.ones((1, 1, 6, 6)),
    ],
    ids=["one", "three", "1x1", "1x2", "2x5", "constant", "black", "duplicates", "flat"],
)
def test_degenerate_images_give_finite_features(images, dtype):
    images = images.astype(dtype)
    for settings in ({}, {"power": 1.0}, {"n_components": None}):
        model = ConvKMeans(n_filters=50, **settings).fit_images(Source(images), 0)
        for batch in (images, np.zeros_like(images), images[:1] + np.asarray(1, dtype)):
            found = model.embed_images(batch)
            assert np.isfinite(found).all() and found.shape[1] == model.n_features_out_ >= 1
            assert np.abs(found).max() < 1e4


def test_images_of_one_pixel_keep_their_order():
    images = random_images(n=60, shape=(1, 1, 1), dtype=np.float64)
    model = ConvKMeans().fit_images(Source(images), 0)
    nearest = _nearest_other(model.embed_images(images))
    rank = images.ravel().argsort(kind="stable").argsort()
    assert np.median(np.abs(rank[nearest] - rank)) <= 2


def _nearest_other(features):
    distance = np.sum((features[:, None] - features) ** 2, axis=2)
    np.fill_diagonal(distance, np.inf)
    return distance.argmin(axis=1)


def test_digits_are_told_apart():
    digits = load_digits()
    images = digits.images[:, None].astype(np.float32)
    model = ConvKMeans(n_filters=100, n_components=64).fit_images(Source(images[:900]), 0)
    features = model.embed_images(images)
    linear = RidgeClassifier().fit(features[:900], digits.target[:900])
    assert linear.score(features[900:], digits.target[900:]) > 0.93
    nearest = _nearest_other(features[:900])
    assert np.mean(digits.target[nearest] == digits.target[:900]) > 0.97
    np.testing.assert_allclose(np.mean(features[:900] ** 2), 1, atol=0.01)


def test_few_patches_and_images_support_few_filters_and_components():
    model = ConvKMeans(n_patches=10_000).fit_images(Source(random_images(n=400)), 0)
    assert model.filters_.shape == (10_000 // 50, 3 * 6 * 6)
    assert model.n_features_out_ == 400 // 4
    model = ConvKMeans().fit_images(Source(random_images(n=30, shape=(1, 6, 7))), 0)
    assert model.filters_.shape == (60, 36) and model.n_features_out_ <= 30
    model = ConvKMeans(n_filters=5, n_components=4).fit_images(Source(random_images()), 0)
    assert model.filters_.shape == (5, 108) and model.n_features_out_ == 4


def test_unreadable_images_teach_nothing():
    images = random_images()
    source = Source(np.concatenate([images, np.zeros_like(images)]))
    source.readable = np.arange(80) < 40
    model = ConvKMeans(n_filters=20, n_components=10).fit_images(source, 0)
    np.testing.assert_array_equal(
        model.embed_images(images),
        clone(model).fit_images(Source(images), 0).embed_images(images),
    )
    source.readable[:] = False
    with pytest.raises(ValueError, match="at least one readable image, got none of 80"):
        clone(model).fit_images(source, 0)


def test_seeds_and_global_state():
    images = random_images()
    before, threads = np.random.get_state()[1].copy(), threadpool_info()
    held = images.copy()
    first = fitted(images, seed=np.random.RandomState(3)).embed_images(images)
    np.testing.assert_array_equal(fitted(images, seed=3).embed_images(images), first)
    assert not np.array_equal(fitted(images, seed=4).filters_, fitted(images, seed=3).filters_)
    np.testing.assert_array_equal(images, held)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert threadpool_info() == threads


def test_pickle_and_clone():
    images = random_images()
    model = fitted(images)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.embed_images(images), model.embed_images(images))
    assert not hasattr(clone(model), "filters_")


def test_memory_does_not_grow_with_the_images(monkeypatch):
    monkeypatch.setattr("skclean.embeddings.kmeans.MAX_IMAGES", 100)
    monkeypatch.setattr("skclean.embeddings.kmeans.READ_BYTES", 1 << 18)
    peaks = []
    for n in (200, 3000):
        images = random_images(n, shape=(1, 8, 8))
        tracemalloc.start()
        fitted(images)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20 * 3000


def test_wrong_input():
    images = random_images()
    for name, value in [
        ("n_filters", 0),
        ("patch_size", 0),
        ("contrast_eps", 0.0),
        ("power", 2),
        ("n_components", 0),
    ]:
        with pytest.raises(ValueError, match=name):
            fitted(images, **{name: value})
    with pytest.raises(NotFittedError, match="do call fit_images"):
        ConvKMeans().embed_images(images)
    with pytest.raises(ValueError, match=r"shape \(b, 3, 12, 12\), got \(40, 3, 12, 11\)"):
        fitted(images).embed_images(images[..., :-1])
