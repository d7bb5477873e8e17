"""Training on the labels alone, by losses that bear some wrong ones."""

from numbers import Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from skclean._validation import Interval, StrOptions
from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Batch
from skclean.neural.losses import (
    cross_entropy,
    early_learning,
    generalized_cross_entropy,
    negative_entropy,
    symmetric_cross_entropy,
    weighted_mean,
)
from skclean.neural.memory import RowMemory
from skclean.neural.mixing import mixup


class Supervised(BaseEstimator):
    """Cross-entropy, or a loss that bears wrong labels better, on the labelled rows.

    The mean over the rows of weight times loss; targets may be soft. Every loss can be joined with
    label smoothing, mixup [5]_ and a penalty on confident predictions, which is DivideMix's warm-up
    on asymmetric noise [6]_.

    Parameters
    ----------
    loss : {"ce", "gce", "sce", "elr"}, default="ce"
        Cross-entropy; generalised cross-entropy [1]_ (eq. 6), without its truncation; symmetric
        cross-entropy [2]_; early-learning regularisation [3]_, which is cross-entropy plus
        ``elr_weight · log(1 - <p, t>)``, t the running average of the row's predictions.
    q : float in (0, 1], default=0.7
        Of "gce": towards 0 cross-entropy, 1 mean absolute error.
    alpha, beta : float >= 0, default=0.1 and 1
        Of "sce": weights of cross-entropy and of reverse cross-entropy; those of the paper for
        CIFAR-10. It has 6 and 0.1 for CIFAR-100.
    log_zero : float < 0, default=-4
        Of "sce": A, which stands for the logarithm of a label's zeros.
    elr_weight : float >= 0, default=3
        λ of "elr", which `partial_fit` does not take, as it follows rows from epoch to epoch.
        Several processes share the averages at the end of each epoch: a row that more than one of
        them drew in it has the mean of theirs.
    elr_decay : float in [0, 1), default=0.7
        β of "elr": share of itself that the average keeps each time that the row is seen. λ and β
        are those of the paper for symmetric noise on CIFAR-10; it has 7 and 0.9 for CIFAR-100.
    label_smoothing : float in [0, 1], default=0
        Share of the target that is spread evenly over the classes [4]_.
    mixup : float >= 0, default=0
        Parameter of the Beta distribution, one coefficient a row; 0 is none. Not with "elr".
    confidence_penalty : float >= 0, default=0
        Weight of the mean of Σ p log p (eq. 2 of [6]_, where it is 1).
    views : {"weak", "strong"}, default="weak"
        Augmentation of the rows.

    References
    ----------
    .. [1] Z. Zhang, M. Sabuncu, "Generalized cross entropy loss for training deep neural networks
       with noisy labels", NeurIPS 2018.
    .. [2] Y. Wang et al., "Symmetric cross entropy for robust learning with noisy labels", ICCV
       2019.
    .. [3] S. Liu et al., "Early-learning regularization prevents memorization of noisy labels",
       NeurIPS 2020.
    .. [4] C. Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR
       2016, section 7.
    .. [5] H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    .. [6] J. Li, R. Socher, S. Hoi, "DivideMix: learning with noisy labels as semi-supervised
       learning", ICLR 2020.

    Examples
    --------
    >>> from skclean.neural.objectives.supervised import Supervised
    >>> Supervised("gce", q=0.5)
    Supervised(loss='gce', q=0.5)
    """

    _parameter_constraints: dict = {
        "loss": [StrOptions({"ce", "gce", "sce", "elr"})],
        "q": [Interval(Real, 0, 1, closed="right")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "log_zero": [Interval(Real, None, 0, closed="neither")],
        "elr_weight": [Interval(Real, 0, None, closed="left")],
        "elr_decay": [Interval(Real, 0, 1, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "mixup": [Interval(Real, 0, None, closed="left")],
        "confidence_penalty": [Interval(Real, 0, None, closed="left")],
        "views": [StrOptions({"weak", "strong"})],
    }

    parts = frozenset({"labelled"})

    def __init__(
        self,
        loss="ce",
        *,
        q=0.7,
        alpha=0.1,
        beta=1.0,
        log_zero=-4.0,
        elr_weight=3.0,
        elr_decay=0.7,
        label_smoothing=0.0,
        mixup=0.0,
        confidence_penalty=0.0,
        views="weak",
    ):
        self.loss = loss
        self.q = q
        self.alpha = alpha
        self.beta = beta
        self.log_zero = log_zero
        self.elr_weight = elr_weight
        self.elr_decay = elr_decay
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.confidence_penalty = confidence_penalty
        self.views = views

    def start(self, n_rows: int, n_classes: int, device: Any) -> nn.Module | None:
        """The running averages of "elr".

        Parameters
        ----------
        n_rows, n_classes : int
        device : torch.device

        Returns
        -------
        RunningPredictions or None

        Raises
        ------
        ValueError
            If parameters are not as described.
        """
        self._validate_params()
        if self.loss != "elr":
            return None
        if self.mixup > 0:
            raise ValueError(
                f"Supervised: expected no mixup with loss='elr', which follows single rows, got "
                f"mixup={self.mixup}; do set it to 0, or take another loss."
            )
        return RunningPredictions(n_rows, n_classes).to(device)

    def terms(self, network: Any, batch: Batch, memory: Any = None) -> dict[str, Tensor]:
        """Loss terms of a batch.

        Parameters
        ----------
        network : Module
            From x to logits.
        batch : Batch
            Only its labelled rows are looked at.
        memory : RunningPredictions or None, default=None
            Of `start`; moved.

        Returns
        -------
        dict of str to Tensor
            "labelled"; "early_learning" and "confidence", if asked for.
        """
        part = batch.labelled
        x, target, weight = getattr(batch, self.views)(part.x), part.target, part.weight
        if self.label_smoothing:
            target = torch.lerp(
                target, torch.full_like(target, 1 / target.shape[1]), self.label_smoothing
            )
        if self.mixup:
            x, target, weight = mixup(x, target, weight, self.mixup, batch.generator)
        logits = full_precision(network(x))
        found = {"labelled": weighted_mean(self._losses(logits, target), weight)}
        if self.loss == "elr":
            proba = torch.softmax(logits.detach(), dim=1)
            average = memory.update(part.rows, proba, self.elr_decay)
            agreement = weighted_mean(early_learning(logits, average), weight)
            found["early_learning"] = self.elr_weight * agreement
        if self.confidence_penalty:
            mean = weighted_mean(negative_entropy(logits), weight)
            found["confidence"] = self.confidence_penalty * mean
        return found

    def _losses(self, logits, target):
        if self.loss == "gce":
            return generalized_cross_entropy(logits, target, self.q)
        if self.loss == "sce":
            return symmetric_cross_entropy(logits, target, self.alpha, self.beta, self.log_zero)
        return cross_entropy(logits, target)


class RunningPredictions(RowMemory):
    """The running average of each row's predictions, 0 at the start.

    Parameters
    ----------
    n_rows, n_classes : int

    Attributes
    ----------
    average : Tensor of shape (n_rows, n_classes), float32
    """

    average: Tensor

    def __init__(self, n_rows: int, n_classes: int):
        super().__init__(n_rows)
        self.register_buffer("average", torch.zeros(n_rows, n_classes))

    @torch.no_grad()
    def update(self, rows: Tensor, proba: Tensor, decay: float) -> Tensor:
        """Move the averages of some rows: t ← decay t + (1 - decay) p.

        Parameters
        ----------
        rows : Tensor of shape (b,), int64
            One that is there several times is moved once, by its mean prediction.
        proba : Tensor of shape (b, C)
        decay : float in [0, 1)

        Returns
        -------
        Tensor of shape (b, C)
            The averages of the rows, moved.
        """
        same = (rows[:, None] == rows).to(proba.dtype)
        with torch.autocast(proba.device.type, enabled=False):
            mean = (same / same.sum(dim=1, keepdim=True)) @ proba
        moved = torch.lerp(mean, self.average[rows].to(mean.dtype), decay)
        self.average[rows] = moved.to(self.average.dtype)
        self.drawn[rows] = True
        return moved
