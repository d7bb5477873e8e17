import base64
import io

import numpy as np
import pytest

from skclean import LabelledSamples
from skclean.embeddings.images import ImageItems
from skclean.inspection._thumbnails import png, thumbnails

RNG = np.random.default_rng(0)


def opened(uri):
    Image = pytest.importorskip("PIL.Image")
    head, _, data = uri.partition(",")
    assert head.startswith("data:image/") and head.endswith(";base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (9, 4, 3), (64, 64, 3)])
def test_png_is_read_back(shape):
    Image = pytest.importorskip("PIL.Image")
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)


def test_the_layouts_of_arrays(xp):
    image = RNG.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    floats = np.moveaxis(image, 3, 1).astype(np.float32) / 255
    for inputs in (image, floats):
        uris, note = thumbnails(xp.asarray(inputs), [2, 0, 2], 10**6)
        assert list(uris) == [2, 0] and note is None
        np.testing.assert_array_equal(opened(uris[2]), image[2])
    grey = RNG.integers(0, 256, (3, 64), dtype=np.uint8)
    uris, _ = thumbnails(grey, [1], 10**6)
    np.testing.assert_array_equal(opened(uris[1]), grey[1].reshape(8, 8))


def test_other_ranges_are_stretched_and_nan_is_black():
    inputs = np.array([[[-2.0, 0.0], [2.0, np.nan]]] * 2)
    uris, _ = thumbnails(inputs, [0], 10**6)
    np.testing.assert_array_equal(opened(uris[0]), [[0, 128], [255, 0]])
    constant, _ = thumbnails(np.full((2, 4, 4), 7.0), [0], 10**6)
    assert opened(constant[0]).shape == (4, 4)


def test_large_images_become_small():
    inputs = np.zeros((1, 500, 300, 3), dtype=np.uint8)
    inputs[0, :, 150:] = 200
    small = opened(thumbnails(inputs, [0], 10**6)[0][0])
    assert max(small.shape) <= 96 and small.shape[:2] == (84, 50)
    assert abs(int(small[40, 45, 0]) - 200) < 5 and small[40, 5, 0] < 5


def test_a_budget_is_kept_and_the_first_rows_go_first():
    noise = RNG.integers(0, 256, (40, 64, 64), dtype=np.uint8)
    uris, note = thumbnails(noise, list(range(39, -1, -1)), 20_000)
    assert sum(map(len, uris.values())) <= 20_000
    assert list(uris) == list(range(39, 39 - len(uris), -1))
    assert len(uris) == 40 or f"room for {40 - len(uris)} of 40" in note


def test_files_of_which_some_cannot_be_read(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    Image.new("RGB", (200, 120), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    paths = np.array([str(tmp_path / name) for name in ("a.png", "b.png", "none.png")])
    uris, note = thumbnails(paths, [0, 1, 2], 10**6)
    assert list(uris) == [0] and note == "2 of 3 pictures could not be read."
    assert opened(uris[0]).shape == (96, 96, 3)
    assert thumbnails(paths[1:], [0, 1], 10**6) == ({}, "The pictures could not be read.")
    objects = np.array([tmp_path / "a.png"], dtype=object).reshape(1, 1)
    assert len(thumbnails(objects, [0], 10**6)[0]) == 1


def test_items_of_a_dataset():
    items = ImageItems([np.full((4, 4), 9, np.uint8), "no image", (np.zeros((3, 5, 5)), 1)])
    samples = LabelledSamples(np.eye(3), ["a", "b", "a"], inputs=items)
    uris, note = thumbnails(samples.inputs, [0, 1, 2], 10**6)
    assert list(uris) == [0, 2] and note == "1 of 3 pictures could not be read."


def test_what_is_no_image_has_no_picture():
    for inputs in (None, np.zeros((3, 7)), np.arange(3), np.zeros((3, 2, 2, 5, 5))):
        assert thumbnails(inputs, [0, 1], 10**6)[0] == {}
    assert thumbnails(np.zeros((3, 4, 4)), [], 10**6) == ({}, None)


def test_files_without_pillow(tmp_path, monkeypatch):
    def missing(module, extra):
        raise ImportError(module)

    monkeypatch.setattr("skclean.inspection._thumbnails.import_optional", missing)
    monkeypatch.setattr("skclean.embeddings._pixels.import_optional", missing)
    uris, note = thumbnails(np.array(["a.png", "b.png"]), [0, 1], 10**6)
    assert uris == {} and 'pip install "skclean[neural]"' in note
    uris, _ = thumbnails(np.zeros((1, 80, 80, 3), np.uint8), [0], 10**6)
    assert uris[0].startswith("data:image/png")
