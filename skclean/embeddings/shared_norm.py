"""Batch norm by the statistics of all processes that train together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class _Gathered:
    """Batch norm whose statistics are those of the rows of all processes, of as many each."""

    gather: Callable[[Tensor], Tensor]

    def forward(self: Any, x: Tensor) -> Tensor:
        """Normalise x (b, channels, ...); half precision is computed with in single."""
        if not self.training:
            return super().forward(x)  # type: ignore[misc]
        kind, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        here = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
        spreads, means = self.gather(torch.stack(here)[None]).unbind(dim=1)
        mean, var = means.mean(dim=0), spreads.mean(dim=0) + means.var(dim=0, correction=0)
        n = len(means) * x.numel() / x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (n / max(n - 1, 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        shape = (1, -1, *[1] * (x.ndim - 2))
        scale = self.weight * torch.rsqrt(var + self.eps)
        found = (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return found.to(kind)


class GatheredBatchNorm1d(_Gathered, nn.BatchNorm1d):
    """See `shared_batch_norm`."""


class GatheredBatchNorm2d(_Gathered, nn.BatchNorm2d):
    """See `shared_batch_norm`."""


_GATHERED: dict[type, type] = {
    nn.BatchNorm1d: GatheredBatchNorm1d,
    nn.BatchNorm2d: GatheredBatchNorm2d,
}


@contextmanager
def shared_batch_norm(
    module: Any, gather: Callable[[Tensor], Tensor] | None, device: torch.device
) -> Iterator[None]:
    """While it lasts, batch norms of a module normalise by the rows of all processes.

    On CUDA they are torch's `SyncBatchNorm`. Those without running statistics or weights stay as
    they are. Names, parameters and buffers are the same all the time.

    Parameters
    ----------
    module : Module
        Its parts that have a true `shares_batch_norm` are looked through.
    gather : callable or None
        As of `gather_rows`; None, where there is one process, changes nothing.
    device : torch.device
    """
    asked = [m for m in module.modules() if getattr(m, "shares_batch_norm", False)]
    norms = {part for m in asked for part in m.modules() if _changes(part)} if gather else set()
    before = {part: type(part) for part in norms}
    for part, plain in before.items():
        if device.type == "cuda":
            part.__dict__["process_group"] = None
            object.__setattr__(part, "__class__", nn.SyncBatchNorm)
        else:
            part.__dict__["gather"] = gather
            object.__setattr__(part, "__class__", _GATHERED[plain])
    try:
        yield
    finally:
        for part, plain in before.items():
            part.__dict__.pop("process_group", None)
            part.__dict__.pop("gather", None)
            object.__setattr__(part, "__class__", plain)


def _changes(part):
    return (
        type(part) in _GATHERED
        and part.track_running_stats
        and part.momentum is not None
        and part.affine
    )
