import copyreg
import multiprocessing
import os
import pickle
import re
import threading
import warnings
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.utils import _safe_indexing

from skclean import LabelledSamples
from skclean.embeddings import _pixels, _source
from skclean.embeddings.images import ImageItems, open_images
from skclean.exceptions import ImageReadError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8)
# CMYK and lossy formats come close only.
SMOOTH = np.kron(RNG.integers(0, 256, (1, 2, 3)), np.ones((10, 16, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def pil():
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def files(tmp_path, pil):
    """Twenty PNG files of COLOUR."""
    paths = [tmp_path / f"{i:02}.png" for i in range(len(COLOUR))]
    for path, image in zip(paths, COLOUR):
        pil.fromarray(image).save(path)
    return paths


def first(images):
    return np.moveaxis(images, -1, 1)


# Arrays


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


# Files


def kinds_of_paths(files):
    pd = pytest.importorskip("pandas")
    names = [str(path) for path in files]
    yield from (files, names, tuple(files), np.array(names), np.array(files), pd.Series(names))
    yield from (pd.Series(names, dtype="string"), np.array(names, dtype=object))
    if hasattr(np, "strings"):  # NumPy 2
        yield np.array(names, dtype=np.dtypes.StringDType())
        yield np.array(names, dtype=np.dtypes.StringDType())[:, None]
    yield from (pd.DataFrame({"file": names}), pd.DataFrame({"file": files}))
    yield pd.DataFrame({"file": names}, dtype="string")
    yield from (np.array(names)[:, None], np.array(names, dtype=object)[:, None])
    encoded = [os.fsencode(path) for path in files]
    yield from (
        encoded,
        np.array(encoded),
        np.array(encoded, dtype=object),
        [*files[:9], *encoded[9:]],
    )


def test_paths_of_every_type(files):
    for paths in kinds_of_paths(files):
        source = open_images(paths, n_workers=2)
        assert (source.n, source.shape, source.dtype) == (20, (3, 6, 5), np.uint8)
        np.testing.assert_array_equal(source.read([5, 2, 5]), first(COLOUR)[[5, 2, 5]])
        assert source.array() is None and source.inputs.shape == (20,)
        samples = LabelledSamples(np.zeros((20, 1)), inputs=source.inputs)
        again = open_images(pickle.loads(pickle.dumps(samples[[7, 3]])))
        np.testing.assert_array_equal(again.read(slice(None)), first(COLOUR)[[7, 3]])


@pytest.mark.parametrize("n_workers", [None, 0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 20, 50])
def test_batches_come_in_the_order(files, n_workers, batch_size):
    source = open_images(files, n_workers=n_workers)
    order = RNG.integers(0, 20, 33)
    for _ in range(2):
        found = list(source.batches(order, batch_size))
        np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), order)
        for rows, read in found:
            np.testing.assert_array_equal(read, first(COLOUR)[rows])
            assert read.flags.c_contiguous and len(rows) <= batch_size
        source.check()
    np.testing.assert_array_equal(source.array(), first(COLOUR))


def test_a_check_keeps_no_more_than_the_cache(files, monkeypatch):
    monkeypatch.setattr(_source, "CACHE_BYTES", 20 * 90 - 1)
    monkeypatch.setattr(_source, "_CHECK_BYTES", 300)
    source = open_images(files, n_workers=2)
    source.check()
    assert source.array() is None
    monkeypatch.setattr(_source, "CACHE_BYTES", 20 * 90)
    source.check(quick=True)
    assert source.array() is None
    source.check()
    np.testing.assert_array_equal(source.array(), first(COLOUR))
    for path in files:
        path.unlink()
    np.testing.assert_array_equal(source.read([4]), first(COLOUR)[[4]])


def test_few_batches_are_decoded_ahead(files, monkeypatch):
    begun = []
    lock = threading.Lock()
    decode = _pixels.decode

    def counted(path, size):
        with lock:
            begun.append(path)
        return decode(path, size)

    monkeypatch.setattr("skclean.embeddings._items.decode", counted)
    source = open_images(files, n_workers=3)
    threads = threading.active_count()
    batches = source.batches(np.arange(20), 2)
    for i in range(1, 5):
        next(batches)
        assert len(begun) <= 2 * (i + _source.BATCHES_AHEAD)
    batches.close()
    assert threading.active_count() == threads
    assert len(begun) <= 2 * (4 + _source.BATCHES_AHEAD)


def test_threads_end_where_the_consumer_fails(files):
    source = open_images(files, n_workers=2)
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), closing(source.batches(np.arange(20), 2)) as batches:
        for rows, _ in batches:
            rows[0] = 1 // int(rows[0] - rows[0])
    files[9].unlink()
    with pytest.raises(ImageReadError, match="09.png"):
        list(source.batches(np.arange(20), 2))
    assert threading.active_count() == threads


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_interrupt_passes(files, monkeypatch, n_workers):
    def interrupted(path, size):
        raise KeyboardInterrupt

    source = open_images(files, n_workers=n_workers, on_error="skip")
    monkeypatch.setattr("skclean.embeddings._items.decode", interrupted)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        source.check()
    assert threading.active_count() == threads and source.readable.all()


