"""The memory that a call takes, beside files that are mapped into it."""

import threading
from pathlib import Path
from typing import Self

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Peak of this process's anonymous memory inside a ``with``, sampled by a thread (Linux).

    Pages of mapped files do not count: the system takes them back when it needs them.

    Attributes
    ----------
    start, peak : int
        Bytes.
    """

    def __init__(self, interval: float = 0.005) -> None:
        self._interval, self._stop = interval, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.start = self.peak = anonymous_bytes()
        self._thread.start()
        return self

    def reset(self) -> None:
        """Measure from now on."""
        self.start = self.peak = anonymous_bytes()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, anonymous_bytes())

    def _watch(self):
        while not self._stop.wait(self._interval):
            self.peak = max(self.peak, anonymous_bytes())


def anonymous_bytes() -> int:
    """Anonymous memory of this process that is in use now."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"expected a line RssAnon in {_STATUS}, got none; do run on Linux 4.5 or later.")
