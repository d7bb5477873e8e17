"""The kinds of values that a saved file holds beside plain ones, arrays and estimators."""

import base64
import datetime
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skclean._optional import import_optional
from skclean._saving_trees import check_nodes, check_tree
from skclean._saving_types import (
    UnknownNameError,
    class_name,
    find_class,
    find_function,
    find_number_class,
    function_name,
)

_FUNCTION_TYPES = types.FunctionType | types.BuiltinFunctionType
# The numeric ones are those of pandas before version 2.
_INDICES = (
    "DatetimeIndex",
    "Float64Index",
    "Index",
    "Int64Index",
    "TimedeltaIndex",
    "UInt64Index",
)
_SPARSE = ("csc_array", "csc_matrix", "csr_array", "csr_matrix")
#: Losses of boosted trees for classes, made anew by their number.
_LOSSES = ("ExponentialLoss", "HalfBinomialLoss", "HalfMultinomialLoss")
_PREDICTORS = "sklearn.ensemble._hist_gradient_boosting.predictor"
_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def full_name(cls: type) -> str:
    """The name of a class with its module."""
    return f"{cls.__module__}.{cls.__qualname__}"


def known(name: Any, names: tuple[str, ...]) -> str:
    """The name, if it is one of those; UnknownNameError otherwise."""
    if name not in names:
        raise UnknownNameError(name)
    return name


def _exactly(*classes):
    return lambda x: type(x) in classes


def _of_pandas(x):
    pd = sys.modules.get("pandas")
    return pd is not None and isinstance(x, pd.Index)


def _describe_index(encoder, x):
    pd = import_optional("pandas", "report")
    names = [encoder.value(name) for name in x.names]
    if type(x) is pd.RangeIndex:
        return {"names": names, "range": [x.start, x.stop, x.step]}
    if type(x) is pd.MultiIndex:
        columns = [encoder.value(x.get_level_values(i)) for i in range(x.nlevels)]
        return {"names": names, "levels": columns}
    if getattr(x, "tz", None) is not None:
        naive = x.tz_convert("UTC").tz_localize(None)
        return {"names": names, "zone": str(x.tz), "values": encoder.value(naive.to_numpy())}
    if type(x).__name__ not in _INDICES:
        raise encoder.refused(x, f"a pandas {type(x).__name__}")
    plain = isinstance(x.dtype, np.dtype)
    values = x.to_numpy() if plain else np.array(x.tolist(), dtype=object)
    return {"names": names, "values": encoder.value(values), "dtype": str(x.dtype)}


def _make_index(decoder, entry):
    pd = import_optional("pandas", "report")
    names = decoder.values(entry["names"])
    if "range" in entry:
        return pd.RangeIndex(*map(int, entry["range"]), name=names[0])
    if "levels" in entry:
        return pd.MultiIndex.from_arrays(decoder.values(entry["levels"]), names=names)
    if "zone" in entry:
        naive = pd.DatetimeIndex(decoder.value(entry["values"]), name=names[0])
        return naive.tz_localize("UTC").tz_convert(entry["zone"])
    return pd.Index(decoder.value(entry["values"]), dtype=entry["dtype"], name=names[0])


def _describe_scalar(encoder, x):
    if x.dtype.hasobject:
        raise encoder.refused(x)
    return {"dtype": x.dtype.str, "hex": x.tobytes().hex()}


def _make_scalar(decoder, entry):
    dtype = _make_dtype(decoder, entry)
    found = np.frombuffer(bytes.fromhex(entry["hex"]), dtype=dtype) if dtype.itemsize else [""]
    return np.array(found, dtype=dtype)[0]


def _make_dtype(decoder, entry):
    dtype = np.dtype(str(entry["dtype"]))
    if dtype.hasobject and "hex" in entry:
        raise ValueError("a scalar of objects")
    return dtype


