"""Imports that need an extra of the distribution."""

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def import_optional(module: str, extra: str) -> ModuleType:
    """Import a module that an extra installs.

    Parameters
    ----------
    module : str
        Dotted name of the module, such as ``"torch"`` or ``"matplotlib.pyplot"``, or of one of
        skclean's own that imports torch.
    extra : str
        The extra of skclean that installs it, such as ``"neural"``.

    Returns
    -------
    module : module
        The imported module.

    Raises
    ------
    ImportError
        If the module's distribution is not installed. The message holds the pip command. An
        installed module that fails while it is imported raises its own error.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        own, top = module.partition(".")[0], (error.name or "").partition(".")[0]
        if top != ("torch" if own == "skclean" else own):
            raise
        raise ImportError(
            f"skclean: expected {top!r} to be installed, got no such module; do "
            f'`pip install "skclean[{extra}]"`.',
            name=error.name if own == "skclean" else module,
        ) from error


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """What a package has as ``__getattr__``, so that names are imported on first use (PEP 562).

    Parameters
    ----------
    package : str
        Dotted name of the package.
    homes : dict of str to str
        Public name and the module that defines it, by its dotted name.

    Returns
    -------
    callable
        From a name to its value; raises AttributeError for names that are not in `homes`, and
        ImportError with the pip command for those that need torch, where it is missing.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_optional(homes[name], "neural"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
