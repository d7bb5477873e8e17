"""Embeddings of images, learned without labels."""

import importlib
from typing import TYPE_CHECKING, Any

from skclean.embeddings.featurizer import SSLFeaturizer
from skclean.embeddings.kmeans import ConvKMeans

if TYPE_CHECKING:
    from skclean.embeddings.augment import Augmentation
    from skclean.embeddings.moco import MoCo
    from skclean.embeddings.simclr import SimCLR
    from skclean.embeddings.weights import load_weights, save_weights

__all__ = [
    "Augmentation",
    "ConvKMeans",
    "MoCo",
    "SSLFeaturizer",
    "SimCLR",
    "load_weights",
    "save_weights",
]

# What needs torch is imported on first use.
_HOMES = {
    "Augmentation": "augment",
    "MoCo": "moco",
    "SimCLR": "simclr",
    "load_weights": "weights",
    "save_weights": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skclean.embeddings' has no attribute {name!r}")
    module = importlib.import_module(f"skclean.embeddings.{_HOMES[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]
