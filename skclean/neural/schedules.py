"""How the learning rate goes on in a training: its share of the greatest one at any time."""

import math
from collections.abc import Callable
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator

from skclean._validation import Interval
from skclean.embeddings.rates import learning_rate_at

_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]


class Cosine(BaseEstimator):
    """A linear rise, then half a cosine down to a floor.

    ``Cosine(floor=0.2)`` is REED's at a learning rate of 0.001, which it lets fall to 0.0002.

    Parameters
    ----------
    floor : float in [0, 1], default=0
        Share of the learning rate that is left at the end.
    warmup : float >= 0, default=0
        Epochs of the rise, fewer than there are.

    References
    ----------
    Zhang and Yao, "Decoupling Representation and Classifier for Noisy Label Learning" (REED), 2020,
    section 5.1.

    Examples
    --------
    >>> from skclean.neural import Cosine
    >>> schedule = Cosine(floor=0.2, warmup=2)
    >>> [round(schedule(epoch, 10), 2) for epoch in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.6, 0.2]
    """

    _parameter_constraints: dict = {
        "floor": [Interval(Real, 0, 1, closed="both")],
        "warmup": _NOT_NEGATIVE,
    }

    def __init__(self, floor=0.0, *, warmup=0.0):
        self.floor = floor
        self.warmup = warmup

    def __call__(self, progress: float, epochs: float) -> float:
        """Share of the learning rate after `progress` epochs of `epochs`.

        Raises
        ------
        ValueError
            If the rise takes all of them.
        """
        if self.warmup >= epochs:
            raise ValueError(
                f"Cosine: expected a schedule with warmup below its epochs, {epochs:g}, got "
                f"{self.warmup}; do lower it, or raise epochs."
            )
        if progress < self.warmup:
            return progress / self.warmup
        length = epochs - self.warmup
        fall = learning_rate_at(min(progress - self.warmup, length), length, 0, 1.0)
        return self.floor + (1 - self.floor) * fall


class Restarts(BaseEstimator):
    """Half a cosine down to zero, again and again from a lower start and for longer.

    The defaults are those of IEG, whose learning rate is 0.1.

    Parameters
    ----------
    cycle : float > 0, default=1
        Epochs of the first fall.
    growth : float >= 1, default=1.5
        Each takes so many times longer than the one before.
    decay : float in [0, 1], default=0.9
        Each starts at this share of the start before.

    References
    ----------
    Zhang et al., "Distilling Effective Supervision from Severe Label Noise" (IEG), CVPR 2020,
    section 5.1; Loshchilov and Hutter, "SGDR", ICLR 2017.

    Examples
    --------
    >>> from skclean.neural import Restarts
    >>> [round(Restarts()(epoch, 10), 3) for epoch in (0, 0.5, 1, 1.75, 2.5)]
    [1.0, 0.5, 0.9, 0.45, 0.81]
    """

    _parameter_constraints: dict = {
        "cycle": [Interval(Real, 0, None, closed="neither")],
        "growth": [Interval(Real, 1, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, cycle=1.0, *, growth=1.5, decay=0.9):
        self.cycle = cycle
        self.growth = growth
        self.decay = decay

    def __call__(self, progress: float, epochs: float) -> float:
        """Share of the learning rate after `progress` epochs."""
        start, length, peak = 0.0, self.cycle, 1.0
        while progress >= start + length:
            start, length, peak = start + length, length * self.growth, peak * self.decay
        return learning_rate_at(progress - start, length, 0, peak)


class Ramps(BaseEstimator):
    """A Gaussian rise, a plateau, and a Gaussian fall at the end.

    ``exp(-5 (1 - t / up)²)`` in the first epochs t, and ``exp(-12.5 (s / down)²)`` after s of the
    last ones. The defaults are those that the Π-model and temporal ensembling have for 300 epochs.

    Parameters
    ----------
    up, down : float >= 0, default=80 and 50
        Epochs of the rise and the fall, which share a training of fewer in that proportion.

    References
    ----------
    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017; Ding et al., "A
    Semi-Supervised Two-Stage Approach to Learning from Noisy Labels", WACV 2018.

    Examples
    --------
    >>> from skclean.neural import Ramps
    >>> [round(Ramps(8, 5)(epoch, 30), 4) for epoch in (0, 8, 25, 30)]
    [0.0067, 1.0, 1.0, 0.0]
    """

    _parameter_constraints: dict = {"up": _NOT_NEGATIVE, "down": _NOT_NEGATIVE}

    def __init__(self, up=80.0, down=50.0):
        self.up = up
        self.down = down

    def __call__(self, progress: float, epochs: float) -> float:
        """Share of the learning rate after `progress` epochs of `epochs`."""
        longer = max((self.up + self.down) / epochs, 1.0)
        progress, epochs = progress * longer, epochs * longer
        missing = max(0.0, 1 - progress / self.up) if self.up else 0.0
        past = max(0.0, 1 - (epochs - progress) / self.down) if self.down else 0.0
        return math.exp(-5 * missing**2 - 12.5 * past**2)


def schedule_shares(schedule: Callable, epochs: int, name: str) -> np.ndarray:
    """The shares of a training, ten an epoch, but 64 at least.

    Parameters
    ----------
    schedule : callable
    epochs : int
    name : str
        Who speaks in errors.

    Returns
    -------
    ndarray of shape (max(64, 10 epochs),), float64

    Raises
    ------
    ValueError
        If a share is not a number from 0 on.
    """
    if hasattr(schedule, "_parameter_constraints"):
        schedule._validate_params()  # type: ignore[attr-defined]
    times = np.linspace(0, epochs, max(64, 10 * epochs), endpoint=False)
    shares = []
    for time in times.tolist():
        try:
            share = float(schedule(time, float(epochs)))
        except TypeError as error:
            raise ValueError(
                f"{name}: expected a schedule from the epochs done and all epochs to a share of "
                f"the learning rate, got an error ({error}); do pass such a function."
            ) from error
        if not 0 <= share < math.inf:
            raise ValueError(
                f"{name}: expected a schedule with shares of the learning rate from 0 on, got "
                f"{share} after {time:.3g} of {epochs} epochs; do correct it."
            )
        shares.append(share)
    return np.array(shares)