def test_colour_modes(tmp_path, pil):
    image = pil.fromarray(SMOOTH)
    gray = np.array(image.convert("L"))
    deep = pil.fromarray(gray.astype(np.uint16) * 257)
    seen = image.copy()
    seen.putalpha(
        pil.fromarray(np.repeat([[0, 128, 255, 255]], 10, 0).astype(np.uint8).repeat(8, 1))
    )
    alpha = np.array(seen, dtype=float)[..., 3:] / 255
    blended = SMOOTH * alpha + 255 * (1 - alpha)
    key = image.copy()
    whole = np.repeat(gray[..., None], 3, axis=2)
    masked = SMOOTH.copy()
    masked[:, :16] = 255
    cases = [
        ("rgb.png", image, SMOOTH, 0),
        ("rgb.jpg", image, SMOOTH, 6),
        ("gray.png", image.convert("L"), whole, 0),
        ("bits.png", image.convert("1", dither=0), np.where(whole > 127, 255, 0), 0),
        ("palette.png", image.quantize(8), SMOOTH, 8),
        ("cmyk.jpg", image.convert("CMYK"), SMOOTH, 8),
        ("alpha.png", seen, blended, 1),
        ("gray_alpha.png", seen.convert("LA"), gray[..., None] * alpha + 255 * (1 - alpha), 1),
        ("deep.png", deep, whole, 0),
        ("deep.tif", deep, whole, 0),
        ("first.gif", image.quantize(8), SMOOTH, 8),
    ]
    for name, pixels, expected, tolerance in cases:
        pixels.save(tmp_path / name, **({"subsampling": 0} if name == "rgb.jpg" else {}))
        read = open_images([tmp_path / name]).read([0])[0]
        assert read.shape == (3, 10, 32), name
        np.testing.assert_allclose(
            read, first(np.broadcast_to(expected, SMOOTH.shape)[None])[0], atol=tolerance
        )
    key.save(tmp_path / "key.png", transparency=tuple(int(v) for v in SMOOTH[0, 0]))
    np.testing.assert_array_equal(
        open_images([tmp_path / "key.png"]).read([0])[0], np.moveaxis(masked, 2, 0)
    )
    palette = image.quantize(8)
    palette.save(tmp_path / "key.gif", transparency=palette.getpixel((0, 0)))
    read = open_images([tmp_path / "key.gif"]).read([0])[0]
    assert (read[:, :, :16] == 255).all() and (read[:, :, 16:] != 255).any()
    pil.fromarray(gray.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageReadError, match=r"float.tif: expected integer pixels"):
        open_images([tmp_path / "float.tif"]).check()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(tmp_path, pil, orientation, suffix):
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Transpose methods of Pillow
    undo = {4: 2, 2: 4}  # turning back
    image = pil.fromarray(SMOOTH)
    stored = image
    if orientation > 1:
        method = turns[orientation]
        stored = image.transpose(pil.Transpose(undo.get(method, method)))
    exif = pil.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif)
    image.save(tmp_path / f"b.{suffix}")
    source = open_images([tmp_path / f"{x}.{suffix}" for x in "ab"])
    assert source.shape == (3, 10, 32)
    source.check(quick=True)
    a, b = source.read([0, 1])
    np.testing.assert_allclose(a, b, atol=6)


