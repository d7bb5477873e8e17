"""Files that are whole or not there."""

import ctypes
import errno
import os
import platform
import re
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def replacing(path: Any) -> Iterator[Path]:
    """A name to write under; the file takes its own name once it is complete.

    Parameters
    ----------
    path : path-like
        The file to be. One that is there stays as it is until the new one is complete, and where
        writing fails; the new one gets its permissions.

    Yields
    ------
    pathlib.Path
        In the same folder; nothing is there yet.

    Raises
    ------
    OSError
        Naming the file, where the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    temporary = scratch_path(path)
    try:
        with naming(path, temporary):
            yield temporary
            finish(path, temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    remove_scratch(path)


@contextmanager
def replacing_folder(path: Any, overwrite: bool = True) -> Iterator[Path]:
    """A folder to write to; it takes its own name once it is complete.

    On Linux, on file systems that can exchange two names (those of a network often cannot), there
    is a folder of that name at every moment. Elsewhere one that is replaced is away between two
    renames, and a process killed just then leaves both under hidden names beside it. Of several
    writers the last one wins.

    Parameters
    ----------
    path : path-like
        The folder to be, or a link to it. One that is there stays as it is where writing fails;
        the new one gets its permissions.
    overwrite : bool, default=True
        Whether one that is there and not empty is removed when the new one is complete.

    Yields
    ------
    pathlib.Path
        Absolute, in the same folder; nothing is in it yet.

    Raises
    ------
    FileExistsError
        If one is there that is not empty, and `overwrite` is False.
    OSError
        Naming the file that is to be, where the disk is full or cannot be written to.
    """
    path = Path(path)
    # Other links stay: a cluster may have them elsewhere.
    resolve = os.path.realpath if path.is_symlink() or ".." in path.parts else os.path.abspath
    path = Path(resolve(path))
    temporary, old = scratch_path(path), scratch_path(path)
    try:
        temporary.mkdir()
        yield temporary
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        while not _placed(temporary, path):
            if not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            if _exchanged(temporary, path):
                break
            shutil.rmtree(old, ignore_errors=True)
            with suppress(FileNotFoundError):
                path.rename(old)
    except OSError as error:
        name = str(error.filename or "")
        if not error.errno or not name.startswith(str(temporary)):
            raise
        name = name.replace(str(temporary), str(path), 1)
        raise OSError(error.errno, os.strerror(error.errno), name) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)
    remove_scratch(path)


def _placed(temporary, path):
    """Whether a folder could take a name, which a folder with files may have."""
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _exchanged(one, other):
    """Whether the system could exchange two names at once."""
    try:
        exchange = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange(here, os.fsencode(one), here, os.fsencode(other), both) == 0


def finish(path: Path, temporary: Path) -> None:
    """Bring a complete file to the disk, with the permissions of the one whose place it takes."""
    if path.exists():
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())


def rename_all(files: Mapping[Path, Path]) -> None:
    """Give complete files their names, all of them or none.

    Parameters
    ----------
    files : dict of Path to Path
        The name of each file to be, and its temporary one.

    Raises
    ------
    OSError
        Naming the file that failed; those before it are again what they were.
    """
    with ExitStack() as removed, ExitStack() as undo:
        for path, temporary in files.items():
            backup = _backup(path)
            if backup is not None:
                removed.callback(backup.unlink, missing_ok=True)
            undo.callback(_put_back, path, backup)
            with naming(path, temporary):
                temporary.replace(path)
        undo.pop_all()


def _backup(path):
    """Another name of a file that is there, else None."""
    if not path.exists():
        return None
    backup = scratch_path(path)
    try:
        os.link(path, backup)
    except OSError:
        # Not every file system has links.
        shutil.copy2(path, backup)
    return backup


def _put_back(path, backup):
    if backup is None:
        path.unlink(missing_ok=True)
    else:
        backup.replace(path)


def scratch_path(path: Path) -> Path:
    """A hidden name beside a file, in which this process is named."""
    return path.with_name(f".{path.name}.{_home()}-{os.getpid()}-{secrets.token_hex(3)}")


def remove_scratch(path: Path) -> None:
    """Remove what processes of this machine that were killed have left of writing a file."""
    left = re.compile(rf"\.+{re.escape(path.name)}(\.[0-9a-f]{{8}}-\d+-[0-9a-f]{{6}})+")
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if name.startswith(".") and left.fullmatch(name):
                home, pid, _ = name.rsplit(".", 1)[1].split("-")
                if home == _home() and not _lives(int(pid)):
                    _remove(path.with_name(name))


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@cache
def _home():
    """Eight digits that tell machines, and containers that see other processes, apart."""
    try:
        processes = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        processes = 0
    return f"{zlib.crc32(f'{platform.node()} {processes}'.encode()):08x}"


def _lives(pid):
    if os.name != "posix":
        # There a signal of 0 would end the process.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def naming(path: Path, temporary: Path) -> Iterator[None]:
    """Errors of writing to a temporary file become OSErrors that name the file that it is to be."""
    try:
        yield
    except Exception as error:
        name = getattr(error, "filename", None)
        # safetensors, which is written in Rust, tells the number in its message alone.
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = getattr(error, "errno", None) or (int(told[1]) if told else None)
        if number and (str(name) == str(temporary) or (name is None and number in _FULL)):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextmanager
def array_output(out: Any, shape: tuple[int, ...], dtype: str, name: str) -> Iterator[np.ndarray]:
    """An array to write to; a .npy file takes its name once it is complete.

    Parameters
    ----------
    out : None, path-like or ndarray
        None makes an array in memory.
    shape, dtype
        Of the array; one that is given may be float32 or float64.
    name : str
        Who speaks in errors.

    Raises
    ------
    ValueError
        If `out` is not such an array or path.
    """
    if out is None:
        yield np.empty(shape, dtype=dtype)
    elif isinstance(out, str | os.PathLike):
        with replacing(out) as temporary:
            features = open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            _allocate(temporary)
            yield features
            features.flush()
    else:
        shaped = isinstance(out, np.ndarray) and out.shape == shape
        if not shaped or out.dtype not in (np.float32, np.float64) or not out.flags.writeable:
            got = type(out).__name__
            if isinstance(out, np.ndarray):
                got = f"{out.dtype} {out.shape}" + " read-only" * (not out.flags.writeable)
            raise ValueError(
                f"{name}: expected out as a path or a writable array, float32 or float64 of shape "
                f"{shape}, got {got}; do make numpy.empty({shape}, numpy.{dtype}), or name a file."
            )
        yield out


def _allocate(path):
    """Take the room on the disk: where it is full, writing to a mapped file ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, os.path.getsize(path))
            except OSError as error:
                # Not every file system can.
                if error.errno in _FULL:
                    raise
