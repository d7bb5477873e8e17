"""Files that break while a network is trained on them, too many to be kept in memory."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
for needed in ("lightning_fabric", "safetensors", "tqdm"):
    pytest.importorskip(needed)

from skclean import NeuralRetrainer, SSLFeaturizer  # noqa: E402
from skclean.embeddings import _source  # noqa: E402
from skclean.embeddings.devices import DeviceImages  # noqa: E402
from skclean.embeddings.images import open_images  # noqa: E402
from skclean.exceptions import ImageReadError  # noqa: E402

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(100, 256, (24, 6, 6, 3), dtype=np.uint8)
SEEN: list = []


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(_source, "CACHE_BYTES", 1)
    paths = [tmp_path / f"{i:02}.png" for i in range(len(PIXELS))]
    for path, pixels in zip(paths, PIXELS):
        Image.fromarray(pixels).save(path)
    return paths


def backbone():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Conv2d(3, 4, 3)


class Watching:
    """Breaks files after the first epoch, and remembers the darkest pixel of each image."""

    def __init__(self, broken, after):
        self.broken, self.left = broken, after

    def __call__(self, images, generator):
        self.left -= 1
        if self.left == 0:
            for path in self.broken:
                path.write_bytes(b"")
        SEEN.extend(images.amax(dim=(1, 2, 3)).tolist())
        return images


def trained(kind, files, view, **options):
    SEEN.clear()
    options |= {"backbone": backbone(), "batch_size": 8, "augmentation": view, "device": "cpu"}
    if kind == "retrainer":
        return NeuralRetrainer("supervised", epochs=4, **options).fit(files, np.arange(24) % 3)
    return SSLFeaturizer("simclr", epochs=4, **options).fit(files)


@pytest.mark.parametrize("kind", ["featurizer", "retrainer"])
def test_a_file_that_breaks_in_the_middle_is_an_error_that_names_it(files, kind):
    with pytest.raises(ImageReadError, match=r"09\.png"):
        trained(kind, files, Watching([files[9]], 5))


@pytest.mark.parametrize("kind", ["featurizer", "retrainer"])
def test_or_it_is_left_out_and_reported_and_no_black_image_is_seen(files, kind):
    view = Watching([files[9], files[20]], 5)
    with pytest.warns(UserWarning, match=r"cannot be read and are left out") as caught:
        trained(kind, files, view, on_error="skip")
    texts = " ".join(str(w.message) for w in caught if "left out" in str(w.message))
    assert texts.count("row 9,") == texts.count("row 20,") == 1
    # Each step has as many images as before.
    assert len(SEEN) % 8 == 0 and min(SEEN) > 0.35


def test_a_batch_of_which_nothing_is_left_is_an_error(files):
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(
            ImageReadError, match=r"SSLFeaturizer: expected images that can be read in each batch"
        ),
    ):
        trained("featurizer", files, Watching(files, 5), on_error="skip")


def test_rows_are_replaced_by_others_of_their_part(files):
    source = open_images(files, on_error="skip")
    images = DeviceImages(source, "cpu")
    assert images.replacements(np.arange(6), (6,)) is None
    source.readable[[1, 3, 4]] = False
    place = images.replacements(np.array([0, 1, 2, 3, 4, 5, 1]), (3, 4))
    assert place.tolist() == [0, 0, 2, 5, 5, 5, 5]
    with pytest.raises(ImageReadError, match="got 2 rows"):
        images.replacements(np.array([0, 2, 3, 4]), (2, 2))