def test_sides_are_brought_to_one_size(tmp_path, pil):
    ramp = np.add.outer(np.arange(60), 2 * np.arange(90)).astype(np.uint8)
    pil.fromarray(ramp).save(tmp_path / "a.png")
    pil.fromarray(ramp.T).save(tmp_path / "b.png")
    pil.fromarray(ramp).save(tmp_path / "c.jpg", quality=95)
    pil.fromarray(ramp[:8, :8]).save(tmp_path / "d.png")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.jpg", "d.png")]
    a, b, c, d = open_images(paths, image_size=20).read(slice(None))
    # Thirty columns of means of three by three, of which the middle twenty stay.
    slow = np.zeros((20, 20))
    for i in range(20):
        for j in range(20):
            slow[i, j] = ramp[3 * i : 3 * i + 3, 15 + 3 * j : 18 + 3 * j].mean()
    np.testing.assert_allclose(a[0, 1:-1, 1:-1], slow[1:-1, 1:-1], atol=1)
    np.testing.assert_array_equal(b, a.transpose(0, 2, 1))
    np.testing.assert_allclose(c[0, 1:-1, 1:-1], slow[1:-1, 1:-1], atol=3)
    assert d.shape == (3, 20, 20)
    with pytest.raises(ImageReadError) as error:
        open_images(paths).check()
    for part in ("row 1, .*b.png: expected 60 x 90 pixels, got 90 x 60", "set image_size"):
        assert re.search(part, str(error.value))


@pytest.fixture
def broken(tmp_path, files, pil):
    """COLOUR's files, six of which cannot be read."""
    rng = np.random.default_rng(0)
    pil.fromarray(COLOUR[3]).save(tmp_path / "whole.png")
    content = files[3].read_bytes()
    files[3].write_bytes(content[: len(content) // 2])
    files[5].write_bytes(b"")
    files[7] = tmp_path / "07.jpg"
    files[7].write_text("this is no image")
    files[9] = tmp_path / "missing.png"
    files[11].unlink()
    files[11].mkdir()
    files[13] = tmp_path / "13.jpg"
    pil.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(files[13])
    files[13].write_bytes(files[13].read_bytes()[:-40])
    pil.fromarray(np.zeros((9, 4, 3), np.uint8)).save(files[15])
    return files, [3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("n_workers", [0, 2])
def test_bad_files_are_named(broken, n_workers):
    files, bad = broken
    source = open_images(files, n_workers=n_workers)
    with pytest.raises(ImageReadError) as caught:
        source.check()
    message = str(caught.value)
    assert message.startswith("SSLFeaturizer: expected images that can be read, got 7 that cannot")
    for row in bad[:5]:
        assert f"row {row}, {files[row]}: " in message
    assert f"row {bad[5]}" not in message and "; and 2 more; do " in message
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value.__cause__.__cause__, OSError)
    assert source.readable.all() and source.array() is None
    with pytest.raises(ImageReadError, match="got 6 that cannot: row 5"):
        source.read([0, *bad[1:]])
    with pytest.raises(ImageReadError, match="got 1 that cannot: row 15, .*9 x 4.*set image_size"):
        source.read([0, 15])
    with pytest.raises(ImageReadError, match="row 3"):
        for rows, _ in source.batches(np.arange(20), 2):
            assert rows.max() < 2
    source.read(np.setdiff1d(np.arange(20), bad))


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("how", ["check", "read", "batches"])
def test_bad_files_can_be_skipped(broken, n_workers, how):
    files, bad = broken
    source = open_images(files, on_error="skip", n_workers=n_workers)
    with pytest.warns(UserWarning, match="7 of 20 images cannot be read .*03.png") as caught:
        if how == "check":
            source.check()
        elif how == "read":
            source.read(slice(None))
        else:
            list(source.batches(np.arange(20), 4))
    assert len(caught) == 1
    expected = first(COLOUR).copy()
    expected[bad] = 0
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(source.read(slice(None)), expected)
        for rows, read in source.batches(np.arange(20), 6):
            np.testing.assert_array_equal(read, expected[rows])
        source.check()
    np.testing.assert_array_equal(source.array(), expected)


def test_a_glance_at_the_heads(broken):
    files, _ = broken
    with pytest.raises(ImageReadError, match=r"got 5 that cannot: row 5.* row 15"):
        open_images(files).check(quick=True)
    source = open_images(files, on_error="skip")
    with pytest.warns(UserWarning, match="5 of 20"):
        source.check(quick=True)
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), [5, 7, 9, 11, 15])
    assert source.array() is None