def _describe_generator(encoder, x):
    bits = x.bit_generator
    if type(bits).__name__ not in _BIT_GENERATORS or type(bits).__module__[:6] != "numpy.":
        raise encoder.refused(bits)
    seed = getattr(bits, "seed_seq", None)
    sequence = None
    if type(seed) is np.random.SeedSequence:
        sequence = [seed.entropy, list(seed.spawn_key), seed.n_children_spawned]
        if seed.pool_size != 4:
            raise encoder.refused(seed)
    return {
        "bits": type(bits).__name__,
        "state": encoder.value(bits.state),
        "seed": encoder.value(sequence),
    }


def _make_generator(decoder, entry):
    bits_class = getattr(np.random, known(entry["bits"], _BIT_GENERATORS))
    seed: Any = decoder.value(entry["seed"])
    if seed is not None:
        entropy, key, spawned = seed
        seed = np.random.SeedSequence(entropy, spawn_key=key, n_children_spawned=spawned)
    bits = bits_class(0 if seed is None else seed)
    bits.state = decoder.value(entry["state"])
    return np.random.Generator(bits)


def _make_random_state(decoder, entry):
    made = np.random.RandomState(0)
    made.set_state(decoder.value(entry["state"]))
    return made


def _make_masked(decoder, entry):
    data, mask = decoder.value(entry["data"]), decoder.value(entry["mask"])
    return np.ma.MaskedArray(data, mask=mask, fill_value=decoder.value(entry["fill"]))


def _of_tree(x):
    tree = sys.modules.get("sklearn.tree._tree")
    return tree is not None and type(x) is tree.Tree


def _describe_tree(encoder, x):
    _, size, state = x.__reduce__()
    return {"size": encoder.value(size), "state": encoder.pairs(state)}


def _make_tree(decoder, entry):
    from sklearn.tree._tree import Tree

    size, state = decoder.value(entry["size"]), decoder.state(entry["state"])
    check_tree(*size, **state)
    made = Tree(size[0], np.ascontiguousarray(size[1], dtype=np.intp), size[2])
    made.__setstate__(state)
    return made


def _make_loss(decoder, entry):
    from sklearn._loss import loss

    made = getattr(loss, known(entry["name"], _LOSSES))
    n_classes = int(entry["n_classes"])
    return made(n_classes=n_classes) if n_classes > 2 else made()


def _make_predictor(decoder, entry):
    from sklearn.ensemble._hist_gradient_boosting.predictor import (
        PREDICTOR_RECORD_DTYPE,
        TreePredictor,
    )

    nodes, *bitsets = decoder.values(entry["parts"])
    if nodes.ndim != 1 or nodes.dtype != PREDICTOR_RECORD_DTYPE:
        raise ValueError("nodes of a boosted tree of another kind")
    if any(bits.dtype != np.uint32 or bits.shape[1:] != (8,) for bits in bitsets):
        raise ValueError("categories of a boosted tree of another kind")
    check_nodes(nodes)
    return TreePredictor(nodes, *bitsets)


def _describe_numbers(encoder, x):
    _, numbers = x.__reduce__()
    return {"class": full_name(type(x)), "numbers": [float(v) for v in numbers]}


def _make_numbers(decoder, entry):
    return find_number_class(entry["class"])(*map(float, entry["numbers"]))


def _made_from_numbers(x):
    try:
        return find_number_class(full_name(type(x))) is type(x)
    except UnknownNameError:
        return False


def _make_sparse(decoder, entry):
    parts = decoder.values(entry["parts"])
    made = getattr(sparse, known(entry["format"], _SPARSE))(tuple(parts), shape=entry["shape"])
    made.check_format(full_check=True)
    return made


def _one(field, describe, make):
    """An entry of a single field, from the object and back."""
    return lambda encoder, x: {field: describe(x)}, lambda decoder, entry: make(entry[field])


def _make_torch(name):
    torch: Any = import_optional("torch", "neural")
    found = getattr(torch, name, None)
    return found if type(found).__name__ in ("dtype", "memory_format") else torch.device(name)


