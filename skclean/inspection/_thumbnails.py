"""Small pictures of rows, written into the page as data URIs."""

import base64
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np

from skclean._array import take_rows, to_numpy
from skclean._optional import import_optional
from skclean.embeddings._pixels import channel_first, decode, flat_image_shape, item_pixels
from skclean.embeddings.images import ImageItems
from skclean.exceptions import ImageReadError

#: Longest side in pixels, the largest of these that fits.
SIDES = (96, 64, 48, 32)
#: An image of at most so many values is not compressed with losses.
_FEW_VALUES = 1600
#: Rows that tell the range of pixels, and the bytes that a picture takes.
_TRIED = 24


def thumbnails(inputs: Any, rows: list[int], budget: int) -> tuple[dict[int, str], str | None]:
    """Pictures of rows, within a number of bytes.

    Parameters
    ----------
    inputs : array, array of paths, or ImageItems, of n rows; or None
        Images as `skclean.embeddings` takes them. Floats beyond [0, 1] and integers other than
        uint8 are stretched from the least to the greatest value of the first rows.
    rows : list of int
        Those to be shown, the most important first.
    budget : int
        Bytes that the pictures may take together.

    Returns
    -------
    uris : dict of int to str
        Row and data URI; without the rows that cannot be read, or for which there was no room.
    note : str or None
        What the reader should know about pictures that are missing.
    """
    rows = list(dict.fromkeys(rows))
    if inputs is None or not rows:
        return {}, None
    read = _reader(inputs)
    if read is None:
        return {}, None
    tried, failed = {}, 0
    for row in rows[:_TRIED]:
        image = _try(read, row)
        if image is not None:
            tried[row] = image
    if not tried:
        return {}, _why_none(inputs)
    bounds = _bounds(tried.values())
    side = _fitting_side(tried, bounds, len(rows), budget)
    uris: dict[int, str] = {}
    for place, row in enumerate(rows):
        image = tried.pop(row, None)
        if image is None:
            image = _try(read, row)
        if image is None:
            failed += 1
            continue
        uri = _uri(image, bounds, side)
        budget -= len(uri)
        if budget < 0:
            return uris, f"There was no room for {len(rows) - place} of {len(rows)} pictures."
        uris[row] = uri
    return uris, f"{failed} of {len(rows)} pictures could not be read." if failed else None


def png(image: np.ndarray) -> bytes:
    """An image as a PNG file.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, 3), uint8
    """
    height, width = image.shape[:2]
    # Each line as its difference from the one above, PNG's filter 2.
    lines = np.diff(image, axis=0, prepend=np.zeros_like(image[:1])).reshape(height, -1)
    lines = np.concatenate([np.full((height, 1), 2, dtype=np.uint8), lines], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _reader(inputs):
    """A function from a row to an image (C, H, W), None where the inputs are no images."""
    if isinstance(inputs, ImageItems):
        return lambda row: item_pixels(inputs[row], None)
    shape = tuple(inputs.shape)
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        if getattr(inputs.dtype, "kind", "f") not in "OUT":
            return None
        flat = inputs.reshape(-1)
        return lambda row: _of_object(flat[row])
    if len(shape) == 2:
        shape = flat_image_shape(shape[1])
        if shape[0] == 1:
            return None
    else:
        shape = shape[1:]

    def read(row):
        values = to_numpy(take_rows(inputs, np.array([row])))
        images = channel_first(values.reshape(1, *shape))
        if images is None or 0 in images.shape or images.dtype.kind not in "biuf":
            raise ImageReadError(f"expected an image, got {values.dtype} of shape {shape}")
        return images[0]

    return read


def _of_object(item):
    if isinstance(item, str | bytes) or hasattr(item, "__fspath__"):
        return decode(item, SIDES[0])
    return item_pixels(item, None)


def _try(read, row):
    """The image of a row, None where it cannot be read."""
    try:
        return read(row)
    except (ImageReadError, ImportError):
        return None


def _why_none(inputs):
    try:
        import_optional("PIL.Image", "neural")
    except ImportError:
        if not isinstance(inputs, ImageItems) and inputs.ndim == 1:
            return 'Pictures of files need Pillow: pip install "skclean[neural]".'
    return "The pictures could not be read."


def _bounds(images):
    """Least and greatest value of the pixels, as they are shown from black to white."""
    kinds = {image.dtype for image in images}
    if kinds == {np.dtype(np.uint8)}:
        return 0.0, 255.0
    finite = [image[np.isfinite(image)] for image in images]
    low = min((float(v.min()) for v in finite if v.size), default=0.0)
    high = max((float(v.max()) for v in finite if v.size), default=1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high


def _fitting_side(images, bounds, n, budget):
    for side in SIDES:
        size = np.mean([len(_uri(image, bounds, side)) for image in images.values()])
        if size * n <= budget:
            return side
    return SIDES[-1]


def _uri(image, bounds, side):
    """An image (C, H, W) as a data URI, its longer side at most `side` pixels."""
    low, high = bounds
    image = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
    image = _shrunk(image, side)
    image = np.clip((image - low) * (255 / (high - low if high > low else 1)), 0, 255)
    image = np.rint(image).astype(np.uint8)
    image = image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)
    found = None if image.size <= _FEW_VALUES else _lossy(image)
    kind, data = found or ("png", png(image))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _shrunk(image, side):
    """Means of squares of f x f pixels, with the least f for which the longer side fits."""
    channels, height, width = image.shape
    f = -(-max(height, width) // side)
    if f <= 1:
        return image
    up, across = -(-height // f) * f, -(-width // f) * f
    image = np.pad(image, ((0, 0), (0, up - height), (0, across - width)), mode="edge")
    return image.reshape(channels, up // f, f, across // f, f).mean(axis=(2, 4))


def _lossy(image):
    """The image as WebP or JPEG, None without Pillow."""
    try:
        Image = import_optional("PIL.Image", "neural")
        features = import_optional("PIL.features", "neural")
    except ImportError:
        return None
    kind = "webp" if features.check("webp") else "jpeg"
    stream = BytesIO()
    Image.fromarray(image).save(stream, kind.upper(), quality=80)
    return kind, stream.getvalue()
