"""Save fitted estimators to a file without pickle, and load them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator

import skclean
from skclean._saving_file import SavedFileError, opened, write_file
from skclean._saving_types import UnknownNameError
from skclean._saving_values import Decoder, Encoder
from skclean._warnings import warn

__all__ = ["SavedFileError", "SavedVersionWarning", "load", "save"]

#: Of the file; it grows where older versions of skclean can no longer read what is written.
FORMAT = 1


class SavedVersionWarning(UserWarning):
    """A file was written with another version of scikit-learn."""


def save(estimator: Any, path: Any, *, overwrite: bool = False) -> Path:
    """Write an estimator, fitted or not, to one file of plain values and arrays.

    The file holds no code and no pickle: a zip container with a JSON document, the arrays as .npy
    files and the weights of networks as safetensors. A fitted cleaner keeps what it needs to judge
    a later batch and the labels of its own rows, not their features.

    Parameters
    ----------
    estimator : estimator of skclean or scikit-learn
        A Pipeline, too. What it holds must be plain values, NumPy, CuPy, dask or torch arrays,
        further estimators, and networks made of layers of torch, torchvision and skclean. Dask
        arrays are computed, and come back as NumPy arrays.
    path : path-like
        Any ending will do, such as ``.skclean``. The file appears once it is complete.
    overwrite : bool, default=False
        Whether a file that is there is replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileExistsError
        If there is a file and `overwrite` is False.
    ValueError
        If the estimator holds something else: functions, objects of other packages. The message
        names attribute and type, and nothing is written. Of scikit-learn's estimators these are
        neighbours in a KD or ball tree (``algorithm="brute"`` is stored), SplineTransformer, Birch,
        boosted trees of regressors or with categorical features, and what is set up with functions
        of the user's.

    See Also
    --------
    load : Read the file.

    Examples
    --------
    >>> import skclean.saving, tempfile
    >>> from skclean import GMMCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> cleaner = GMMCleaner().fit(digits.data[:900], digits.target_noisy[:900])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = skclean.saving.save(cleaner, folder + "/cleaner.skclean")
    ...     again = skclean.saving.load(path)
    >>> later = digits.data[900:]
    >>> bool((again.transform(later).labels == cleaner.transform(later).labels).all())
    True
    """
    path = Path(path)
    if isinstance(estimator, type) or not isinstance(estimator, BaseEstimator):
        raise ValueError(
            f"save: expected an estimator, got {type(estimator).__name__}; do pass an instance of "
            "an estimator of skclean or scikit-learn."
        )
    encoder = Encoder()
    root = encoder.value(estimator)
    document = {
        "format": FORMAT,
        "versions": _versions(),
        "root": root,
        "objects": encoder.table,
    }
    members: dict[str, Any] = {f"arrays/{i}.npy": x for i, x in enumerate(encoder.arrays)}
    for i, tensors in enumerate(encoder.networks):
        members[f"networks/{i}.safetensors"] = _network_writer(tensors)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(
            f"save: expected a path where nothing is, got {str(path)!r}; do pass overwrite=True, "
            "or name another file."
        )
    write_file(path, document, members)
    return path


def load(path: Any) -> Any:
    """Read an estimator that `save` wrote.

    No code that the file names is run: classes come from a closed set, the estimators of skclean
    and scikit-learn and the layers of skclean, torch and torchvision, functions from a short list.
    The arrays are taken at their word, as scikit-learn's compiled code takes them, so load what you
    or people you trust have written.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator
        As it was saved; networks come back on the host, as do torch arrays of a device that is not
        there.

    Raises
    ------
    SavedFileError
        If the file is none of `save`, is damaged, was written in a later format, or names a class
        that is not known. It is a ValueError.
    ImportError
        If a package that the estimator needs is not installed.

    Warns
    -----
    SavedVersionWarning
        If the file was written with another minor version of scikit-learn, whose estimators may
        behave otherwise.
    """
    with opened(path) as file:
        document = file.document()
        if document.get("format") != FORMAT:
            raise SavedFileError(
                f"load: expected format {FORMAT} in {str(path)!r}, got "
                f"{document.get('format')!r}; do load it with the version of skclean that wrote "
                "it, or a later one."
            )
        return _decoded(file, document, path)


def _decoded(file, document, path):
    decoder = Decoder(
        lambda i: file.array(f"arrays/{i}.npy"),
        lambda i: _tensors(file.content(f"networks/{i}.safetensors")),
    )
    try:
        _warn_of_version(document["versions"])
        decoder.table(document["objects"])
        estimator = decoder.value(document["root"])
    except (SavedFileError, ImportError, MemoryError, SavedVersionWarning):
        raise
    except UnknownNameError as error:
        raise SavedFileError(
            f"load: expected classes and functions of skclean and scikit-learn in {str(path)!r}, "
            f"got {str(error)!r}; do load it with the versions that wrote it: "
            f"{document['versions']}."
        ) from error
    except Exception as error:
        raise SavedFileError(
            f"load: expected a document as skclean.save writes it in {str(path)!r}, got one that "
            f"makes no estimator ({type(error).__name__}: {error}); do save the estimator again."
        ) from error
    if isinstance(estimator, type) or not isinstance(estimator, BaseEstimator):
        raise SavedFileError(
            f"load: expected an estimator in {str(path)!r}, got {type(estimator).__name__}; do "
            "save one."
        )
    file.check_all_read()
    return estimator


def _versions():
    return {
        "skclean": skclean.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }


def _warn_of_version(versions):
    wrote, here = str(versions["scikit-learn"]), sklearn.__version__
    if wrote.split(".")[:2] != here.split(".")[:2]:
        warn(
            f"load: the file was written with scikit-learn {wrote}, and {here} is installed; its "
            "estimators may behave otherwise. Do fit again, or install that version.",
            SavedVersionWarning,
        )


def _network_writer(tensors):
    from safetensors.torch import save

    from skclean._saving_networks import host_copies

    return lambda: save(host_copies(tensors))


def _tensors(content):
    from safetensors.torch import load

    return load(content)
