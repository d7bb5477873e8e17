"""Pixels: how arrays are laid out, and how image files become arrays."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from skclean._array import blocks, to_numpy
from skclean._optional import import_optional
from skclean.exceptions import ImageReadError

#: Smallest side of a square colour image that a flat row is taken for.
MIN_FLAT_COLOUR_SIDE = 8
#: Largest integer up to which float32 holds them all.
_LAST_EXACT = 1 << 24
_CHANNELS = (1, 3)


def channel_first(images: np.ndarray) -> np.ndarray | None:
    """Images as a view (n, C, H, W), or None where no axis can be that of the channels.

    Parameters
    ----------
    images : ndarray of shape (n, H, W), (n, H, W, C) or (n, C, H, W)
        C is 1 or 3. Where both axes could be the channels, it is the last one of integers and the
        first one of floats.
    """
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        return None
    for axis in (1, 3) if images.dtype.kind == "f" else (3, 1):
        if images.shape[axis] in _CHANNELS:
            return np.moveaxis(images, axis, 1)
    return None


def flat_image_shape(d: int) -> tuple[int, ...]:
    """What image a flat row of d values is.

    A square image (s, s) if d is s * s, a colour image (s, s, 3) if d is 3 * s * s for an s of at
    least `MIN_FLAT_COLOUR_SIDE`, else one line of pixels (1, d).
    """
    side = math.isqrt(d)
    if side * side == d:
        return side, side
    side = math.isqrt(d // 3)
    if 3 * side * side == d and side >= MIN_FLAT_COLOUR_SIDE:
        return side, side, 3
    return 1, d


def pixel_dtype(values: np.ndarray) -> np.dtype | None:
    """In what dtype pixels are handed on: uint8, float32 or float64; None if they are no numbers.

    float16, booleans and integers become float32; integers beyond 2**24 become float64.
    """
    dtype = values.dtype
    if dtype in (np.uint8, np.float32, np.float64):
        return np.dtype(dtype)
    if dtype.kind not in "biuf":
        return None
    exact = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    if dtype.kind in "iu" and not exact:
        parts = (values[rows] for rows in blocks(len(values)))
        exact = all(
            part.min(initial=0) >= -_LAST_EXACT and part.max(initial=0) <= _LAST_EXACT
            for part in parts
        )
    return np.dtype(np.float32 if exact else np.float64)


def is_loaded_instance(x: Any, module: str, name: str) -> bool:
    """Whether x is an instance of a class in a module, which is not imported for the question."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(x, getattr(loaded, name))


def is_pillow(x: Any) -> bool:
    """Whether x is a Pillow image."""
    return is_loaded_instance(x, "PIL.Image", "Image")


def item_pixels(item: Any, size: int | None) -> np.ndarray:
    """An item of a dataset as an image (C, H, W), uint8, float32 or float64.

    Parameters
    ----------
    item : Pillow image, tensor, array, or a tuple or list that begins with one
        Pillow images become RGB; arrays as in `channel_first`.
    size : int or None
        Side in pixels that the image is brought to, see `square`; None leaves it.

    Raises
    ------
    ImageReadError
        If the item is not such an image, holds NaN or inf, or holds floats of another size.
    """
    if isinstance(item, (tuple, list)) and len(item):
        item = item[0]
    if is_pillow(item):
        with _naming_errors():
            return _to_array(item, size).transpose(2, 0, 1)
    if not hasattr(item, "shape"):
        raise ImageReadError(
            f"expected a Pillow image, tensor or array, or a tuple that begins with one, got "
            f"{type(item).__name__}"
        )
    values = to_numpy(item)
    images, dtype = channel_first(values[None]), pixel_dtype(values[None])
    if images is None or dtype is None or 0 in values.shape:
        raise ImageReadError(
            f"expected numbers of shape (H, W), (C, H, W) or (H, W, C) with 1 or 3 channels, got "
            f"{values.dtype} of shape {values.shape}"
        )
    image = images[0].astype(dtype, copy=False)
    if dtype.kind == "f" and not np.isfinite(image).all():
        raise ImageReadError("it holds NaN or inf")
    return image if size is None else square(image, size)


