"""Random views of what networks are trained on."""

from numbers import Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skclean._validation import Interval
from skclean.embeddings.augment import Augmentation


class FeatureNoise(BaseEstimator):
    """Random views of features: some replaced by their mean, and Gaussian noise on all.

    Parameters
    ----------
    noise : float >= 0, default=0.3
        Standard deviation of the noise, in units of the spread of the features.
    dropout : float in [0, 1), default=0.0
        Probability that a feature is replaced.
    """

    _parameter_constraints: dict = {
        "noise": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, noise=0.3, dropout=0.0):
        self.noise = noise
        self.dropout = dropout

    def bind(self, mean: Tensor, spread: float) -> "FeatureNoise":
        """Set the mean (d,) and the spread of the features."""
        self._validate_params()
        self.mean_, self.spread_ = mean, spread
        return self

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A view of each row of x (b, d); the generator is on its device."""
        if self.mean_.device != x.device:
            self.mean_ = self.mean_.to(x.device)
        options: Any = {"generator": generator, "device": x.device}
        if self.dropout:
            x = torch.where(torch.rand(x.shape, **options) < self.dropout, self.mean_, x)
        if self.noise:
            x = x + torch.randn(x.shape, **options).mul_(self.noise * self.spread_)
        return x


def image_views(size: tuple[int, int], *, colour: bool) -> tuple[Augmentation, Augmentation]:
    """Weak and strong augmentation for images of a size (H, W).

    Crops are padded by an eighth of the image. Gray images are not mirrored: of digits and letters
    that makes others.
    """
    side = min(size)
    flip = 0.5 if colour else 0.0
    weak = Augmentation(
        crop="padded" if side > 1 else None,
        padding=min(max(1, side // 8), side - 1),
        flip=flip,
        jitter=0.0,
        grayscale=0.0,
    )
    strong = Augmentation(
        scale=(0.3, 1.0), flip=flip, grayscale=0.2 if colour else 0.0, solarize=0.1
    )
    return weak, strong


def feature_views() -> tuple[FeatureNoise, FeatureNoise]:
    """Weak and strong noise."""
    return FeatureNoise(), FeatureNoise(0.5, 0.2)