def test_the_first_files_are_broken(broken):
    files, _ = broken
    source = open_images(files[3:], on_error="skip")
    assert source.shape == (3, 6, 5)
    with pytest.raises(ImageReadError, match="got 2 that cannot: row 0, .*row 1, "):
        open_images([files[5], files[7]], on_error="skip")
    with pytest.raises(ImageReadError, match="got 4 that cannot: row 0, None: expected a path"):
        open_images([None, files[5], files[7], np.nan])


def test_the_commonest_size_is_that_of_the_files(files, pil):
    for row, size in ((0, (9, 4)), (3, (9, 4)), (8, (2, 2))):
        pil.fromarray(np.zeros((*size, 3), np.uint8)).save(files[row])
    files[5].write_bytes(b"")
    source = open_images(files, on_error="skip")
    with pytest.warns(UserWarning, match="4 of 20 .*00.png: expected 6 x 5 pixels, got 9 x 4"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), [0, 3, 5, 8])
    with pytest.raises(ImageReadError, match="got 4 that cannot: row 0, .*row 3, .*row 5, "):
        open_images(files).check()
    # The earliest of equals.
    assert open_images([files[0], files[1]], on_error="skip").shape == (3, 9, 4)
    assert open_images([files[1], files[0]], on_error="skip").shape == (3, 6, 5)


def test_few_heads_are_looked_at_for_the_size(files, monkeypatch, pil):
    looked = []
    header_shape = _pixels.header_shape

    def counted(path, like):
        looked.append(path)
        return header_shape(path, like)

    monkeypatch.setattr("skclean.embeddings._items.header_shape", counted)
    monkeypatch.setattr("skclean.embeddings._items.SIZED_FILES", 5)
    open_images(files, on_error="skip")
    assert looked == files[::4]
    # Of those none can be read.
    for path in files[::4]:
        path.write_bytes(b"")
    assert open_images(files, on_error="skip").shape == (3, 6, 5)
    assert looked[-1] == files[1]


def test_the_commonest_size_is_of_upright_images(tmp_path, pil):
    exif = pil.Exif()
    exif[0x0112] = 6
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        pil.fromarray(SMOOTH).save(path, **({} if i in (0, 3) else {"exif": exif}))
    source = open_images(paths, on_error="skip")
    assert source.shape == (3, 32, 10)
    with pytest.warns(UserWarning, match="2 of 5"):
        source.check(quick=True)


