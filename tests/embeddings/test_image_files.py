"""Image files."""

import os
import pickle
import re
import threading
from contextlib import closing

import numpy as np
import pytest

from skclean import LabelledSamples
from skclean.embeddings import _pixels, _source
from skclean.embeddings.images import open_images
from skclean.exceptions import ImageReadError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8)
# CMYK and lossy formats come close only.
SMOOTH = np.kron(RNG.integers(0, 256, (1, 2, 3)), np.ones((10, 16, 1))).astype(np.uint8)


def first(images):
    return np.moveaxis(images, -1, 1)


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
