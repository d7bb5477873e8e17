"""MixMatch, and the semi-supervised part of DivideMix."""

from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from skclean._validation import Interval, StrOptions
from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Batch
from skclean.neural.losses import cross_entropy, prior_divergence, weighted_mean
from skclean.neural.mixing import linear_ramp, mixup, sharpen
from skclean.neural.objectives._base import MemorylessObjective
from skclean.neural.passes import forward_in_groups, guess


class MixMatch(MemorylessObjective):
    """Guessed labels, sharpened, for unlabelled rows, all mixed with the labelled ones [1]_.

    In a batch with labels of rows x and without of rows u:

    - The guess for u is the mean of the softmax over `n_views` weak views and, where a second
      network is trained, over both (co-guessing [2]_), sharpened (eq. 6 and 7).
    - Where the rows have a probability w that their label y is right, the label becomes
      ``sharpen(w y + (1 - w) p)``, p the network's own mean prediction (co-refinement, eq. 3 and 4
      of [2]_). Else it stays.
    - All views of all rows are mixed in pairs (eq. 8 to 11), with one coefficient a row.
    - Minimised is ``L_x + λ(t) L_u + prior_weight · L_prior`` (eq. 3 to 5; eq. 11 of [2]_): the
      cross-entropy of the mixed rows that come first from x; the squared error of the probabilities
      of those that come first from u, the mean over rows and classes; and the divergence of the
      mean prediction from uniform classes. λ grows linearly.

    ``MixMatch(alpha=4, lambda_u=25, prior_weight=1)`` is DivideMix on CIFAR-10 at a noise of 50 and
    80 %. It has λ 0 at 20 % and for asymmetric noise, 50 at 90 %, and 25 at 20 %, 150 above on
    CIFAR-100; a wrong one costs several points.

    Guesses leave the running statistics of batch norms as they are.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        T of the sharpening.
    alpha : float >= 0, default=0.75
        Parameter of the Beta distribution; 0 does not mix.
    lambda_u : float >= 0, default=75
        Weight of L_u after the ramp; the paper's for CIFAR-10.
    n_views : int, default=2
        K.
    ramp : float >= 0, default=16
        Epochs in which the weight of L_u grows from 0; counted from the end of the warm-up.
    prior_weight : float >= 0, default=0
        Weight of the divergence from uniform classes. Wrong where classes are not.
    mixed_views : {"weak", "strong"}, default="weak"
        Augmentation of the rows that are mixed; guesses are always made from weak views. "strong"
        is DivideMix with augmentation [3]_.
    n_bn_groups : int, default=1
        Groups in which the mixed rows pass, each normalised by itself; the first alone moves the
        running statistics. 1: all in one pass, as in DivideMix. The code of MixMatch has
        ``n_views + 1``.

    References
    ----------
    .. [1] D. Berthelot et al., "MixMatch: a holistic approach to semi-supervised learning", NeurIPS
       2019.
    .. [2] J. Li, R. Socher, S. Hoi, "DivideMix: learning with noisy labels as semi-supervised
       learning", ICLR 2020.
    .. [3] K. Nishi et al., "Augmentation strategies for learning with noisy labels", CVPR 2021.

    Examples
    --------
    >>> from skclean.neural.objectives.mixmatch import MixMatch
    >>> MixMatch(alpha=4, lambda_u=25, prior_weight=1)
    MixMatch(alpha=4, lambda_u=25, prior_weight=1)
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "lambda_u": [Interval(Real, 0, None, closed="left")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "ramp": [Interval(Real, 0, None, closed="left")],
        "prior_weight": [Interval(Real, 0, None, closed="left")],
        "mixed_views": [StrOptions({"weak", "strong"})],
        "n_bn_groups": [Interval(Integral, 1, None, closed="left")],
    }

    parts = frozenset({"labelled", "unlabelled"})

    def __init__(
        self,
        temperature=0.5,
        *,
        alpha=0.75,
        lambda_u=75.0,
        n_views=2,
        ramp=16.0,
        prior_weight=0.0,
        mixed_views="weak",
        n_bn_groups=1,
    ):
        self.temperature = temperature
        self.alpha = alpha
        self.lambda_u = lambda_u
        self.n_views = n_views
        self.ramp = ramp
        self.prior_weight = prior_weight
        self.mixed_views = mixed_views
        self.n_bn_groups = n_bn_groups

    def terms(self, network: Any, batch: Batch, memory: Any = None) -> dict[str, Tensor]:
        """Loss terms of a batch.

        Parameters
        ----------
        network : Module
            From x to logits, in training mode.
        batch : Batch
            Rows may be labelled, unlabelled or both.
        memory : None, default=None

        Returns
        -------
        dict of str to Tensor
            "labelled"; "unlabelled", if there are such rows; "prior", if asked for.
        """
        (x, _, weight), b, K = batch.all_rows(), len(batch.labelled), self.n_views
        repeated = x.repeat(K, *[1] * (x.ndim - 1))
        views = batch.weak(repeated)
        target = self._targets(network, batch, views)
        mixed_views = views if self.mixed_views == "weak" else batch.strong(repeated)
        x, target, weight = mixup(
            mixed_views, target.repeat(K, 1), weight.repeat(K), self.alpha, batch.generator
        )
        logits = full_precision(forward_in_groups(network, x, self.n_bn_groups))

        def split(values):
            """Of labelled rows, and of unlabelled ones."""
            values = values.unflatten(0, (K, -1))
            return values[:, :b].flatten(0, 1), values[:, b:].flatten(0, 1)

        (logits_x, logits_u), (y, q), (w_x, w_u) = (split(v) for v in (logits, target, weight))
        found = {"labelled": weighted_mean(cross_entropy(logits_x, y), w_x)}
        if len(q):
            error = (torch.softmax(logits_u, dim=1) - q).square().mean(dim=1)
            ramped = self.lambda_u * linear_ramp(batch.progress, self.ramp)
            found["unlabelled"] = ramped * weighted_mean(error, w_u)
        if self.prior_weight:
            found["prior"] = self.prior_weight * prior_divergence(logits)
        return found

    def _targets(self, network, batch, views):
        """Labels, refined where need be, and guesses below them."""
        labelled, unlabelled = batch.labelled, batch.unlabelled
        b, target = len(labelled), labelled.target
        own = None
        if labelled.clean is not None:
            own = guess(network, views, self.n_views)
            share = labelled.clean.to(target.dtype)[:, None]
            target = sharpen(torch.lerp(own[:b].to(target.dtype), target, share), self.temperature)
        if unlabelled is None or not len(unlabelled):
            return target
        unseen = views.unflatten(0, (self.n_views, -1))[:, b:].flatten(0, 1)
        guessed = guess(network, unseen, self.n_views) if own is None else own[b:]
        if batch.partner is not None:
            guessed = (guessed + guess(batch.partner, unseen, self.n_views)) / 2
        return torch.cat([target, sharpen(guessed.to(target.dtype), self.temperature)])
