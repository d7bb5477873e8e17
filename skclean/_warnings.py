"""Warnings that point to the line of the user."""

import sys
import warnings

#: Packages through which a call of the user reaches the line that warns, or a worker starts.
_INNER = frozenset(
    "skclean sklearn joblib torch lightning_fabric numpy scipy pandas typer click contextlib "
    "importlib runpy threading multiprocessing concurrent asyncio dask distributed tornado".split()
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called the library, however deep in it the reason was found.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    here = frame = sys._getframe(1)
    while frame.f_back is not None and _package(frame) in _INNER:
        frame = frame.f_back
    if _package(frame) in _INNER:
        # A thread or process of the library: nobody outside has called.
        frame = here
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _package(frame):
    name, spec = frame.f_globals.get("__name__"), frame.f_globals.get("__spec__")
    # The first line of a worker is in a module that was run as __main__.
    return str(spec.name if name == "__main__" and spec else name).partition(".")[0]
