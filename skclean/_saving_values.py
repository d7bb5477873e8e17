"""Estimators and all they hold as a table of plain values and arrays, and back."""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator

from skclean._array import device, is_dask, to_numpy
from skclean._optional import import_optional
from skclean._saving_kinds import KINDS, full_name, known
from skclean._saving_trees import check_trees
from skclean._saving_types import (
    REQUESTS,
    UnknownNameError,
    class_name,
    find_class,
    is_network_class,
)

_ATOMS = (type(None), bool, int, str)
_SEQUENCES = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}


class Encoder:
    """Writes an object down: what is used twice stands in the table once.

    Attributes
    ----------
    table : list of dict
        An entry an object, behind those that it refers to.
    arrays : list of ndarray
        To be stored as ``arrays/<position>.npy``.
    networks : list of dict of str to Tensor
        To be stored as ``networks/<position>.safetensors``.
    """

    def __init__(self) -> None:
        self.table: list[dict[str, Any]] = []
        self.arrays: list[np.ndarray] = []
        self.networks: list[dict[str, Any]] = []
        self._places: dict[int, dict[str, int]] = {}
        self._open: set[int] = set()
        self._kept: list[Any] = []
        self._memory: dict[tuple, int] = {}
        self._path: list[str] = []

    def value(self, x: Any) -> Any:
        """What stands for the object in JSON.

        Raises
        ------
        ValueError
            If it, or what it holds, is of a type that is not stored; the message says where.
        """
        if type(x) in _ATOMS:
            return x
        if type(x) is float:
            return x if math.isfinite(x) else {"float": repr(x)}
        if id(x) not in self._places:
            if id(x) in self._open:
                raise self.refused(x, "an object that contains itself")
            self._open.add(id(x))
            entry = self._entry(x)
            self._open.remove(id(x))
            # An object that is let go of could leave its id to another one.
            self._kept.append(x)
            self.table.append(entry)
            self._places[id(x)] = {"ref": len(self.table) - 1}
        return self._places[id(x)]

    def at(self, step: str, x: Any) -> Any:
        """The value of a part, which errors name by its step."""
        self._path.append(step)
        found = self.value(x)
        self._path.pop()
        return found

    def pairs(self, state: dict) -> list[list[Any]]:
        """The values of attributes."""
        return [[name, self.at(f".{name}", x)] for name, x in state.items()]

    def refused(self, x: Any, what: str | None = None) -> ValueError:
        """The error about an object that is not stored."""
        cls = type(x)
        got = what or full_name(cls)
        if what is None and hasattr(x, "__qualname__"):
            got = f"{'class' if isinstance(x, type) else cls.__name__} {x.__qualname__}"
        return ValueError(
            "save: expected plain values, arrays, and estimators of skclean and scikit-learn, got "
            f"{got} at {''.join(self._path) or 'the estimator itself'}; do set another value there."
        )

    def array(self, x: np.ndarray) -> dict[str, Any]:
        """The entry of an array; views of the same memory share one member."""
        if x.dtype.hasobject:
            if x.dtype != object:
                raise self.refused(x, f"an array of dtype {x.dtype}")
            items = [self.at(f"[{i}]", item) for i, item in enumerate(x.ravel().tolist())]
            return {"kind": "objects", "shape": list(x.shape), "items": items}
        if x.dtype.metadata:
            raise self.refused(x, "an array whose dtype has metadata")
        if x.size and not x.dtype.itemsize:
            raise self.refused(x, f"an array of dtype {x.dtype}, whose items have no bytes")
        place = x.__array_interface__["data"][0], x.shape, x.strides, x.dtype.str, str(x.dtype)
        if place not in self._memory:
            self._memory[place] = len(self.arrays)
            self.arrays.append(x)
            self._kept.append(x)
        return {
            "kind": "array",
            "member": self._memory[place],
            "writeable": bool(x.flags.writeable),
        }

    def _entry(self, x):
        cls = type(x)
        if cls in _SEQUENCES:
            items = [self.at(f"[{i}]", item) for i, item in enumerate(x)]
            return {"kind": _SEQUENCES[cls], "items": items}
        if cls is dict:
            items = [[self.at("", k), self.at(f"[{k!r}]", v)] for k, v in x.items()]
            return {"kind": "dict", "items": items}
        for kind, (matches, describe, _) in KINDS.items():
            if matches(x):
                return {"kind": kind, **describe(self, x)}
        if is_dask(x) or (isinstance(x, np.ndarray) and cls in (np.ndarray, np.memmap)):
            return self.array(np.asarray(x))
        library = cls.__module__.partition(".")[0]
        if library in ("cupy", "torch") and hasattr(x, "__dlpack__"):
            dtype = str(x.dtype).rpartition(".")[2]
            place = {"library": library, "device": str(device(x)), "dtype": dtype}
            return self.array(np.array(to_numpy(x))) | place
        if is_network_class(cls):
            from skclean._saving_networks import describe_network

            return describe_network(self, x)
        return self._instance(x)

    def _instance(self, x):
        name = None if isinstance(x, type) else class_name(type(x))
        if name is None or name.startswith(("builtins.", "numpy.")):
            raise self.refused(x)
        if not self._path:
            self._path.append(type(x).__name__)
        state = x.__getstate__()
        if not isinstance(state, dict | None):
            raise self.refused(x)
        if name in REQUESTS and not isinstance(x.owner, str):
            state = state | {"owner": None}
        return {"kind": "instance", "class": name, "state": self.pairs(state or {})}


