"""Data sets and settings of the benchmarks.

The data is not part of the repository. A folder given by --data holds

- banking77.npz: X_train (n, d) sentence embeddings of the questions, y_train their intents;
- cifar10n/embeddings.npz: train (50000, d), and cifar10n/labels.npz: clean, aggre, random1 and
  worse, each (m,) for the first m rows.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from skclean.datasets import (
    make_asymmetric_noise,
    make_instance_dependent_noise,
    make_pair_noise,
    make_symmetric_noise,
)

HUMAN = ("aggre", "random1", "worse")
MAKERS = {"sym": make_symmetric_noise, "pair": make_pair_noise, "asym": make_asymmetric_noise}


class Setting(NamedTuple):
    """A row of the table: how the labels of a data set are corrupted."""

    data: str
    noise: str
    rate: float = 0.0

    def __str__(self):
        return f"{self.data} {self.noise}" + (f" {100 * self.rate:g} %" if self.rate else "")


def settings(names):
    """All settings of the named data sets."""
    shared = [("sym", r) for r in (0.0, 0.05, 0.2, 0.5, 0.8)]
    shared += [("pair", 0.2), ("pair", 0.4), ("instance", 0.2), ("instance", 0.4)]
    shared += [("imb-sym", 0.2), ("imb-pair", 0.2)]
    human = [("asym", 0.4), *((name, 0.0) for name in HUMAN)]
    return [Setting(name, *row) for name in names for row in shared + human * (name == "cifar10n")]


def load(folder, name):
    """Features (n, d) float32, true labels (n,) and a dictionary of human label sets."""
    folder = Path(folder)
    if name == "banking77":
        with np.load(folder / "banking77.npz") as data:
            # Unit vectors of several hundred dimensions: bring entries to the order of one.
            X = data["X_train"].astype(np.float32) * 10
            return X, np.unique(data["y_train"], return_inverse=True)[1], {}
    with np.load(folder / "cifar10n" / "labels.npz") as data:
        y = data["clean"].astype(np.int64)
        human = {k: data[k].astype(np.int64) for k in HUMAN}
    with np.load(folder / "cifar10n" / "embeddings.npz") as data:
        return data["train"][: len(y)].astype(np.float32), y, human


def held_out(folder, name):
    """Features and true labels of test rows."""
    folder = Path(folder)
    if name == "banking77":
        with np.load(folder / "banking77.npz") as data:
            X, names, known = data["X_test"], data["y_test"], np.unique(data["y_train"])
            return X.astype(np.float32) * 10, np.searchsorted(known, names)
    with np.load(folder / "cifar10n" / "labels.npz") as data:
        y = data["test_clean"].astype(np.int64)
    with np.load(folder / "cifar10n" / "embeddings.npz") as data:
        return data["test"][: len(y)].astype(np.float32), y


def corrupt(data, setting, seed):
    """Features, true labels and given labels of a setting."""
    X, y, human = data
    noise, rate = setting.noise, setting.rate
    if noise.startswith("imb-"):
        rows = _long_tail(y, 100 if setting.data == "cifar10n" else 20, seed)
        X, y, noise = X[rows], y[rows], noise[4:]
    if noise in human:
        return X, y, human[noise]
    if noise == "instance":
        return X, y, make_instance_dependent_noise(X, y, rate, random_state=seed)[0]
    return X, y, MAKERS[noise](y, rate, random_state=seed)[0]


def _long_tail(y, ratio, seed):
    """Rows of which class sizes fall off exponentially, by `ratio` from the first to the last."""
    rng = np.random.RandomState(1000 + seed)
    n_classes, largest, kept = y.max() + 1, np.bincount(y).max(), []
    for rank, k in enumerate(rng.permutation(n_classes)):
        rows = rng.permutation(np.flatnonzero(y == k))
        kept.append(rows[: max(2, int(largest * ratio ** (-rank / (n_classes - 1))))])
    return np.sort(np.concatenate(kept))
