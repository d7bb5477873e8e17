"""Embeddings of images, learned without labels."""

from typing import TYPE_CHECKING

from skclean._optional import lazy_names
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
    "Augmentation": "skclean.embeddings.augment",
    "MoCo": "skclean.embeddings.moco",
    "SimCLR": "skclean.embeddings.simclr",
    "load_weights": "skclean.embeddings.weights",
    "save_weights": "skclean.embeddings.weights",
}

__getattr__ = lazy_names(__name__, _HOMES)
