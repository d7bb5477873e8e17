"""Losses of logits, row by row, with labels that may be soft."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Part

#: No more than 1 minus this is taken for a probability in the logarithm of `early_learning`.
LEAST_DOUBT = 1e-4


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Sum of weight times loss over the number of rows; 0 where there is none.

    Parameters
    ----------
    loss, weight : Tensor of shape (b,)
    """
    return (weight * loss).sum() / max(len(loss), 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-Σ y log p of each row.

    Parameters
    ----------
    logits : Tensor of shape (b, C)
        Half precision is brought to float32, here and below.
    target : Tensor of shape (b, C), or (b,) and int64
        y, which sums to 1, or classes.

    Returns
    -------
    Tensor of shape (b,)
        In nats.
    """
    return F.cross_entropy(full_precision(logits), target, reduction="none")


def labelled_loss(logits: Tensor, part: Part) -> Tensor:
    """Weighted mean of the cross-entropy of rows whose logits come first."""
    return weighted_mean(cross_entropy(logits[: len(part)], part.target), part.weight)


def generalized_cross_entropy(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """Σ y (1 - p^q) / q of each row (Zhang & Sabuncu 2018, eq. 6).

    Parameters
    ----------
    logits, target : Tensor of shape (b, C)
    q : float in (0, 1]
        Towards 0 it is cross-entropy, at 1 half the L1 distance of p to a hard label.

    Returns
    -------
    Tensor of shape (b,), in [0, 1 / q]
    """
    log_p = torch.log_softmax(full_precision(logits), dim=1)
    return -(target * torch.expm1(q * log_p)).sum(dim=1) / q


def symmetric_cross_entropy(
    logits: Tensor, target: Tensor, alpha: float, beta: float, log_zero: float
) -> Tensor:
    """-α Σ y log p - β Σ p log y of each row (Wang et al. 2019, section 3).

    Parameters
    ----------
    logits, target : Tensor of shape (b, C)
    alpha, beta : float >= 0
    log_zero : float < 0
        A, the least that log y may be.

    Returns
    -------
    Tensor of shape (b,)
    """
    logits = full_precision(logits)
    reverse = -(torch.softmax(logits, dim=1) * target.log().clamp_min(log_zero)).sum(dim=1)
    return alpha * cross_entropy(logits, target) + beta * reverse


def early_learning(logits: Tensor, average: Tensor) -> Tensor:
    """log(1 - Σ p t) of each row, least where p agrees with t (Liu et al. 2020, section 4).

    Parameters
    ----------
    logits : Tensor of shape (b, C)
    average : Tensor of shape (b, C)
        t, the running average of the row's predictions, which sums to at most 1.

    Returns
    -------
    Tensor of shape (b,), <= 0
    """
    agreement = (torch.softmax(full_precision(logits), dim=1) * average).sum(dim=1)
    return torch.log1p(-agreement.clamp_max(1 - LEAST_DOUBT))


def negative_entropy(logits: Tensor) -> Tensor:
    """Σ p log p of each row.

    Parameters
    ----------
    logits : Tensor of shape (b, C)

    Returns
    -------
    Tensor of shape (b,), in [-log C, 0]
    """
    log_p = torch.log_softmax(full_precision(logits), dim=1)
    return (log_p.exp() * log_p).sum(dim=1)


def prior_divergence(logits: Tensor) -> Tensor:
    """Σ (1/C) log((1/C) / p̄), p̄ the mean prediction (DivideMix, eq. 11).

    Parameters
    ----------
    logits : Tensor of shape (b, C)

    Returns
    -------
    Tensor of shape (), >= 0
        0 where all classes are predicted as often.
    """
    b, C = logits.shape
    log_mean = torch.logsumexp(torch.log_softmax(full_precision(logits), dim=1), dim=0) - math.log(
        b
    )
    return -math.log(C) - log_mean.mean()
