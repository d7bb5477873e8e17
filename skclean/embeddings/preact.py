"""PreAct-ResNet18, the network that methods for noisy labels are compared with."""

import torch.nn.functional as F
from torch import Tensor, nn


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and ReLU, and the identity beside them.

    Where the shape changes, the identity becomes a 1x1 convolution of what stands behind the first
    batch norm and ReLU.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int
        Of the first convolution.
    """

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        changes = stride != 1 or n_in != n_out
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, n_in, h, w) to (b, n_out, h / stride, w / stride)."""
        active = F.relu(self.bn1(x))
        beside = x if self.shortcut is None else self.shortcut(active)
        return beside + self.conv2(F.relu(self.bn2(self.conv1(active))))


def preact_resnet18() -> nn.Module:
    """PreAct-ResNet18 [1]_ (Fig. 4 e) with a 3x3 stem: (b, 3, H, W) to (b, 512, H / 8, W / 8).

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Identity mappings in deep residual networks",
       ECCV 2016.
    """
    widths, blocks = (64, 64, 128, 256, 512), []
    for i in range(1, 5):
        stride = 1 if i == 1 else 2
        blocks += [PreActBlock(widths[i - 1], widths[i], stride)]
        blocks += [PreActBlock(widths[i], widths[i], 1)]
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=False), *blocks, nn.BatchNorm2d(512), nn.ReLU()
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
