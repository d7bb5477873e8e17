"""The Pi-model: two views of a row are predicted alike."""

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from skclean._validation import Interval
from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Batch
from skclean.neural.losses import labelled_loss, weighted_mean
from skclean.neural.mixing import gaussian_ramp
from skclean.neural.objectives._base import MemorylessObjective

#: The weight rises over 80 of the 300 epochs of Laine & Aila.
RAMP_SHARE = 80 / 300


class PiModel(MemorylessObjective):
    """Cross-entropy of the labelled rows, and the squared difference of two views of every row.

    The consistency is a mean over rows and classes, the cross-entropy one over the labelled rows.
    Laine & Aila divide the cross-entropy by the rows with and without labels, and give the
    consistency the weight w_max M / N, M of N rows being labelled: together that is a factor M / N
    of the sum here, in which the weight is w_max.

    Parameters
    ----------
    weight : float >= 0, default=100.0
        w_max, the greatest weight of the consistency.
    ramp_up : float >= 0 or None, default=None
        Epochs T over which the weight rises as exp(-5 (1 - t / T)²); in the first epoch it is 0.
        None: 80 of 300, and in proportion.

    References
    ----------
    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 1; Ding
    et al., "A Semi-Supervised Two-Stage Approach to Learning from Noisy Labels", WACV 2018,
    equations 1 and 2.

    Examples
    --------
    >>> from skclean.neural.objectives.pi_model import PiModel
    >>> sorted(PiModel(weight=50).parts)
    ['labelled', 'unlabelled']
    """

    _parameter_constraints: dict = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "ramp_up": [Interval(Real, 0, None, closed="left"), None],
    }

    parts = frozenset({"labelled", "unlabelled"})

    def __init__(self, weight=100.0, ramp_up=None):
        self.weight = weight
        self.ramp_up = ramp_up

    def terms(self, network: Any, batch: Batch, memory: Any = None) -> dict[str, Tensor]:
        """Terms "labelled" and "consistency"; of labelled rows alone if there are no others.

        Parameters
        ----------
        network : Module
            From x to logits.
        batch : Batch
        memory : None, default=None
        """
        x, _, rows_weight = batch.all_rows()
        logits = full_precision(network(torch.cat([batch.weak(x), batch.weak(x)])))
        first, second = logits.chunk(2)
        difference = torch.softmax(first, dim=1) - torch.softmax(second, dim=1)
        weight = self.weight * consistency_ramp(batch, self.ramp_up)
        return {
            "labelled": labelled_loss(first, batch.labelled),
            "consistency": weight * weighted_mean(difference.square().mean(dim=1), rows_weight),
        }


def consistency_ramp(batch: Batch, length: float | None) -> float:
    """Share of the greatest weight: 0 in the first epoch, then exp(-5 (1 - t / T)²)."""
    if batch.progress < 1:
        return 0.0
    return gaussian_ramp(batch.progress, RAMP_SHARE * batch.epochs if length is None else length)
