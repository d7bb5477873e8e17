"""Purify noisy labels in a plain scikit-learn Pipeline."""

import importlib
from typing import TYPE_CHECKING, Any

from skclean._conflict import warn_if_overwritten
from skclean._optional import lazy_names

if TYPE_CHECKING:
    from sklearn import config_context

    from skclean.cleaners import (
        GMMCleaner,
        MetaReweighter,
        OpenSetFilter,
        PrototypeCleaner,
        RankingCleaner,
        TransitionCleaner,
    )
    from skclean.compose import OnFeatures, PurifiedClassifier
    from skclean.embeddings import SSLFeaturizer
    from skclean.neural import NeuralRetrainer
    from skclean.purifiers import AutoPurifier, CredibilityRelabeler, LeastSquaresMetaPurifier
    from skclean.samples import LabelledSamples
    from skclean.saving import load, save

__version__ = "0.1.0.dev0"

__all__ = [
    "AutoPurifier",
    "CredibilityRelabeler",
    "GMMCleaner",
    "LabelledSamples",
    "LeastSquaresMetaPurifier",
    "MetaReweighter",
    "NeuralRetrainer",
    "OnFeatures",
    "OpenSetFilter",
    "PrototypeCleaner",
    "PurifiedClassifier",
    "RankingCleaner",
    "SSLFeaturizer",
    "TransitionCleaner",
    "__version__",
    "config_context",
    "load",
    "save",
]

# Public name -> the module that defines it; `config_context` is scikit-learn's own. Imported on
# first use (PEP 562), so that `import skclean` is quick and a name that needs an extra costs
# nothing until it is asked for.
_HOMES = {
    "AutoPurifier": "skclean.purifiers",
    "CredibilityRelabeler": "skclean.purifiers",
    "GMMCleaner": "skclean.cleaners",
    "LabelledSamples": "skclean.samples",
    "LeastSquaresMetaPurifier": "skclean.purifiers",
    "MetaReweighter": "skclean.cleaners",
    "NeuralRetrainer": "skclean.neural",
    "OnFeatures": "skclean.compose",
    "OpenSetFilter": "skclean.cleaners",
    "PrototypeCleaner": "skclean.cleaners",
    "PurifiedClassifier": "skclean.compose",
    "RankingCleaner": "skclean.cleaners",
    "SSLFeaturizer": "skclean.embeddings",
    "TransitionCleaner": "skclean.cleaners",
    "config_context": "sklearn",
    "load": "skclean.saving",
    "save": "skclean.saving",
}
_SUBPACKAGES = (
    "cleaners",
    "compose",
    "datasets",
    "embeddings",
    "evidence",
    "exceptions",
    "inspection",
    "interop",
    "metrics",
    "neural",
    "purifiers",
    "samples",
    "saving",
    "scale",
)


_public = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    # The import of a subpackage makes it an attribute of its own accord.
    return importlib.import_module(f"skclean.{name}") if name in _SUBPACKAGES else _public(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})


warn_if_overwritten()
