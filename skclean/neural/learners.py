"""The networks in training, what they say of rows, and how they divide and judge them."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skclean.neural.codivide import average_losses, divide, losses_of
from skclean.neural.ema import AveragedNetwork

#: In place of the probability that a label is right.
UNREADABLE = -2.0


class Learners(nn.Module):
    """The state of a training: what a checkpoint holds beside the optimizer's.

    Parameters
    ----------
    networks : list of Module
        One or two, x -> logits (b, C). They are trained in place.
    objective : object
        See `train`.
    n_rows, n_classes : int
    ema_decay : float in [0, 1)
    keep_best : bool, default=False
        Whether rows are held out for validation.
    loss_window : int, default=1
        Divisions of the rows that one is made by, itself included.

    Attributes
    ----------
    networks : ModuleList
    averages : ModuleList of AveragedNetwork
    best : ModuleList of AveragedNetwork
        The averages of the epoch of greatest validation accuracy; empty where nothing is held out.
    memories : ModuleList
        Of the objective, one a network; empty where it has none. Those with ``attach(network)``
        may have layers behind its features, which are trained with it.
    clean : Tensor of shape (networks, n_rows)
        Probability that a label is right, in use this epoch; -1 in rows that count as unlabelled,
        `UNREADABLE` in those that could not be read any more.
    losses : Tensor of shape (networks, loss_window - 1, n_rows)
        Losses of the given labels by which the cleaners divided last, latest first; NaN before.
        As process 0 knows them.
    """

    clean: Tensor
    losses: Tensor

    def __init__(
        self,
        networks: list,
        objective: Any,
        n_rows: int,
        n_classes: int,
        ema_decay: float,
        keep_best: bool = False,
        loss_window: int = 1,
    ):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.averages = nn.ModuleList(AveragedNetwork(n, ema_decay) for n in networks)
        self.best = copy.deepcopy(self.averages) if keep_best else nn.ModuleList()
        memories = [objective.start(n_rows, n_classes, torch.device("cpu")) for _ in networks]
        strange = [m for m in memories if not isinstance(m, nn.Module | None)]
        if strange:
            raise ValueError(
                f"objective: expected start of {type(objective).__name__} to return a torch "
                f"module, its memory, or None, got {type(strange[0]).__name__}; do keep what it "
                "learns in buffers of a module."
            )
        for memory, network in zip(memories, networks):
            if hasattr(memory, "attach"):
                memory.attach(network)
        self.memories = nn.ModuleList(m for m in memories if m is not None)
        self.register_buffer("clean", torch.ones(len(networks), n_rows))
        shape = len(networks), loss_window - 1, n_rows
        self.register_buffer("losses", torch.full(shape, float("nan"), dtype=torch.float32))

    def averaged(self) -> list[Any]:
        """The averages as plain networks."""
        return [average.network for average in self.averages]

    def final(self) -> list[Any]:
        """The networks to predict by: the best averages where there are some, else the last."""
        return [average.network for average in (self.best or self.averages)]

    def memory(self, number: int) -> nn.Module | None:
        """The objective's memory beside a network."""
        return self.memories[number] if len(self.memories) else None


def outputs(
    networks: Any, inputs: Any, rows: np.ndarray, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of the first network and logits summed over all, batch by batch.

    Parameters
    ----------
    networks : iterable of Classifier
        On the device of the inputs, in evaluation mode.
    inputs : DeviceImages or DeviceFeatures
    rows : ndarray of shape (m,), int64
    batch_size : int

    Yields
    ------
    features : Tensor of shape (b, d)
    logits : Tensor of shape (b, C)
    """
    for x in inputs.batches(rows, batch_size):
        with torch.inference_mode():
            features = [network.features(x) for network in networks]
            logits = [n.head(f) for n, f in zip(networks, features, strict=True)]
            wide = torch.promote_types(x.dtype, torch.float32)
            total = torch.stack(logits).sum(dim=0, dtype=wide)
        yield features[0], total


def divide_rows(fabric, learners, cleaners, threshold, rows, data, batch_size):
    """Set `clean` by the judgement of the networks' averages, in process 0."""
    clean = np.full(learners.clean.shape, -1.0, dtype=np.float32)
    seen = rows.candidates
    codes = np.where(rows.usable & (rows.weight > 0), rows.codes, -1)[seen]
    for number, cleaner in enumerate(cleaners if fabric.is_global_zero else ()):
        judge = learners.averaged()[len(cleaners) - 1 - number]
        with fabric.autocast():
            found = [
                (features.float().cpu(), logits.softmax(dim=1).cpu())
                for features, logits in outputs([judge], data.inputs, seen, batch_size)
            ]
        features, proba = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
        clean[number, seen] = UNREADABLE
        # Files may have broken since the training began.
        kept = data.inputs.still_readable(seen)
        own, given = seen[kept], codes[kept]
        proba = _averaged(learners.losses[number], proba[kept], given, own)
        trusted = rows.trusted[own]
        judged = divide(cleaner, given, proba, features[kept], threshold, trusted=trusted)
        clean[number, own] = judged
    learners.clean.copy_(torch.from_numpy(fabric.broadcast(clean)))


def _averaged(window, proba, codes, seen):
    """Probabilities whose losses are means over the window, which takes in the last ones."""
    if not len(window):
        return proba
    past = window[:, torch.from_numpy(seen)].flip(0).cpu().numpy()
    own = losses_of(proba, codes).astype(np.float32)
    window.copy_(window.roll(1, 0))
    window[0, torch.from_numpy(seen)] = torch.from_numpy(own).to(window.device)
    past = past[~np.isnan(past).any(axis=1)]
    return average_losses(np.concatenate([past, own[None]]), proba, codes)


def validate(fabric, learners, rows, data, batch_size):
    """Accuracy of the averages together on the rows held out, by their labels."""
    held = np.flatnonzero(rows.held_out)
    networks = learners.averaged()
    with fabric.autocast():
        found = [z.argmax(dim=1) for _, z in outputs(networks, data.inputs, held, batch_size)]
    right = torch.cat(found).cpu().numpy() == rows.codes[held]
    return fabric.broadcast(float(right.mean()))
