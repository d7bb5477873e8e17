"""What a training leaves behind for one more epoch on other rows."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from skclean.embeddings._described import described
from skclean.embeddings.checkpoint import load_optimizer, optimizer_tensors


@dataclass
class Kept:
    """What one more epoch of a training starts from, beside the averages of the networks.

    Attributes
    ----------
    epoch : int
        Epochs done.
    history : dict of str to list of float
    networks : ModuleList
        As they are trained; empty at the very start.
    memories : ModuleList
        Of the objective.
    optimizer : dict of str to Tensor
        As of `optimizer_tensors`.
    cleaners : list or None
    """

    epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    networks: nn.ModuleList = field(default_factory=nn.ModuleList)
    memories: nn.ModuleList = field(default_factory=nn.ModuleList)
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    cleaners: list | None = None

    def restore(self, learners: Any, averages: list) -> None:
        """Bring averages and memories to where they were."""
        for mine, other in zip(learners.averages, averages, strict=True):
            mine.network.load_state_dict(other.state_dict())
        for mine, other in zip(learners.memories, self.memories):
            mine.load_state_dict(other.state_dict())

    def load_optimizer(self, optimizer: Any) -> None:
        """Give an optimizer its state."""
        if self.optimizer:
            load_optimizer(optimizer, self.optimizer)

    def keep_optimizer(self, optimizer: Any) -> None:
        """Take the state of an optimizer, on the host."""
        self.optimizer = {k: x.cpu() for k, x in optimizer_tensors(optimizer).items()}

    def kept(self, learners: Any, cleaners: list | None) -> "Kept":
        """What the next epoch starts from; its number and history are those of the estimator."""
        networks, memories = learners.networks, learners.memories
        return Kept(0, {}, networks, memories, self.optimizer, cleaners)


def check_made(estimator: Any, made: dict[str, str]) -> None:
    """Compare the settings of a call with those that the networks and the state were made with.

    Parameters
    ----------
    estimator : NeuralRetrainer
        `_made` is read; without `_kept`, behind `fit`, only the settings of networks must agree.
    made : dict of str to str
        Of `described`; `weights` are those of the first call where they are None now.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    free = set() if hasattr(estimator, "_kept") else {"objective", "cleaner", "optimizer"}
    first = getattr(estimator, "_made", {})
    if estimator.weights is None and "weights" in first:
        made["weights"] = first["weights"]
    for key, before in first.items():
        if before != made[key] and key not in free:
            raise ValueError(
                f"{type(estimator).__name__}: expected {key}={before} as in the first call, got "
                f"{made[key]}; do set it as it was, or train a clone."
            )


def begin(estimator: Any) -> Kept:
    """Where the next epoch of a retrainer starts: copies, so that it may fail."""
    if not hasattr(estimator, "networks_"):
        return Kept()
    history = {k: v.tolist() for k, v in estimator.history_.items()}
    kept = copy.deepcopy(getattr(estimator, "_kept", None))
    if kept is None:
        kept = Kept(networks=nn.ModuleList(copy.deepcopy(estimator.networks_)))
        fixed = getattr(estimator, "_frozen", [])
        for network in kept.networks:
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(name not in fixed)
    return replace(kept, epoch=estimator.n_iter_, history=history)


def frozen(network: Any) -> list[str]:
    """Names of the parameters of a network that are not trained."""
    return [name for name, p in network.named_parameters() if not p.requires_grad]


def check_memory(objective: Any, n_classes: int, name: str) -> None:
    """Refuse an objective whose memory belongs to single rows, unknown in the next call.

    Raises
    ------
    ValueError
        If what it keeps depends on the number of rows.
    """
    shapes = []
    for n_rows in (2, 3):
        memory = objective.start(n_rows, n_classes, torch.device("cpu"))
        state = {} if memory is None else memory.state_dict()
        shapes.append({k: x.shape for k, x in state.items()})
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name}: expected an objective for partial_fit that follows no row from epoch to "
            f"epoch, got {described(objective)}; do call fit, or choose another one."
        )
