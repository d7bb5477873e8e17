"""Gradient steps for the small models that are trained here, in any array library."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skclean._array import array_namespace


class Momentum:
    """Stochastic gradient descent with momentum: m <- momentum m + g, x <- x - lr m.

    Parameters
    ----------
    lr : float
        May be changed between steps, for a schedule.
    momentum : float
    weight_decay : float
        Added to the gradient times the parameter.

    Attributes
    ----------
    buffers : list of arrays, or None before the first step
        m of each parameter.
    """

    def __init__(self, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.buffers: list[Any] | None = None

    def step(self, params: Sequence[Any], grads: Sequence[Any]) -> list[Any]:
        """New values of the parameters; the old arrays are not written to."""
        decay = self.weight_decay
        grads = [g + decay * x if decay else g for x, g in zip(params, grads, strict=True)]
        if self.buffers is not None:
            pairs = zip(self.buffers, grads, strict=True)
            grads = [self.momentum * m + g for m, g in pairs]
        self.buffers = grads
        return [x - self.lr * m for x, m in zip(params, self.buffers, strict=True)]


class Adam:
    """Adam (Kingma and Ba, 2015), with weight decay added to the gradient as torch does.

    Parameters
    ----------
    lr : float
        May be changed between steps, for a schedule.
    betas : tuple of float
        Decay of the first and the second moment.
    eps : float
    weight_decay : float
    """

    def __init__(
        self,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.n_steps = 0
        self._moments: list[tuple[Any, Any]] | None = None

    def step(self, params: Sequence[Any], grads: Sequence[Any]) -> list[Any]:
        """New values of the parameters; the old arrays are not written to."""
        xp, (b1, b2) = array_namespace(*params), self.betas
        if self._moments is None:
            self._moments = [(xp.zeros_like(x), xp.zeros_like(x)) for x in params]
        self.n_steps += 1
        rate = self.lr / (1 - b1**self.n_steps)
        correction = (1 - b2**self.n_steps) ** -0.5
        new, moments = [], []
        for x, g, (m, v) in zip(params, grads, self._moments, strict=True):
            if self.weight_decay:
                g = g + self.weight_decay * x
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            new.append(x - rate * m / (xp.sqrt(v) * correction + self.eps))
            moments.append((m, v))
        self._moments = moments
        return new


def batches(n: int, size: int, rng: np.random.RandomState) -> Iterator[np.ndarray]:
    """Positions 0 to n - 1 once each, in random order, in batches of at most `size`."""
    order = rng.permutation(n)
    return (order[start : start + size] for start in range(0, n, size))