def test_no_row_of_a_batch_need_be_readable(broken, pil):
    files, _ = broken
    options = {"like": (3, 6, 5), "on_error": "skip"}
    for paths in ([files[5]], [files[7], files[9]], [files[15]], ["nowhere.jpg"]):
        source = open_images(paths, **options)
        assert (source.shape, source.dtype) == ((3, 6, 5), np.uint8)
        with pytest.warns(UserWarning, match=f"{len(paths)} of {len(paths)} images cannot"):
            source.check(quick=True)
        assert not source.readable.any() and not source.read(slice(None)).any()
    # What is good does not hang on its neighbours.
    source = open_images([files[15], files[0]], **options)
    with pytest.warns(UserWarning, match="1 of 2 .*expected 6 x 5 pixels, got 9 x 4"):
        np.testing.assert_array_equal(source.read([1, 0])[0], first(COLOUR)[0])
    with pytest.raises(ImageReadError, match="got 1 that cannot"):
        open_images([files[5]], like=(3, 6, 5))
    with pytest.raises(ValueError, match="1 channels of 6 x 5 pixels, as in fit, got 3"):
        open_images([files[5]], like=(1, 6, 5), on_error="skip")
    with pytest.warns(UserWarning, match="2 of 2 images cannot be read"):
        source = open_images(Pairs([KeyError("lost"), {}]), **options)
    assert (source.shape, source.dtype) == ((3, 6, 5), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.check()
    assert not source.readable.any() and not source.read(slice(None)).any()
    for items in ([KeyError("lost")], [COLOUR[0][:4]]):
        with pytest.raises(ValueError):
            open_images(Pairs(items), like=(3, 6, 5))
    with pytest.raises(ImageReadError):
        open_images(Pairs([KeyError("lost")]), on_error="skip")


def test_a_bomb_is_named(files, monkeypatch, pil):
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageReadError, match=r"00.png: DecompressionBombError"):
        open_images(files)


def test_a_check_stops_where_all_is_wrong(tmp_path, pil):
    pil.fromarray(COLOUR[0]).save(tmp_path / "a.png")
    paths = [tmp_path / "a.png", *(tmp_path / f"{i}.png" for i in range(3000))]
    with pytest.raises(ImageReadError, match=r"got \d+ or more that cannot"):
        open_images(paths).check()


def test_settings_that_do_not_belong_to_files(files):
    with pytest.raises(ValueError, match="image_shape=None for files"):
        open_images(files, image_shape=(6, 5, 3))
    with pytest.raises(ValueError, match="of 1 channels of 6 x 5 pixels, .* got 3 channels"):
        open_images(files, like=(1, 6, 5))
    with pytest.raises(ValueError, match="expected images of 8 x 8 pixels, .* got 6 x 5 pixels"):
        open_images(files, like=(3, 8, 8))
    open_images(files, like=(3, 8, 8), image_size=8).check(quick=True)


# Datasets


class Pairs:
    """A dataset that is none of torch's."""

    def __init__(self, items):
        self.items = items
        self.asked = []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.asked.append(i)
        if isinstance(self.items[i], BaseException):
            raise self.items[i]
        return self.items[i], i


def test_items_of_every_type(pil):
    for X in (
        Pairs([pil.fromarray(image) for image in COLOUR]),
        Pairs(list(COLOUR)),
        Pairs(list(first(COLOUR))),
        [pil.fromarray(image) for image in COLOUR],
        [(image, 1) for image in COLOUR],
        [pil.fromarray(COLOUR[0]), *COLOUR[1:]],
        np.fromiter((pil.fromarray(image) for image in COLOUR), dtype=object, count=20),
    ):
        source = open_images(X)
        assert (source.n, source.shape, source.dtype) == (20, (3, 6, 5), np.uint8)
        np.testing.assert_array_equal(source.read([3, 1]), first(COLOUR)[[3, 1]])
        assert source.array() is None
        source.check()
        np.testing.assert_array_equal(source.array(), first(COLOUR))
    assert open_images([pil.fromarray(image) for image in GRAY]).shape == (3, 6, 5)
    assert open_images([(image, 0) for image in GRAY]).shape == (1, 6, 5)
    floats = open_images([(image / 255, 0) for image in first(COLOUR)])
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats.read([2]), first(COLOUR)[[2]] / 255)
    sizes = [(COLOUR[0], 0), (COLOUR[1][:4], 0), (np.zeros((3, 8, 9), np.uint8), 0)]
    assert open_images(sizes, image_size=4).read(slice(None)).shape == (3, 3, 4, 4)