class Decoder:
    """Makes the objects of a table, each from those before it.

    Parameters
    ----------
    arrays : callable
        From the position of an array to the array.
    networks : callable
        From the position of a network to its tensors.
    """

    def __init__(
        self, arrays: Callable[[int], np.ndarray], networks: Callable[[int], dict[str, Any]]
    ) -> None:
        self.arrays = arrays
        self.networks = networks
        self.done: list[Any] = []
        self._read: dict[int, np.ndarray] = {}

    def table(self, entries: list[dict[str, Any]]) -> None:
        """Make all objects.

        Raises
        ------
        UnknownNameError
            If an entry names a class, function or kind that is not known.
        ImportError
            If a package that is needed is not installed.
        Exception
            Of any kind, if an entry is not as `Encoder` writes it.
        """
        for entry in entries:
            self.done.append(self._made(entry))

    def value(self, x: Any) -> Any:
        """The object that stands for a value in JSON."""
        if type(x) in (*_ATOMS, float):
            return x
        ((kind, what),) = x.items()
        if kind == "float" and what in ("nan", "inf", "-inf"):
            return float(what)
        if kind != "ref" or type(what) is not int or what < 0:
            raise ValueError(f"no value: {kind}")
        return self.done[what]

    def values(self, items: list) -> list:
        """The objects of a list of values."""
        return [self.value(item) for item in items]

    def state(self, pairs: list) -> dict[str, Any]:
        """Attributes and their objects."""
        state = {}
        for name, x in pairs:
            if not isinstance(name, str) or name.startswith("__"):
                raise ValueError(f"no attribute: {name!r}")
            state[name] = self.value(x)
        return state

    def _made(self, entry):
        kind = entry["kind"]
        if kind in KINDS:
            return KINDS[kind][2](self, entry)
        for cls, name in _SEQUENCES.items():
            if kind == name:
                return cls(self.values(entry["items"]))
        if kind == "dict":
            return {self.value(k): self.value(v) for k, v in entry["items"]}
        if kind == "array":
            return self._array(entry)
        if kind == "objects":
            items = self.values(entry["items"])
            made = np.empty(len(items), dtype=object)
            made[:] = items
            return made.reshape(entry["shape"])
        if kind == "network":
            from skclean._saving_networks import make_network

            return make_network(self, entry)
        if kind == "instance":
            return self._instance(entry)
        raise UnknownNameError(kind)

    def _array(self, entry):
        place = entry["member"]
        if type(place) is not int or ("library" in entry and place in self._read):
            # What goes to a library is copied: its members are its own.
            raise ValueError(f"no member: {place!r}")
        if place not in self._read:
            self._read[place] = self.arrays(place)
        array = self._read[place].view()
        array.flags.writeable = entry["writeable"] is True
        if "library" not in entry:
            return array
        library = known(entry["library"], ("cupy", "torch"))
        extra = "neural" if library == "torch" else "cuda12"
        xp = import_optional(library, extra)
        if library == "cupy":
            return xp.asarray(array)
        dtype, there = getattr(xp, entry["dtype"]), entry["device"]
        if there.partition(":")[0] == "cuda" and not xp.cuda.is_available():
            there = "cpu"
        return xp.from_numpy(np.array(array)).to(device=there, dtype=dtype)

    def _instance(self, entry):
        cls = find_class(entry["class"])
        if entry["class"].startswith(("builtins.", "numpy.")) or is_network_class(cls):
            raise UnknownNameError(entry["class"])
        state = self.state(entry["state"])
        if issubclass(cls, BaseEstimator):
            # Parameters that the class did not have when the file was written.
            state = _defaults(cls) | state
        if entry["class"].startswith("sklearn.") and issubclass(cls, BaseEstimator):
            # Its own warning would speak of pickles, once for every part.
            state["_sklearn_version"] = sklearn.__version__
        made: Any = cls.__new__(cls)
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
        else:
            made.__dict__.update(state)
        if issubclass(cls, BaseEstimator):
            check_trees(made)
        if "_metadata_request" in state:
            _own_requests(state["_metadata_request"], made)
        return made


def _defaults(cls):
    """The parameters of an estimator that have a default, and these."""
    found = signature(cls.__init__).parameters.items()
    return {
        name: parameter.default
        for name, parameter in found
        if parameter.default is not parameter.empty
    }


def _own_requests(requests, owner):
    """Requests for metadata refer to the estimator that they belong to, which comes last."""
    for request in (requests, *vars(requests).values()):
        if hasattr(request, "owner") and request.owner is None:
            request.owner = owner
