"""Purified labels in other libraries: Hugging Face datasets, torch, imbalanced-learn."""

from typing import TYPE_CHECKING

from skclean._optional import lazy_names

if TYPE_CHECKING:
    from skclean.interop.huggingface import from_huggingface, to_huggingface
    from skclean.interop.sampler import PurifyingSampler
    from skclean.interop.torch_dataset import PurifiedDataset, from_torch

__all__ = [
    "PurifiedDataset",
    "PurifyingSampler",
    "from_huggingface",
    "from_torch",
    "to_huggingface",
]

_HOMES = {
    "PurifiedDataset": "skclean.interop.torch_dataset",
    "PurifyingSampler": "skclean.interop.sampler",
    "from_huggingface": "skclean.interop.huggingface",
    "from_torch": "skclean.interop.torch_dataset",
    "to_huggingface": "skclean.interop.huggingface",
}

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
