"""Optimizers for networks."""

from typing import Any

import torch
from torch.optim import Optimizer

from skclean.embeddings.lars import LARS


def make_optimizer(
    module: Any,
    kind: str,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    fabric: Any,
) -> Optimizer:
    """An optimizer that neither decays nor adapts norms and biases, fused where it can be.

    Parameters
    ----------
    module : Module
        On its device. What needs no gradient is not moved.
    kind : {"sgd", "lars", "adam", "adamw"}
    learning_rate, weight_decay, momentum : float
    fabric : Fabric
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if kind == "lars":
        for group in groups:
            group["adapt"] = group["params"][0].ndim > 1
        return LARS(groups, learning_rate, momentum=momentum)
    # A fused optimizer that unscales gradients itself does not let them be clipped.
    scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
    options: dict[str, Any] = {"fused": (fabric.device.type == "cuda" and not scaled) or None}
    if kind == "sgd":
        return torch.optim.SGD(groups, learning_rate, momentum=momentum, **options)
    if kind == "adam":
        return torch.optim.Adam(groups, learning_rate, **options)
    if kind == "adamw":
        return torch.optim.AdamW(groups, learning_rate, **options)
    raise ValueError(
        f"make_optimizer: expected optimizer 'sgd', 'lars', 'adam' or 'adamw', got {kind!r}; do "
        "choose one."
    )


def set_learning_rate(optimizer: Any, learning_rate: float) -> None:
    """Give all groups a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
