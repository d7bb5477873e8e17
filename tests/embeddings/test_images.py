"""Arrays of images."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from skclean import LabelledSamples
from skclean.embeddings import _source
from skclean.embeddings.images import ImageItems, open_images

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8)


def first(images):
    return np.moveaxis(images, -1, 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "bool", "f2", "f4", "f8", ">f8"])
@pytest.mark.parametrize("layout", ["n h w 3", "n 3 h w", "n h w 1", "n 1 h w", "n h w"])
def test_every_layout_and_dtype(layout, dtype):
    shape = {"n": 4, "h": 6, "w": 5}
    X = RNG.integers(0, 2, [shape.get(part) or int(part) for part in layout.split()]).astype(dtype)
    channels = 3 if "3" in layout else 1
    expected = {"uint8": np.uint8, "f8": np.float64, ">f8": np.float64}.get(dtype, np.float32)
    source = open_images(X)
    assert (source.n, source.shape, source.dtype) == (4, (channels, 6, 5), expected)
    slow = np.empty((4, channels, 6, 5))
    for i, c, h, w in np.ndindex(slow.shape):
        at = {"n": i, "h": h, "w": w, "3": c, "1": 0}
        slow[i, c, h, w] = X[tuple(at[part] for part in layout.split())]
    for found in (source.array(), source.read(slice(None)), source.read(np.arange(4))):
        np.testing.assert_array_equal(found, slow)
        assert found.dtype == expected and found.dtype.isnative
    assert source.read([2, 0]).flags.c_contiguous
    np.testing.assert_array_equal(source.read(X.reshape(4, -1)[:, 0] > 5), slow[:0])
    assert np.shares_memory(source.inputs, X) and source.readable.all()


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_integers_stay_exact(dtype):
    X = np.zeros((1100, 2, 2), dtype=dtype)
    X[1050, 1, 0] = 2**24
    assert open_images(X).dtype == open_images([(x, 0) for x in X]).dtype == np.float32
    X[1050, 1, 0] += 1
    source = open_images(X)
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.array()[:, 0], X)
    if dtype.startswith("i"):
        assert open_images(-X).dtype == np.float64
    assert open_images(X[:0], like=(1, 2, 2)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["int64", "bool", "f2", ">f8"])
def test_no_more_than_a_batch_is_converted(dtype, monkeypatch):
    X = COLOUR.astype(dtype)
    monkeypatch.setattr(_source, "CACHE_BYTES", 100)
    source = open_images(X)
    source.check()
    assert source.array() is None
    for rows, read in source.batches(np.arange(20), 6):
        np.testing.assert_array_equal(read, first(X)[rows])
        assert read.dtype == source.dtype and read.dtype.isnative


def test_where_both_axes_could_be_the_channels():
    X = RNG.integers(0, 9, (2, 3, 4, 3))
    assert open_images(X).shape == (3, 3, 4)
    assert open_images(X.astype(float)).shape == (3, 4, 3)


def test_reading_writes_to_nobody():
    X = COLOUR.copy()
    X.flags.writeable = False
    source = open_images(X)
    read = source.read(slice(0, 3))
    read[:] = 0
    source.array()
    read = source.read(slice(0, 3))
    assert read.flags.c_contiguous and read.flags.writeable
    np.testing.assert_array_equal(read, first(COLOUR)[:3])


@pytest.mark.parametrize(
    ("d", "shape"),
    [(64, (8, 8)), (3072, (32, 32, 3)), (192, (8, 8, 3)), (768, (16, 16, 3)), (1, (1, 1))]
    + [(147, (1, 147)), (10, (1, 10)), (3, (1, 3)), (4, (2, 2)), (784, (28, 28))],
)
def test_flat_rows(d, shape):
    X = RNG.integers(0, 256, (3, d))
    source = open_images(X)
    np.testing.assert_array_equal(source.inputs, X.reshape(3, *shape))
    assert np.shares_memory(source.inputs, X)
    flat = source.read(slice(None))
    if len(shape) == 3:
        flat = np.moveaxis(flat, 1, 3)
    np.testing.assert_array_equal(flat.reshape(3, d), X)
    again = open_images(X.astype(np.float32), like=source.shape)
    np.testing.assert_array_equal(again.read([0, 1, 2]), source.array())


def test_flat_rows_of_a_named_shape():
    X = RNG.random((4, 36))
    assert open_images(X, image_shape=(4, 9)).shape == (1, 4, 9)
    source = open_images(X, image_shape=(4, 3, 3), like=(3, 4, 3))
    assert source.shape == (3, 4, 3)
    for dtype in (float, int, np.uint8):
        flat = RNG.integers(0, 9, (4, 60)).astype(dtype)
        rows = open_images(flat, image_shape=(3, 4, 5)).read(slice(None))
        np.testing.assert_array_equal(rows, flat.reshape(4, 3, 4, 5))
    # The images of a first fit are opened by the second with the same settings.
    again = open_images(source.inputs.astype(np.uint8), image_shape=(4, 3, 3))
    assert again.shape == (3, 4, 3)
    with pytest.raises(ValueError, match=r"image_shape of 36 values, as many .* got \(5, 5\)"):
        open_images(X, image_shape=(5, 5))
    with pytest.raises(ValueError, match="do leave image_shape out"):
        open_images(GRAY, image_shape=(3, 10))
    with pytest.raises(ValueError, match="X has 36 features, but SSLFeaturizer is expecting 25"):
        open_images(X, like=(1, 5, 5))


def test_tables_and_lists():
    pd = pytest.importorskip("pandas")
    X = RNG.random((5, 16))
    for rows in (pd.DataFrame(X), X.tolist(), X.astype(object), list(X)):
        np.testing.assert_array_equal(open_images(rows).array()[:, 0], X.reshape(5, 4, 4))
    np.testing.assert_array_equal(open_images(list(COLOUR)).array(), first(COLOUR))
    np.testing.assert_array_equal(open_images(GRAY.tolist()).array()[:, 0], GRAY)


def test_containers():
    samples = LabelledSamples(np.zeros((20, 2)), inputs=COLOUR)
    np.testing.assert_array_equal(open_images(samples).array(), first(COLOUR))
    samples = LabelledSamples(GRAY.reshape(20, -1).astype(float))
    assert open_images(samples, image_shape=(6, 5)).shape == (1, 6, 5)


def test_memory_maps_are_not_read_whole(tmp_path, monkeypatch):
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (20, 6, 5, 3))
    X[:] = COLOUR
    source = open_images(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert np.shares_memory(source.array(), source.inputs)
    monkeypatch.setattr(_source, "CACHE_BYTES", 100)
    for mapped in (X, X[:, :], np.asarray(X), X.reshape(20, -1)):
        source = open_images(mapped, image_shape=(6, 5, 3))
        source.check()
        assert source.array() is None
        assert isinstance(source.inputs.base.base, np.memmap) or np.shares_memory(source.inputs, X)
        order = RNG.permutation(20)
        found = [rows for rows, _ in source.batches(order, 6)]
        np.testing.assert_array_equal(np.concatenate(found), order)
        read = [read for _, read in source.batches(order, 6)]
        np.testing.assert_array_equal(np.concatenate(read), first(COLOUR)[order])
    assert open_images(COLOUR).array() is not None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "f4", "f8"])
def test_an_array_is_pickled_once(dtype):
    X = RNG.integers(0, 256, (50, 3, 16, 16)).astype(dtype)
    for images in (X, X.transpose(0, 2, 3, 1), X[::2, :, 1:]):
        source = open_images(images)
        whole = source.array().copy()
        dumped = pickle.dumps(source)
        assert len(dumped) < images.nbytes + 2000
        again = pickle.loads(dumped)
        np.testing.assert_array_equal(again.read([4, 1]), whole[[4, 1]])
        np.testing.assert_array_equal(again.array(), whole)
        np.testing.assert_array_equal(source.array(), whole)
        np.testing.assert_array_equal(again.inputs, images)


def test_what_was_scaled_is_pickled(pil):
    source = open_images(COLOUR, image_size=3)
    source.check()
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.array(), source.array())


def test_a_memory_map_is_pickled_as_its_place(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, RNG.integers(0, 256, (40, 12, 10, 3), dtype=np.uint8))
    raw = np.memmap(path, np.int16, "r+", offset=128)
    X = np.load(path, mmap_mode="r")
    views = [X, X[7:], X.reshape(40, -1)[3:9], X[::3, 2:8, 1::2], np.asarray(X), X[..., 0]]
    views += [X.transpose(0, 3, 1, 2)[5:6], raw.reshape(40, 12, 15), raw[600:780].reshape(1, -1)]
    for images in views:
        source = open_images(images, image_shape=(12, 10, 3) if images.shape[1] == 360 else None)
        dumped = pickle.dumps(source)
        assert len(dumped) < 2000
        again = pickle.loads(pickle.dumps(pickle.loads(dumped)))
        assert not again.inputs.flags.writeable
        np.testing.assert_array_equal(again.inputs, source.inputs)
        np.testing.assert_array_equal(again.array(), source.array())


def test_a_memory_map_that_cannot_be_opened_again_is_pickled_whole(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, COLOUR)
    changed = np.load(path, mmap_mode="c")
    changed[0] = 7
    lost = np.load(path, mmap_mode="r")
    for images in (changed, lost, lost[::-1], lost[:0]):
        source = open_images(images, like=(3, 6, 5))
        again = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(again.inputs, images)
        path.unlink(missing_ok=True)


def test_tensors():
    torch = pytest.importorskip("torch")
    for tensor in (torch.tensor(COLOUR), torch.tensor(first(COLOUR).copy())):
        source = open_images(tensor)
        assert source.dtype == np.uint8
        np.testing.assert_array_equal(source.array(), first(COLOUR))
    assert np.shares_memory(open_images(tensor).inputs, tensor.numpy())
    floats = torch.tensor(first(COLOUR) / 255, dtype=torch.bfloat16, requires_grad=True)
    assert open_images(floats).dtype == np.float32
    np.testing.assert_array_equal(open_images(list(tensor)).array(), first(COLOUR))


def test_what_is_no_image_is_named():
    pd = pytest.importorskip("pandas")
    cases = [
        (np.zeros((0, 4)), "0 sample"),
        (np.zeros((4, 0)), "0 feature"),
        (np.zeros((4, 0, 3)), r"got \(4, 0, 3\)"),
        (np.zeros(4), "Reshape your data"),
        ([1.0, 2.0], "Reshape your data"),
        (pd.Series([1.0, 2.0]), "Reshape your data"),
        (np.zeros((2, 4)) + 1j, "Complex data not supported"),
        (np.zeros((2, 8, 8, 4)), r"with 1 or 3 channels, .* got \(2, 8, 8, 4\)"),
        (np.zeros((2, 2, 2, 2, 3)), r"got \(2, 2, 2, 2, 3\)"),
        (np.array([["a", "b"]]), "strings"),
        (np.zeros((2, 4), "M8[s]"), "datetime64"),
        (None, "got NoneType"),
        ({}, "got dict"),
        (iter([]), "got list_iterator"),
        ("a/folder", "got one path, 'a/folder'"),
        (b"a/folder", "got one path, 'a/folder'"),
        (Path("a"), "got one path"),
        ([], "Reshape your data"),
        (ImageItems([]), "0 sample"),
    ]
    for X, match in cases:
        with pytest.raises(ValueError, match=match):
            open_images(X)
    with pytest.raises(TypeError, match="argument must be .* string.* number"):
        open_images(np.array([[{"foo": "bar"}, 1.0]], dtype=object))
    for matrix in (sparse.csr_matrix(np.eye(4)), sparse.csr_array(np.eye(4))):
        with pytest.raises(TypeError, match="[Ss]parse"):
            open_images(matrix)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_and_inf_are_named_with_their_row(bad, dtype):
    X = np.zeros((1200, 2, 2), dtype=dtype)
    X[[1100, 1150], 1, 0] = bad
    with pytest.raises(ValueError, match="NaN or infinity in row 1100"):
        open_images(X)
    # Large values whose sum is infinite are fine.
    X[:] = np.finfo(dtype).max
    open_images(X)


def test_rows_must_be_as_in_fit():
    with pytest.raises(ValueError, match=r"^Me: expected images of 7 x 5 .* got 6 x 5 pixels"):
        open_images(COLOUR, like=(3, 7, 5), name="Me")
    with pytest.raises(ValueError, match="of 1 channels of 6 x 5 .* got 3 channels of 6 x 5"):
        open_images(COLOUR, like=(1, 6, 5))
    assert open_images(COLOUR[:0], like=(3, 6, 5)).read([]).shape == (0, 3, 6, 5)


def test_batches_of_arrays():
    source = open_images(COLOUR)
    order = RNG.permutation(20)[:11]
    found = list(source.batches(order, 4))
    assert [len(rows) for rows, _ in found] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), order)
    for rows, read in found:
        np.testing.assert_array_equal(read, first(COLOUR)[rows])
    assert list(source.batches([], 4)) == []


def test_arrays_are_scaled_where_asked(pil):
    for X in (COLOUR, GRAY):
        source = open_images(X, image_size=3)
        assert source.shape == ((3, 3, 3) if X is COLOUR else (1, 3, 3))
        assert source.array() is None
        slow = []
        for image in X:
            scaled = pil.fromarray(image).resize((3, 3), pil.Resampling.BILINEAR, (0, 0.5, 5, 5.5))
            slow.append(np.atleast_3d(scaled))
        np.testing.assert_array_equal(source.read(slice(None)), first(np.stack(slow)))
        source.check()
        np.testing.assert_array_equal(source.array(), first(np.stack(slow)))
        assert source.inputs.shape == X.shape
    assert open_images(RNG.random((3, 8, 8)), image_size=8).array() is not None
    with pytest.raises(ValueError, match="expected uint8 where image_size=3 .* float64 of 6 x 5"):
        open_images(COLOUR / 255, image_size=3)
    flat = GRAY[:, :5].reshape(20, -1)
    assert open_images(flat, image_size=3, like=(1, 3, 3)).shape == (1, 3, 3)
