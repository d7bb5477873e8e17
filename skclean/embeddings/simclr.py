"""SimCLR: two views of an image are more alike than views of two images."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from skclean._validation import Interval
from skclean.embeddings.devices import seeded
from skclean.embeddings.nt_xent import nt_xent


class SimCLR(BaseEstimator):
    """Settings of SimCLR, a method of `SSLFeaturizer`.

    Two random views of each image pass through the backbone and a projection head; NT-Xent draws
    the views of one image together and pushes those of others in the batch apart. The head is
    thrown away after the training.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        Divides the cosine similarities: the smaller, the more the nearest images count.
    projection_dim : int, default=128
        Columns of the projections.
    hidden_dim : int or None, default=None
        Width of the head's hidden layer. None: that of the features.

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    section 2 and equation 1.

    Examples
    --------
    >>> from skclean import SSLFeaturizer
    >>> from skclean.embeddings import SimCLR
    >>> featurizer = SSLFeaturizer(SimCLR(temperature=0.2))
    >>> featurizer.set_params(method__temperature=0.1).method.temperature
    0.1
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_dim": [Interval(Integral, 1, None, closed="left"), None],
    }

    #: Peak learning rate of SGD for a batch of 512.
    base_learning_rate = 1.0

    def __init__(self, temperature=0.5, *, projection_dim=128, hidden_dim=None):
        self.temperature = temperature
        self.projection_dim = projection_dim
        self.hidden_dim = hidden_dim

    def make(self, backbone: Any, seed: int) -> "SimCLRObjective":
        """What is trained.

        Parameters
        ----------
        backbone : Module with `n_features`
            From images (b, 3, H, W) to features (b, n_features). It is trained itself, no copy.
        seed : int
            Of the head's initial weights.
        """
        self._validate_params()
        hidden = backbone.n_features if self.hidden_dim is None else self.hidden_dim
        with seeded(seed):
            head = nn.Sequential(
                nn.Linear(backbone.n_features, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, self.projection_dim),
            )
        return SimCLRObjective(backbone, head, self.temperature)


class SimCLRObjective(nn.Module):
    """A backbone and a projection head under NT-Xent.

    Attributes
    ----------
    backbone, head : Module
    temperature : float
    gather : callable or None
        As in `nt_xent`; set by the training where there are several processes.
    """

    gather: Callable[[Tensor], Tensor] | None = None
    #: Of several processes, as the paper says, lest the views of one image tell each other.
    shares_batch_norm = True

    def __init__(self, backbone: Any, head: nn.Module, temperature: float):
        super().__init__()
        self.backbone, self.head, self.temperature = backbone, head, temperature

    def loss(self, view1: Tensor, view2: Tensor) -> dict[str, Tensor]:
        """Loss terms of two views (b, 3, H, W) of the same images, which pass as one batch."""
        z1, z2 = self.head(self.backbone(torch.cat([view1, view2]))).chunk(2)
        return {"loss": nt_xent(z1, z2, self.temperature, self.gather)}

    def after_step(self) -> None:
        """Called after each step of the optimizer."""

    def trained_backbone(self) -> Any:
        """The backbone, as it is used after the training."""
        return self.backbone
