"""What an objective remembers of each row, made the same in all processes."""

from typing import Any

import torch
from torch import Tensor, nn

#: Rows that are shared at a time, each by a collective of its own.
_ROWS = 1 << 16


class RowMemory(nn.Module):
    """Buffers of shape (n_rows, ...), of which a process writes the rows that it draws.

    They are float32, or of numbers that float32 holds, as they are shared in it.

    Parameters
    ----------
    n_rows : int

    Attributes
    ----------
    drawn : Tensor of bool of shape (n_rows,)
        Rows written since `share`, to be marked by those who write. No checkpoint holds it.
    """

    drawn: Tensor

    def __init__(self, n_rows: int):
        super().__init__()
        self.register_buffer("drawn", torch.zeros(n_rows, dtype=torch.bool), persistent=False)

    @torch.no_grad()
    def share(self, fabric: Any) -> None:
        """Set each row to its mean over the processes that drew it.

        A process counts once, however often it drew the row. A row that no process drew stays.
        Processes that were equal before the rows were drawn are so again.

        Parameters
        ----------
        fabric : Fabric
        """
        kept = [x for x in self.buffers() if x is not self.drawn]
        for start in range(0, len(self.drawn), _ROWS):
            rows = slice(start, start + _ROWS)
            drawn, parts = self.drawn[rows, None], [x[rows] for x in kept]
            flat = [x.flatten(1) if x.ndim > 1 else x[:, None] for x in parts]
            own = torch.cat([*(x.float() for x in flat), torch.ones_like(drawn)], dim=1)
            total = fabric.all_reduce(torch.where(drawn, own, 0), reduce_op="sum")
            *sums, count = total.split([*(x.shape[1] for x in flat), 1], dim=1)
            for x, mine, added in zip(parts, flat, sums, strict=True):
                shared = (added / count.clamp_min(1)).to(x.dtype)
                x.copy_(torch.where(count > 0, shared, mine).view_as(x))
        self.drawn.zero_()
