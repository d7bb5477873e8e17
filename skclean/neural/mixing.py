"""Mixing of rows, sharpening of guesses, and ramps of weights."""

import math

import torch
from torch import Tensor


def sharpen(proba: Tensor, temperature: float) -> Tensor:
    """p^(1/T), normalised (Berthelot et al. 2019, eq. 7).

    Parameters
    ----------
    proba : Tensor of shape (b, C), in [0, 1]
    temperature : float > 0
        T: 1 changes nothing, towards 0 the greatest takes all.

    Returns
    -------
    Tensor of shape (b, C)
        Rows sum to 1.
    """
    # The powers themselves underflow where T is small.
    tiny = torch.finfo(proba.dtype).tiny
    return torch.softmax(proba.clamp_min(tiny).log() / temperature, dim=1)


def mixing_coefficients(
    n: int, alpha: float, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """max(l, 1 - l), l ~ Beta(alpha, alpha) for each row (Berthelot et al. 2019, eq. 8 and 9).

    Parameters
    ----------
    n : int
    alpha : float >= 0
        Towards 0 the rows hardly mix; 0 draws nothing.
    generator : torch.Generator
        On whose device the result lies.
    dtype : torch.dtype, default=torch.float32

    Returns
    -------
    Tensor of shape (n,), in [0.5, 1]
    """
    if alpha == 0:
        return torch.ones(n, dtype=dtype, device=generator.device)
    # l = g / (g + g') with g, g' ~ Gamma(alpha), and g ~ Gamma(alpha + 1) U^(1 / alpha), all as
    # logarithms: for small alpha both underflow.
    shape = torch.full((2, n), alpha + 1, dtype=dtype, device=generator.device)
    exponential = torch.empty_like(shape).exponential_(generator=generator)
    log_gamma = torch._standard_gamma(shape, generator=generator).log() - exponential / alpha
    return torch.sigmoid((log_gamma[0] - log_gamma[1]).abs())


def mixup(
    x: Tensor, target: Tensor, weight: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row mixed with one of a random order of all (Berthelot et al. 2019, eq. 8 to 11).

    A mixed row keeps at least half of the row in its place. Rows of weight w and w' that mix as l
    and 1 - l count as much in the target as l w and (1 - l) w': the cross-entropy of the mixed row
    is the sum of those of its parts, each with its weight, and labels of weight 0 have no say.

    Parameters
    ----------
    x : Tensor of shape (b, ...)
    target : Tensor of shape (b, C)
        Rows sum to 1.
    weight : Tensor of shape (b,), >= 0
    alpha : float >= 0
        Of the Beta distribution.
    generator : torch.Generator
        On the device of x.

    Returns
    -------
    x, target, weight : Tensor
        Of the same shapes. The mixed weight is l w + (1 - l) w'; where it is 0, so is the target.
    """
    b = len(x)
    order = torch.randperm(b, generator=generator, device=generator.device)
    share = mixing_coefficients(b, alpha, generator, target.dtype)
    mine, other = share * weight, (1 - share) * weight[order]
    mixed_weight = mine + other
    mixed_target = mine[:, None] * target + other[:, None] * target[order]
    mixed_target = mixed_target / mixed_weight.clamp_min(torch.finfo(weight.dtype).tiny)[:, None]
    share = share.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return torch.lerp(x[order], x, share), mixed_target, mixed_weight


def linear_ramp(progress: float, length: float) -> float:
    """clip(progress / length, 0, 1); 1 where the length is 0."""
    return min(max(progress / length, 0.0), 1.0) if length > 0 else 1.0


def gaussian_ramp(progress: float, length: float) -> float:
    """exp(-5 (1 - t)²), t of `linear_ramp` (Laine & Aila 2017)."""
    return math.exp(-5 * (1 - linear_ramp(progress, length)) ** 2)