def test_bad_items_are_named():
    items = list(first(COLOUR) / 255)
    bad = {
        2: KeyError("lost"),
        4: {"image": 1},
        6: items[0][:, :4],
        8: first(COLOUR)[0],
        9: items[0][:1],
        10: np.full((3, 6, 5), np.nan),
        12: np.zeros((3, 6, 5), dtype=complex),
    }
    for row, item in bad.items():
        items[row] = item
    texts = [
        "row 2: KeyError: 'lost'",
        "row 4: expected a Pillow image, tensor or array, .* got dict",
        r"row 6: expected 6 x 5 pixels, got 4 x 5 pixels \(set image_size\)",
        "row 8: expected float64, got uint8",
        "row 9: expected 3 channels, got 1",
    ]
    source = open_images(Pairs(items))
    with pytest.raises(ImageReadError, match="; ".join(texts) + "; and 2 more") as caught:
        source.check()
    assert caught.value.__cause__.__cause__ is items[2]
    source = open_images(Pairs(items), on_error="skip")
    with pytest.warns(UserWarning, match="7 of 20"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), list(bad))
    np.testing.assert_array_equal(
        source.read([1, 2]), [first(COLOUR)[1] / 255, np.zeros((3, 6, 5))]
    )
    with pytest.raises(ImageReadError, match="row 1: it holds NaN"):
        open_images([(items[0], 0), (items[10], 0)]).check()
    with pytest.raises(ImageReadError, match="expected uint8 to scale"):
        open_images([(items[0], 0)], image_size=4)
    with pytest.raises(KeyboardInterrupt):
        open_images(Pairs([KeyboardInterrupt()]), on_error="skip")


def test_the_commonest_size_is_that_of_the_items():
    items = list(COLOUR)
    items[0], items[1], items[4] = COLOUR[0][:4], first(COLOUR)[1] / 255, KeyError("lost")
    data = Pairs(items)
    source = open_images(data, on_error="skip")
    assert (source.shape, source.dtype) == ((3, 6, 5), np.uint8)
    assert data.asked == list(range(0, 20, 2))
    with pytest.warns(UserWarning, match="3 of 20 .*row 0: expected 6 x 5 pixels, got 4 x 5"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), [0, 1, 4])
    assert open_images(data).shape == (3, 4, 5)


def test_rows_of_a_dataset():
    items = ImageItems(Pairs(list(COLOUR)))
    assert items.shape == (20,) and items.dataset.asked == []
    np.testing.assert_array_equal(items[-1][0], COLOUR[19])
    with pytest.raises(IndexError):
        items[20]
    mask = np.arange(20) % 3 == 0
    for key in (slice(4, 9), np.array([5, 1, 1]), mask, [2, 3], (np.array([7]), Ellipsis)):
        rows = np.arange(20)[key[0] if isinstance(key, tuple) else key]
        chosen = items[key]
        assert chosen.shape == (len(rows),) and chosen[0:0].shape == (0,)
        np.testing.assert_array_equal(chosen[::-1].rows, rows[::-1])
        np.testing.assert_array_equal(open_images(chosen).read(slice(None)), first(COLOUR)[rows])
        again = pickle.loads(pickle.dumps(chosen))
        np.testing.assert_array_equal(open_images(again).read(slice(None)), first(COLOUR)[rows])
        np.testing.assert_array_equal(_safe_indexing(items, rows).rows, rows)
    with pytest.raises(TypeError, match="conversion to an array"):
        np.asarray(items)
    assert repr(items) == "ImageItems(20 rows of Pairs)"


