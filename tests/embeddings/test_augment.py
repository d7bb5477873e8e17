import pickle

import pytest
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

torch = pytest.importorskip("torch")

from skclean.embeddings.augment import Augmentation  # noqa: E402

EVERYTHING = Augmentation(jitter=1.0, blur=0.5, solarize=0.3)
KINDS = [
    Augmentation(),
    EVERYTHING,
    Augmentation("padded", jitter=0, grayscale=0),
    Augmentation(None, blur=0.5),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rand(*shape, dtype=torch.float32):
    return torch.rand(shape, generator=generator(100)).to(dtype)


@pytest.mark.parametrize("augmentation", KINDS)
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_dtype_shape_and_range(augmentation, dtype):
    images = rand(50, 3, 24, 32, dtype=dtype)
    before = images.clone()
    view = augmentation(images, generator())
    assert view.shape == images.shape and view.dtype == dtype and not view.requires_grad
    assert view.min() >= 0 and view.max() <= 1 and torch.equal(images, before)
    exact = augmentation(images.double(), generator())
    bits = {torch.bfloat16: 8e-3, torch.float16: 1e-3, torch.float32: 1e-4, torch.float64: 0}
    # A value at the threshold of solarization may fall on either side.
    differs = (view.double() - exact).abs() > bits[dtype]
    assert differs.double().mean() < 1e-3


@pytest.mark.parametrize("augmentation", KINDS)
def test_the_generator_decides(augmentation):
    images = rand(20, 3, 32, 32)
    state = torch.random.get_rng_state()
    source = generator(3)
    first, second = augmentation(images, source), augmentation(images, source)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, augmentation(images, generator(3)))
    assert not torch.equal(first, second)
    # How far the generator moves depends on the number of rows alone.
    other = generator(3)
    Augmentation(None, flip=0, jitter=0, grayscale=0)(rand(20, 3, 8, 8), other)
    assert torch.equal(augmentation(images, other), second)


@pytest.mark.parametrize("augmentation", KINDS)
def test_a_row_depends_on_its_own_pixels_alone(augmentation, monkeypatch):
    images = rand(20, 3, 32, 32)
    view = augmentation(images, generator())
    images[10:] = 0.5
    changed = augmentation(images, generator())
    assert torch.equal(changed[:10], view[:10]) and not torch.equal(changed[10:], view[10:])
    monkeypatch.setattr("skclean.embeddings.augment._CHUNK_BYTES", 1)
    torch.testing.assert_close(augmentation(images, generator()), changed, rtol=0, atol=1e-6)