#: Kind of an entry: which objects it is for, how they are described, and how they are made.
KINDS: dict[str, tuple[Callable, Callable, Callable]] = {
    "class": (
        lambda x: isinstance(x, type) and class_name(x) is not None,
        *_one("name", class_name, find_class),
    ),
    "function": (
        lambda x: isinstance(x, _FUNCTION_TYPES) and function_name(x) is not None,
        *_one("name", function_name, find_function),
    ),
    "bytes": (
        _exactly(bytes),
        *_one("text", lambda x: base64.b64encode(x).decode(), base64.b64decode),
    ),
    "complex": (_exactly(complex), *_one("text", repr, complex)),
    "date": (
        _exactly(datetime.date),
        *_one("text", datetime.date.isoformat, datetime.date.fromisoformat),
    ),
    "datetime": (
        lambda x: type(x) is datetime.datetime and x.tzinfo is None,
        *_one("text", datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    ),
    "path": (lambda x: isinstance(x, pathlib.PurePath), *_one("text", str, pathlib.Path)),
    "slice": (
        _exactly(slice),
        lambda encoder, x: {"items": [encoder.value(v) for v in (x.start, x.stop, x.step)]},
        lambda decoder, entry: slice(*decoder.values(entry["items"])),
    ),
    "range": (
        _exactly(range),
        *_one("items", lambda x: [x.start, x.stop, x.step], lambda v: range(*v)),
    ),
    "scalar": (lambda x: isinstance(x, np.generic), _describe_scalar, _make_scalar),
    "dtype": (
        lambda x: isinstance(x, np.dtype) and x.names is None,
        lambda encoder, x: {"dtype": x.str},
        _make_dtype,
    ),
    "random_state": (
        _exactly(np.random.RandomState),
        lambda encoder, x: {"state": encoder.value(x.get_state(legacy=False))},
        _make_random_state,
    ),
    "generator": (_exactly(np.random.Generator), _describe_generator, _make_generator),
    "masked": (
        _exactly(np.ma.MaskedArray),
        lambda encoder, x: {
            "data": encoder.value(np.asarray(x.data)),
            "mask": encoder.value(np.ma.getmaskarray(x)),
            "fill": encoder.value(x.fill_value),
        },
        _make_masked,
    ),
    "index": (_of_pandas, _describe_index, _make_index),
    "bunch": (
        _exactly(Bunch),
        lambda encoder, x: {"items": encoder.pairs(x)},
        lambda decoder, entry: Bunch(**decoder.state(entry["items"])),
    ),
    "sparse": (
        lambda x: sparse.issparse(x) and type(x).__name__ in _SPARSE,
        lambda encoder, x: {
            "format": type(x).__name__,
            "shape": list(x.shape),
            "parts": [encoder.value(part) for part in (x.data, x.indices, x.indptr)],
        },
        _make_sparse,
    ),
    "numbers": (_made_from_numbers, _describe_numbers, _make_numbers),
    "tree": (_of_tree, _describe_tree, _make_tree),
    "loss": (
        lambda x: type(x).__module__ == "sklearn._loss.loss" and type(x).__name__ in _LOSSES,
        lambda encoder, x: {"name": type(x).__name__, "n_classes": int(x.n_classes)},
        _make_loss,
    ),
    "predictor": (
        lambda x: full_name(type(x)) == f"{_PREDICTORS}.TreePredictor",
        lambda encoder, x: {
            "parts": [
                encoder.value(part)
                for part in (x.nodes, x.binned_left_cat_bitsets, x.raw_left_cat_bitsets)
            ]
        },
        _make_predictor,
    ),
    "torch": (
        lambda x: full_name(type(x)) in ("torch.dtype", "torch.device", "torch.memory_format"),
        *_one("name", lambda x: str(x).removeprefix("torch."), _make_torch),
    ),
}
