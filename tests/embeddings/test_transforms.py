import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skclean.embeddings import transforms  # noqa: E402
from skclean.embeddings._torchvision import import_torchvision  # noqa: E402

try:
    v2 = import_torchvision("torchvision.transforms.v2")
except ImportError:
    pytest.skip("torchvision is not installed", allow_module_level=True)

DTYPES = [torch.float32, torch.float64]
SEEDS = [0, 1]
COLOURS = {
    "brightness": (transforms.adjust_brightness, v2.functional.adjust_brightness, (0.0, 2.0)),
    "contrast": (transforms.adjust_contrast, v2.functional.adjust_contrast, (0.0, 2.0)),
    "saturation": (transforms.adjust_saturation, v2.functional.adjust_saturation, (0.0, 2.0)),
    "hue": (transforms.adjust_hue, v2.functional.adjust_hue, (-0.5, 0.5)),
    "solarize": (transforms.solarize, v2.functional.solarize, (0.0, 1.0)),
}


def make(seed, dtype=torch.float32, n=6, height=20, width=17):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, height, width, generator=generator, dtype=dtype)
    # Ties between channels, and black and white, have a hue of their own making.
    images[0, :, :4] = images[0, :1, :4]
    images[1, 0, :4] = images[1, 1, :4]
    images[2, :, :2], images[2, :, 2:4] = 0, 1
    return images, generator


def drawn(generator, n, low, high, dtype):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=dtype)


def tolerance(dtype):
    return 2e-5 if dtype == torch.float32 else 1e-12


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COLOURS)
def test_colours_row_by_row(name, dtype, seed):
    ours, theirs, bounds = COLOURS[name]
    images, generator = make(seed, dtype)
    values = drawn(generator, len(images), *bounds, dtype)
    before = images.clone()
    found = ours(images, values)
    assert found.dtype == dtype and torch.equal(images, before)
    for i, image in enumerate(images):
        expected = theirs(image, values[i].item())
        # torchvision turns the hue in single precision.
        atol = 2e-6 if name == "hue" else tolerance(dtype)
        torch.testing.assert_close(found[i], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gray_row_by_row(dtype, seed):
    images, _ = make(seed, dtype)
    expected = v2.functional.rgb_to_grayscale(images)
    torch.testing.assert_close(transforms.to_gray(images), expected, rtol=0, atol=1e-6)


def adjust_hue_by_the_hexcone(r, g, b, shift):
    """One pixel, in whole sectors of the hexagon."""
    v, m = max(r, g, b), min(r, g, b)
    if v == m:
        return r, g, b
    if v == r:
        h = (g - b) / (v - m) % 6
    elif v == g:
        h = 2 + (b - r) / (v - m)
    else:
        h = 4 + (r - g) / (v - m)
    h = (h + 6 * shift) % 6
    x = (v - m) * (1 - abs(h % 2 - 1)) + m
    return [(v, x, m), (x, v, m), (m, v, x), (m, x, v), (x, m, v), (v, m, x)][int(h) % 6]


def test_hue_by_the_hexcone():
    images, generator = make(3, torch.float64, height=5, width=6)
    shift = drawn(generator, len(images), -0.5, 0.5, torch.float64)
    found = transforms.adjust_hue(images, shift)
    for i in range(len(images)):
        for pixel, result in zip(images[i].flatten(1).T, found[i].flatten(1).T):
            expected = adjust_hue_by_the_hexcone(*pixel.tolist(), shift[i].item())
            np.testing.assert_allclose(result, expected, atol=1e-12)


def test_hue_goes_round():
    images, _ = make(0, torch.float64)
    there = transforms.adjust_hue(images, torch.full((6,), 0.3, dtype=torch.float64))
    back = transforms.adjust_hue(there, torch.full((6,), 0.7, dtype=torch.float64))
    torch.testing.assert_close(back, images, rtol=0, atol=1e-12)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    green = transforms.adjust_hue(red, torch.tensor([1 / 3]))
    torch.testing.assert_close(green.flatten(), torch.tensor([0.0, 1, 0]))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_gray_images_stay_gray_and_the_neutral_value_changes_nothing(name):
    ours, _, (low, high) = COLOURS[name]
    images, generator = make(0)
    gray = images[:, :1].expand(-1, 3, -1, -1)
    found = ours(gray, drawn(generator, 6, low, high, torch.float32))
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])
    neutral = torch.full((6,), 0.0 if name == "hue" else 1.0)
    torch.testing.assert_close(ours(images, neutral), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 17), (9, 30), (1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resized_crops_row_by_row(dtype, size):
    images, _ = make(0, dtype)
    top, left = torch.tensor([0, 3, 19, 0, 7, 2]), torch.tensor([0, 2, 16, 5, 1, 0])
    height, width = torch.tensor([20, 10, 1, 20, 2, 3]), torch.tensor([17, 15, 1, 1, 9, 17])
    mirrored = torch.tensor([False, True, True, False, True, False])
    found = transforms.crop_resize(images, top, left, height, width, size, mirrored)
    for i, image in enumerate(images):
        box = [int(p[i]) for p in (top, left, height, width)]
        expected = v2.functional.resized_crop(image, *box, list(size), antialias=False)
        expected = expected.flip(2) if mirrored[i] else expected
        torch.testing.assert_close(found[i], expected, rtol=0, atol=tolerance(dtype))
    whole = torch.zeros(6), torch.zeros(6), torch.full((6,), 20), torch.full((6,), 17)
    same = transforms.crop_resize(images, *whole, (20, 17))
    torch.testing.assert_close(same, images, rtol=0, atol=tolerance(dtype))


@pytest.mark.parametrize("size", [(20, 17), (12, 23), (28, 25)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_padded_crops_row_by_row(dtype, size):
    images, generator = make(0, dtype)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    top = torch.randint(0, 28 - size[0] + 1, (6,), generator=generator)
    left = torch.randint(0, 25 - size[1] + 1, (6,), generator=generator)
    mirrored = torch.rand(6, generator=generator) < 0.5
    found = transforms.crop_padded(images, top - 4, left - 4, size, mirrored)
    for i in range(6):
        box = slice(top[i], top[i] + size[0]), slice(left[i], left[i] + size[1])
        expected = padded[i, :, *box]
        assert torch.equal(found[i], expected.flip(2) if mirrored[i] else expected)


@pytest.mark.parametrize("radius", [1, 5, 11])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blur_row_by_row(dtype, radius):
    images, generator = make(0, dtype)
    sigma = drawn(generator, 6, 0.1, 2.0, dtype)
    sigma[0] = 0
    found = transforms.gaussian_blur(images, sigma, radius)
    assert torch.equal(found[0], images[0])
    for i in range(1, 6):
        expected = v2.functional.gaussian_blur(images[i], 2 * radius + 1, [sigma[i].item()])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=tolerance(dtype))


def draw_box_by_trying(draws, height, width, scale, ratio):
    """Algorithm of torchvision's RandomResizedCrop on draws that are given."""
    tries = transforms.ATTEMPTS
    for i in range(tries):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[i])
        log = [math.log(r) for r in ratio]
        aspect = math.exp(log[0] + (log[1] - log[0]) * draws[tries + i])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(draws[-2] * (height - h + 1)), int(draws[-1] * (width - w + 1))
            return top, left, h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    if aspect > width / height:
        w, h = width, round(width / aspect)
    elif aspect < width / height:
        w, h = round(height * aspect), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    "height, width, scale",
    [(32, 32, (0.2, 1.0)), (20, 50, (0.5, 1.0)), (64, 10, (0.9, 1.0)), (1, 1, (0.2, 1.0))],
)
def test_boxes_row_by_row(height, width, scale):
    ratio = (3 / 4, 4 / 3)
    generator = torch.Generator().manual_seed(0)
    shape = 2 * transforms.ATTEMPTS + 2, 500
    draws = torch.rand(shape, generator=generator, dtype=torch.float64)
    boxes = torch.stack(transforms.draw_boxes(draws, height, width, scale, ratio), dim=1)
    for i in range(500):
        expected = draw_box_by_trying(draws[:, i].tolist(), height, width, scale, ratio)
        assert tuple(boxes[i].tolist()) == expected