@pytest.mark.parametrize("augmentation", KINDS)
def test_mixed_precision_around_it_changes_nothing(augmentation):
    images = rand(10, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        view = augmentation(images, generator())
    assert torch.equal(view, augmentation(images, generator()))


@pytest.mark.parametrize("augmentation", KINDS)
def test_gray_images_stay_gray(augmentation):
    images = rand(30, 1, 32, 32).expand(-1, 3, -1, -1)
    view = augmentation(images, generator())
    assert torch.equal(view[:, 0], view[:, 1]) and torch.equal(view[:, 0], view[:, 2])


@pytest.mark.parametrize("crop", ["resized", "padded", None])
def test_another_size(crop):
    images = rand(5, 3, 32, 32)
    for size in (24, 36):
        assert Augmentation(crop, size=size)(images, generator()).shape == (5, 3, size, size)
    assert Augmentation(crop)(images[:0], generator()).shape == (0, 3, 32, 32)
    assert Augmentation(crop)(images[:1], generator()).shape == (1, 3, 32, 32)


def test_what_is_drawn():
    augmentation = Augmentation(jitter=0.5, blur=0.5, solarize=0.25, sigma=(0.5, 1.5), flip=0.3)
    n = 20_000
    drawn = augmentation.draw(n, 32, 32, generator())
    assert {values.shape for values in drawn.values()} == {(n,)}
    area = drawn["height"] * drawn["width"] / 32**2
    assert 0.18 < area.min() < 0.22 and area.max() == 1
    shares = {
        "mirrored": drawn["mirrored"],
        "gray": drawn["gray"],
        "jittered": drawn["hue"] != 0,
        "blurred": drawn["sigma"] > 0,
        "solarized": drawn["threshold"] < 1,
    }
    expected = {"mirrored": 0.3, "gray": 0.2, "jittered": 0.8, "blurred": 0.5, "solarized": 0.25}
    for name, share in shares.items():
        assert abs(share.double().mean() - expected[name]) < 0.015, name
    jittered, blurred = shares["jittered"], shares["blurred"]
    uniform = {
        name: (drawn[name][jittered], 0.6, 1.4) for name in ("brightness", "contrast", "saturation")
    }
    uniform["hue"] = drawn["hue"][jittered], -0.1, 0.1
    uniform["sigma"] = drawn["sigma"][blurred], 0.5, 1.5
    for name, (values, low, high) in uniform.items():
        share = (values.double().sort().values - low) / (high - low)
        ranks = torch.linspace(0, 1, len(values), dtype=torch.float64)
        assert (share - ranks).abs().max() < 0.02, name
    rows = torch.stack([values.double() for values in drawn.values()])
    correlation = torch.corrcoef(rows).nan_to_num() - torch.eye(len(rows))
    correlation[:4, :4] = 0  # the corner and the size of a box
    assert correlation.abs().max() < 0.04


def test_neutral_rows_and_strong_jitter():
    weak = Augmentation(jitter=0.5, jitter_proba=0.5).draw(1000, 32, 32, generator())
    untouched = weak["hue"] == 0
    for name in ("brightness", "contrast", "saturation"):
        assert (weak[name][untouched] == 1).all()
    strong = Augmentation(jitter=2.5).draw(5000, 32, 32, generator())
    assert 0 <= strong["contrast"].min() < 0.02 and 2.9 < strong["contrast"].max() <= 3


def test_padded_crops_reach_everywhere():
    drawn = Augmentation("padded", padding=2).draw(1000, 32, 32, generator())
    assert set(drawn["top"].tolist()) == set(drawn["left"].tolist()) == {-2, -1, 0, 1, 2}
    images = rand(1, 3, 8, 8).expand(200, -1, -1, -1)
    flipped = Augmentation("padded", padding=0, jitter=0, grayscale=0)(images, generator())
    for row in flipped:
        assert torch.equal(row, images[0]) or torch.equal(row, images[0].flip(2))


def test_all_off_changes_nothing():
    images = rand(5, 3, 16, 20)
    off = Augmentation(None, flip=0, jitter=0, grayscale=0)
    assert torch.equal(off(images, generator()), images)


def test_it_is_a_scikit_learn_object():
    augmentation = Augmentation(jitter=0.7)
    assert clone(augmentation).get_params() == augmentation.get_params()
    assert pickle.loads(pickle.dumps(augmentation)).get_params() == augmentation.get_params()
    images = rand(4, 3, 16, 16)
    for setting in ParameterGrid({"crop": ["resized", "padded", None], "blur": [0, 1]}):
        assert clone(augmentation).set_params(**setting)(images, generator()).shape == images.shape


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"crop": "square"}, "crop"),
        ({"flip": 1.5}, "flip"),
        ({"jitter": -1.0}, "jitter"),
        ({"scale": (0.5, 0.2)}, "expected scale="),
        ({"scale": (0.5, None)}, "expected scale="),
        ({"scale": (0.5, 2)}, "<= 1, got"),
        ({"ratio": (0.0, 1.0)}, "expected ratio="),
        ({"sigma": (1.0,)}, "expected sigma="),
        ({"crop": "padded", "padding": 16}, "expected padding below"),
        ({"crop": "padded", "size": 25}, "expected size of at most 24"),
    ],
)
def test_wrong_parameters(settings, match):
    with pytest.raises(ValueError, match=match):
        Augmentation(**settings)(rand(2, 3, 16, 16), generator())


def test_wrong_images():
    for images in (rand(2, 1, 8, 8), rand(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="expected floating images of shape"):
            Augmentation()(images, generator())
    with pytest.raises(ValueError, match=r"expected a generator on meta, got one on cpu; do"):
        Augmentation()(torch.empty(2, 3, 8, 8, device="meta"), generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("augmentation", KINDS)
def test_on_the_gpu_without_waiting_for_it(augmentation):
    images = rand(64, 3, 32, 32)
    drawn = augmentation.draw(64, 32, 32, generator())
    expected = augmentation.apply(images, drawn)
    there = images.cuda(), {name: values.cuda() for name, values in drawn.items()}
    source = torch.Generator("cuda").manual_seed(0)
    augmentation(there[0], source)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augmentation.apply(*there)
        augmentation(there[0], source)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)
