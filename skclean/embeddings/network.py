"""The part of SSLFeaturizer that needs torch: train a backbone, and embed images by one."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from skclean._labels import encode_labels
from skclean.embeddings.augment import Augmentation
from skclean.embeddings.backbones import SMALL_IMAGE, make_backbone
from skclean.embeddings.devices import DeviceImages, make_fabric
from skclean.embeddings.training import fit

#: Images that the mean and the spread of the colours are taken from.
COLOUR_SAMPLE = 2000
#: A channel that varies less is constant.
LEAST_SPREAD = 1e-6
#: Learning rates of the methods are for batches of so many images.
BASE_BATCH = 512


def fit_backbone(
    estimator: Any, source: Any, rng: np.random.RandomState, probe_y: Any
) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """The backbone of a featurizer, trained by its method, and the history of the training.

    Parameters
    ----------
    estimator : SSLFeaturizer
        Its parameters, `method_` and `value_range_` are read.
    source : ImageSource
    rng : RandomState
    probe_y : array-like of shape (n,) or None

    Returns
    -------
    backbone : Module
        On the host, in evaluation mode.
    history : dict
        Empty for the method "none".
    """
    name, method = type(estimator).__name__, estimator.method_
    side, seed = min(source.shape[1:]), int(rng.randint(2**31 - 1))
    mean = std = None
    if estimator.weights is None and isinstance(estimator.backbone, str):
        mean, std = _colours(source, estimator.value_range_, rng)
    backbone = make_backbone(
        estimator.backbone,
        weights=estimator.weights,
        image_size=side,
        seed=seed,
        mean=mean,
        std=std,
    )
    if method == "none":
        return backbone.eval(), {}
    augment = estimator.augmentation
    if augment is None:
        large = side >= SMALL_IMAGE
        augment = Augmentation(scale=(0.08, 1), jitter=1.0, blur=0.5) if large else Augmentation()
    batch_size, rate = min(estimator.batch_size, source.n), estimator.learning_rate
    objective = method.make(backbone, seed + 1)
    fabric = make_fabric(
        estimator.device, estimator.devices, estimator.num_nodes, estimator.precision, name=name
    )
    history = fit(
        fabric,
        objective,
        source,
        augment,
        epochs=estimator.epochs,
        batch_size=batch_size,
        learning_rate=method.base_learning_rate * batch_size / BASE_BATCH if rate is None else rate,
        optimizer=estimator.optimizer,
        weight_decay=estimator.weight_decay,
        warmup_epochs=estimator.warmup_epochs,
        seed=seed,
        value_range=estimator.value_range_,
        compile=estimator.compile,
        probe_labels=_probe_codes(probe_y, source.n, name),
        probe_every=estimator.probe_every,
        checkpoint_dir=estimator.checkpoint_dir,
        checkpoint_every=estimator.checkpoint_every,
        resume=estimator.resume,
        settings={"method": repr(method), "augmentation": repr(augment)},
        verbose=estimator.verbose,
        name=name,
    )
    return objective.trained_backbone().cpu().eval(), history


def embed(
    backbone: nn.Module,
    source: Any,
    value_range: tuple[float, float],
    device: Any,
    batch_size: int,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Embeddings of all rows of a source, batch by batch.

    Computed in float32, and in float64 on the host for images in float64.

    Yields
    ------
    rows : slice
    features : ndarray of shape (b, d)
    """
    device = make_fabric(device).device
    images = DeviceImages(source, device, value_range)
    double = source.dtype == np.float64 and device.type == "cpu"
    network = copy.deepcopy(backbone).double() if double else backbone.to(device)
    try:
        start = 0
        for batch in images.batches(np.arange(source.n), batch_size):
            batch = batch.double() if double else batch
            yield slice(start, start + len(batch)), _features(network, batch)
            start += len(batch)
    finally:
        backbone.cpu()


@torch.inference_mode()
def _features(network, batch):
    # Rows are recognised later by their content: the same image must give the same numbers,
    # whatever is in the batch beside it.
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        return network(batch).cpu().numpy()


def _colours(source, value_range, rng):
    """Mean and standard deviation of each of three channels, values in [0, 1]."""
    rows = np.flatnonzero(source.readable)
    if len(rows) > COLOUR_SAMPLE:
        rows = np.sort(rng.choice(rows, COLOUR_SAMPLE, replace=False))
    low, high = value_range
    images = (source.read(rows).astype(np.float64) - low) / (high - low)
    mean, std = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    std[std < LEAST_SPREAD] = 1
    return np.broadcast_to(mean, 3), np.broadcast_to(std, 3)


def _probe_codes(probe_y, n, name):
    if probe_y is None:
        return None
    codes, _ = encode_labels(probe_y, name=name)
    if len(codes) != n:
        raise ValueError(
            f"{name}: expected probe_y of {n} rows, as many as X, got {len(codes)}; do pass the "
            "labels of the same rows."
        )
    return codes
