"""IEG: weights and labels of rows by what lowers the loss on trusted ones, for a whole network.

One step of the optimizer is taken in thought,

    Theta'(omega, lambda) = Theta - step (momentum m + grad sum_i omega_i CE(P(lambda_i), p(x_i))),
    P(lambda_i) = lambda_i y_i + (1 - lambda_i) g_i,

m its momentum buffer, y the given labels and g the pseudo-labels. With G the gradient at Theta' of
the loss of the trusted rows, and S (B, C) the change of the rows' logits z at Theta along G, a
product of the network's Jacobian with a vector,

    dL_p/domega_i  = -step sum_c (p - P)_ic S_ic,
    dL_p/dlambda_i = -step omega_0i sum_c (g - y)_ic S_ic:

forward differentiation in place of the second-order backpropagation of the paper, and the same
numbers at less time and memory. `skclean.evidence.probe_gradient` has the form for a head.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import cache
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from skclean._validation import Interval
from skclean.embeddings.nt_xent import full_precision
from skclean.evidence.probe_gradient import (
    CONSISTENCY_WEIGHT,
    GIVEN_SHARE,
    MIXED_WEIGHT,
    MOMENTUM,
    STEP,
)
from skclean.neural.batch import Batch
from skclean.neural.losses import cross_entropy, weighted_mean
from skclean.neural.mixing import mixup, sharpen
from skclean.neural.objectives._base import MemorylessObjective
from skclean.neural.passes import frozen_statistics

Params = dict[str, Tensor]
#: p and k where none are given: on images those of the paper for CIFAR.
ON_IMAGES, ON_FEATURES = (MIXED_WEIGHT, CONSISTENCY_WEIGHT), (0.3, 10.0)


def meta_gradients(
    network: Callable[[Params, Tensor], Tensor],
    params: Params,
    momentum: Mapping[str, Tensor],
    rows: tuple[Tensor, Tensor, Tensor, Tensor],
    probe: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Gradients of the loss of the trusted rows by the weights and the label choices of a batch.

    Parameters
    ----------
    network : callable
        From parameters and x (b, ...) to logits (b, C). The same at each call, so no dropout.
    params : dict of str to Tensor
        Theta.
    momentum : dict of str to Tensor
        m, of those parameters that have it.
    rows : tuple of Tensor
        x (B, ...); y and g (B, C), the given labels and the pseudo-labels; omega_0 (B,).
    probe : tuple of Tensor
        Trusted rows x (M, ...) and their labels (M, C).

    Returns
    -------
    domega, dlambda : Tensor of shape (B,)
        dL_p/domega and dL_p/dlambda at omega_0 and lambda_0 = 0.9, L_p the mean cross-entropy.
    """
    _load_forward_rules()
    x, given, pseudo, omega = rows
    blended = GIVEN_SHARE * given + (1 - GIVEN_SHARE) * pseudo

    def loss(params: Params, x: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return (weight * cross_entropy(network(params, x), target)).sum()

    gradient = grad(loss)(params, x, blended, omega)
    ahead = {k: p - STEP * gradient[k] for k, p in params.items()}
    ahead |= {k: ahead[k] - STEP * MOMENTUM * m for k, m in momentum.items()}
    n_probe = len(probe[0])
    along = grad(loss)(ahead, *probe, probe[1].new_full((n_probe,), 1 / max(n_probe, 1)))
    logits, S = jvp(lambda params: network(params, x), (params,), (along,))[:2]
    domega = -STEP * ((torch.softmax(logits, dim=1) - blended) * S).sum(dim=1)
    dlambda = -STEP * omega * ((pseudo - given) * S).sum(dim=1)
    return domega, dlambda


def exemplar_weights(domega: Tensor) -> Tensor:
    """omega* = relu(-dL_p/domega), divided by its sum plus 1e-5 (equation 2)."""
    omega = F.relu(-domega)
    return omega / (omega.sum() + 1e-5)


def normalised_logits(logits: Tensor) -> Tensor:
    """Logits (b, C) divided by the root mean square of them all."""
    return logits * torch.rsqrt(logits.square().mean() + 1e-8)


def pseudo_labels(views: list[Tensor], temperature: float) -> Tensor:
    """g, the sharpened mean prediction of the views' normalised logits (b, C) (equation 3)."""
    proba = torch.stack([torch.softmax(normalised_logits(z), dim=1) for z in views])
    return sharpen(proba.mean(dim=0), temperature)


class IEG(MemorylessObjective):
    """Distills supervision from noisy labels by a few trusted rows (Zhang et al. 2020).

    Before each step a look-ahead tells how the loss of the trusted rows depends on the weight of
    each labelled row, and on the choice between its label and the network's own guess. The step
    follows both, beside mixtures with trusted rows and the consistency of a strong view with a weak
    one. As in the published code all rows count as mislabelled in the mixtures, whose logits are
    divided by their root mean square, and the look-ahead is 0.1 long with momentum 0.9, whatever
    the optimizer's settings. It takes the momentum of SGD; beside another optimizer it has none.
    The look-ahead is computed in float32, with dropout off; batch norm uses the statistics of the
    batch in it and keeps no trace of them.

    It is for all rows with their given labels, and takes those of a container that was purified
    too; trusted rows are seen by the look-ahead and in mixtures alone, and unlabelled ones not at
    all. A class of which no row is trusted is hardly learned: what speaks for it lowers no loss of
    the trusted rows. The paper's restarts of the learning rate are the schedule `Restarts`.

    The paper's p and k are for images. On features most rows get the same guess in the first epoch,
    and p = 5 teaches it to them: where classes overlap much, all rows can end in one class. At
    little noise, or with weak features, other objectives on purified labels do better.

    Parameters
    ----------
    mixed_weight : float >= 0 or None, default=None
        p, of the mixed rows that are not trusted. None is the paper's 5 on images, and 0.3 on
        features.
    consistency_weight : float >= 0 or None, default=None
        k, of KL(p(x) || p(x')), x' the strong view. None is the paper's 20 for CIFAR on images,
        and 10 on features. Too large a one keeps the network from learning: the paper has 14 for
        Food-101N and 3.5 for Clothing1M.
    temperature : float > 0, default=0.5
        Of the sharpening of pseudo-labels.
    alpha : float >= 0, default=0.5
        Of the Beta distribution that rows mix by.

    References
    ----------
    Zhang et al., "Distilling Effective Supervision from Severe Label Noise", CVPR 2020, algorithm
    1 and equations 2-9.

    Examples
    --------
    >>> from skclean.neural.objectives.ieg import IEG
    >>> sorted(IEG(consistency_weight=4).parts)
    ['labelled', 'trusted']
    """

    _parameter_constraints: dict = {
        "mixed_weight": [Interval(Real, 0, None, closed="left"), None],
        "consistency_weight": [Interval(Real, 0, None, closed="left"), None],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="left")],
    }

    parts = frozenset({"labelled", "trusted"})
    labels = "given"

    def __init__(self, mixed_weight=None, consistency_weight=None, temperature=0.5, alpha=0.5):
        self.mixed_weight = mixed_weight
        self.consistency_weight = consistency_weight
        self.temperature = temperature
        self.alpha = alpha

    def terms(self, network: Any, batch: Batch, memory: Any = None) -> dict[str, Tensor]:
        """Terms "reweighted", "relabelled", "mixed_trusted", "mixed" and "consistency".

        Parameters
        ----------
        network : Module
            From x to logits.
        batch : Batch
            With trusted rows.
        memory : None, default=None

        Raises
        ------
        ValueError
            If there are no trusted rows.
        """
        rows, trusted = batch.labelled, batch.trusted
        if trusted is None or not len(trusted):
            raise ValueError(
                "IEG: expected trusted rows, by which it weighs the others, got none; do pass "
                "LabelledSamples(..., trusted=mask), or choose another objective."
            )
        p, k = self._weights(rows.x)
        x, view, probe = batch.weak(rows.x), batch.strong(rows.x), batch.weak(trusted.x)
        logits, other = (full_precision(network(v)) for v in (x, view))
        fixed = logits.detach()
        pseudo = pseudo_labels([fixed, other.detach()], self.temperature)
        omega, choice = self._coefficients(network, batch, (x, pseudo), probe)
        chosen = choice[:, None] * rows.target + (1 - choice[:, None]) * pseudo
        blended = GIVEN_SHARE * rows.target + (1 - GIVEN_SHARE) * pseudo
        mixed, mixed_trusted = self._mixed(network, batch, (x, view, pseudo), probe)
        log_p = torch.log_softmax(fixed, dim=1)
        divergence = log_p.exp() * (log_p - torch.log_softmax(other, dim=1))
        return {
            "reweighted": (omega * cross_entropy(logits, blended)).sum() / 2,
            "relabelled": weighted_mean(cross_entropy(logits, chosen), rows.weight) / 2,
            "mixed_trusted": mixed_trusted,
            "mixed": p * mixed,
            "consistency": k * weighted_mean(divergence.sum(dim=1), rows.weight),
        }

    def _weights(self, x):
        """Weights of the terms "mixed" and "consistency"."""
        own = ON_FEATURES if x.ndim == 2 else ON_IMAGES
        given = self.mixed_weight, self.consistency_weight
        return [b if a is None else a for a, b in zip(given, own, strict=True)]

    @torch.no_grad()
    def _coefficients(self, network, batch, rows, probe):
        """omega* and lambda* of the labelled rows, each (B,)."""
        (x, pseudo), labelled = rows, batch.labelled
        network = getattr(network, "_orig_mod", network)
        params = {k: p.detach() for k, p in network.named_parameters() if p.requires_grad}
        if any(isinstance(module, nn.GroupNorm) for module in network.modules()):
            # It has no forward differentiation where channels are last in memory.
            params = {k: p.contiguous() for k, p in params.items()}
        momentum = momentum_of(network, batch.optimizer)
        base = labelled.weight / len(labelled)
        with _still(network), torch.autocast(x.device.type, enabled=False):
            domega, dlambda = meta_gradients(
                _functional(network),
                params,
                momentum,
                (x, labelled.target, pseudo, base),
                (probe, batch.trusted.target),
            )
        return exemplar_weights(domega * labelled.weight), (dlambda < 0).to(base.dtype)

    def _mixed(self, network, batch, views, probe):
        """Cross-entropy of the mixtures of the rows, and of trusted ones (equation 9)."""
        (x, view, pseudo), rows, trusted = views, batch.labelled, batch.trusted
        drawn = torch.randint(
            len(probe), (len(x),), generator=batch.generator, device=batch.generator.device
        )
        pool, target, weight = mixup(
            torch.cat([probe[drawn], x, view]),
            torch.cat([trusted.target[drawn], pseudo, pseudo]),
            torch.cat([trusted.weight[drawn], rows.weight, rows.weight]),
            self.alpha,
            batch.generator,
        )
        # The three kinds are normalised one by one.
        logits = [normalised_logits(full_precision(z)) for z in network(pool).split(len(x))]
        loss = weight * cross_entropy(torch.cat(logits), target)
        return loss[len(x) :].mean(), loss[: len(x)].mean()


def momentum_of(network: Any, optimizer: Any) -> Params:
    """Momentum buffers of SGD by the names of the parameters; none where there are none yet."""
    if optimizer is None:
        return {}
    held = {k: optimizer.state.get(p, {}) for k, p in network.named_parameters()}
    return {
        k: state["momentum_buffer"]
        for k, state in held.items()
        if state.get("momentum_buffer") is not None
    }


@cache
def _load_forward_rules():
    """What torch loads at its first forward differentiation warns of torch's own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.zeros(1),))


@contextmanager
def _still(network):
    """A network without dropout, and batch norms that look at the batch and keep nothing."""
    dropouts = [m for m in network.modules() if isinstance(m, _DropoutNd) and m.training]
    with frozen_statistics(network):
        for module in dropouts:
            module.eval()
        try:
            yield
        finally:
            for module in dropouts:
                module.train()


class _Plain(nn.Module):
    """A network past the compiled form of its call, which has no forward differentiation."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network.forward(x)


def _functional(network):
    plain = _Plain(network)

    def call(params, x):
        return functional_call(plain, {f"network.{k}": p for k, p in params.items()}, (x,))

    return call
