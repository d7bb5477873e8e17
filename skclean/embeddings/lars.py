"""LARS, SGD whose step in each layer is proportional to the norm of its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, algorithm 1).

    For weights w with gradient g, momentum m, weight decay β and learning rate γ::

        λ = trust_coefficient · ‖w‖ / (‖g‖ + β ‖w‖)     (1 where ‖w‖ or ‖g‖ is 0)
        v ← m v + γ λ (g + β w)
        w ← w - v

    Nothing is read from the device.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Groups may have settings of their own; ``adapt=False`` is for norms and biases.
    lr : float >= 0
        Learning rate γ.
    momentum : float in [0, 1), default=0.9
    weight_decay : float >= 0, default=0
    trust_coefficient : float > 0, default=0.001
    adapt : bool, default=True
        False takes λ = 1: SGD with momentum.

    References
    ----------
    You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017, algorithm 1.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        adapt: bool = True,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "adapt": adapt,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """Move the weights by one step.

        Parameters
        ----------
        closure : callable or None, default=None
            Computes the loss and its gradient anew.

        Returns
        -------
        Tensor or None
            The loss of the closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(w)
                decay = group["weight_decay"]
                update = w.grad.add(w, alpha=decay)
                if group["adapt"]:
                    update *= _trust(w, w.grad, decay, group["trust_coefficient"])
                v = state["momentum_buffer"]
                v.mul_(group["momentum"]).add_(update, alpha=group["lr"])
                w.sub_(v)
        return loss


def _trust(w, grad, decay, coefficient):
    """λ of the algorithm, a tensor on the device."""
    size, slope = torch.linalg.vector_norm(w), torch.linalg.vector_norm(grad)
    ratio = coefficient * size / (slope + decay * size)
    return torch.where((size > 0) & (slope > 0), ratio, 1.0)
