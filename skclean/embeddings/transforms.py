"""Transforms of image batches, with parameters for each row, on the device of the images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Tries for a crop that fits, after which the largest one in the middle is taken.
ATTEMPTS = 10


def crop_resize(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int],
    mirrored: Tensor | None = None,
) -> Tensor:
    """Cut a box out of each image, resize it bilinearly and mirror some of them.

    Pixels outside the box have no influence. There is no antialiasing: a box that shrinks by more
    than a factor of two loses detail by aliasing.

    Parameters
    ----------
    images : Tensor of shape (b, c, H, W)
    top, left, height, width : Tensor of shape (b,)
        The boxes in pixels; whole numbers of any dtype.
    size : (int, int)
        Height and width of what comes out.
    mirrored : bool Tensor of shape (b,) or None, default=None
        Rows to be turned left to right.

    Returns
    -------
    Tensor of shape (b, c, *size)
    """
    y = _resized_coordinates(top, height, size[0], images)
    x = _resized_coordinates(left, width, size[1], images)
    return _sample(images, y, _mirror(x, mirrored), "bilinear")


def crop_padded(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    size: tuple[int, int],
    mirrored: Tensor | None = None,
) -> Tensor:
    """Cut a box out of each image, which goes on beyond its border as in a mirror.

    Parameters
    ----------
    images : Tensor of shape (b, c, H, W)
    top, left : Tensor of shape (b,)
        Corners of the boxes in pixels, whole numbers of any dtype; negative ones and boxes that
        leave the image are reflected at its outermost pixels (which are not repeated).
    size : (int, int)
        Height and width of the boxes.
    mirrored : bool Tensor of shape (b,) or None, default=None
        Rows to be turned left to right.

    Returns
    -------
    Tensor of shape (b, c, *size)
        Exactly the values of the images.
    """
    y = _reflected_coordinates(top, size[0], images, images.shape[2])
    x = _reflected_coordinates(left, size[1], images, images.shape[3])
    return _sample(images, y, _mirror(x, mirrored), "nearest")


def to_gray(images: Tensor) -> Tensor:
    """Luma of RGB images (b, 3, H, W), by torchvision's weights, as (b, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale each image by its own factor (b,), and clip to [0, 1]."""
    return (images * per_row(factor)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the image's mean luma by a factor (b,), and clip to [0, 1]."""
    red, green, blue = images.mean((2, 3)).unbind(1)
    mean = 0.2989 * red + 0.587 * green + 0.114 * blue
    return torch.addcmul(per_row((1 - factor) * mean), images, per_row(factor)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the pixel's luma by a factor (b,), and clip to [0, 1]."""
    factor = per_row(factor)
    gray = to_gray(images).mul_(1 - factor)
    return torch.addcmul(gray, images, factor).clamp_(0, 1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of each image.

    With v the largest and m the smallest value of a pixel, and h its hue on a circle of six, each
    channel becomes v - (v - m) clip(2 - d, 0, 1), where d is the distance on the circle from
    h + 6 shift to the hue that is opposite to the channel's own.

    Parameters
    ----------
    images : Tensor of shape (b, 3, H, W)
        RGB in [0, 1].
    shift : Tensor of shape (b,)
        Turns: 0.5 and -0.5 both give the opposite hue.

    Returns
    -------
    Tensor of shape (b, 3, H, W)
    """
    red, green, blue = images.split(1, dim=1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    chroma = largest - torch.minimum(torch.minimum(red, green), blue)
    hue = torch.where(
        largest == green, blue - red + 2 * chroma, (red - green).add_(chroma, alpha=4)
    )
    hue = torch.where(largest == red, green - blue, hue)
    hue = hue.div_(chroma + (chroma == 0)).add_(per_row(6 * shift))
    hue.sub_((hue / 6).floor_().mul_(6))
    # In sixths of a turn; chroma is taken from a channel in full at the hue opposite to its own.
    opposite = ((2 * torch.arange(3, device=images.device) + 3) % 6).view(1, 3, 1, 1)
    taken = (hue - opposite).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)
    return taken.mul_(-chroma).add_(largest)


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with a Gaussian of its own width, reflected at the border.

    Parameters
    ----------
    images : Tensor of shape (b, c, H, W)
    sigma : Tensor of shape (b,)
        Standard deviations in pixels; 0 leaves an image as it is.
    radius : int
        The kernel has 2 radius + 1 taps. Below the height and width of the images.

    Returns
    -------
    Tensor of shape (b, c, H, W)
    """
    _, _, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    # Far below a pixel the kernel is exactly (0, 1, 0).
    kernel = torch.exp(-0.5 * (offsets / sigma.to(images.dtype).clamp(min=0.01)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    taps = [per_row(weight) for weight in kernel.unbind(1)]
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    across = padded[..., :width] * taps[0]
    for i in range(1, len(taps)):
        across.addcmul_(padded[..., i : i + width], taps[i])
    blurred = across[:, :, :height] * taps[0]
    for i in range(1, len(taps)):
        blurred.addcmul_(across[:, :, i : i + height], taps[i])
    return blurred


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values from a threshold (b,) on; above 1 it leaves an image as it is."""
    return torch.where(images >= per_row(threshold), 1 - images, images)


def draw_boxes(
    draws: Tensor,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes of random area and aspect for `crop_resize`, distributed as torchvision's are.

    The area is uniform, the aspect (width by height) log-uniform; of `ATTEMPTS` tries the first
    that fits into the image is taken, else the largest box of an allowed aspect in the middle.

    Parameters
    ----------
    draws : Tensor of shape (2 * ATTEMPTS + 2, b)
        Uniform in [0, 1).
    height, width : int
        Of the images.
    scale, ratio : (float, float)
        Bounds of the share of the image's area, and of the aspect.

    Returns
    -------
    top, left, height, width : Tensor of shape (b,)
        Whole numbers.
    """
    area, aspect = draws[:ATTEMPTS], draws[ATTEMPTS : 2 * ATTEMPTS]
    area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * aspect)
    widths, heights = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    # Where none fits, argmax gives 0, which is replaced below.
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    none_fits = ~fits.any(dim=0)
    if width / height < ratio[0]:
        last = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        last = height, round(height * ratio[1])
    else:
        last = height, width
    heights = heights.gather(0, first)[0].masked_fill(none_fits, last[0])
    widths = widths.gather(0, first)[0].masked_fill(none_fits, last[1])
    top = integers(draws[-2], height - heights).masked_fill(none_fits, (height - last[0]) // 2)
    left = integers(draws[-1], width - widths).masked_fill(none_fits, (width - last[1]) // 2)
    return top, left, heights, widths


def per_row(values: Tensor) -> Tensor:
    """Values of the rows (b,) as (b, 1, 1, 1)."""
    return values[:, None, None, None]


def integers(draws: Tensor, most: Tensor | int) -> Tensor:
    """Whole numbers from 0 to `most`, both included, out of uniform draws in [0, 1)."""
    return (draws * (most + 1)).floor().clamp(max=most)


def _sample(images, y, x, mode):
    """The images at coordinates y (b, h) and x (b, w), in pixels from the first pixel's middle."""
    b, _, height, width = images.shape
    h, w = y.shape[1], x.shape[1]
    x = ((2 * x + 1) / width - 1)[:, None, :].expand(b, h, w)
    y = ((2 * y + 1) / height - 1)[:, :, None].expand(b, h, w)
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def _resized_coordinates(start, length, size, like):
    """Where the pixels of a resized box lie in the image (b, size), kept inside the box."""
    start, length = start.to(like.dtype)[:, None], length.to(like.dtype)[:, None]
    middle = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    return torch.minimum((middle * length - 0.5).clamp_(min=0), length - 1) + start


def _reflected_coordinates(start, size, like, n):
    """Positions start, ..., start + size - 1 (b, size), reflected into 0, ..., n - 1."""
    offsets = torch.arange(size, device=like.device, dtype=like.dtype)
    return n - 1 - (n - 1 - (start.to(like.dtype)[:, None] + offsets).abs()).abs()


def _mirror(x, mirrored):
    return x if mirrored is None else torch.where(mirrored[:, None], x.flip(1), x)
