"""The part of SSLFeaturizer that needs torch: train a backbone, and embed images by one."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from skclean._labels import encode_labels
from skclean._validation import copied
from skclean.embeddings._described import described
from skclean.embeddings.augment import Augmentation
from skclean.embeddings.backbones import SMALL_IMAGE, make_backbone
from skclean.embeddings.devices import DeviceImages, make_fabric
from skclean.embeddings.training import fit

#: Images that the mean and the spread of the colours are taken from.
COLOUR_SAMPLE = 2000
#: Images looked at for colour.
GRAY_SAMPLE = 256
#: Learning rate of LARS for such a batch.
LARS_RATE = 2.0
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
    drawn = estimator.weights is None and isinstance(estimator.backbone, str)
    if method == "none" and drawn:
        raise ValueError(
            f"{name}: expected weights for method='none', got none, so that {estimator.backbone!r} "
            "would be as it is drawn at random; do pass weights='DEFAULT' or a file."
        )
    mean = std = None
    if drawn:
        mean, std = colour_moments(source, estimator.value_range_, rng)
    backbone = make_backbone(
        estimator.backbone,
        weights=estimator.weights,
        image_size=source.shape[1:],
        seed=seed,
        mean=mean,
        std=std,
    )
    if method == "none":
        return backbone.eval(), {}
    augment = copied(estimator.augmentation, "augmentation", name)
    if augment is None:
        large = side >= SMALL_IMAGE
        augment = Augmentation(scale=(0.08, 1), jitter=1.0, blur=0.5) if large else Augmentation()
    batch_size, epochs = min(estimator.batch_size, source.n), estimator.epochs
    rate, warmup = estimator.learning_rate, estimator.warmup_epochs
    if rate is None:
        base = LARS_RATE if estimator.optimizer == "lars" else method.base_learning_rate
        rate = base * batch_size / BASE_BATCH
    if warmup is None:
        warmup = min(10, epochs // 10)
    elif warmup >= epochs:
        raise ValueError(
            f"{name}: expected warmup_epochs below epochs={epochs}, got {warmup}; do lower it, or "
            "set None."
        )
    objective = method.make(backbone, seed + 1)
    fabric = make_fabric(
        estimator.device, estimator.devices, estimator.num_nodes, estimator.precision, name=name
    )
    history = fit(
        fabric,
        objective,
        source,
        augment,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate,
        optimizer=estimator.optimizer,
        weight_decay=estimator.weight_decay,
        warmup_epochs=warmup,
        seed=seed,
        value_range=estimator.value_range_,
        compile=estimator.compile,
        probe_labels=_probe_codes(probe_y, source.n, name),
        probe_every=estimator.probe_every,
        checkpoint_dir=estimator.checkpoint_dir,
        checkpoint_every=estimator.checkpoint_every,
        resume=estimator.resume,
        settings={"method": described(method), "augmentation": described(augment)},
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
    images = DeviceImages(source, device, value_range, resident=False)
    double = source.dtype == np.float64 and device.type == "cpu"
    # A copy, as others may embed at the same time.
    network = copy.deepcopy(backbone).to(device, torch.float64 if double else torch.float32)
    start = 0
    for batch in images.batches(np.arange(source.n), batch_size):
        with torch.inference_mode(), without_tf32(device):
            features = network(batch.double() if double else batch).cpu().numpy()
        yield slice(start, start + len(batch)), features
        start += len(batch)


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Rows are recognised later by their content, up to the last bits."""
    if device.type != "cuda":
        yield
        return
    # torch 2.9 names the precision, and does not let its older switches be read after that.
    conv = getattr(torch.backends.cudnn, "conv", None)
    switch, exact = ("allow_tf32", False) if conv is None else ("fp32_precision", "ieee")
    places = conv or torch.backends.cudnn, torch.backends.cuda.matmul
    before = [getattr(place, switch) for place in places]
    try:
        for place in places:
            setattr(place, switch, exact)
        yield
    finally:
        for place, value in zip(places, before):
            setattr(place, switch, value)


def colour_moments(
    source: Any, value_range: tuple[float, float], rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each of three channels, values in [0, 1]."""
    rows = np.flatnonzero(source.readable)
    if len(rows) > COLOUR_SAMPLE:
        rows = np.sort(rng.choice(rows, COLOUR_SAMPLE, replace=False))
    low, high = value_range
    images = (source.read(rows).astype(np.float64) - low) / (high - low)
    mean, std = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    std[std < LEAST_SPREAD] = 1
    return np.broadcast_to(mean, 3), np.broadcast_to(std, 3)


def shows_colour(source: Any) -> bool:
    """Whether images have channels that differ; up to `GRAY_SAMPLE` are read until one does.

    Gray images come with three channels from files and from Pillow.
    """
    if source.shape[0] == 1:
        return False
    rows = np.flatnonzero(source.readable)
    rows = rows[:: max(-(-len(rows) // GRAY_SAMPLE), 1)]
    parts = (source.read(rows[start : start + 16]) for start in range(0, len(rows), 16))
    return any((part != part[:, :1]).any() for part in parts)


def _probe_codes(probe_y, n, name):
    if probe_y is None:
        return None
    codes, classes = encode_labels(probe_y, name=name)
    if len(classes) == 1 and np.array_equal(classes, [-1]):
        codes = np.full(len(codes), -1)
    if len(codes) != n:
        raise ValueError(
            f"{name}: expected probe_y of {n} rows, as many as X, got {len(codes)}; do pass the "
            "labels of the same rows."
        )
    return codes
