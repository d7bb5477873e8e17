"""Settings in words that are the same in any process."""

import hashlib
import inspect
import os
import re
from enum import Enum
from functools import partial
from numbers import Number
from typing import Any

import numpy as np

from skclean._array import to_numpy

#: Of larger arrays, a digest says enough.
_MOST_VALUES = 10_000
# Where an object lies in memory is another place in another process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def described(part: Any, above: tuple[int, ...] = ()) -> str:
    """What tells settings apart in any process.

    That is a plain value, a path, the parameters of an estimator that are not its defaults, the
    layers of a network, or the name of a class with the arguments that its object keeps under
    their names; if none, what it says of itself. Tuples are as lists, 2.0 is as 2. Not told are
    what functions close over, what objects keep under other names, and the values of tensors that
    are no arrays, such as sparse ones.

    `above` are the objects that this one is part of.
    """
    if id(part) in above:
        return "..."
    inside = partial(described, above=(*above, id(part)))
    if hasattr(part, "__fspath__"):
        part = os.fspath(part)
    elif isinstance(part, np.ndarray | np.generic) or _is_array(part):
        part = _of_array(part, inside)
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(inside, part))}]"
    if isinstance(part, dict):
        return f"{{{', '.join(f'{inside(k)}: {inside(v)}' for k, v in part.items())}}}"
    if isinstance(part, set | frozenset):
        return f"{{{', '.join(sorted(map(inside, part)))}}}"
    if isinstance(part, partial):
        return f"partial({inside(part.func)}, {inside(part.args)}, {inside(part.keywords)})"
    if isinstance(part, str | bytes | Number | Enum | None):
        text = repr(part)
        return text.removesuffix(".0") if isinstance(part, float) else text
    if inspect.ismethod(part):
        return f"{inside(part.__self__)}.{part.__name__}"
    if hasattr(part, "__qualname__"):
        nameless = hasattr(part, "__code__") and "<" in part.__qualname__
        return f"{part.__module__}.{part.__qualname__}{_of_code(part, inside) if nameless else ''}"
    if hasattr(part, "get_params"):
        return f"{type(part).__name__}({', '.join(_changed(part, inside))})"
    name = f"{type(part).__module__}.{type(part).__qualname__}"
    if hasattr(part, "named_modules"):
        kept = "".join(f" {k}({a})" for k, m in part.named_modules() if (a := _kept(m, inside)))
        return f"{name} {_ADDRESS.sub('', repr(part))}{kept}"
    if arguments := _kept(part, inside):
        return f"{name}({arguments})"
    own = type(part).__repr__ is not object.__repr__
    return f"{name} {_ADDRESS.sub('', repr(part))}" if own else name


def as_python(value: Any) -> Any:
    """A value of NumPy as Python's; others are a TypeError."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"expected a plain value or one of NumPy, got {type(value).__name__}")


def _is_array(part):
    """Whether it is an array of another library, or a tensor."""
    of_array = hasattr(part, "__array_namespace__") or hasattr(part, "detach")
    return of_array and not isinstance(part, type)


def _of_array(array, inside):
    """The values, or a digest of many; of what NumPy cannot hold, the kind alone."""
    try:
        held = to_numpy(array)
    except (TypeError, ValueError, RuntimeError):
        return f"{type(array).__name__} {array.dtype} {tuple(array.shape)}"
    if held.size <= _MOST_VALUES:
        return as_python(held)
    # Objects and times are no plain bytes.
    plain = held.dtype.kind in "biufc"
    values = np.ascontiguousarray(held).data if plain else inside(held.tolist()).encode()
    return f"{held.dtype} {held.shape} {hashlib.sha256(values).hexdigest()}"


def _of_code(function, inside):
    """A digest of what a function without a name of its own does."""
    code = function.__code__
    words = inside([code.co_code, code.co_names, code.co_consts, function.__defaults__])
    return f" {hashlib.sha256(words.encode()).hexdigest()}"


def _kept(part, inside):
    """Arguments of the constructor that an object keeps under their names."""
    try:
        names = inspect.signature(type(part)).parameters
    except (TypeError, ValueError):  # Of a class that is not written in Python, or says otherwise.
        return ""
    held = dict(getattr(part, "_buffers", None) or {}) | dict(getattr(part, "__dict__", ()))
    for slots in (getattr(c, "__slots__", ()) for c in type(part).__mro__):
        slots = (slots,) if isinstance(slots, str) else slots
        held |= {name: getattr(part, name) for name in slots if hasattr(part, name)}
    kept = {name: held[name] for name in names if name in held}
    return ", ".join(f"{name}={inside(value)}" for name, value in kept.items())


def _changed(estimator, inside):
    """The parameters that are not defaults. The repr of scikit-learn would leave some of long ones
    out, and depends on its settings.
    """
    defaults = inspect.signature(type(estimator)).parameters
    for key, value in sorted(estimator.get_params(deep=False).items()):
        text = inside(value)
        if key not in defaults or text != inside(defaults[key].default):
            yield f"{key}={text}"
