"""The training of one or two classifiers by an objective."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skclean.embeddings import devices
from skclean.embeddings._described import described
from skclean.embeddings.backbones import lay_out
from skclean.embeddings.checkpoint import Checkpoints, Progress, digest
from skclean.embeddings.optimizers import make_optimizer, set_learning_rate
from skclean.embeddings.rates import learning_rate_at
from skclean.embeddings.training import (
    check_finite,
    check_shared,
    compiled,
    is_due,
    progress_bar,
)
from skclean.neural.batch import Batch
from skclean.neural.codivide import pack_cleaners, unpack_cleaners
from skclean.neural.learners import UNREADABLE, divide_rows, validate
from skclean.neural.rows import DeviceRows, TrainingRows
from skclean.neural.sampling import balanced_batches, plain_batches
from skclean.neural.schedules import schedule_shares
from skclean.neural.steps import Forward, check_terms, descend, note_failures

#: The schedule "step" divides the learning rate by ten after this share of the steps.
STEP_AT = 0.5
#: Few rows come in smaller batches, so that an epoch has so many steps; but not in smaller ones.
LEAST_STEPS, SMALL_BATCH = 10, 16
# What a stream of random numbers is for, beside the seed.
_LABELLED, _UNLABELLED, _TRUSTED, _VIEWS, _LAYERS = range(5)


def train(
    fabric: Any,
    learners: Any,
    objective: Any,
    rows: TrainingRows,
    open_inputs: Callable[[Any], Any],
    weak: Callable,
    strong: Callable,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    unlabelled_ratio: float = 1.0,
    balanced: bool = True,
    optimizer: str = "sgd",
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    schedule: Any = "cosine",
    clip_norm: float | None = None,
    graph: Any = None,
    cleaners: list | None = None,
    threshold: float = 0.5,
    warmup: Any = None,
    warmup_epochs: int = 0,
    patience: int | None = None,
    seed: int = 0,
    compile: bool = False,
    on_epoch_end: Callable[[int, dict[str, float]], Any] | None = None,
    further: Any = None,
    checkpoint_dir: Any = None,
    checkpoint_every: int = 10,
    checkpoint_seconds: float | None = 600,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    verbose: bool = False,
    name: str = "train",
) -> dict[str, np.ndarray]:
    """Train one or two networks, in each process that a Fabric has launched.

    Everything random follows from `seed` and the number of the step, so that a run that goes on
    from a checkpoint ends with the weights of one that was never stopped. Inside an epoch nothing
    is read from the device, but for checkpoints and the loss scaling of 16-mixed.

    Where memory runs out, a step is done again in two halves, then in four and so on, and the
    gradients of their terms are averaged. That is the step of the whole batch for terms that are
    means over rows; mixing, batch norm and graphs see the rows of a piece alone.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    learners : Learners
        Changed in place, and moved to the device.
    objective : object
        Has `parts`, a set of "labelled", "unlabelled" and "trusted";
        ``start(n_rows, n_classes, device)``, a Module of buffers or None; and
        ``terms(network, batch, memory)``, a dict of scalars whose sum is minimised. Where several
        processes train, the Module's ``share(fabric)``, if it has one, is called at the end of each
        epoch, and checkpoints are written there alone.
    rows : TrainingRows
    open_inputs : callable
        From a device to `DeviceImages` or `DeviceFeatures`.
    weak, strong : callable
        From x (b, ...) and a torch.Generator to a random view of each row.
    epochs : int
        With those of the warm-up.
    batch_size : int
        Labelled rows of a step, over all processes. An epoch has as many steps as it takes to see
        that many of all rows, or of the labelled ones where the objective needs no others; where
        these are few, the batches are smaller.
    learning_rate : float
        At the start.
    unlabelled_ratio : float, default=1.0
        Unlabelled rows for each labelled one.
    balanced : bool, default=True
        Whether labelled rows are drawn so that all classes come equally often.
    optimizer : {"sgd", "adam", "adamw"}, default="sgd"
    weight_decay : float, default=5e-4
        Not applied to norms and biases.
    momentum : float, default=0.9
        Of "sgd".
    schedule : {"cosine", "step", "constant"} or callable, default="cosine"
        From epochs done and all epochs to a share of the learning rate.
    clip_norm : float or None, default=None
        Greatest norm of the gradient.
    graph : object with ``terms(network, batch)``, or None, default=None
        Adds terms to those of the objective.
    cleaners : list of objects with `assess`, or None, default=None
        One a network. After the warm-up each epoch starts with their division of the rows: for one
        network by the outputs of the other, or by its own where there is but one.
    threshold : float, default=0.5
        Of that division.
    warmup : object or None, default=None
        The objective of the first `warmup_epochs`, on all labels.
    warmup_epochs : int, default=0
    patience : int or None, default=None
        Epochs without a greater validation accuracy after which the training ends; None: never.
    seed : int >= 0, default=0
    compile : bool, default=False
    on_epoch_end : callable or None, default=None
        Called with the number of the epoch, from 0, and its record, in process 0; True ends the
        training.
    further : Kept or None, default=None
        Train for one epoch from where it says.
    checkpoint_dir, checkpoint_every, checkpoint_seconds, resume, settings, verbose, name
        As in `skclean.embeddings.training.train`, with the same defaults.

    Returns
    -------
    dict of str to ndarray of shape (epochs done,)
        Mean of each loss term, NaN in epochs without it; "learning_rate" of the last step;
        "seconds"; "images_per_second", labelled ones; "labelled_share", of the rows, where there
        are cleaners; "validation", where rows are held out.

    Raises
    ------
    ValueError
        If there are too few rows, or a checkpoint is there that cannot be gone on from.
    FloatingPointError
        If a loss term or a weight is not finite; the last checkpoint stays as it was.
    """
    world, device, n_networks = fabric.world_size, fabric.device, len(learners.networks)
    parts = objective.parts | ({"unlabelled"} if graph is not None else set())
    counted = rows.candidates if "unlabelled" in parts else rows.labelled
    few = max(SMALL_BATCH, len(counted) // LEAST_STEPS)
    share = min(batch_size, few, len(counted)) // world
    n_trusted = len(rows.sure)
    _check_rows(share, n_trusted, parts, world, name)
    steps = len(counted) // (share * world)
    sizes = (
        share,
        max(1, round(share * unlabelled_ratio)) if "unlabelled" in parts else 0,
        min(share, n_trusted) if "trusted" in parts else 0,
    )
    rate_at = partial(
        _rate_at, n_steps=epochs * steps, steps=steps, peak=learning_rate, schedule=schedule
    )
    must_agree = {
        "objective": described(objective),
        "networks": n_networks,
        "processes": world,
        "epochs": epochs,
        "batch_size": batch_size,
        "unlabelled_ratio": unlabelled_ratio,
        "balanced": balanced,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "schedule": schedule if isinstance(schedule, str) else described(schedule),
        "clip_norm": clip_norm,
        "graph": described(graph),
        "threshold": threshold,
        "warmup": described(warmup),
        "warmup_epochs": warmup_epochs,
        "patience": patience,
        "seed": seed,
        **(settings or {}),
    }
    if callable(schedule):
        shares = digest(schedule_shares(schedule, epochs, name))
        must_agree["shares of the learning rate"] = shares[:16]
    if checkpoint_dir is not None:
        must_agree["labels"] = digest(
            rows.codes, rows.target, rows.weight, rows.usable, rows.trusted
        )
    checkpoints = Checkpoints(checkpoint_dir, must_agree, resume, name, fabric.is_global_zero)
    lay_out(learners.to(device))
    solver = fabric.setup_optimizers(
        make_optimizer(learners, optimizer, learning_rate, weight_decay, momentum, fabric)
    )
    modules = [fabric.setup_module(Forward(network)) for network in learners.networks]
    state = learners, solver.optimizer, fabric.strategy.precision
    progress = checkpoints.restore(*state)
    check_shared(fabric, progress, name)
    if further is not None:
        further.load_optimizer(solver.optimizer)
        progress = Progress(further.epoch, history=further.history)
    stored = {k: x.numpy() for k, x in progress.kept.items()}
    divided = (progress.epoch, progress.step) > (warmup_epochs, 0)
    told: set[str] = set()
    end = epochs if further is None else further.epoch + 1
    data, n_pieces = DeviceRows(rows, open_inputs(device), device), 1
    generator = torch.Generator(device)
    total = n_networks * steps * share * world
    bar = progress_bar(epochs * total, "rows", verbose and fabric.is_global_zero)
    bar.update(progress.epoch * total + progress.step * share * world)
    sharing = [m for m in learners.memories if world > 1 and hasattr(m, "share")]
    overdue = partial(is_due, checkpoints, checkpoint_seconds, fabric=fabric)
    saved = time.monotonic()

    code = compiled(learners.networks, compile)
    with checkpoints, devices.seeded(0, device), bar, code, data.inputs.workers():
        cleaners = unpack_cleaners(stored, cleaners or [], checkpoints.path, divided, name)
        while progress.epoch < end and not progress.ended:
            epoch, started = progress.epoch, time.perf_counter()
            failed: dict[str, Tensor] = {}
            warm = epoch < warmup_epochs
            current, used = (warmup, (share, 0, 0)) if warm else (objective, sizes)
            if cleaners and not warm and not progress.step:
                divide_rows(fabric, learners, cleaners, threshold, rows, data, batch_size)
            for number in range(progress.step // steps, n_networks):
                network, average = learners.networks[number], learners.averages[number]
                partner = learners.networks[1 - number].eval() if n_networks > 1 else None
                network.train()
                clean, first = learners.clean[number], progress.step - number * steps
                key = seed, epoch, number
                order = _order(rows, clean, used, steps, balanced, key, fabric)[first:]
                refined = clean if cleaners and not warm else None
                class_shares = _shares(rows, clean) if balanced else None
                for step, drawn in enumerate(data.batches(order, used, refined), first):
                    labelled, rest, trusted = drawn
                    batch = Batch(
                        labelled,
                        rest,
                        trusted,
                        weak=_drawing(weak, generator),
                        strong=_drawing(strong, generator),
                        generator=generator,
                        progress=max(0.0, epoch + step / steps - warmup_epochs),
                        epochs=float(max(1, epochs - warmup_epochs)),
                        partner=partner,
                        optimizer=solver.optimizer,
                        shares=class_shares,
                    )
                    memory = None if warm else learners.memory(number)
                    reseed = partial(_reseed, generator, (*key, step, fabric.global_rank))
                    terms, n_pieces = descend(
                        fabric, modules[number], solver, current, batch, memory,
                        None if warm else graph, reseed, n_pieces, name,
                    )  # fmt: skip
                    if clip_norm is not None:
                        fabric.clip_gradients(
                            modules[number], solver, max_norm=clip_norm, error_if_nonfinite=False
                        )
                    set_learning_rate(solver, rate_at(epoch * steps + step))
                    solver.step()
                    solver.zero_grad()
                    average.update(network, epoch * steps + step)
                    note_failures(failed, terms, progress.step)
                    for term, value in terms.items():
                        progress.totals[term] = progress.totals.get(term, 0) + value
                    progress.step += 1
                    bar.update(share * world)
                    whole = progress.step == n_networks * steps
                    if not (whole or sharing) and overdue(saved):
                        check_terms(failed, epoch, name)
                        check_finite(progress, learners, name)
                        now = time.perf_counter()
                        progress.seconds, started = progress.seconds + now - started, now
                        checkpoints.save(
                            *state, _with_cleaners(progress, cleaners, checkpoints, told)
                        )
                        saved = time.monotonic()

            check_terms(failed, epoch, name)
            progress.totals = {k: fabric.all_reduce(x) for k, x in progress.totals.items()}
            check_finite(progress, learners, name)
            for memory in sharing:
                memory.share(fabric)
            seconds = progress.seconds + time.perf_counter() - started
            record = {k: x.item() / (n_networks * steps) for k, x in progress.totals.items()}
            record["learning_rate"] = rate_at((epoch + 1) * steps - 1)
            record |= {"seconds": seconds, "images_per_second": total / seconds}
            if cleaners:
                inside = learners.clean[:, rows.candidates] >= 0
                record["labelled_share"] = inside.float().mean().item()
            if learners.best:
                record["validation"] = validate(fabric, learners, rows, data, batch_size)
                # What is best before the rows are divided says nothing of what comes after.
                before = progress.history.get("validation", [])[0 if warm else warmup_epochs :]
                if record["validation"] > max([-math.inf, *before]):
                    learners.best.load_state_dict(learners.averages.state_dict())
            progress = Progress(epoch + 1, history=_extended(progress.history, record, epoch))
            shown = {k: f"{v:.4g}" for k, v in record.items() if k != "images_per_second"}
            bar.set_postfix(shown)
            ended = _is_over(progress, patience, warmup_epochs)
            if fabric.is_global_zero and on_epoch_end is not None:
                ended = bool(on_epoch_end(epoch, record)) or ended
            progress.ended = fabric.broadcast(ended)
            due = progress.ended or epoch + 1 == end or (epoch + 1) % checkpoint_every == 0
            if fabric.is_global_zero and (due or (sharing and overdue(saved))):
                checkpoints.save(*state, _with_cleaners(progress, cleaners, checkpoints, told))
                saved = time.monotonic()
    if further is not None:
        further.keep_optimizer(solver.optimizer)
    fabric.barrier()
    return {k: np.array(v) for k, v in progress.history.items()}


def _order(rows, clean, sizes, steps, balanced, key, fabric):
    """Rows of each step of an epoch in this process, (steps, sum of sizes)."""
    seed, epoch, number = key
    clean = clean.cpu().numpy()
    inside, rest = clean >= 0, rows.candidates[clean[rows.candidates] != UNREADABLE]
    labelled = _labelled(rows, inside)
    # Where the rows are divided, those that count as labelled are not unlabelled ones too.
    if not inside[rest].all():
        rest = rest[~inside[rest]]
    ways = [partial(plain_batches, labelled), partial(plain_batches, rest)]
    ways.append(partial(balanced_batches, rows.sure, rows.codes[rows.sure]))
    if balanced:
        ways[0] = partial(balanced_batches, labelled, rows.codes[labelled])
    place = {"rank": fabric.global_rank, "world": fabric.world_size}
    uses = (_LABELLED, _UNLABELLED, _TRUSTED)
    drawn = [
        way(steps=steps, batch_size=size, key=(seed, use, epoch, number), **place)
        for way, size, use in zip(ways, sizes, uses, strict=True)
        if size
    ]
    return np.concatenate(drawn, axis=1)


def _labelled(rows, inside):
    """Those labelled rows that count as such in this epoch."""
    return rows.labelled[inside[rows.labelled]]


def _shares(rows, clean):
    """Shares of the classes among the labelled rows, (C,) on the device; None without such rows."""
    codes = rows.codes[_labelled(rows, clean.cpu().numpy() >= 0)]
    if not len(codes):
        return None
    counts = np.bincount(codes, minlength=rows.target.shape[1])
    return torch.from_numpy(counts / len(codes)).to(clean)


def _with_cleaners(progress, cleaners, checkpoints, told):
    """The progress with the state of the cleaners, where it is written."""
    if checkpoints.path is not None:
        packed = pack_cleaners(cleaners, told)
        progress.kept = {k: torch.from_numpy(x.copy()) for k, x in packed.items()}
    return progress


def _extended(history, record, epoch):
    """The history with one more epoch; a term that an epoch lacks is NaN in it."""
    names = {**history, **record}
    return {k: [*history.get(k, [math.nan] * epoch), record.get(k, math.nan)] for k in names}


def _is_over(progress, patience, warmup_epochs):
    scores = progress.history.get("validation", [])[warmup_epochs:]
    return patience is not None and len(scores) - int(np.argmax([*scores, -1])) > patience


def _rate_at(step, n_steps, steps, peak, schedule):
    if callable(schedule):
        return peak * float(schedule(step / steps, n_steps / steps))
    if schedule == "cosine":
        return learning_rate_at(step, n_steps, 0, peak)
    return peak / 10 if schedule == "step" and step >= STEP_AT * n_steps else peak


def _drawing(view, generator):
    return lambda x: view(x, generator)


def _reseed(generator, key):
    seed, *rest = key
    generator.manual_seed(devices.seed_of(seed, _VIEWS, *rest))
    devices.reseed(devices.seed_of(seed, _LAYERS, *rest), generator.device)


def _check_rows(share, n_trusted, parts, world, name):
    if share < 2:
        raise ValueError(
            f"{name}: expected at least two rows for each of {world} processes, got {share}; do "
            "pass more, raise batch_size, or use fewer devices."
        )
    if "trusted" in parts and not n_trusted:
        raise ValueError(
            f"{name}: expected trusted rows of a weight above zero, which the objective learns "
            "from, got none; do pass a container with trusted, or choose another objective."
        )
