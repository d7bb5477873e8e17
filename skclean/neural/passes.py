"""Passes through a network, and what they leave in the statistics of its batch norms."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from skclean.embeddings.nt_xent import full_precision

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@contextmanager
def frozen_statistics(network: Any) -> Iterator[None]:
    """While it lasts, no pass in training mode moves the running statistics of batch norms.

    They still normalise by the statistics of the batch.

    Parameters
    ----------
    network : Module
    """
    moved = [m for m in network.modules() if isinstance(m, _BATCH_NORMS) and m.track_running_stats]
    for module in moved:
        # In evaluation mode batch norm does not look at it.
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in moved:
            module.track_running_stats = True


@torch.no_grad()
def predict_proba(network: Any, x: Tensor) -> Tensor:
    """Softmax of the network's logits, without gradients or a trace in running statistics.

    Parameters
    ----------
    network : Module
        In training or in evaluation mode, which it stays in.
    x : Tensor of shape (b, ...)

    Returns
    -------
    Tensor of shape (b, C), at least float32
    """
    with frozen_statistics(network):
        proba = torch.softmax(full_precision(network(x)), dim=1)
    # Older versions of torch reuse weights, cast without gradients, in passes that need them.
    torch.clear_autocast_cache()
    return proba


def guess(network: Any, views: Tensor, n_views: int) -> Tensor:
    """Mean prediction over several views of each row.

    Parameters
    ----------
    network : Module
    views : Tensor of shape (n_views * b, ...)
        The first view of all rows, then the second, and so on.
    n_views : int

    Returns
    -------
    Tensor of shape (b, C), at least float32
    """
    return predict_proba(network, views).unflatten(0, (n_views, -1)).mean(dim=0)


def forward_in_groups(network: Any, x: Tensor, n_groups: int) -> Tensor:
    """Logits of all rows; batch norm sees one group at a time and is moved by the first alone.

    Group j has the rows j, j + n_groups, ...: of rows that stand by kind each has its share of
    every kind, and so has what moves the running statistics. MixMatch's code does so.

    Parameters
    ----------
    network : Module
    x : Tensor of shape (b, ...)
    n_groups : int
        1 is a plain pass. Fewer where groups would have a single row.

    Returns
    -------
    Tensor of shape (b, C)
    """
    n_groups = max(1, min(n_groups, len(x) // 2))
    if n_groups == 1:
        return network(x)
    with ExitStack() as stack:
        groups = []
        for j in range(n_groups):
            groups.append(network(x[j::n_groups]))
            if j == 0:
                stack.enter_context(frozen_statistics(network))
    rows = torch.arange(len(x), device=x.device)
    order = torch.cat([rows[j::n_groups] for j in range(n_groups)])
    return torch.cat(groups)[order.argsort()]
