"""NT-Xent, the loss of SimCLR."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    temperature: float,
    gather: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Normalised temperature-scaled cross-entropy of two views (Chen et al. 2020, eq. 1).

    For each of the 2 B views, the cross-entropy of finding the other view of the same image among
    the 2 B - 1 others by their cosine similarities divided by the temperature.

    Parameters
    ----------
    z1, z2 : Tensor of shape (B, d)
        Projections of two views of the same images; they need not be normalised. Half precision is
        brought to float32, under autocast too.
    temperature : float > 0
    gather : callable or None, default=None
        From the rows of this process to those of all, with gradients. As each process then has the
        whole loss, and `DistributedDataParallel` averages gradients, the loss and the gradient are
        those of one process with the whole batch.

    Returns
    -------
    Tensor of shape ()
        Mean over the views, in nats.
    """
    with torch.autocast(z1.device.type, enabled=False):
        z = torch.stack([full_precision(z1), full_precision(z2)], dim=1)
        z = F.normalize(z if gather is None else gather(z), dim=2)
        n = len(z)
        z = z.transpose(0, 1).flatten(0, 1)
        logits = z @ z.T / temperature
        logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
        other = torch.arange(2 * n, device=z.device).roll(n)
        return F.cross_entropy(logits, other)


def full_precision(x: Tensor) -> Tensor:
    """Half precision as float32; others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
