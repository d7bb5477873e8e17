"""Given labels of a column of a table: "data set, noise, rate in %"."""

from typing import NamedTuple

import numpy as np

from skclean.datasets import (
    ASYMMETRIC_MAPS,
    make_asymmetric_noise,
    make_openset_noise,
    make_symmetric_noise,
)

#: Class maps of asymmetric noise, by data set.
MAPS = {"cifar10": ASYMMETRIC_MAPS["cifar10"], "mnist": {2: 7, 3: 8, 5: 6, 7: 1}}
#: Share of the rows on which the network is trained that makes semantic noise.
SEMANTIC_SHARE = {"cifar10": 0.05, "cifar100": 0.2}


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    data : str
    noise : str
        "sym", drawn from all classes; "flip", from all others; "asym", by a class map; "semantic",
        by a network trained on few rows; "open-SOURCE", foreign images; "given", as the labels are;
        or the name of human labels.
    rate : float
        In [0, 1].
    """

    data: str
    noise: str
    rate: float

    @classmethod
    def parse(cls, text):
        """From "cifar10 sym 20"."""
        data, noise, rate = text.split()
        return cls(data, noise, int(rate) / 100)


def corrupt(data, column, seed, foreign=None, label_by_network=None):
    """Data with the images of the column, and its given labels (n,).

    Parameters
    ----------
    data : ImageData
    column : Column
    seed : int
    foreign : dict of str to ndarray, or None
        Images from elsewhere by source ("cifar100", "imagenet", "both").
    label_by_network : callable or None
        From rows to be learnt from to labels of all rows, for semantic noise.

    Returns
    -------
    data, given
        None, None where the data does not hold what the column needs.
    """
    noise, rate, y = column.noise, column.rate, data.y
    if noise == "given":
        return data, y
    if noise in ("sym", "flip"):
        include_true = noise == "sym"
        return data, make_symmetric_noise(y, rate, include_true=include_true, random_state=seed)[0]
    if noise == "asym":
        return data, make_asymmetric_noise(y, rate, _map(column, y), random_state=seed)[0]
    if noise == "semantic":
        rows = _stratified(y, SEMANTIC_SHARE[column.data], seed)
        return data, label_by_network(rows)
    if noise.startswith("open-"):
        images = (foreign or {}).get(noise.removeprefix("open-"))
        return (None, None) if images is None else _open_set(data, images, rate, seed)
    if noise in data.human:
        return data, data.human[noise]
    return None, None


def _map(column, y):
    """The map of a data set, without classes that are not there."""
    there = set(np.unique(y).tolist())
    return {k: v for k, v in MAPS[column.data].items() if {k, v} <= there}


def _stratified(y, share, seed):
    """Rows of that share of each class, at least two of it."""
    rng, rows = np.random.RandomState(seed), []
    for k in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == k))
        rows.append(members[: max(2, round(share * len(members)))])
    return np.sort(np.concatenate(rows))


def _open_set(data, images, rate, seed):
    """Rows replaced by foreign images, which keep no meaning in their labels."""
    rng = np.random.RandomState(seed)
    n = min(round(rate * len(data.y)), len(images))
    rows = np.sort(rng.permutation(len(data.y))[:n])
    mixed = np.array(data.images)
    mixed[rows] = images[np.sort(rng.permutation(len(images))[:n])]
    y = data.y.copy()
    foreign_class = int(y.max()) + 1
    y[rows] = foreign_class
    given = make_openset_noise(y, [foreign_class], random_state=seed)[0]
    return data._replace(images=mixed, y=y), given