def test_containers_of_a_dataset():
    source = open_images(Pairs(list(COLOUR)))
    samples = LabelledSamples(np.zeros((20, 2)), inputs=source.inputs)[[4, 2]]
    np.testing.assert_array_equal(open_images(samples).read(slice(None)), first(COLOUR)[[4, 2]])
    train, test = train_test_split(source.inputs, random_state=0)
    assert (len(train), len(test)) == (15, 5)

    class Mean(BaseEstimator):
        def fit(self, X, y):
            self.shape = open_images(X).shape
            return self

        def score(self, X, y):
            means = open_images(X).read(slice(None)).mean(axis=(1, 2, 3))
            return float(np.abs(means - y).max())

    truth = COLOUR.mean(axis=(1, 2, 3))
    scores = cross_val_score(Mean(), source.inputs, truth, cv=KFold(4))
    np.testing.assert_allclose(scores, 0, atol=1e-9)


@pytest.fixture(scope="module")
def torch_dataset():
    data = pytest.importorskip("torch.utils.data")

    class Images(data.Dataset):
        def __init__(self, items):
            self.items = items

        def __len__(self):
            return len(self.items)

        def __getitem__(self, i):
            if isinstance(self.items[i], Exception):
                raise self.items[i]
            return self.items[i], i

    return Images


# Python warns of a fork beside the threads of torch.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Unpicklable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.lock = threading.Lock()


@forks
@pytest.mark.parametrize("n_workers", [None, 0, 2])
def test_torch_datasets(torch_dataset, n_workers):
    torch = pytest.importorskip("torch")
    state = torch.random.get_rng_state()
    source = open_images(torch_dataset(list(torch.tensor(first(COLOUR)))), n_workers=n_workers)
    order = RNG.permutation(20)[:17]
    found = list(source.batches(order, 5))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), order)
    for rows, read in found:
        np.testing.assert_array_equal(read, first(COLOUR)[rows])
    with closing(source.batches(order, 2)) as batches:
        next(batches)
    assert not multiprocessing.active_children()
    source.check()
    np.testing.assert_array_equal(source.array(), first(COLOUR))
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(source.read([6]), first(COLOUR)[[6]])


@forks
@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("causes_pickled", [False, True])
def test_bad_items_of_torch_datasets(torch_dataset, n_workers, causes_pickled, request):
    if causes_pickled:
        # As dask.distributed has it done.
        support, before = pytest.importorskip("tblib.pickling_support"), {*copyreg.dispatch_table}
        support.install(ImageReadError)
        for kind in copyreg.dispatch_table.keys() - before:
            request.addfinalizer(partial(copyreg.dispatch_table.pop, kind))
    items = list(COLOUR)
    items[3], items[5] = Unpicklable("one", "two"), COLOUR[5][:4]
    source = open_images(torch_dataset(items), n_workers=n_workers)
    with pytest.raises(ImageReadError, match="row 3: Unpicklable: one and two; row 5: ") as caught:
        source.check()
    cause = caught.value.__cause__
    assert cause.__cause__ is items[3] or "Traceback" in cause.__notes__[0]
    assert not multiprocessing.active_children()
    source = open_images(torch_dataset(items), n_workers=n_workers, on_error="skip")
    with pytest.warns(UserWarning, match="2 of 20"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), [3, 5])
    assert not source.array()[[3, 5]].any()
    np.testing.assert_array_equal(source.array()[4], first(COLOUR)[4])


def test_datasets_that_cannot_be_indexed(torch_dataset):
    data = pytest.importorskip("torch.utils.data")

    class Stream(data.IterableDataset):
        def __iter__(self):
            yield COLOUR[0]

    class Endless(data.Dataset):
        def __getitem__(self, i):
            return COLOUR[0]

    with pytest.raises(TypeError, match="got the IterableDataset Stream; do pass a map-style"):
        open_images(Stream())
    with pytest.raises(ValueError, match="__len__, got Endless"):
        open_images(Endless())
    pairs = data.TensorDataset(pytest.importorskip("torch").tensor(COLOUR))
    np.testing.assert_array_equal(open_images(pairs).read([3]), first(COLOUR)[[3]])
    subset = data.Subset(torch_dataset(list(COLOUR)), [8, 4])
    np.testing.assert_array_equal(open_images(subset).read([1, 0]), first(COLOUR)[[4, 8]])
