"""Retraining of neural networks on purified labels."""

from typing import TYPE_CHECKING

from skclean._optional import lazy_names
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
    from skclean.neural.schedules import Cosine, Ramps, Restarts
    from skclean.neural.views import FeatureNoise

__all__ = [
    "Cosine",
    "FeatureNoise",
    "FixMatch",
    "GraphRegularizer",
    "IEG",
    "MixMatch",
    "NeuralRetrainer",
    "PiModel",
    "Ramps",
    "ReMixMatch",
    "Restarts",
    "Supervised",
    "TemporalEnsembling",
]

# What needs torch is imported on first use.
_HOMES = {
    "Cosine": "skclean.neural.schedules",
    "FeatureNoise": "skclean.neural.views",
    "FixMatch": "skclean.neural.objectives.fixmatch",
    "GraphRegularizer": "skclean.neural.graph",
    "IEG": "skclean.neural.objectives.ieg",
    "MixMatch": "skclean.neural.objectives.mixmatch",
    "PiModel": "skclean.neural.objectives.pi_model",
    "Ramps": "skclean.neural.schedules",
    "ReMixMatch": "skclean.neural.objectives.remixmatch",
    "Restarts": "skclean.neural.schedules",
    "Supervised": "skclean.neural.objectives.supervised",
    "TemporalEnsembling": "skclean.neural.objectives.temporal_ensembling",
}

__getattr__ = lazy_names(__name__, _HOMES)
