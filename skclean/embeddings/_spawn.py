"""Started processes: what they are given, how they fail, and that they end with their parent."""

import multiprocessing
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

#: Seconds between looks at whether the parent is still there.
WATCH = 1.0


def run_spawned(fabric: Any, function: Callable, args: tuple, kwargs: dict) -> Any:
    """Run ``function(fabric, *args, **kwargs)`` in the processes that a Fabric starts.

    Everything travels in a file: where a process dies before it has read a pipe, who writes into
    that would wait for ever.

    Raises
    ------
    RuntimeError
        If a process ends without an error of its own, as in a script without the guard of its
        main module.
    Exception
        That of the function, where it raises in a process.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "skclean: expected no training while the processes of another one start, got one from "
            'the main module; do put what a script does under `if __name__ == "__main__":`, as '
            "devices > 1 starts new processes."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.pickle"
        with path.open("wb") as stream:
            pickle.dump((function, args, kwargs), stream, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            return fabric.launch(_run, str(path), os.getpid())
        except torch.multiprocessing.ProcessRaisedException as error:
            original = path.with_name("error.pickle")
            if original.exists():
                raise pickle.loads(original.read_bytes()) from error
            raise
        except torch.multiprocessing.ProcessExitedException as error:
            raise RuntimeError(
                f"skclean: expected processes for devices > 1, got one that ended ({error}); do "
                'put what a script does under `if __name__ == "__main__":`, have it in a file, '
                "and look whether memory ran out; or set devices=1."
            ) from error


def _run(fabric, path, parent):
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with open(path, "rb") as stream:
        function, args, kwargs = pickle.load(stream)
    try:
        return function(fabric, *args, **kwargs)
    except Exception as error:
        _leave(error, Path(path).with_name("error.pickle"))
        raise


def _leave(error, path):
    """Keep an error for the parent, if it pickles; the first one counts."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:  # What users raise need not pickle: its text still reaches the parent.
        return
    if not path.exists():
        path.write_bytes(content)


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
