"""How well nearest neighbours predict labels from a backbone's features: to watch a training."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier

#: Images that are learned from, and that are predicted, at most.
PROBE_ROWS = 5000, 1000
PROBE_NEIGHBOURS = 20


@torch.no_grad()
def knn_probe(
    fabric: Any, backbone: Any, images: Any, labels: np.ndarray, batch_size: int, seed: int
) -> float:
    """Accuracy of the nearest neighbours by cosine, on some rows set aside.

    Parameters
    ----------
    fabric : Fabric
    backbone : Module
        On the device; left in evaluation mode.
    images : DeviceImages
    labels : ndarray of shape (n,), int64
        Rows with -1 take no part, and rows that cannot be read.
    batch_size : int
    seed : int
        Draws at most `PROBE_ROWS` rows, the same in each call.

    Returns
    -------
    float
        NaN where fewer than two rows have a label.
    """
    rows = np.flatnonzero((np.asarray(labels) >= 0) & images.source.readable)
    rows = np.random.default_rng(seed).permutation(rows)[: sum(PROBE_ROWS)]
    n_test = min(PROBE_ROWS[1], len(rows) // 5 + 1)
    if len(rows) < 2:
        return math.nan
    backbone.eval()
    with fabric.autocast():
        parts = [backbone(x).float() for x in images.batches(rows, batch_size)]
    features, labels = torch.cat(parts).cpu().numpy(), np.asarray(labels)[rows]
    neighbours = min(PROBE_NEIGHBOURS, len(rows) - n_test)
    knn = KNeighborsClassifier(neighbours, metric="cosine")
    knn.fit(features[n_test:], labels[n_test:])
    return float(knn.score(features[:n_test], labels[:n_test]))
