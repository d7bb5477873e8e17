"""Data sets of the papers' tables, from the files as their makers publish them.

--data is a folder, or an npz file with x_train, y_train, x_test and y_test (and, for CIFAR-N, the
human labels under aggre, random1, random2, random3, worse or fine). Folders are recognised by what
they hold, themselves or in a subfolder of the published name:

- cifar10: cifar-10-batches-py, with CIFAR-10_human.pt beside it where human labels are wanted; or
  cifar10n/images.npz and labels.npz (JPEG bytes, see benchmarks/bench_features.py);
- cifar100: cifar-100-python, with CIFAR-100_human.pt beside it for human labels;
- mnist: the four idx files, gzipped or not;
- clothing1m: the key lists, noisy_label_kv.txt and clean_label_kv.txt, and images/;
- webvision: info/train_filelist_google.txt and val_filelist.txt, google/ and val_images_256/; the
  first 50 classes (WebVision mini);
- food101n: Food-101N_release (meta/imagelist.tsv, meta/verified_train.tsv, images/), and food-101
  for the test rows (meta/test.txt, images/).
"""

import gzip
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skclean.datasets._pickle import load_arrays

#: Classes of WebVision mini.
MINI_CLASSES = 50
_HUMAN = {
    "cifar10": {
        "aggre": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worse": "worse_label",
    },
    "cifar100": {"fine": "noisy_label"},
}


class ImageData(NamedTuple):
    """Images and labels of a data set.

    Attributes
    ----------
    images, test_images : array of shape (n, H, W, 3) or (n, H, W), uint8, or of paths (n,)
    y, y_test : ndarray of shape (n,), int64
        Labels in 0 to C - 1; where nobody knows the true ones, `y` are the given ones.
    human : dict of str to ndarray
        Given labels by people.
    verified : ndarray of shape (n,), bool, or None
        Rows whose label was checked by the makers of the data.
    """

    images: Any
    y: np.ndarray
    test_images: Any
    y_test: np.ndarray
    human: dict
    verified: Any = None

    def rows(self, chosen, test_chosen):
        """Some of the rows."""
        return self._replace(
            images=self.images[chosen],
            y=self.y[chosen],
            test_images=self.test_images[test_chosen],
            y_test=self.y_test[test_chosen],
            human={k: v[chosen] for k, v in self.human.items()},
            verified=None if self.verified is None else self.verified[chosen],
        )


def load(path, name):
    """A data set; None where the folder does not hold it.

    Parameters
    ----------
    path : path-like
        An npz file is taken for the data set that is asked for, if the number of classes is right.
    name : {"cifar10", "cifar100", "mnist", "clothing1m", "webvision", "food101n"}

    Raises
    ------
    ValueError
        If the files are there and not as they must be.
    """
    path = Path(path)
    if path.is_file():
        return _npz(path, name)
    return _LOADERS[name](path)


def foreign_images(path):
    """Images from elsewhere, uint8 (n, 32, 32, 3): of CIFAR-100, or an npz with x_train."""
    path = Path(path)
    if path.is_file():
        with np.load(path) as content:
            return content["x_train"]
    found = _cifar100(path)
    if found is None:
        raise ValueError(
            f"foreign_images: expected an npz file with x_train or a folder with cifar-100-python, "
            f"got {path}; do name one by --foreign."
        )
    return found.images


def _npz(path, name):
    with np.load(path) as content:
        missing = [k for k in ("x_train", "y_train", "x_test", "y_test") if k not in content]
        if missing:
            raise ValueError(f"load: expected {missing[0]} in {path}, got {list(content)}.")
        y, y_test = (content[k].ravel().astype(np.int64) for k in ("y_train", "y_test"))
        n_classes = int(y.max()) + 1
        if (name == "cifar100") != (n_classes > 20):
            return None
        human = {k: content[k].astype(np.int64) for k in _HUMAN.get(name, {}) if k in content}
        return ImageData(content["x_train"], y, content["x_test"], y_test, human)


def _found(folder, *names):
    """The folder or its first subfolder of those names that holds the last of them."""
    *folders, probe = names
    for candidate in (folder, *(folder / name for name in folders)):
        if (candidate / probe).exists():
            return candidate
    return None


def _unpickled(path):
    with path.open("rb") as stream:
        return load_arrays(stream)


def _pixels(batch):
    return np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _human_labels(folder, name, y):
    """Labels by people from the published file beside the images, where it is there."""
    for place in (folder, folder.parent):
        path = place / f"{name.upper().replace('CIFAR', 'CIFAR-')}_human.pt"
        if path.exists():
            content = _unpickled(path)
            if not np.array_equal(np.asarray(content["clean_label"]), y):
                raise ValueError(
                    f"load: expected the clean labels of {path} to be those of the images; do take "
                    "the file in the order of torchvision."
                )
            return {k: np.asarray(content[v], np.int64) for k, v in _HUMAN[name].items()}
    return {}


