"""The container of a saved estimator: a zip file of stored members, sealed by a digest."""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from skclean._files import replacing

DOCUMENT = "document.json"
#: The comment of the zip file; the digest of all bytes before it stands behind.
SEAL = b"skclean.save sha256 "
_DIGEST = 64
_CHUNK = 1 << 20
_MOST_HEADER = 10_000


class SavedFileError(ValueError):
    """A file is none that `save` wrote, is damaged, or names what is not known."""


def write_file(path: Any, document: dict[str, Any], members: dict[str, Any]) -> None:
    """Write a document and its members to a file that is whole or not there.

    Parameters
    ----------
    path : path-like
    document : dict
        What JSON can hold.
    members : dict of str to ndarray or callable
        Name of each; a callable gives its bytes.
    """
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as file:
            file.comment = SEAL + b"0" * _DIGEST
            text = json.dumps(document, allow_nan=False, separators=(",", ":"))
            _write_bytes(file, DOCUMENT, text.encode("ascii"))
            for name, content in members.items():
                if isinstance(content, np.ndarray):
                    with _member(file, name, content.nbytes) as stream:
                        npy.write_array(stream, content, version=(1, 0), allow_pickle=False)
                else:
                    _write_bytes(file, name, content())
        with temporary.open("rb+") as stream:
            digest = _digest(stream, os.path.getsize(temporary) - _DIGEST)
            stream.seek(-_DIGEST, os.SEEK_END)
            stream.write(digest)


@contextmanager
def opened(path: Any) -> Iterator["SavedFile"]:
    """A file that `write_file` wrote, for reading.

    Raises
    ------
    SavedFileError
        If it is none, or not as it was written.
    """
    with open(path, "rb") as stream:
        _check_seal(stream, path)
        try:
            file = zipfile.ZipFile(stream)
        except Exception as error:
            raise _damaged(path, f"its list of members cannot be read ({error})") from error
        with file:
            yield SavedFile(file, path, os.fstat(stream.fileno()).st_size)


class SavedFile:
    """The members of an open file, each looked at before it is read.

    Parameters
    ----------
    file : zipfile.ZipFile
    path : path-like
        For messages.
    size : int
        Of the file, in bytes.
    """

    def __init__(self, file: zipfile.ZipFile, path: Any, size: int) -> None:
        self.path = path
        self._file = file
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._read: set[str] = set()
        for member in file.infolist():
            self._check(member)
            self._members[member.filename] = member
        if sum(member.file_size for member in self._members.values()) > size:
            raise _damaged(path, "its members are larger than the file")

    def _check(self, member):
        name = member.filename
        if name in self._members:
            raise _damaged(self.path, f"two members are named {name!r}")
        folder, _, rest = name.rpartition("/")
        number, _, suffix = rest.partition(".")
        known = (folder, suffix) in (("arrays", "npy"), ("networks", "safetensors"))
        if name != DOCUMENT and not (known and number.isascii() and number.isdigit()):
            raise _damaged(self.path, f"it has an unknown member {name!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise _damaged(self.path, f"its member {name!r} is compressed")
        if member.flag_bits & 1:
            raise _damaged(self.path, f"its member {name!r} is encrypted")

    def check_all_read(self) -> None:
        """Raise SavedFileError if there is a member that nothing asked for."""
        for name in self._members.keys() - self._read:
            raise _damaged(self.path, f"its document does not name the member {name!r}")

    def document(self) -> dict[str, Any]:
        """The document.

        Raises
        ------
        SavedFileError
            If there is none, or no JSON object in it.
        """
        text = self.content(DOCUMENT)
        try:
            found = json.loads(text.decode("ascii"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise _damaged(self.path, f"its document is no JSON ({error})") from error
        if not isinstance(found, dict):
            raise _damaged(self.path, "its document is no JSON object")
        return found

    def content(self, name: str) -> bytes:
        """The bytes of a member."""
        with self._reading(name) as stream:
            return stream.read()

    def array(self, name: str) -> np.ndarray:
        """The array of a member, read without pickle.

        Raises
        ------
        SavedFileError
            If it is no .npy file of numbers, strings or dates, or not of the size that it says.
        """
        with self._reading(name) as stream:
            if npy.read_magic(stream) != (1, 0):
                raise ValueError("another version of the format")
            shape, fortran, dtype = npy.read_array_header_1_0(stream, max_header_size=_MOST_HEADER)
            if dtype.hasobject:
                raise ValueError("an array of objects")
            size = math.prod(shape) * dtype.itemsize
            if min(shape, default=0) < 0 or size != self._members[name].file_size - stream.tell():
                raise ValueError(f"shape {shape} and another size")
            if math.prod(shape) and not dtype.itemsize:
                # NumPy would make room for one byte or letter of each.
                raise ValueError(f"shape {shape} of items without bytes")
            array = np.empty(math.prod(shape), dtype=dtype)
            if array.nbytes != size:
                raise ValueError(f"{dtype} that takes other room")
            if size:
                _fill(stream, array.view(np.uint8))
            elif stream.read():
                raise ValueError("bytes behind the array")
        return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)

    @contextmanager
    def _reading(self, name):
        if name not in self._members:
            raise _damaged(self.path, f"it has no member {name!r}")
        if name in self._read:
            raise _damaged(self.path, f"its document asks for the member {name!r} twice")
        self._read.add(name)
        try:
            with self._file.open(self._members[name]) as stream:
                yield stream
        except MemoryError:
            raise
        except Exception as error:
            raise _damaged(self.path, f"its member {name!r} cannot be read ({error})") from error


def _member(file, name, size):
    # The same content gives the same file, whenever it is written.
    member = zipfile.ZipInfo(name)
    return file.open(member, "w", force_zip64=size > zipfile.ZIP64_LIMIT // 2)


def _write_bytes(file, name, content):
    with _member(file, name, len(content)) as stream:
        stream.write(content)


def _fill(stream, array):
    memory, start = memoryview(array), 0
    while start < len(memory):
        count = stream.readinto(memory[start : start + _CHUNK])
        if not count:
            raise EOFError("it ends early")
        start += count


def _digest(stream, size):
    """sha256, in hexadecimal digits, of the first bytes of a file."""
    found = hashlib.sha256()
    stream.seek(0)
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        found.update(chunk)
        size -= len(chunk)
    return found.hexdigest().encode("ascii")


def _check_seal(stream: IO[bytes], path: Any) -> None:
    size = stream.seek(0, os.SEEK_END)
    tail = len(SEAL) + _DIGEST
    stream.seek(max(size - tail, 0))
    end = stream.read()
    if not end.startswith(SEAL) or len(end) != tail:
        raise SavedFileError(
            f"load: expected a whole file that skclean.save wrote, got {str(path)!r}, which is "
            "another file or cut off; do save the estimator again."
        )
    if _digest(stream, size - _DIGEST) != end[len(SEAL) :]:
        raise _damaged(path, "its bytes are not those that were written")
    stream.seek(0)


def _damaged(path, why):
    return SavedFileError(
        f"load: expected a file as skclean.save wrote it, got {str(path)!r}, which is damaged: "
        f"{why}; do save the estimator again."
    )


def _no_constant(text):
    raise ValueError(f"{text} is no value")
