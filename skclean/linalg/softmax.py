"""Softmax."""

from typing import Any

from skclean._array import array_namespace


def softmax(logits: Any, axis: int = 0) -> Any:
    """exp(z) / sum exp(z) along an axis, without overflow.

    Parameters
    ----------
    logits : array
    axis : int, default=0
        Kernels hold classes first, (C, n).
    """
    xp = array_namespace(logits)
    proba = xp.exp(logits - xp.max(logits, axis=axis, keepdims=True))
    proba /= xp.sum(proba, axis=axis, keepdims=True)
    return proba