def _cifar10(path):
    folder = _found(path, "cifar-10-batches-py", "data_batch_1")
    if folder is None:
        return _jpeg_cifar10(path)
    batches = [_unpickled(p) for p in sorted(folder.glob("data_batch_*"))]
    test = _unpickled(folder / "test_batch")
    y = np.concatenate([np.asarray(b[b"labels"], np.int64) for b in batches])
    images = np.concatenate([_pixels(b) for b in batches])
    y_test = np.asarray(test[b"labels"], np.int64)
    return ImageData(images, y, _pixels(test), y_test, _human_labels(folder, "cifar10", y))


def _jpeg_cifar10(path):
    folder = _found(path, "cifar10n", "images.npz")
    if folder is None:
        return None
    from benchmarks.bench_features import load as load_jpeg

    images, test_images, y, y_test = load_jpeg(folder.parent)
    with np.load(folder / "labels.npz") as content:
        human = {k: content[k].astype(np.int64) for k in _HUMAN["cifar10"] if k in content}
    # Labels are there for the first of the images alone.
    return ImageData(images[: len(y)], y, test_images[: len(y_test)], y_test, human)


def _cifar100(path):
    folder = _found(path, "cifar-100-python", "train")
    if folder is None or not (folder / "test").is_file():
        return None
    train, test = (_unpickled(folder / part) for part in ("train", "test"))
    y, y_test = (np.asarray(part[b"fine_labels"], np.int64) for part in (train, test))
    return ImageData(_pixels(train), y, _pixels(test), y_test, _human_labels(folder, "cifar100", y))


def _mnist(path):
    def read(stem):
        for candidate in (path / stem, path / "MNIST" / "raw" / stem):
            for name, opened in ((candidate, open), (Path(f"{candidate}.gz"), gzip.open)):
                if name.exists():
                    with opened(name, "rb") as stream:
                        return _idx(stream.read())
        return None

    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    parts = [read(f"{stem}-ubyte") for stem in stems]
    if any(part is None for part in parts):
        return None
    X, y, X_test, y_test = parts
    return ImageData(X, y.astype(np.int64), X_test, y_test.astype(np.int64), {})


def _idx(content):
    """Array of an idx file of bytes."""
    if content[:3] != b"\x00\x00\x08":
        raise ValueError("load: expected an idx file of unsigned bytes; do fetch it again.")
    n_axes = content[3]
    shape = struct.unpack(f">{n_axes}I", content[4 : 4 + 4 * n_axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _clothing1m(path):
    folder = _found(path, "clothing1m", "Clothing1M", "noisy_label_kv.txt")
    if folder is None:
        return None
    noisy, clean = (_pairs(folder / f"{kind}_label_kv.txt") for kind in ("noisy", "clean"))

    def part(keys, labels):
        names = (folder / keys).read_text().split()
        paths = np.array([str(folder / name) for name in names])
        return paths, np.array([labels[name] for name in names], np.int64)

    return ImageData(
        *part("noisy_train_key_list.txt", noisy), *part("clean_test_key_list.txt", clean), {}
    )


def _webvision(path):
    folder = _found(path, "webvision", "WebVision", "info")
    if folder is None:
        return None

    def part(listed, images):
        pairs = _pairs(folder / "info" / listed)
        kept = {name: k for name, k in pairs.items() if k < MINI_CLASSES}
        paths = np.array([str(folder / images / name) for name in kept])
        return paths, np.array(list(kept.values()), np.int64)

    return ImageData(
        *part("train_filelist_google.txt", "."), *part("val_filelist.txt", "val_images_256"), {}
    )


def _food101n(path):
    folder = _found(path, "Food-101N_release", "meta/imagelist.tsv")
    tests = _found(path, "food-101", "meta/test.txt")
    if folder is None or tests is None:
        return None
    # The first line of the lists is a heading.
    listed = (folder / "meta" / "imagelist.tsv").read_text().splitlines()[1:]
    names = [line.split("\t")[0] for line in listed]
    test_names = [f"{name}.jpg" for name in (tests / "meta" / "test.txt").read_text().split()]
    classes = sorted({name.split("/")[0] for name in names})

    def part(root, names):
        paths = np.array([str(root / "images" / name) for name in names])
        labels = np.searchsorted(classes, [name.split("/")[0] for name in names])
        return paths, labels.astype(np.int64)

    verified = None
    checked = folder / "meta" / "verified_train.tsv"
    if checked.exists():
        rows = (line.split("\t") for line in checked.read_text().splitlines()[1:])
        right = {row[0] for row in rows if row[1].strip() == "1"}
        verified = np.array([name in right for name in names])
    return ImageData(*part(folder, names), *part(tests, test_names), {}, verified)


def _pairs(path):
    """The lines of a file "name label" as a dictionary."""
    lines = (line.rsplit(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {name: int(label) for name, label in lines}


_LOADERS = {
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "mnist": _mnist,
    "clothing1m": _clothing1m,
    "webvision": _webvision,
    "food101n": _food101n,
}
