"""ReMixMatch."""

from numbers import Integral, Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from skclean._validation import Interval
from skclean.neural.batch import Batch
from skclean.neural.classifier import MLP
from skclean.neural.losses import cross_entropy, weighted_mean
from skclean.neural.mixing import linear_ramp, mixup, sharpen
from skclean.neural.passes import forward_in_groups, frozen_statistics, predict_proba

#: Batches that the distributions are averaged over.
WINDOW = 128
#: Added to both sides of their ratio, as in the published code.
LEAST_SHARE = 1e-6


class ReMixMatch(BaseEstimator):
    """MixMatch with guesses aligned to the labels' classes, and strong views anchored to weak ones.

    As in algorithm 1 of the paper:

    - The guess for an unlabelled row is the prediction of one weak view, times the share of each
      class among the labels, by its share among the predictions (distribution alignment); both are
      averages over the last 128 batches. Where classes are drawn equally often, their shares are
      those among all labelled rows. It is sharpened.
    - `n_views` strong views of the row, and its weak one, have this guess as their label
      (augmentation anchoring), labelled rows one strong view. All are mixed as in `MixMatch`.
    - Minimised is the cross-entropy of the mixed rows that come first from labelled ones, plus
      `lambda_u` times that of the others, plus `lambda_strong` times that of one strong view with
      its guess before the mixing. The last two weights grow linearly, as in the published code.
    - Of images, the strong view is also turned by 0, 90, 180 or 270 degrees, and
      `lambda_rotation` times the cross-entropy of telling which, by a linear layer of its own on
      the network's features, is added. Of images that are not square it is the middle square, with
      zeros beside it.

    The mixed rows alone move the running statistics of batch norms.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        T of the sharpening.
    alpha : float >= 0, default=0.75
        Parameter of the Beta distribution; 0 does not mix.
    lambda_u : float >= 0, default=1.5
    lambda_strong : float >= 0, default=0.5
    lambda_rotation : float >= 0, default=0.5
        Has no effect on features.
    n_views : int, default=8
        K; time and memory grow with it.
    ramp : float >= 0, default=16
        Epochs in which the weights grow from 0, counted from the end of the warm-up.
    n_bn_groups : int, default=1
        As in `MixMatch`. The published code has ``n_views + 2``.

    References
    ----------
    Berthelot et al., "ReMixMatch: Semi-Supervised Learning with Distribution Alignment and
    Augmentation Anchoring", ICLR 2020, section 3 and algorithm 1; the defaults are the paper's, but
    for the ramp.

    Examples
    --------
    >>> from skclean.neural.objectives.remixmatch import ReMixMatch
    >>> ReMixMatch(n_views=2)
    ReMixMatch(n_views=2)
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "lambda_u": [Interval(Real, 0, None, closed="left")],
        "lambda_strong": [Interval(Real, 0, None, closed="left")],
        "lambda_rotation": [Interval(Real, 0, None, closed="left")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "ramp": [Interval(Real, 0, None, closed="left")],
        "n_bn_groups": [Interval(Integral, 1, None, closed="left")],
    }

    parts = frozenset({"labelled", "unlabelled"})

    def __init__(
        self,
        temperature=0.5,
        *,
        alpha=0.75,
        lambda_u=1.5,
        lambda_strong=0.5,
        lambda_rotation=0.5,
        n_views=8,
        ramp=16.0,
        n_bn_groups=1,
    ):
        self.temperature = temperature
        self.alpha = alpha
        self.lambda_u = lambda_u
        self.lambda_strong = lambda_strong
        self.lambda_rotation = lambda_rotation
        self.n_views = n_views
        self.ramp = ramp
        self.n_bn_groups = n_bn_groups

    def start(self, n_rows: int, n_classes: int, device: Any) -> nn.Module | None:
        """The running distributions.

        Parameters
        ----------
        n_rows, n_classes : int
        device : torch.device

        Returns
        -------
        RunningDistributions

        Raises
        ------
        ValueError
            If parameters are not as described.
        """
        self._validate_params()
        return RunningDistributions(n_classes, self.lambda_rotation > 0).to(device)

    def terms(self, network: Any, batch: Batch, memory: Any) -> dict[str, Tensor]:
        """Loss terms of a batch.

        Parameters
        ----------
        network : Module
            From x to logits, in training mode.
        batch : Batch
            Rows may be labelled, unlabelled or both.
        memory : RunningDistributions
            Of `start`; moved.

        Returns
        -------
        dict of str to Tensor
            "labelled"; "unlabelled" and "strong", if there are unlabelled rows; "rotation", if
            these are images.
        """
        labelled, unlabelled = batch.labelled, batch.unlabelled
        b, m = len(labelled), 0 if unlabelled is None else len(unlabelled)
        x, target, weight = batch.strong(labelled.x), labelled.target, labelled.weight
        found = {}
        if unlabelled is not None and m:
            K, weak = self.n_views, batch.weak(unlabelled.x)
            strong = batch.strong(unlabelled.x.repeat(K, *[1] * (x.ndim - 1)))
            proba = predict_proba(network, weak).to(target.dtype)
            guessed = sharpen(memory.align(proba), self.temperature)
            memory.update(target if batch.shares is None else batch.shares[None], proba)
            grown = linear_ramp(batch.progress, self.ramp)
            with frozen_statistics(network):
                anchored = cross_entropy(network(strong[:m]), guessed)
            found["strong"] = (
                self.lambda_strong * grown * weighted_mean(anchored, unlabelled.weight)
            )
            if memory.rotation is not None:
                turned, turns = rotate(strong[:m], batch.generator)
                with frozen_statistics(network):
                    told = memory.rotation(network.features(turned))
                losses = cross_entropy(told, turns)
                found["rotation"] = self.lambda_rotation * weighted_mean(losses, unlabelled.weight)
            x = torch.cat([x, strong, weak])
            target = torch.cat([target, guessed.repeat(K + 1, 1)])
            weight = torch.cat([weight, unlabelled.weight.repeat(K + 1)])
        x, target, weight = mixup(x, target, weight, self.alpha, batch.generator)
        losses = cross_entropy(forward_in_groups(network, x, self.n_bn_groups), target)
        found["labelled"] = weighted_mean(losses[:b], weight[:b])
        if m:
            found["unlabelled"] = self.lambda_u * grown * weighted_mean(losses[b:], weight[b:])
        return found


def rotate(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image turned by a random number of quarters.

    Parameters
    ----------
    x : Tensor of shape (b, channels, H, W)
    generator : torch.Generator
        On the device of x.

    Returns
    -------
    x : Tensor of shape (b, channels, H, W)
        Where H and W differ, the middle square is turned, and what is outside of it is zero.
    turns : Tensor of shape (b,), int64
        Quarters, anticlockwise, from 0 to 3.
    """
    side = min(x.shape[2:])
    top, left = ((n - side) // 2 for n in x.shape[2:])
    inside = slice(None), slice(None), slice(top, top + side), slice(left, left + side)
    turns = torch.randint(4, (len(x),), generator=generator, device=generator.device)
    turned = torch.stack([x[inside].rot90(k, (2, 3)) for k in range(4)])
    found = torch.zeros_like(x)
    found[inside] = turned[turns, torch.arange(len(x), device=x.device)]
    return found, turns


class RunningDistributions(nn.Module):
    """Shares of the classes among labels and among predictions, over the last batches.

    Parameters
    ----------
    n_classes : int
    rotations : bool, default=False
        Whether there is to be a layer that tells how far images are turned.

    Attributes
    ----------
    labels, predictions : Tensor of shape (WINDOW, n_classes), float32
        Of each batch, oldest first; uniform at the start.
    rotation : Linear or None
        That layer, four logits from the network's features; zero at the start.
    """

    labels: Tensor
    predictions: Tensor

    def __init__(self, n_classes: int, rotations: bool = False):
        super().__init__()
        for name in ("labels", "predictions"):
            self.register_buffer(name, torch.full((WINDOW, n_classes), 1 / n_classes))
        self.rotations = rotations
        self.rotation: nn.Linear | None = None

    def attach(self, network: Any) -> None:
        """Make the layer behind a network for images.

        Parameters
        ----------
        network : Classifier
        """
        if self.rotations and not isinstance(network.body, MLP):
            self.rotation = nn.utils.skip_init(nn.Linear, network.head.in_features, 4)
            for parameter in self.rotation.parameters():
                nn.init.zeros_(parameter)

    def align(self, proba: Tensor) -> Tensor:
        """Predictions times the labels' share of a class by that of the predictions, normalised.

        Parameters
        ----------
        proba : Tensor of shape (b, C)

        Returns
        -------
        Tensor of shape (b, C)
        """
        labels, predictions = self.labels.mean(dim=0), self.predictions.mean(dim=0)
        aligned = proba * (labels + LEAST_SHARE) / (predictions + LEAST_SHARE)
        return aligned / aligned.sum(dim=1, keepdim=True)

    @torch.no_grad()
    def update(self, target: Tensor, proba: Tensor) -> None:
        """Put a batch in the place of the oldest one.

        Parameters
        ----------
        target : Tensor of shape (b, C)
            Labels, or one row of their shares. Where there are none, these stay.
        proba : Tensor of shape (m, C)
            Predictions, m > 0.
        """
        if len(target):
            self.labels.copy_(torch.cat([self.labels[1:], target.mean(dim=0, keepdim=True)]))
        mean = proba.mean(dim=0, keepdim=True)
        self.predictions.copy_(torch.cat([self.predictions[1:], mean]))
