"""torch Datasets to containers, and purified labels to torch Datasets."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from skclean._array import to_numpy
from skclean._frame import check_in_memory
from skclean._labels import shown
from skclean.embeddings.images import ImageItems
from skclean.samples import LabelledSamples


def from_torch(
    dataset: Any,
    *,
    y: Any = None,
    features: Any = None,
    classes: Any = None,
    trusted: Any = None,
    missing_label: Any = "auto",
) -> LabelledSamples:
    """A container whose inputs are the items of a torch Dataset, read as they are needed.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Map-style; its items are inputs, or tuples that begin with one.
    y : array-like of shape (n,) or None, default=None
        Given labels. None takes the dataset's ``targets``, also through `torch.utils.data.Subset`,
        else the second of every item, for which all items are read once.
    features : array of shape (n, d) or None, default=None
        Embeddings. None: there are none yet (n, 0), for a featurizer such as `SSLFeaturizer`.
    classes, trusted, missing_label
        As in `LabelledSamples`.

    Raises
    ------
    TypeError
        If the dataset has no length or no items by number.
    ValueError
        If there are no labels, and as `LabelledSamples`.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from skclean.interop import from_torch
    >>> from_torch(TensorDataset(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])))
    LabelledSamples(4 rows, 0 features, float32; 2 classes; given: 4, missing: 0; with inputs)
    """
    by_number = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not by_number or isinstance(dataset, IterableDataset):
        raise TypeError(
            "from_torch: expected a dataset with __len__ and __getitem__, got "
            f"{type(dataset).__name__}; do pass a map-style Dataset."
        )
    if y is None:
        y = _targets(dataset)
    if features is None:
        features = np.empty((len(dataset), 0), dtype=np.float32)
    return LabelledSamples(
        features,
        y,
        classes=classes,
        inputs=ImageItems(dataset),
        trusted=trusted,
        missing_label=missing_label,
    )


class PurifiedDataset(Dataset):
    """A torch Dataset of inputs, purified labels and weights, for a DataLoader.

    Items are ``(input, label, weight)``; rows whose label is not known stay out unless they are
    asked for.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset of n rows or None
        Whose inputs are given: its items, or the first of them where they are tuples. None gives
        the features of the container.
    samples : LabelledSamples of n rows
        Of the same rows in the same order.
    labels : {"hard", "soft"}, default="hard"
        Position of the label in `classes`, or `proba`.
    drop_unknown : bool, default=True
        Whether rows of status unknown or without a label stay out. Else they have label -1, or
        their `proba`.

    Attributes
    ----------
    rows : ndarray of int of shape (m,)
        Positions of the items in `dataset` and `samples`.
    classes : ndarray of shape (C,)
    targets : ndarray of shape (m,), int64, or (m, C), float32
        Labels of the items.
    weight : ndarray of shape (m,), float32
        The container's `weight`, else 1.

    Raises
    ------
    ValueError
        If lengths differ, the container has no labels, or no `proba` where soft ones are meant; if
        what is needed of it is a dask array.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> from skclean import GMMCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.interop import PurifiedDataset
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> samples = GMMCleaner().fit_transform(digits.data[:300], digits.target_noisy[:300])
    >>> loader = DataLoader(PurifiedDataset(None, samples), batch_size=32)
    >>> x, label, weight = next(iter(loader))
    >>> x.shape, label.dtype, weight.dtype
    (torch.Size([32, 64]), torch.int64, torch.float32)
    """

    def __init__(
        self,
        dataset: Any,
        samples: LabelledSamples,
        *,
        labels: str = "hard",
        drop_unknown: bool = True,
    ) -> None:
        name = "PurifiedDataset"
        if dataset is not None and len(dataset) != len(samples):
            raise ValueError(
                f"{name}: expected a container of {len(dataset)} rows, as many as the dataset, got "
                f"{len(samples)}; do pass the samples of this dataset."
            )
        if labels not in ("hard", "soft"):
            raise ValueError(
                f'{name}: expected labels "hard" or "soft", got {shown(labels)}; do pass one.'
            )
        if labels == "soft" and samples.proba is None:
            raise ValueError(
                f'{name}: expected proba in the container for labels="soft", got none; do purify '
                'the labels first, or pass labels="hard".'
            )
        if dataset is None:
            check_in_memory(samples.features, name, "features", "a dataset of the inputs")
        if labels == "soft":
            check_in_memory(samples.proba, name, "proba", 'labels="hard"')
        codes = samples._known_codes()
        rows = np.flatnonzero(codes >= 0) if drop_unknown else np.arange(len(samples))
        target = codes if labels == "hard" else samples.proba.astype(np.float32)
        weight = np.ones(len(samples)) if samples.weight is None else samples.weight
        self.dataset = dataset
        self.features: Any = to_numpy(samples.features)[rows] if dataset is None else None
        self.rows = rows
        self.classes = samples.classes
        self.targets = target[rows]
        self.weight = weight[rows].astype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        if self.dataset is None:
            x = torch.from_numpy(self.features[index].copy())
        else:
            item = self.dataset[int(self.rows[index])]
            x = item[0] if isinstance(item, tuple | list) else item
        return x, torch.as_tensor(self.targets[index]), torch.as_tensor(self.weight[index])


def _targets(dataset):
    """Labels of all items, without reading them where the dataset tells."""
    told = _told_targets(dataset)
    if told is not None:
        return told
    labels = []
    for row in range(len(dataset)):
        item = dataset[row]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise ValueError(
                "from_torch: expected items of an input and a label, or a dataset with targets, "
                f"got {type(item).__name__} as item {row}; do pass y."
            )
        label = item[1]
        labels.append(label.item() if hasattr(label, "item") else label)
    return labels


def _told_targets(dataset):
    """Labels that the dataset, or that of which it is a part, has in store; else None."""
    if not isinstance(dataset, Subset):
        return getattr(dataset, "targets", None)
    whole = _told_targets(dataset.dataset)
    return None if whole is None else np.asarray(whole)[np.asarray(dataset.indices, dtype=int)]
