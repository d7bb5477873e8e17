"""CIFAR-10N: the 50,000 training images of CIFAR-10 with labels that people gave them."""

import tarfile
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np
from sklearn.utils import Bunch

from skclean._files import replacing
from skclean.datasets._base import get_data_home
from skclean.datasets._download import RemoteFile, fetch_file
from skclean.datasets._pickle import load_arrays

# The images: the authors publish an MD5 (c58f30108f718f92721af3b95e74349a); this is the SHA-256 of
# the same file, as TensorFlow Datasets and the Hugging Face hub record it.
IMAGES = RemoteFile(
    "cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
# The labels: the authors publish no checksum; this is the one that public projects that use the
# file record. What the file says of the true labels is compared with CIFAR-10's own besides.
LABELS = RemoteFile(
    "CIFAR-10_human.pt",
    "https://raw.githubusercontent.com/UCSC-REAL/cifar-10-100n/main/data/CIFAR-10_human.pt",
    "873e69c39cb9b5e97fb6bae2d60bb59b38a5cbc31d2b868f7903dcb2b9dd2310",
)

_FIELDS = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
}
_MEMBERS = {
    "train": [f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)],
    "test": ["cifar-10-batches-py/test_batch"],
}
_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
_ROWS_PER_BATCH = 10_000

_DESCR = """CIFAR-10N
---------
CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32 x 32 pixels in ten
classes, and for each training image the labels of three people (Wei et al., "Learning with Noisy
Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022): `random1`, `random2`,
`random3`, their majority `aggre`, and `worse`, a wrong one of the three wherever there is one.
Published shares of wrong labels: 17.2 %, 18.1 %, 17.6 %, 9.0 % and 40.2 %.
"""


def fetch_cifar10n(
    *,
    data_home: Any = None,
    noise: str = "worse",
    subset: str = "train",
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load CIFAR-10N, CIFAR-10 with human label errors; downloads 163 MiB on first use.

    Parameters
    ----------
    data_home : path-like or None, default=None
        Folder of the downloads, see `get_data_home`. Files that were put by hand into its
        subfolder ``cifar10n`` are used.
    noise : {"aggre", "random1", "random2", "random3", "worse"}, default="worse"
        Which human labels `target_noisy` holds.
    subset : {"train", "test"}, default="train"
        The test images have true labels alone.
    download_if_missing : bool, default=True
        False raises OSError instead of downloading.
    n_retries : int, default=3
        Further attempts after a network error.
    delay : float, default=1.0
        Seconds between attempts.
    return_X_y : bool, default=False
        True returns ``(data, target_noisy)``, and for the test subset ``(data, target)``.

    Returns
    -------
    cifar10n : sklearn.utils.Bunch
        With the fields, n being 50,000 or 10,000 and rows in the order of torchvision,

        - data : ndarray of shape (n, 3072), uint8, the rows of `images` laid flat
        - images : ndarray of shape (n, 32, 32, 3), uint8, red, green, blue
        - target : ndarray of shape (n,), int64 in [0, 9], the true classes
        - target_noisy : ndarray of shape (n,), int64 in [0, 9], the given labels; None for the
          test subset
        - transition : ndarray of shape (10, 10), shares P(given = column | true = row) counted
          over the rows; None for the test subset
        - target_names : list of str
        - frame : None
        - DESCR : str
    (X, y_noisy) : tuple of ndarray
        If `return_X_y` is True.

    Raises
    ------
    ValueError
        If `noise` or `subset` is unknown.
    OSError
        If a file is missing and may not be downloaded, cannot be downloaded, is damaged, or is not
        the published one: its checksum differs, or the true labels of the label file are not those
        of the images.
    pickle.UnpicklingError
        If a file holds anything but arrays and builtin containers.
    """
    for name, value, allowed in (("noise", noise, _FIELDS), ("subset", subset, _MEMBERS)):
        if value not in allowed:
            raise ValueError(
                f"fetch_cifar10n: expected {name} to be one of {list(allowed)}, got {value!r}."
            )
    folder = get_data_home(data_home) / "cifar10n"
    folder.mkdir(exist_ok=True)
    options = {
        "download_if_missing": download_if_missing,
        "n_retries": n_retries,
        "delay": delay,
    }
    images, target = _read_images(folder, subset, options)
    target_noisy = transition = None
    if subset == "train":
        target_noisy = _read_labels(fetch_file(LABELS, folder, **options), target, noise)
        counts = np.zeros((len(_CLASSES), len(_CLASSES)))
        np.add.at(counts, (target, target_noisy), 1)
        transition = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    data = images.reshape(len(images), -1)
    if return_X_y:
        return data, target if target_noisy is None else target_noisy
    return Bunch(
        data=data,
        images=images,
        target=target,
        target_noisy=target_noisy,
        transition=transition,
        target_names=list(_CLASSES),
        frame=None,
        DESCR=_DESCR,
    )


def _read_images(folder, subset, options):
    """Images and true labels of a subset, from the arrays kept in `folder` or the archive."""
    arrays = folder / "cifar10.npz"
    if not arrays.exists():
        placed_by_hand = (folder / IMAGES.filename).exists()
        archive = fetch_file(IMAGES, folder, **options)
        content = {}
        for name, members in _MEMBERS.items():
            content[f"{name}_images"], content[f"{name}_target"] = _unpack(archive, members)
        with replacing(arrays) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **content)
        if not placed_by_hand:
            archive.unlink()
    try:
        with np.load(arrays, allow_pickle=False) as content:
            return content[f"{subset}_images"], content[f"{subset}_target"]
    except (EOFError, KeyError, ValueError, BadZipFile) as error:
        raise OSError(
            f"{arrays}: expected the images as they were unpacked, got a damaged file ({error}); "
            "do delete it."
        ) from error


def _unpack(archive, members):
    """Images (n, 32, 32, 3) uint8 and labels (n,) int64 of some batches of the archive."""
    images, target = [], []
    with tarfile.open(archive, "r:gz") as tar:
        for member in members:
            batch = load_arrays(BytesIO(tar.extractfile(member).read()))
            images.append(np.asarray(batch[b"data"], dtype=np.uint8))
            target.append(np.asarray(batch[b"labels"], dtype=np.int64))
            if images[-1].shape != (_ROWS_PER_BATCH, 3072) or len(target[-1]) != _ROWS_PER_BATCH:
                raise OSError(
                    f"{archive}: expected {member} to hold ({_ROWS_PER_BATCH}, 3072) pixels and "
                    f"as many labels, got {images[-1].shape} and {len(target[-1])}; do delete it."
                )
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), np.concatenate(target)


def _read_labels(path, target, noise):
    """The human labels (n,) int64 out of the published file, checked against the true ones."""
    with path.open("rb") as stream:
        content = load_arrays(stream)
    clean, given = (
        np.asarray(content[field], dtype=np.int64) for field in ("clean_label", _FIELDS[noise])
    )
    if not np.array_equal(clean, target):
        n_same = int((clean == target).sum()) if clean.shape == target.shape else 0
        raise OSError(
            f"{path}: expected the clean labels to be those of CIFAR-10 in its own order, got "
            f"{n_same} of {len(target)} equal; do delete the file, and take the one in the order "
            f"of torchvision, not of TensorFlow Datasets."
        )
    if given.shape != target.shape or given.min() < 0 or given.max() >= len(_CLASSES):
        raise OSError(
            f"{path}: expected {len(target)} {noise} labels in [0, 9], got shape {given.shape}; "
            f"do delete the file."
        )
    return given
