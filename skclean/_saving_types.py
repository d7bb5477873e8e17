"""The closed set of classes and functions that a saved file may name."""

import dataclasses
import importlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit

_MODULE = re.compile(
    r"(skclean|sklearn|torchvision)(\._?[a-z][a-z0-9_]*)*"
    r"|torch\.nn(\.functional|\.modules\.[a-z_]+)?"
)
#: Parts of scikit-learn that change settings on import, or are none of its estimators.
_CLOSED = {"conftest", "datasets", "experimental", "externals", "tests"}

REQUESTS = {
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
}
#: Classes without code of their own kind to run, that are neither estimators nor dataclasses.
_PLAIN = REQUESTS | {
    "skclean.linalg.rows.RowIndex",
    "skclean.samples.LabelledSamples",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
}
#: Classes that are made anew from a few numbers.
_FROM_NUMBERS = {
    f"sklearn.linear_model._sgd_fast.{name}"
    for name in (
        "EpsilonInsensitive",
        "Hinge",
        "ModifiedHuber",
        "SquaredEpsilonInsensitive",
        "SquaredHinge",
    )
}
#: Modules whose public functions scikit-learn's estimators and scorers are set up with.
_FUNCTIONS = ("sklearn.feature_selection", "sklearn.metrics", "skclean.metrics")
_SCORES = {
    "chi2",
    "f_classif",
    "f_oneway",
    "f_regression",
    "mutual_info_classif",
    "mutual_info_regression",
    "r_regression",
}
_ACTIVATIONS = {"gelu", "hardswish", "leaky_relu", "relu", "relu6", "silu"}
_BUILTINS = {t.__name__: t for t in (bool, bytes, complex, float, int, object, str)}


class UnknownNameError(LookupError):
    """A file names a class, a function or a kind of value that is not in the set."""


def class_name(cls: type) -> str | None:
    """The name under which `find_class` finds the class; None where it is outside of the set."""
    for module in _homes(cls.__module__):
        name = f"{module}.{cls.__qualname__}"
        try:
            if find_class(name) is cls:
                return name
        except (UnknownNameError, ImportError):
            continue
    return None


def find_class(name: str) -> type:
    """The class of a name.

    Parameters
    ----------
    name : str
        Dotted, with the module.

    Raises
    ------
    UnknownNameError
        If the name is none of the set: an estimator of scikit-learn or skclean, a dataclass of
        skclean, a network of torch, torchvision or skclean, or one of a short list.
    ImportError
        If a package that the class needs is not installed.
    """
    module, _, attribute = name.rpartition(".")
    if module == "builtins" and attribute in _BUILTINS:
        return _BUILTINS[attribute]
    if module == "numpy":
        found = getattr(np, attribute, None)
        if isinstance(found, type) and issubclass(found, np.generic) and found is not np.object_:
            return found
        raise UnknownNameError(name)
    found = getattr(_import(module, name), attribute, None)
    if not isinstance(found, type) or not _allowed(found, name):
        raise UnknownNameError(name)
    return found


def find_number_class(name: str) -> type:
    """The class of a name that is made from a few numbers; UnknownNameError for other names."""
    if name not in _FROM_NUMBERS:
        raise UnknownNameError(name)
    module, _, attribute = name.rpartition(".")
    return getattr(_import(module, name), attribute)


def function_name(function: Any) -> str | None:
    """The name under which `find_function` finds the function; None outside of the set."""
    attribute = getattr(function, "__name__", "")
    for module in (*_FUNCTIONS, "torch.nn.functional"):
        name = f"{module}.{attribute}"
        try:
            if find_function(name) is function:
                return name
        except (UnknownNameError, ImportError):
            continue
    return None


def find_function(name: str) -> Callable:
    """The function of a name; UnknownNameError where it is none of the list."""
    module, _, attribute = name.rpartition(".")
    if module == "torch.nn.functional":
        known: Any = _ACTIVATIONS
    elif module == "sklearn.feature_selection":
        known = _SCORES
    elif module in _FUNCTIONS:
        known = getattr(_import(module, name), "__all__", ())
    else:
        raise UnknownNameError(name)
    found = getattr(_import(module, name), attribute, None) if attribute in known else None
    if found is None or isinstance(found, type) or not callable(found):
        raise UnknownNameError(name)
    return found


def is_network_class(cls: type) -> bool:
    """Whether the class is one of torch.nn.Module."""
    return any(c.__module__ == "torch.nn.modules.module" for c in cls.__mro__)


def _homes(module):
    """Where a class may be found: scikit-learn's and torch's at their public place first."""
    if module.startswith("torch.nn.modules"):
        return ["torch.nn", module]
    parts = module.split(".")
    private = next((i for i, part in enumerate(parts) if part.startswith("_")), None)
    if parts[0] == "sklearn" and private:
        return [".".join(parts[:private]), module]
    return [module]


def _import(module, name):
    parts = module.split(".")
    if not _MODULE.fullmatch(module) or (parts[0] == "sklearn" and _CLOSED & set(parts)):
        raise UnknownNameError(name)
    try:
        if parts[0] == "torchvision":
            from skclean.embeddings._torchvision import import_torchvision

            return import_torchvision(module)
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing != parts[0] or parts[0] in ("torch", "torchvision"):
            raise ImportError(
                f"load: expected {missing!r} to be installed, which {name} needs, got no such "
                'module; do `pip install "skclean[neural]"`.',
                name=missing,
            ) from error
        raise UnknownNameError(name) from error


def _allowed(cls, name):
    if name in _PLAIN:
        return True
    package, home = name.partition(".")[0], cls.__module__
    if home.partition(".")[0] != package:
        return False
    if package == "skclean":
        kind = issubclass(cls, BaseEstimator) or dataclasses.is_dataclass(cls)
        return home == name.rpartition(".")[0] and (kind or is_network_class(cls))
    if package == "sklearn":
        kinds = BaseEstimator | BaseCrossValidator | BaseShuffleSplit
        return issubclass(cls, kinds) or home == "sklearn.gaussian_process.kernels"
    models = home.startswith(("torch.nn.modules.", "torchvision.models.", "torchvision.ops."))
    return models and is_network_class(cls)
