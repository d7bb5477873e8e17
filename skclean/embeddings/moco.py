"""MoCo: a view is found among the keys of a slowly moving copy of the network."""

import copy
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn import functional as F

from skclean._validation import Interval
from skclean.embeddings.devices import seeded
from skclean.embeddings.nt_xent import full_precision


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each query's key among the queue's (He et al. 2020, eq. 1).

    Parameters
    ----------
    queries, keys : Tensor of shape (b, d)
        Rows of unit length; row i of both are views of one image. Keys are not traced.
    queue : Tensor of shape (K, d)
        Keys of other images.
    temperature : float > 0

    Returns
    -------
    Tensor of shape ()
        Mean over the queries, in nats.
    """
    own = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat([own, queries @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64))


@torch.no_grad()
def enqueue(queue: Tensor, pointer: Tensor, keys: Tensor) -> None:
    """Write keys over the oldest ones of a ring, in place and without reading from the device.

    Parameters
    ----------
    queue : Tensor of shape (K, d)
    pointer : Tensor of shape (1,), int64
        Row of the oldest key, in [0, K); moved on.
    keys : Tensor of shape (b, d)
        Oldest first. Of more than K the last K stay.
    """
    b, size = len(keys), len(queue)
    rows = (pointer + torch.arange(max(0, b - size), b, device=queue.device)) % size
    queue[rows] = keys[-size:].to(queue.dtype)
    pointer.add_(b).remainder_(size)


@torch.no_grad()
def momentum_update(slow: Any, fast: Any, momentum: float) -> None:
    """Move parameters towards others, ``slow ← m slow + (1 - m) fast`` (He et al. 2020, eq. 2).

    Parameters
    ----------
    slow, fast : iterable of Tensor
        Of the same shapes; `slow` is written to.
    momentum : float in [0, 1]
    """
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(momentum)
    average(list(slow), list(fast), None)


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm by the statistics of groups of a batch, as if on a device each.

    Made by `split_batch_norm`. In evaluation, and in the running statistics, which take the mean
    over the groups, it is `BatchNorm2d`.

    Attributes
    ----------
    n_splits : int
        Groups; fewer where they would have a row each or would not be of one size.
    """

    n_splits = 1

    def forward(self, x):
        """Normalise x (b, channels, H, W); the rows of a group follow one another."""
        n_groups = n_equal_groups(len(x), self.n_splits)
        if not self.training or n_groups == 1:
            return super().forward(x)
        means, variances = (s.repeat(n_groups, 1) for s in (self.running_mean, self.running_var))
        groups = zip(x.chunk(n_groups), means, variances)
        out = [
            F.batch_norm(part, mean, var, self.weight, self.bias, True, self.momentum, self.eps)
            for part, mean, var in groups
        ]
        with torch.no_grad():
            self.running_mean.copy_(means.mean(dim=0))
            self.running_var.copy_(variances.mean(dim=0))
            self.num_batches_tracked.add_(1)
        return torch.cat(out)


