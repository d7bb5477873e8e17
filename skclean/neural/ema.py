"""Exponential moving average of a network's weights."""

import copy
from typing import Any

import torch
from torch import nn

from skclean.embeddings.moco import momentum_update


class AveragedNetwork(nn.Module):
    """A copy of a network whose parameters are averages over the steps of the training.

    In an update the average keeps the share ``min(decay, (1 + step) / (10 + step))`` of itself, so
    that the first steps do not weigh on it for ever. Its buffers are those of the network itself,
    as in MixMatch's own code: statistics of batch norm are running averages already.

    Parameters
    ----------
    network : Module
        Copied; takes no part afterwards.
    decay : float in [0, 1], default=0.999

    Attributes
    ----------
    network : Module
        In evaluation mode, without gradients. It is all that the state dict holds.

    References
    ----------
    Berthelot et al., "MixMatch", NeurIPS 2019, section 4.1.

    Examples
    --------
    >>> import torch
    >>> from skclean.neural.ema import AveragedNetwork
    >>> network = torch.nn.Linear(2, 2)
    >>> averaged = AveragedNetwork(network, decay=0.9)
    >>> before = network.bias.detach().clone()
    >>> _ = network.bias.data.add_(1)
    >>> averaged.update(network, step=1000)
    >>> torch.allclose(averaged.network.bias, before + 0.1)
    True
    """

    def __init__(self, network: Any, decay: float = 0.999):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Any, step: int) -> None:
        """Move on after a step of the optimizer.

        Parameters
        ----------
        network : Module
            On the device of the copy.
        step : int
            Steps before this one, from 0.
        """
        share = min(self.decay, (1 + step) / (10 + step))
        momentum_update(self.network.parameters(), network.parameters(), share)
        for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(other)

    def forward(self, *inputs: Any) -> Any:
        """Outputs of the averaged network."""
        return self.network(*inputs)

    def train(self, mode: bool = True) -> "AveragedNetwork":
        """Stays in evaluation mode."""
        return super().train(False)
