"""Retraining of neural networks on purified labels."""

import importlib
from typing import TYPE_CHECKING, Any

from skclean.neural.retrainer import NeuralRetrainer

if TYPE_CHECKING:
    from skclean.neural.graph import GraphRegularizer
    from skclean.neural.objectives.fixmatch import FixMatch
    from skclean.neural.objectives.ieg import IEG
    from skclean.neural.objectives.mixmatch import MixMatch
    from skclean.neural.objectives.pi_model import PiModel
    from skclean.neural.objectives.remixmatch import ReMixMatch
    from skclean.neural.objectives.supervised import Supervised
    from skclean.neural.objectives.temporal_ensembling import TemporalEnsembling
    from skclean.neural.views import FeatureNoise

__all__ = [
    "FeatureNoise",
    "FixMatch",
    "GraphRegularizer",
    "IEG",
    "MixMatch",
    "NeuralRetrainer",
    "PiModel",
    "ReMixMatch",
    "Supervised",
    "TemporalEnsembling",
]

# What needs torch is imported on first use.
_HOMES = {
    "FeatureNoise": "views",
    "FixMatch": "objectives.fixmatch",
    "GraphRegularizer": "graph",
    "IEG": "objectives.ieg",
    "MixMatch": "objectives.mixmatch",
    "PiModel": "objectives.pi_model",
    "ReMixMatch": "objectives.remixmatch",
    "Supervised": "objectives.supervised",
    "TemporalEnsembling": "objectives.temporal_ensembling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skclean.neural' has no attribute {name!r}")
    module = importlib.import_module(f"skclean.neural.{_HOMES[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]
