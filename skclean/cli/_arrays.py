""".npy and .npz files, opened without pickle and within a number of bytes."""

import io
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

#: Bytes of a header that NumPy reads without being asked to trust it.
_HEADER_BYTES = 10_000
#: What NumPy and zipfile raise on files that are cut or altered.
BROKEN = (
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    OverflowError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def memory_available() -> int:
    """Bytes of memory that are free, as far as the system tells; else 8 GiB."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def check_size(what: str, size: int, max_bytes: int) -> None:
    """Raise ValueError where more is to be read than may be."""
    if size > max_bytes:
        raise ValueError(
            f"{what}: expected at most {max_bytes} bytes to read, got {size}; do pass --max-bytes "
            "if the file is meant to be that large."
        )


def read_npy(path: Path) -> np.ndarray:
    """An array that stays on the disk; ValueError if the file is no whole array of numbers."""
    try:
        with path.open("rb") as stream:
            _read_head(stream)
        return _with_text(np.load(path, mmap_mode="r", allow_pickle=False))
    except BROKEN as error:
        raise ValueError(_broken(path, error)) from error


def read_npz(path: Path, names: list[str], max_bytes: int) -> dict[str, np.ndarray]:
    """The named arrays of an archive, whose declared sizes are looked at first."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [_declared(archive, name, path) for name in names]
            check_size(f"{path}", sum(sizes), max_bytes)
            return {name: _member(archive, name) for name in names}
    except BROKEN as error:
        if str(error).startswith(f"{path}:"):
            raise
        raise ValueError(_broken(path, error)) from error


def npz_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array of an archive; nothing but the heads is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            return {name: _head(archive, name) for name in names}
    except BROKEN as error:
        raise ValueError(_broken(path, error)) from error


def _head(archive, name) -> tuple[tuple[int, ...], Any]:
    with archive.open(f"{name}.npy") as stream:
        return _read_head(stream)


def _read_head(stream) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype; the header says its own length, which NumPy would read without a look."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"it is of version {version}")
    long = version > (1, 0)
    length = stream.read(4 if long else 2)
    size = int.from_bytes(length, "little")
    if size > _HEADER_BYTES:
        raise ValueError(f"its header has {size} bytes")
    head = io.BytesIO(length + stream.read(size))
    read = npy.read_array_header_2_0 if long else npy.read_array_header_1_0
    shape, _, dtype = read(head)
    return shape, dtype


def _declared(archive, name, path):
    """Bytes that a member takes in memory, by its own word and by the archive's."""
    shape, dtype = _head(archive, name)
    if dtype.hasobject:
        raise ValueError(
            f"{path}: expected numbers or strings, got objects in {name!r}; do save strings as "
            "numpy.asarray(labels, dtype=str)."
        )
    size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    return max(size, archive.getinfo(f"{name}.npy").file_size)


def _member(archive, name):
    with archive.open(f"{name}.npy") as stream:
        return _with_text(npy.read_array(stream, allow_pickle=False))


def _with_text(array):
    """The array; ValueError if its strings hold numbers that are no characters."""
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        codes = native.reshape(-1).view(np.uint32)
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise ValueError("its strings are no text")
    return array


def _broken(path, error):
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return (
            f"{path}: expected numbers or strings, got objects; do save strings as "
            "numpy.asarray(labels, dtype=str)."
        )
    # Python quotes all that stands where a name should be.
    why = f"got a broken one ({str(error)[:200]})"
    return f"{path}: expected a whole {path.suffix} file, {why}; do save it again."
