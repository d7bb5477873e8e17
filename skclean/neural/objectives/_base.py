"""What objectives that keep nothing from step to step share."""

from typing import Any

from sklearn.base import BaseEstimator
from torch import nn


class MemorylessObjective(BaseEstimator):
    """An objective whose terms depend on the batch alone."""

    _parameter_constraints: dict = {}

    def start(self, n_rows: int, n_classes: int, device: Any) -> nn.Module | None:
        """No memory; checks the parameters.

        Raises
        ------
        ValueError
            If parameters are not as described.
        """
        self._validate_params()
        return None
