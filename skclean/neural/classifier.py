"""The networks that are retrained: a body that makes features, and a linear layer behind it."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from skclean.embeddings.backbones import make_backbone
from skclean.embeddings.devices import seeded

#: Channels of the layers of `conv_net`.
CONV_WIDTHS = (32, 64, 128)


class Classifier(nn.Module):
    """Features and their logits.

    Parameters
    ----------
    body : Module
        Maps (b, ...) to (b, d); has `n_features`, d.
    n_classes : int
    """

    def __init__(self, body: Any, n_classes: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(body.n_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees, (b, d)."""
        return self.body(x)

    def moments(self) -> tuple[Tensor, float]:
        """Mean (d,) and spread by which an `MLP` scales its features."""
        return self.body.mean, float(self.body.spread)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, C)."""
        return self.head(self.features(x))


class MLP(nn.Module):
    """Centred and scaled features through fully connected layers with ReLU; none is the identity.

    Parameters
    ----------
    mean : Tensor of shape (d,)
        Of the features of the fit.
    spread : float > 0
        By which all are divided.
    hidden_units : sequence of int
    dropout : float in [0, 1)
        Behind each hidden layer; where there is none, of the features.

    Attributes
    ----------
    n_features : int
        Of the last layer.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Tensor, spread: float, hidden_units: Sequence[int], dropout: float):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", torch.tensor(spread))
        widths, layers = [len(mean), *hidden_units], []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*(layers or [nn.Dropout(dropout)]))
        self.n_features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, d) to (b, n_features)."""
        return self.layers((x - self.mean) / self.spread)


def conv_net() -> nn.Module:
    """Three 3x3 convolutions for images too small for a ResNet: (b, 3, H, W) to (b, 128, h, w)."""
    layers: list[nn.Module] = []
    n_in = 3
    for i, n_out in enumerate(CONV_WIDTHS):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if i == 1 else []
        n_in = n_out
    return nn.Sequential(*layers)


def image_classifier(
    backbone: str | nn.Module,
    n_classes: int,
    *,
    weights: Any = None,
    image_size: int | tuple[int, int],
    seed: int,
    mean: Any = None,
    std: Any = None,
) -> Classifier:
    """A backbone for images with a linear layer behind it.

    Parameters
    ----------
    backbone : str or Module
        "conv_net", or as for `make_backbone`.
    n_classes : int
    weights : None, "DEFAULT", path or Module, default=None
        A Module is the trained backbone itself, with its normalisation and `n_features`; it is
        copied. Else as for `make_backbone`.
    image_size, seed, mean, std
        As for `make_backbone`.

    Returns
    -------
    Classifier
        On the host, its layers drawn from the seed; global generators are left as they are.
    """
    if isinstance(weights, nn.Module):
        body: Any = copy.deepcopy(weights)
    else:
        with seeded(seed):
            network = conv_net() if backbone == "conv_net" else backbone
        body = make_backbone(
            network, weights=weights, image_size=image_size, seed=seed, mean=mean, std=std
        )
    with seeded(seed + 1):
        return Classifier(body, n_classes)


def feature_classifier(
    mean: Tensor,
    spread: float,
    n_classes: int,
    *,
    hidden_units: Sequence[int],
    dropout: float,
    seed: int,
) -> Classifier:
    """An `MLP` with a linear layer behind it, drawn from the seed."""
    with seeded(seed):
        return Classifier(MLP(mean, spread, hidden_units, dropout), n_classes)
