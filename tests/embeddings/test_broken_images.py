"""Image files that cannot be read, or are not alike."""

import warnings

import numpy as np
import pytest

from skclean.embeddings import _pixels
from skclean.embeddings.images import open_images
from skclean.exceptions import ImageReadError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
# Lossy formats come close only.
SMOOTH = np.kron(RNG.integers(0, 256, (1, 2, 3)), np.ones((10, 16, 1))).astype(np.uint8)


def first(images):
    return np.moveaxis(images, -1, 1)


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
