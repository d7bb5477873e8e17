"""FixMatch."""

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from skclean._validation import Interval
from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Batch
from skclean.neural.losses import cross_entropy, labelled_loss, weighted_mean
from skclean.neural.objectives._base import MemorylessObjective


class FixMatch(MemorylessObjective):
    """Sure predictions of weak views are the labels of strong ones.

    Labelled rows count by the cross-entropy of a weak view (eq. 3). An unlabelled row of which a
    weak view is predicted with a probability of at least `threshold` counts by the cross-entropy of
    a strong view with the predicted class; the mean is over all unlabelled rows, sure or not
    (eq. 4).

    Parameters
    ----------
    threshold : float in [0, 1], default=0.95
        τ.
    lambda_u : float >= 0, default=1
        Weight of the unlabelled rows.

    References
    ----------
    Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence",
    NeurIPS 2020.

    Examples
    --------
    >>> from skclean.neural.objectives.fixmatch import FixMatch
    >>> FixMatch(threshold=0.9)
    FixMatch(threshold=0.9)
    """

    _parameter_constraints: dict = {
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "lambda_u": [Interval(Real, 0, None, closed="left")],
    }

    parts = frozenset({"labelled", "unlabelled"})

    def __init__(self, threshold=0.95, *, lambda_u=1.0):
        self.threshold = threshold
        self.lambda_u = lambda_u

    def terms(self, network: Any, batch: Batch, memory: Any = None) -> dict[str, Tensor]:
        """Loss terms of a batch.

        Parameters
        ----------
        network : Module
            From x to logits, in training mode. All views pass at once: batch norms see them all.
        batch : Batch
            Rows may be labelled, unlabelled or both.
        memory : None, default=None

        Returns
        -------
        dict of str to Tensor
            "labelled"; "unlabelled", if there are such rows.
        """
        labelled, unlabelled = batch.labelled, batch.unlabelled
        b, m = len(labelled), 0 if unlabelled is None else len(unlabelled)
        if unlabelled is None or not m:
            return {"labelled": labelled_loss(network(batch.weak(labelled.x)), labelled)}
        weak = batch.weak(torch.cat([labelled.x, unlabelled.x]))
        logits = full_precision(network(torch.cat([weak, batch.strong(unlabelled.x)])))
        _, logits_weak, logits_strong = logits.split([b, m, m])
        sure, guessed = torch.softmax(logits_weak.detach(), dim=1).max(dim=1)
        taken = unlabelled.weight * (sure >= self.threshold)
        consistency = weighted_mean(cross_entropy(logits_strong, guessed), taken)
        return {
            "labelled": labelled_loss(logits, labelled),
            "unlabelled": self.lambda_u * consistency,
        }
