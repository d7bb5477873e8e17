"""The training of a backbone by two views of each image."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skclean._optional import import_optional
from skclean.embeddings import devices
from skclean.embeddings.backbones import lay_out
from skclean.embeddings.checkpoint import (
    Checkpoints,
    Progress,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from skclean.embeddings.optimizers import make_optimizer, set_learning_rate
from skclean.embeddings.probe import knn_probe
from skclean.embeddings.rates import learning_rate_at
from skclean.embeddings.shared_norm import shared_batch_norm

# What a stream of random numbers is for, beside the seed.
_ORDER, _VIEWS, _LAYERS = range(3)


def train(
    fabric: Any,
    objective: Any,
    source: Any,
    augment: Any,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    optimizer: str = "sgd",
    weight_decay: float = 1e-4,
    momentum: float = 0.9,
    warmup_epochs: int = 10,
    clip_norm: float | None = None,
    seed: int = 0,
    value_range: tuple[float, float] | None = None,
    compile: bool = False,
    probe_labels: np.ndarray | None = None,
    probe_every: int = 10,
    checkpoint_dir: Any = None,
    checkpoint_every: int = 10,
    checkpoint_seconds: float | None = 600,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    verbose: bool = False,
    name: str = "train",
) -> dict[str, np.ndarray]:
    """Train an objective, in each process that a Fabric has launched.

    Everything random follows from `seed` and the number of the step, so that a run that goes on
    from a checkpoint ends with the weights of one that was never stopped. Inside an epoch nothing
    is read from the device, but for checkpoints and the loss scaling of 16-mixed.

    Parameters
    ----------
    fabric : Fabric
        Launched; see `fit`.
    objective : Module
        Has `backbone`, ``loss(view1, view2)``, which returns a dict of scalar tensors and minimises
        "loss", and `after_step()`. Changed in place, and moved to the device.
    source : ImageSource
        Rows that are not `readable` are left out.
    augment : callable
        From images (b, 3, H, W), float32 in [0, 1], and a torch.Generator to one view of each.
    epochs : int
    batch_size : int
        Images of a step, over all processes; fewer where there are fewer. What is left of an epoch
        after its last whole batch is not used in it.
    learning_rate : float
        Peak, for the whole batch.
    optimizer : {"sgd", "lars", "adamw"}, default="sgd"
    weight_decay : float, default=1e-4
        Not applied to norms and biases, which LARS does not adapt either.
    momentum : float, default=0.9
        Of "sgd" and "lars".
    warmup_epochs : int, default=10
        See `learning_rate_at`.
    clip_norm : float or None, default=None
        Greatest norm of the gradient.
    seed : int >= 0, default=0
    value_range : tuple of float or None, default=None
        As in `DeviceImages`.
    compile : bool, default=False
        Whether the objective's parts are compiled.
    probe_labels : ndarray of shape (n,), int64, or None, default=None
        Classes for `knn_probe`, -1 where missing.
    probe_every : int, default=10
        Epochs.
    checkpoint_dir : path-like or None, default=None
        Where the state is kept, by process 0.
    checkpoint_every : int, default=10
        Epochs; the last one counts too.
    checkpoint_seconds : float or None, default=600
        Longest time between checkpoints inside an epoch; None writes none there.
    resume : bool, default=False
        Whether to go on from the checkpoint, if there is one.
    settings : dict or None, default=None
        Further plain values that must be equal on resuming.
    verbose : bool, default=False
    name : str, default="train"
        Who speaks in errors.

    Returns
    -------
    dict of str to ndarray of shape (epochs,)
        Mean of each loss term; "learning_rate" of the last step; "seconds"; "images_per_second";
        "probe", NaN where there was none.

    Raises
    ------
    ValueError
        If there are too few images, or a checkpoint is there that cannot be gone on from.
    FloatingPointError
        If a loss term or a weight is not finite; the last checkpoint stays as it was.
    """
    rows = np.flatnonzero(source.readable)
    world, device = fabric.world_size, fabric.device
    share = min(batch_size, len(rows)) // world
    if share < 2:
        raise ValueError(
            f"{name}: expected at least two images for each of {world} processes, got "
            f"{len(rows)} images and batch_size={batch_size}; do pass more, or use fewer devices."
        )
    steps = len(rows) // (share * world)
    rate_at = partial(
        learning_rate_at, n_steps=epochs * steps, warmup=warmup_epochs * steps, peak=learning_rate
    )
    must_agree = {
        "objective": type(objective).__name__,
        "images": [source.n, *source.shape],
        "unreadable": source.n - len(rows),
        "processes": world,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "warmup_epochs": warmup_epochs,
        "clip_norm": clip_norm,
        "seed": seed,
        "value_range": value_range,
        **(settings or {}),
    }
    if checkpoint_dir is not None:
        must_agree["images"] = fingerprint(source)
    writes = fabric.is_global_zero
    checkpoints = Checkpoints(checkpoint_dir, must_agree, resume, name, writes)
    layout = lay_out(objective.train())
    module = fabric.setup_module(_Forward(objective))
    solver = fabric.setup_optimizers(
        make_optimizer(objective, optimizer, learning_rate, weight_decay, momentum, fabric)
    )
    state = objective, solver.optimizer, fabric.strategy.precision
    progress = checkpoints.restore(*state)
    check_shared(fabric, progress, name)
    images = devices.DeviceImages(source, device, value_range)
    generator = torch.Generator(device)
    shown = verbose and fabric.is_global_zero
    bar = progress_bar(epochs * steps * share * world, "images", shown)
    bar.update((progress.epoch * steps + progress.step) * share * world)
    saved = time.monotonic()

    prepared = _prepared(objective, fabric, compile)
    with checkpoints, devices.seeded(0, device), bar, prepared, source.workers():
        while progress.epoch < epochs:
            epoch, first, started = progress.epoch, progress.step, time.perf_counter()
            order = np.random.default_rng([seed, _ORDER, epoch]).permutation(rows)
            order = order[: steps * world * share].reshape(steps, world, share)
            mine = order[first:, fabric.global_rank]
            for step, batch in enumerate(images.batches(mine.ravel(), share), first):
                batch = images.readable(batch, mine[step - first])
                key = epoch, step, fabric.global_rank
                generator.manual_seed(devices.seed_of(seed, _VIEWS, *key))
                devices.reseed(devices.seed_of(seed, _LAYERS, *key), device)
                views = [augment(batch, generator) for _ in range(2)]
                terms = module(*(v.contiguous(memory_format=layout) for v in views))
                fabric.backward(terms["loss"])
                if clip_norm is not None:
                    fabric.clip_gradients(
                        module, solver, max_norm=clip_norm, error_if_nonfinite=False
                    )
                set_learning_rate(solver, rate_at(epoch * steps + step))
                solver.step()
                solver.zero_grad()
                objective.after_step()
                for term, value in terms.items():
                    progress.totals[term] = progress.totals.get(term, 0) + value.detach()
                progress.step = step + 1
                bar.update(share * world)
                if is_due(checkpoints, checkpoint_seconds, saved, fabric) and step + 1 < steps:
                    check_finite(progress, objective, name)
                    now = time.perf_counter()
                    progress.seconds, started = progress.seconds + now - started, now
                    checkpoints.save(*state, progress)
                    saved = time.monotonic()

            progress.totals = {k: fabric.all_reduce(x) for k, x in progress.totals.items()}
            check_finite(progress, objective, name)
            seconds = progress.seconds + time.perf_counter() - started
            record = {term: total.item() / steps for term, total in progress.totals.items()}
            record["learning_rate"] = rate_at((epoch + 1) * steps - 1)
            record |= {"seconds": seconds, "images_per_second": steps * share * world / seconds}
            record["probe"] = math.nan
            last = epoch + 1 == epochs
            if probe_labels is not None and (last or (epoch + 1) % probe_every == 0):
                if fabric.is_global_zero:
                    record["probe"] = knn_probe(
                        fabric, objective.backbone, images, probe_labels, batch_size, seed
                    )
                objective.train()
            history = {k: [*progress.history.get(k, []), v] for k, v in record.items()}
            progress = Progress(epoch + 1, history=history)
            bar.set_postfix(loss=f"{record['loss']:.4g}", probe=f"{record['probe']:.3g}")
            if fabric.is_global_zero and (last or (epoch + 1) % checkpoint_every == 0):
                checkpoints.save(*state, progress)
                saved = time.monotonic()
    fabric.barrier()
    return {k: np.array(v) for k, v in progress.history.items()}


def fit(
    fabric: Any, objective: Any, *args: Any, train: Callable = train, **kwargs: Any
) -> dict[str, np.ndarray]:
    """`train` in all processes of a Fabric; also where it starts them, `objective` is trained.

    Parameters
    ----------
    fabric : Fabric
        Of `make_fabric`, not launched yet.
    objective, *args, **kwargs
        As in `train`. Where processes are started, all must pickle.
    train : callable, default=train
        Another function that trains its second argument and returns a history.
    """
    if not devices.spawns(fabric):
        return devices.launch(fabric, train, objective, *args, **kwargs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trained.safetensors"
        devices.launch(fabric, _train_to_file, train, path, objective, *args, **kwargs)
        tensors, values = load_checkpoint(path, "fit")
    objective.load_state_dict(tensors)
    return {k: np.array(v) for k, v in values["history"].items()}


def check_shared(fabric: Any, progress: Progress, name: str) -> None:
    """Raise ValueError where processes go on from different checkpoints."""
    place = progress.epoch, progress.step
    if fabric.broadcast(place) != place:
        raise ValueError(
            f"{name}: expected the same checkpoint in all processes, got another one in process "
            f"{fabric.global_rank}; do name a folder that all machines share."
        )


def check_finite(progress: Progress, module: nn.Module, name: str) -> None:
    """Raise where a total of the losses or a parameter is not finite. Waits for the device.

    Raises
    ------
    FloatingPointError
        Naming the term and the epoch.
    """
    checked = {f"loss term {k!r}": x for k, x in progress.totals.items()}
    checked |= {f"weight {k!r}": p.detach() for k, p in module.named_parameters()}
    finite = torch.stack([torch.isfinite(x).all() for x in checked.values()])
    if not finite.all():
        first = list(checked)[int(finite.int().argmin())]
        raise FloatingPointError(
            f"{name}: expected finite numbers, got NaN or infinity in the {first} in epoch "
            f"{progress.epoch + 1}; do lower the learning rate, or check the images."
        )


class _Forward(nn.Module):
    """The objective's loss as a forward pass, which is where precision and gradients are synced."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective

    def forward(self, view1: Tensor, view2: Tensor) -> dict[str, Tensor]:
        return self.objective.loss(view1, view2)


