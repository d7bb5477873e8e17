"""A warning about the unmaintained distribution that installs the same import package."""

from importlib import metadata

from skclean._warnings import warn


def warn_if_overwritten() -> None:
    """Warn where the distribution ``scikit-clean`` is installed.

    It also installs an import package named ``skclean``, so that its files lie over ours: what
    is then imported is a mixture of the two.

    Warns
    -----
    UserWarning
        If the metadata of ``scikit-clean`` is found. The message says what to do.
    """
    try:
        version = metadata.version("scikit-clean")
    except metadata.PackageNotFoundError:
        return
    warn(
        f"skclean: expected no other distribution to install the package 'skclean', got "
        f"scikit-clean {version}, whose files overwrite ours; do `pip uninstall -y scikit-clean` "
        f"and then `pip install --force-reinstall --no-deps skclean`.",
    )