def square(image: np.ndarray, size: int) -> np.ndarray:
    """The middle square of an image, scaled to a side.

    Parameters
    ----------
    image : ndarray of shape (C, H, W)
    size : int
        Side in pixels.

    Returns
    -------
    image : ndarray of shape (C, size, size)
        The image itself if it has that shape. Scaled with antialiasing.

    Raises
    ------
    ImageReadError
        If an image that is not uint8 must be scaled.
    """
    if image.shape[1:] == (size, size):
        return image
    if image.dtype != np.uint8:
        raise ImageReadError(
            f"expected uint8 to scale, or {size} x {size} pixels, got {image.dtype} of "
            f"{shown_size(image.shape)}; do scale it before"
        )
    Image = import_optional("PIL.Image", "neural")
    pixels = np.ascontiguousarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2))
    scaled = np.asarray(_square(Image.fromarray(pixels), size))
    return scaled[None] if len(image) == 1 else np.moveaxis(scaled, 2, 0)


def shown_size(shape: tuple[int, ...]) -> str:
    """Height and width of a shape (C, H, W) for a message."""
    return f"{shape[1]} x {shape[2]} pixels"


def decode(path: Any, size: int | None = None) -> np.ndarray:
    """An image file as RGB, upright by its EXIF orientation, on white where it is transparent.

    Parameters
    ----------
    path : path-like
        Of any format that Pillow reads; the first frame of several. 16 bits become 8.
    size : int or None, default=None
        Side in pixels that the image is brought to, see `square`; None leaves it.

    Returns
    -------
    image : ndarray of shape (3, H, W), uint8

    Raises
    ------
    ImageReadError
        If the file cannot be read as an image.
    """
    with _opened(path) as image:
        if size is not None:
            # JPEG decodes to a half, a quarter or an eighth for less.
            image.draft(None, (2 * size, 2 * size))
        return _to_array(image, size).transpose(2, 0, 1)


def header_shape(path: Any, like: tuple[int, ...] | None = None) -> tuple[int, int, int]:
    """The shape (3, H, W) of what `decode` would give, from the head of the file alone.

    Parameters
    ----------
    path : path-like
    like : (3, H, W) or None, default=None
        The orientation of a PNG whose head says so too is not looked up: for that, it is read to
        its end.

    Raises
    ------
    ImageReadError
        If the file cannot be opened as an image.
    """
    ImageOps = import_optional("PIL.ImageOps", "neural")
    with _opened(path) as image:
        width, height = image.size
        sought = image.format != "PNG" or (3, height, width) != like
        if sought and image.getexif().get(_ORIENTATION, 1) >= 5:
            # Whether the size is that of the upright image depends on the format.
            width, height = ImageOps.exif_transpose(image).size
        return 3, height, width


_ORIENTATION = 0x0112  # The EXIF tag; from 5 on, height and width are exchanged.


@contextmanager
def _naming_errors() -> Iterator[None]:
    """Whatever Pillow raises about an image, as ImageReadError."""
    try:
        yield
    except ImageReadError:
        raise
    except Exception as error:  # Its plugins raise any type on bytes that they do not understand.
        text = getattr(error, "strerror", None) or error
        raise ImageReadError(f"{type(error).__name__}: {text}") from error


@contextmanager
def _opened(path) -> Iterator[Any]:
    Image = import_optional("PIL.Image", "neural")
    try:
        path = os.fspath(path)
    except TypeError as error:
        raise ImageReadError(f"expected a path, got {path!r}") from error
    with _naming_errors(), Image.open(path) as image:
        yield image


def _to_array(image, size):
    """A Pillow image as an array (H, W, 3), uint8."""
    ImageOps = import_optional("PIL.ImageOps", "neural")
    image = _to_rgb(ImageOps.exif_transpose(image))
    return np.asarray(image if size is None else _square(image, size))


def _to_rgb(image):
    Image = import_optional("PIL.Image", "neural")
    if image.mode == "F":
        raise ImageReadError("expected integer pixels, got floats, whose range is not known")
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits to 8 instead of scaling them.
        values = np.clip(np.asarray(image), 0, 65535)
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _square(image, size):
    Image = import_optional("PIL.Image", "neural")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
