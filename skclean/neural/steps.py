"""One step of a training: the terms of an objective and their gradients."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial

import torch
from torch import Tensor, nn

from skclean._warnings import warn
from skclean.neural.batch import Batch, Part

#: Parts of a batch are not divided below so many rows where memory runs out.
LEAST_ROWS = 2
#: Entries of the history that are no loss terms.
RESERVED = {"images_per_second", "labelled_share", "learning_rate", "seconds", "validation"}


class Forward(nn.Module):
    """A task as a forward pass, which is where precision and gradients are synced."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, task: Callable[[nn.Module], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What the task makes of the network."""
        return task(self.network)


def descend(fabric, module, solver, objective, batch, memory, graph, reseed, n_pieces, name):
    """Terms and gradients of a step, in as many pieces as the memory of the device asks for.

    Where a step runs out of memory it is done again in twice the pieces. What it has written to the
    objective's memory by then stays.

    Parameters
    ----------
    fabric : Fabric
    module : Module
        `Forward`, set up by the Fabric.
    solver : Optimizer
    objective, graph : object with `terms`; graph may be None
    batch : Batch
    memory : Module or None
    reseed : callable
        Sets all generators to the start of the step.
    n_pieces : int
    name : str

    Returns
    -------
    terms : dict of str to Tensor
        Means over the pieces.
    n_pieces : int
        In how many it went.
    """
    while True:
        reseed()
        terms: dict[str, Tensor] = {}
        try:
            for piece in _pieces(batch, n_pieces):
                task = partial(_terms, objective=objective, batch=piece, memory=memory, graph=graph)
                found = module(task)
                fabric.backward(sum(found.values()) / n_pieces)
                for term, value in found.items():
                    terms[term] = terms.get(term, 0) + value.detach() / n_pieces
            _share_gradients(fabric, memory)
            return terms, n_pieces
        except torch.OutOfMemoryError:
            if fabric.world_size > 1 or len(batch.labelled) < 2 * LEAST_ROWS * n_pieces:
                raise
        # Outside of the handler, whose traceback holds the tensors of the step.
        found = task = piece = None
        solver.zero_grad()
        if fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        n_pieces *= 2
        warn(
            f"{name}: the memory of the device does not hold a step; it is done in {n_pieces} "
            "pieces from here on. Set a smaller batch_size for one piece.",
        )


def _share_gradients(fabric, memory):
    """Average those of the objective's own layers over the processes, as is done for networks."""
    if fabric.world_size == 1 or memory is None:
        return
    for parameter in memory.parameters():
        if parameter.grad is not None:
            parameter.grad.copy_(fabric.all_reduce(parameter.grad, reduce_op="mean"))


def note_failures(failed, terms, step):
    """Keep the first step in which each term is not finite, on the device."""
    for term, value in terms.items():
        at = torch.where(value.isfinite(), math.inf, float(step))
        failed[term] = torch.minimum(failed.get(term, at), at)


def check_terms(failed, epoch, name):
    """Raise where a term was not finite, and name the first: its gradient spoils the others."""
    if not failed:
        return
    steps = torch.stack(list(failed.values())).cpu()
    if steps.isfinite().any():
        raise FloatingPointError(
            f"{name}: expected finite loss terms, got NaN or infinity in the loss term "
            f"{list(failed)[int(steps.argmin())]!r} in epoch {epoch + 1}; do lower the learning "
            "rate, set clip_norm, or check the inputs."
        )


def _terms(network, objective, batch, memory, graph):
    terms = objective.terms(network, batch, memory)
    if not isinstance(terms, dict) or not terms or not all(map(_is_scalar, terms.values())):
        raise ValueError(
            "NeuralRetrainer: expected loss terms as a dict of scalar tensors, got "
            f"{_shown(terms)} from {type(objective).__name__}; do take means over the rows, and "
            "logits.sum() * 0 where there is nothing to minimise."
        )
    others = {} if graph is None else graph.terms(network, batch)
    taken = terms.keys() & (others.keys() | RESERVED) or others.keys() & RESERVED
    if taken:
        raise ValueError(
            f"NeuralRetrainer: expected loss terms with names of their own, got {sorted(taken)}; "
            f"do name them otherwise than each other and than {sorted(RESERVED)}."
        )
    found = terms | others
    if not any(term.requires_grad for term in found.values()):
        raise ValueError(
            f"NeuralRetrainer: expected loss terms with a gradient, got {sorted(found)} without "
            f"from {type(objective).__name__}; do compute them by the network's logits, as "
            "logits.sum() * 0 where there is nothing to minimise."
        )
    return found


def _is_scalar(term):
    return isinstance(term, Tensor) and term.ndim == 0


def _shown(terms):
    """What of loss terms is not as it must be."""
    if not isinstance(terms, dict):
        return type(terms).__name__
    if not terms:
        return "an empty one"
    key, value = next((k, x) for k, x in terms.items() if not _is_scalar(x))
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"{type(value).__name__}{shape} as {key!r}"


def _pieces(batch: Batch, n: int) -> Iterator[Batch]:
    """A batch as n smaller ones, each with a share of every part."""
    if n == 1:
        yield batch
        return
    kinds = ("labelled", "unlabelled", "trusted")
    for i in range(n):
        yield replace(batch, **{kind: _slice(getattr(batch, kind), i, n) for kind in kinds})


def _slice(part, i, n):
    if part is None or len(part) < n:
        return part
    values = {f.name: getattr(part, f.name) for f in fields(Part)}
    return Part(**{k: None if v is None else v.tensor_split(n)[i] for k, v in values.items()})