def _train_to_file(fabric, train, path, objective, *args, **kwargs):
    history = train(fabric, objective, *args, **kwargs)
    if fabric.is_global_zero:
        values = {"history": {k: v.tolist() for k, v in history.items()}}
        save_checkpoint(path, objective.state_dict(), values)
    fabric.barrier()


@contextmanager
def _prepared(objective, fabric, compile):
    """For the time of the training, compiled and joined to the other processes."""
    objective.gather = gather = devices.gather_rows(fabric)
    try:
        with shared_batch_norm(objective, gather, fabric.device):
            with compiled(list(objective.children()), compile):
                yield
    finally:
        objective.gather = None


@contextmanager
def compiled(modules: Any, wanted: bool) -> Iterator[None]:
    """Modules through `torch.compile` for the time of a training, if that is wanted."""
    for module in modules if wanted else ():
        module.compile()
    try:
        yield
    finally:
        for module in modules:
            vars(module).pop("_compiled_call_impl", None)


def is_due(checkpoints: Checkpoints, every: float | None, saved: float, fabric: Any) -> bool:
    """Whether the last checkpoint was `saved`, in seconds, so long ago that one is due."""
    if checkpoints.path is None or every is None or not fabric.is_global_zero:
        return False
    return time.monotonic() - saved >= every


def progress_bar(total: int, unit: str, shown: bool) -> Any:
    """A bar of tqdm over so many images or rows."""
    tqdm = import_optional("tqdm", "neural").tqdm
    return tqdm(total=total, unit=f" {unit}", unit_scale=True, mininterval=1, disable=not shown)
