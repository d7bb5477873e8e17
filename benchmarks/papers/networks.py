"""Networks of the papers that the library has not: residual ones for small images."""

from functools import partial
from itertools import pairwise

import torch
from torch import nn

from skclean.embeddings.devices import seeded


class Block(nn.Module):
    """A residual block with norms in front; x (b, c_in, h, w) to (b, c_out, h / s, w / s)."""

    def __init__(self, c_in, c_out, stride, *, middle, bottleneck, dropout):
        super().__init__()
        layers = [*_convolution(c_in, middle, 1 if bottleneck else 3, stride)]
        if dropout:
            layers.append(nn.Dropout2d(dropout))
        layers += _convolution(middle, middle if bottleneck else c_out, 3, 1)
        if bottleneck:
            layers += _convolution(middle, c_out, 1, 1)
        self.layers = nn.Sequential(*layers)
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x):
        return self.shortcut(x) + self.layers(x)


class SmallResNet(nn.Sequential):
    """Images (b, 3, H, W) to features (b, d): three stages of residual blocks.

    Parameters
    ----------
    blocks : int
        Of a stage.
    widths : sequence of 4 int
        Channels of the first convolution and of the stages.
    bottleneck : bool
        Whether blocks have three convolutions, or two.
    dropout : float
        Between the convolutions of a block.
    noise : float
        Standard deviation of noise on the features while it is trained.
    """

    def __init__(self, blocks, widths, *, bottleneck=False, dropout=0.0, noise=0.0):
        layers = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False)]
        block = partial(Block, bottleneck=bottleneck, dropout=dropout)
        for stage, (c_in, c_out) in enumerate(pairwise(widths)):
            middle = c_in if bottleneck else c_out
            layers.append(block(c_in, c_out, 1 if stage == 0 else 2, middle=middle))
            layers += [block(c_out, c_out, 1, middle=middle) for _ in range(blocks - 1)]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*layers, *([Noise(noise)] if noise else []))


class Noise(nn.Module):
    """Gaussian noise while it is trained."""

    def __init__(self, deviation):
        super().__init__()
        self.deviation = deviation

    def forward(self, x):
        return x + self.deviation * torch.randn_like(x) if self.training else x


#: By name: WRN-28-10; ResNet-29 of version 2 with 0.84 million parameters; 14 layers; the same with
#: what the two-stage paper adds for its consistency.
SMALL = {
    "wrn28_10": partial(SmallResNet, 4, (16, 160, 320, 640)),
    "resnet29v2": partial(SmallResNet, 3, (16, 64, 128, 256), bottleneck=True),
    "resnet14": partial(SmallResNet, 2, (16, 16, 32, 64)),
    "resnet14_dropout": partial(SmallResNet, 2, (16, 16, 32, 64), dropout=0.1, noise=0.15),
}


def make_network(name, seed):
    """A network of that name where it is one of these, else the name, which the library knows."""
    if name not in SMALL:
        return name
    with seeded(seed):
        return SMALL[name]()


def _convolution(c_in, c_out, size, stride):
    """Norm, rectifier and convolution."""
    yield nn.BatchNorm2d(c_in)
    yield nn.ReLU()
    yield nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)
