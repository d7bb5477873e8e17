"""Temporal ensembling: a row is predicted as it was, on average, in the epochs before."""

from numbers import Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skclean._validation import Interval
from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Batch
from skclean.neural.losses import labelled_loss, weighted_mean
from skclean.neural.memory import RowMemory
from skclean.neural.objectives.pi_model import consistency_ramp


class Ensemble(RowMemory):
    """Predictions of every row, accumulated over the epochs.

    A prediction enters the average when its row is met in a later epoch: targets come from earlier
    epochs alone, and one process has nothing to do at the end of one.

    Parameters
    ----------
    n_rows, n_classes : int

    Attributes
    ----------
    average : Tensor of shape (n_rows, C)
        Z, before the correction of its bias.
    count : Tensor of shape (n_rows,), float32
        Epochs in the average.
    latest : Tensor of shape (n_rows, C)
        Last prediction of the row.
    epoch : Tensor of shape (n_rows,), int64
        When that was; -1 for never.
    """

    average: Tensor
    count: Tensor
    latest: Tensor
    epoch: Tensor

    def __init__(self, n_rows: int, n_classes: int):
        super().__init__(n_rows)
        self.register_buffer("average", torch.zeros(n_rows, n_classes))
        self.register_buffer("count", torch.zeros(n_rows))
        self.register_buffer("latest", torch.zeros(n_rows, n_classes))
        self.register_buffer("epoch", torch.full((n_rows,), -1))

    @torch.no_grad()
    def targets(self, rows: Tensor, epoch: int, decay: float) -> tuple[Tensor, Tensor]:
        """Average predictions over the epochs before, z = Z / (1 - decay^t).

        Parameters
        ----------
        rows : Tensor of shape (b,), int64
            May repeat.
        epoch : int
            The present one.
        decay : float in [0, 1)

        Returns
        -------
        targets : Tensor of shape (b, C)
        known : Tensor of shape (b,)
            1 where there was an epoch before, else 0.
        """
        due = (self.epoch[rows] >= 0) & (self.epoch[rows] < epoch)
        entered = decay * self.average[rows] + (1 - decay) * self.latest[rows]
        average = torch.where(due[:, None], entered, self.average[rows])
        count = self.count[rows] + due
        self.average[rows], self.count[rows] = average, count
        self.epoch[rows] = torch.where(due, -1, self.epoch[rows])
        known = (count > 0).to(average.dtype)
        return average / (1 - decay ** count.clamp_min(1))[:, None], known

    @torch.no_grad()
    def record(self, rows: Tensor, proba: Tensor, epoch: int) -> None:
        """Keep predictions (b, C); of a row that repeats, the first."""
        place = torch.arange(len(rows), device=rows.device)
        # Writing different values to one place has no order on a GPU.
        same = rows[:, None] == rows
        first = torch.where(same, place, len(rows)).amin(dim=1)
        self.latest[rows] = proba[first].to(self.latest.dtype)
        self.epoch[rows] = epoch
        self.drawn[rows] = True


class TemporalEnsembling(BaseEstimator):
    """Cross-entropy of the labelled rows, and the squared distance to the predictions of before.

    One view of every row is compared with the average of its predictions in earlier epochs, which
    decays exponentially and is corrected for its start at zero. The weights are as for `PiModel`.
    Several processes share their predictions at the end of each epoch: a row that more than one of
    them drew in it has the mean of the last prediction of each. `partial_fit` does not take it, as
    the rows of a call are not known in the next.

    Parameters
    ----------
    weight : float >= 0, default=30.0
        w_max, the greatest weight of the consistency.
    decay : float in [0, 1), default=0.6
        alpha, the share of itself that the average keeps.
    ramp_up : float >= 0 or None, default=None
        As for `PiModel`.

    References
    ----------
    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 2.

    Examples
    --------
    >>> import torch
    >>> from skclean.neural.objectives.temporal_ensembling import TemporalEnsembling
    >>> memory = TemporalEnsembling().start(n_rows=100, n_classes=3, device=torch.device("cpu"))
    >>> tuple(memory.average.shape)
    (100, 3)
    """

    _parameter_constraints: dict = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="left")],
        "ramp_up": [Interval(Real, 0, None, closed="left"), None],
    }

    parts = frozenset({"labelled", "unlabelled"})

    def __init__(self, weight=30.0, decay=0.6, ramp_up=None):
        self.weight = weight
        self.decay = decay
        self.ramp_up = ramp_up

    def start(self, n_rows: int, n_classes: int, device: torch.device) -> Ensemble:
        """Memory of the predictions, none yet.

        Raises
        ------
        ValueError
            If parameters are not as described.
        """
        self._validate_params()
        return Ensemble(n_rows, n_classes).to(device)

    def terms(self, network: Any, batch: Batch, memory: Any) -> dict[str, Tensor]:
        """Terms "labelled" and "consistency"; rows met for the first time are not in the latter.

        Parameters
        ----------
        network : Module
            From x to logits.
        batch : Batch
        memory : Ensemble
            Of `start`; written to.
        """
        (x, rows, rows_weight), epoch = batch.all_rows(), int(batch.progress)
        logits = full_precision(network(batch.weak(x)))
        proba = torch.softmax(logits, dim=1)
        targets, known = memory.targets(rows, epoch, self.decay)
        memory.record(rows, proba, epoch)
        weight = self.weight * consistency_ramp(batch, self.ramp_up)
        distance = (proba - targets.to(proba.dtype)).square().mean(dim=1)
        return {
            "labelled": labelled_loss(logits, batch.labelled),
            "consistency": weight * weighted_mean(known * distance, rows_weight),
        }
