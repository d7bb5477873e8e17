"""Imports that need an extra of the distribution."""

import importlib
from types import ModuleType


def import_optional(module: str, extra: str) -> ModuleType:
    """Import a module that an extra installs.

    Parameters
    ----------
    module : str
        Dotted name of the module, such as ``"torch"`` or ``"matplotlib.pyplot"``.
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
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise ImportError(
            f"skclean: expected {top!r} to be installed, got no such module; do "
            f'`pip install "skclean[{extra}]"`.',
            name=module,
        ) from error