def n_equal_groups(n: int, wanted: int) -> int:
    """The greatest number of groups up to `wanted`, of one size and of at least two of n rows."""
    return max(g for g in range(1, wanted + 1) if g == 1 or (n % g == 0 and n // g > 1))


def split_batch_norm(module: Any, n_splits: int) -> Any:
    """Turn each `BatchNorm2d` in a module into a `SplitBatchNorm2d`, in place.

    Those without running statistics, or with cumulative ones, stay as they are.
    """
    for part in module.modules():
        if type(part) is nn.BatchNorm2d and part.track_running_stats and part.momentum is not None:
            part.__dict__["n_splits"] = n_splits
            object.__setattr__(part, "__class__", SplitBatchNorm2d)
    return module


def join_batch_norm(module: Any) -> Any:
    """Undo `split_batch_norm`, in place."""
    for part in module.modules():
        if type(part) is SplitBatchNorm2d:
            del part.__dict__["n_splits"]
            object.__setattr__(part, "__class__", nn.BatchNorm2d)
    return module


class MoCo(BaseEstimator):
    """Settings of MoCo, a method of `SSLFeaturizer`.

    A view of each image, the query, is to be found among the key of its other view and a queue of
    keys of earlier batches. Keys come from a copy of the network that follows it slowly. So that
    batch statistics do not tell a query its key, batch norm works on groups of the batch, and keys
    are computed on the batch in another order.

    Parameters
    ----------
    temperature : float > 0, default=0.1
        Divides the cosine similarities.
    momentum : float in [0, 1], default=0.99
        Share of itself that the slow copy keeps in a step.
    queue_size : int, default=4096
        Keys in the queue.
    n_bn_splits : int, default=8
        Groups of the batch norm, in each process; 1 is plain batch norm.
    projection_dim : int, default=128
        Columns of queries and keys.
    hidden_dim : int or None, default=None
        Width of the projection head's hidden layer. None: that of the features; 0: a linear head.

    References
    ----------
    He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
    equations 1 and 2; the head of two layers is that of Chen et al., "Improved Baselines with
    Momentum Contrastive Learning", 2020.

    Examples
    --------
    >>> from skclean import SSLFeaturizer
    >>> from skclean.embeddings import MoCo
    >>> SSLFeaturizer(MoCo(queue_size=1024)).get_params()["method__momentum"]
    0.99
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "queue_size": [Interval(Integral, 1, None, closed="left")],
        "n_bn_splits": [Interval(Integral, 1, None, closed="left")],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_dim": [Interval(Integral, 0, None, closed="left"), None],
    }

    #: Peak learning rate of SGD for a batch of 512.
    base_learning_rate = 0.06

    def __init__(
        self,
        temperature=0.1,
        *,
        momentum=0.99,
        queue_size=4096,
        n_bn_splits=8,
        projection_dim=128,
        hidden_dim=None,
    ):
        self.temperature = temperature
        self.momentum = momentum
        self.queue_size = queue_size
        self.n_bn_splits = n_bn_splits
        self.projection_dim = projection_dim
        self.hidden_dim = hidden_dim

    def make(self, backbone: Any, seed: int) -> "MoCoObjective":
        """What is trained.

        Parameters
        ----------
        backbone : Module with `n_features`
            From images (b, 3, H, W) to features (b, n_features). It is trained itself, no copy;
            its batch norm is split until `trained_backbone` is called.
        seed : int
            Of the head's initial weights and the keys that the queue starts with.
        """
        self._validate_params()
        hidden = backbone.n_features if self.hidden_dim is None else self.hidden_dim
        with seeded(seed):
            layers: list[nn.Module] = [
                nn.Linear(hidden or backbone.n_features, self.projection_dim)
            ]
            if hidden:
                layers = [nn.Linear(backbone.n_features, hidden), nn.ReLU(inplace=True), *layers]
            queue = F.normalize(torch.randn(self.queue_size, self.projection_dim), dim=1)
        split_batch_norm(backbone, self.n_bn_splits)
        return MoCoObjective(
            backbone, nn.Sequential(*layers), queue, self.temperature, self.momentum
        )


class MoCoObjective(nn.Module):
    """A backbone and a projection head, their slow copies, and the queue of keys.

    Attributes
    ----------
    backbone, head, slow_backbone, slow_head : Module
    queue : Tensor of shape (K, projection_dim)
        Keys of unit length, equal in all processes.
    pointer : Tensor of shape (1,), int64
        Row of the oldest key.
    gather : callable or None
        From the rows of this process to those of all, in order of rank; set by the training where
        there are several processes.
    """

    gather: Callable[[Tensor], Tensor] | None = None
    queue: Tensor
    pointer: Tensor

    def __init__(
        self, backbone: Any, head: nn.Module, queue: Tensor, temperature: float, momentum: float
    ):
        super().__init__()
        self.backbone, self.head = backbone, head
        self.slow_backbone = copy.deepcopy(backbone).requires_grad_(False)
        self.slow_head = copy.deepcopy(head).requires_grad_(False)
        self.register_buffer("queue", queue)
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))
        self.temperature, self.momentum = temperature, momentum
        self._new_keys: Tensor | None = None

    def loss(self, view1: Tensor, view2: Tensor) -> dict[str, Tensor]:
        """Loss terms of two views (b, 3, H, W) of the same images: queries and keys."""
        queries = _project(self.backbone, self.head, view1)
        own, self._new_keys = self._keys(view2)
        with torch.autocast(view1.device.type, enabled=False):
            return {"loss": info_nce(queries, own, self.queue, self.temperature)}

    @torch.no_grad()
    def _keys(self, views):
        """Keys of the rows of this process, and of all, computed on rows in another order."""
        gather = self.gather or (lambda x: x)
        b = len(views)
        views = gather(views)
        n = len(views)
        # All processes take the order that the first one draws.
        order = gather(torch.randperm(n, device=views.device))[:n]
        rank = torch.distributed.get_rank() if self.gather else 0
        here = slice(rank * b, (rank + 1) * b)
        shuffled = gather(_project(self.slow_backbone, self.slow_head, views[order[here]]))
        keys = torch.empty_like(shuffled)
        keys[order] = shuffled
        return keys[here], keys

    def after_step(self) -> None:
        """Move the slow copies, and put the batch's keys in the queue."""
        for slow, fast in ((self.slow_backbone, self.backbone), (self.slow_head, self.head)):
            momentum_update(slow.parameters(), fast.parameters(), self.momentum)
        if self._new_keys is not None:
            enqueue(self.queue, self.pointer, self._new_keys)
            self._new_keys = None

    def trained_backbone(self) -> Any:
        """The backbone, with plain batch norm, as it is used after the training."""
        return join_batch_norm(self.backbone)


def _project(backbone, head, views):
    z = head(backbone(views))
    with torch.autocast(z.device.type, enabled=False):
        return F.normalize(full_precision(z), dim=1)
