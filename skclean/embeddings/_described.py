"""Settings in words that are the same in any process."""

import inspect
import os
import re
from numbers import Number
from typing import Any

import numpy as np

_PLAIN = str, Number, list, tuple, type(None), np.ndarray, np.generic
# Where an object lies in memory is another place in another process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def described(part: Any) -> str:
    """What tells settings apart in any process: a plain value, a path, the parameters of an
    estimator that are not its defaults, the layers of a network, or the name of a class with the
    arguments that its object keeps. Tuples are as lists, 2.0 is as 2.
    """
    if isinstance(part, _PLAIN) or hasattr(part, "get_params") or hasattr(part, "__fspath__"):
        return _text(part)
    if hasattr(part, "__qualname__"):
        return f"{part.__module__}.{part.__qualname__}"
    name = f"{type(part).__module__}.{type(part).__qualname__}"
    if hasattr(part, "named_modules"):
        return f"{name} {_ADDRESS.sub('', repr(part))}"
    arguments = ", ".join(_arguments(part))
    return f"{name}({arguments})" if arguments else name


def as_python(value: Any) -> Any:
    """A value of NumPy as Python's; others are a TypeError."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"expected a plain value or one of NumPy, got {type(value).__name__}")


def _arguments(part):
    """Arguments of the constructor that an object keeps under their names."""
    try:
        names = inspect.signature(type(part)).parameters
    except ValueError:  # Of a class that is not written in Python.
        return
    for name in names:
        if name in getattr(part, "__dict__", ()):
            yield f"{name}={described(vars(part)[name])}"


def _text(part):
    """`described` of what may lie inside of others."""
    if hasattr(part, "__fspath__"):
        part = os.fspath(part)
    elif isinstance(part, np.ndarray | np.generic):
        part = as_python(part)
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(_text, part))}]"
    if isinstance(part, dict):
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in part.items())}}}"
    if hasattr(part, "get_params") and not isinstance(part, type):
        return f"{type(part).__name__}({', '.join(_changed(part))})"
    text = _ADDRESS.sub("", repr(part))
    return text.removesuffix(".0") if isinstance(part, float) else text


def _changed(estimator):
    """The parameters that are not defaults. The repr of scikit-learn would leave some of long ones
    out, and depends on its settings.
    """
    defaults = inspect.signature(type(estimator)).parameters
    for key, value in sorted(estimator.get_params(deep=False).items()):
        text = _text(value)
        if key not in defaults or text != _text(defaults[key].default):
            yield f"{key}={text}"
