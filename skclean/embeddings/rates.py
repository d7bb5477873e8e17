"""The learning rate as a function of the step."""

import math


def learning_rate_at(step: float, n_steps: float, warmup: float, peak: float) -> float:
    """Linear rise to the peak, then half a cosine down to zero.

    Parameters
    ----------
    step : float in [0, n_steps]
    n_steps : float
    warmup : float
        Steps of the rise; the first step has ``peak / warmup``.
    peak : float
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (n_steps - warmup))) / 2
