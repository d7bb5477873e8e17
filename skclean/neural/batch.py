"""What the loop hands an objective at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """Rows of one kind in a batch, on the device.

    Parameters
    ----------
    rows : Tensor of shape (b,), int64
        Positions among the rows of the fit.
    x : Tensor of shape (b, 3, H, W), in [0, 1], or (b, d)
        Images or features, without augmentation.
    target : Tensor of shape (b, C), float32
        Labels, one-hot or soft; rows sum to 1. Of unlabelled rows their purified probabilities, for
        reference only.
    weight : Tensor of shape (b,), float32, >= 0
        Of the row in the loss.
    clean : Tensor of shape (b,), float32, in [0, 1], or None
        Probability that the label is right. Where given, objectives may refine the labels.
    embedding : Tensor of shape (b, k) or None
        From the stage before, for the graph.
    """

    rows: Tensor
    x: Tensor
    target: Tensor
    weight: Tensor
    clean: Tensor | None = None
    embedding: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """A step's rows, and what else an objective may use.

    Parameters
    ----------
    labelled : Part
    unlabelled, trusted : Part or None
    weak, strong : callable
        From x to a new random view of each row, another at each call.
    generator : torch.Generator
        On the device; for all other randomness, such as mixup.
    progress : float >= 0
        Epochs done, with the fraction of this one, counted from the end of the warm-up.
    epochs : float
        Epochs of the training after the warm-up.
    partner : Module or None
        The other network where two are trained.
    optimizer : Optimizer or None
        Of the network, for those that look ahead.
    shares : Tensor of shape (C,), float32, or None
        Of the classes among all labelled rows, where these are drawn in other shares.
    """

    labelled: Part
    unlabelled: Part | None
    trusted: Part | None
    weak: Callable[[Tensor], Tensor]
    strong: Callable[[Tensor], Tensor]
    generator: torch.Generator
    progress: float = 0.0
    epochs: float = 1.0
    partner: nn.Module | None = None
    optimizer: torch.optim.Optimizer | None = None
    shares: Tensor | None = None

    def all_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """`x`, `rows` and `weight` of the labelled rows and, behind them, the unlabelled ones."""
        held = [part for part in (self.labelled, self.unlabelled) if part is not None]
        x, rows, weight = zip(*((part.x, part.rows, part.weight) for part in held), strict=True)
        return torch.cat(x), torch.cat(rows), torch.cat(weight)
