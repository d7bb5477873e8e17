"""Files that are whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Any) -> Iterator[Path]:
    """A name to write under; the file takes its own name once it is complete.

    Parameters
    ----------
    path : path-like
        The file to be. One that is there stays as it is until the new one is complete, and where
        writing fails.

    Yields
    ------
    pathlib.Path
        In the same folder; nothing is there yet.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
