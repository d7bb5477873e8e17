"""Fetch a file over the network, check it, and put it in place in one step."""

import hashlib
import time
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from skclean._files import replacing
from skclean._warnings import warn

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without an answer


@dataclass(frozen=True)
class RemoteFile:
    """A file, where it comes from, and what it must hash to.

    Parameters
    ----------
    filename : str
        Name of the file on disk.
    url : str
        Where it is downloaded from.
    sha256 : str or None
        Hexadecimal digest. None is for files without a known one; their reader checks them.
    """

    filename: str
    url: str
    sha256: str | None


def fetch_file(remote, folder, *, download_if_missing=True, n_retries=3, delay=1.0):
    """Path of a checked copy of a remote file, downloaded where there is none.

    Parameters
    ----------
    remote : RemoteFile
        The file.
    folder : pathlib.Path
        Existing folder that it is kept in. A file of that name that lies there already, put
        there by hand for instance, is checked and used.
    download_if_missing : bool, default=True
        False raises instead of downloading.
    n_retries : int, default=3
        Further attempts after a network error.
    delay : float, default=1.0
        Seconds between attempts.

    Returns
    -------
    path : pathlib.Path
        The file, complete: a download goes to a temporary name and is renamed once checked.

    Raises
    ------
    OSError
        If the file is missing and may not be downloaded, the network fails on every attempt, or
        the digest differs.
    """
    path = Path(folder) / remote.filename
    if path.exists():
        with path.open("rb") as stream:
            _check_digest(remote, _copy(stream, None), f"the file {path}", "delete it")
        return path
    if not download_if_missing:
        raise OSError(
            f"{remote.filename}: expected {path} to exist, got no such file; do call with "
            f"download_if_missing=True, or put there the file from {remote.url}."
        )
    with replacing(path) as temporary:
        digest = _download(remote, temporary, n_retries, delay)
        _check_digest(remote, digest, f"a download from {remote.url}", "try again later")
    return path


def _download(remote, temporary, n_retries, delay):
    """Write the remote file to `temporary` and return its digest."""
    for attempts_left in range(n_retries, -1, -1):
        try:
            with urlopen(remote.url, timeout=_TIMEOUT) as source, open(temporary, "wb") as target:
                digest = _copy(source, target)
                if getattr(source, "length", None):
                    # A connection that breaks off looks like the end of the file.
                    raise IncompleteRead(b"", source.length)
                return digest
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            if not attempts_left:
                raise OSError(
                    f"{remote.filename}: expected to download {remote.url}, got {error}; do check "
                    f"the network, or put the file into the data folder by hand."
                ) from error
            warn(f"{remote.filename}: {error}; trying again.")
            time.sleep(delay)
    raise ValueError(f"{remote.filename}: expected n_retries to be at least 0, got {n_retries}.")


def _copy(source, target):
    """SHA-256 of what `source` holds, written to `target` unless that is None."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest()


def _check_digest(remote, digest, what, remedy):
    if remote.sha256 is not None and digest != remote.sha256:
        raise OSError(
            f"{remote.filename}: expected {what} to have the SHA-256 {remote.sha256}, got "
            f"{digest}; do {remedy}."
        )
