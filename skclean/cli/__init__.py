"""The command line: purify, audit, apply, apply-decisions, demo and info."""

import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments after the program's name; None takes those of the process.

    Returns
    -------
    int
        0 where all went well, 1 for data that is not as it must be, 2 for wrong usage, 130 and 143
        for a run that was interrupted or ended.
    """
    # Python lets no other thread have a say in signals.
    in_charge = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _end) if in_charge else None
    try:
        from skclean.cli._app import app

        app(args=None if argv is None else list(argv), prog_name="skclean")
    except ImportError as error:
        print(f"skclean: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("skclean: interrupted; outputs are whole or as they were.", file=sys.stderr)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        if in_charge:
            signal.signal(signal.SIGTERM, before)
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that half-written files are removed."""
    raise SystemExit(128 + number)
