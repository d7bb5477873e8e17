"""What a command says, and where: results on stdout, everything else on stderr."""

import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class UsageError(ValueError):
    """Options that are wrong or do not go together, whatever the data."""


class Console:
    """Speaks for a command.

    Parameters
    ----------
    quiet : bool
        Whether only errors are shown.
    as_json : bool
        Whether the result is one JSON object on stdout.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.shows_progress = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        if not self.quiet:
            print(f"skclean: {one_line(text)}", file=sys.stderr)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Show on a terminal that something is being done, and afterwards how long it took."""
        if not self.shows_progress:
            yield
            return
        # Comes with typer.
        from rich import console, progress

        bar = progress.Progress(
            progress.TextColumn("skclean: {task.description}", markup=False),
            progress.BarColumn(),
            progress.TimeElapsedColumn(),
            console=console.Console(stderr=True),
            transient=True,
            redirect_stdout=False,
        )
        started = time.monotonic()
        with bar:
            bar.add_task(text, total=None)
            yield
        self.note(f"{text}: {time.monotonic() - started:.1f} s")

    def result(self, summary: dict[str, Any], text: str) -> None:
        """Give the result: `summary` as JSON, or `text` for people."""
        if self.as_json:
            summary = {**summary, "seconds": round(time.monotonic() - self._started, 3)}
            print(json.dumps(plain(summary), allow_nan=False, ensure_ascii=False))
        elif not self.quiet:
            print(text)

    @contextmanager
    def warnings_as_notes(self) -> Iterator[None]:
        """Warnings of the library become one line each on stderr."""
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = lambda message, *_, **__: self.note(f"warning: {message}")
            yield


def one_line(text: Any) -> str:
    """A message without line breaks."""
    return " ".join(str(text).split())


def error_text(error: BaseException) -> str:
    """What went wrong, in one line: why and with which file, without the number of the system."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return one_line(f"{error.strerror}: {str(error.filename)!r}")
    return one_line(error) or type(error).__name__


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are none become null, NumPy's types plain ones."""
    if isinstance(value, dict):
        return {str(key): plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [plain(held) for held in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