def test_boxes_are_distributed_as_torchvisions():
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(2 * transforms.ATTEMPTS + 2, 4000, generator=generator)
    ours = torch.stack(transforms.draw_boxes(draws, 32, 32, (0.2, 1.0), (3 / 4, 4 / 3)))
    theirs = import_torchvision("torchvision.transforms").RandomResizedCrop.get_params
    image = torch.empty(3, 32, 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        boxes = [theirs(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    for i, name in enumerate(("top", "left", "height", "width")):
        expected = np.sort([box[i] for box in boxes])
        distance = np.abs(np.sort(ours[i].numpy()) - expected).mean()
        assert distance < 0.6, name  # pixels between the quantiles


def test_nothing_depends_on_values_at_the_host():
    # The meta device has no values: to read one there is an error.
    images = torch.empty(4, 3, 32, 32, device="meta")
    values = torch.empty(4, device="meta")
    boxes = transforms.draw_boxes(
        torch.empty(2 * transforms.ATTEMPTS + 2, 4, device="meta"), 32, 32, (0.2, 1), (0.7, 1.4)
    )
    assert transforms.crop_resize(images, *boxes, (16, 16), values > 0).shape == (4, 3, 16, 16)
    assert transforms.crop_padded(images, values, values, (32, 32)).shape == images.shape
    assert transforms.gaussian_blur(images, values, 2).shape == images.shape
    for ours, _, _ in COLOURS.values():
        assert ours(images, values).shape == images.shape
