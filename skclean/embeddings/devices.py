"""Where networks are trained: devices, precision, processes, seeds, and the images beside them."""

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skclean._optional import import_optional
from skclean.embeddings._spawn import run_spawned
from skclean.exceptions import ImageReadError

lightning_fabric = import_optional("lightning_fabric", "neural")

#: Images stay on a GPU where they take no more than this share of its free memory.
RESIDENT_SHARE = 0.4
#: Images moved there at a time.
MOVED_IMAGES = 1024

# Running statistics and queues need no broadcast before each step: they are those of rank 0, or
# equal. Newer versions of torch have another name for it.
_DDP_OPTIONS = inspect.signature(torch.nn.parallel.DistributedDataParallel).parameters
_KEEP_BUFFERS = {
    "forward_sync_buffers" if "forward_sync_buffers" in _DDP_OPTIONS else "broadcast_buffers": False
}


def make_fabric(
    device: Any = None,
    devices: int = 1,
    num_nodes: int = 1,
    precision: str = "auto",
    *,
    name: str = "make_fabric",
) -> Any:
    """Lightning Fabric for a device, or for several processes with one each.

    Under torchrun the processes are those that it started, and `devices` and `num_nodes` are not
    looked at. Elsewhere more than one device means new processes.

    Parameters
    ----------
    device : str, torch.device or None, default=None
        Such as "cpu", "cuda", "cuda:1", "mps". None takes a GPU if there is one.
    devices : int, default=1
        Processes of a machine.
    num_nodes : int, default=1
        Machines; more than one need torchrun.
    precision : {"auto", "32-true", "16-mixed", "bf16-mixed"}, default="auto"
        "auto" is bf16-mixed where CUDA has it, 16-mixed on older CUDA devices, else 32-true.
    name : str, default="make_fabric"
        Who speaks in errors.

    Returns
    -------
    lightning_fabric.Fabric
        Start functions with `launch`, once.
    """
    chosen = _check_device(device, devices, name)
    under_torchrun = (
        torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    )
    if under_torchrun:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        num_nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif num_nodes > 1:
        raise ValueError(
            f"{name}: expected torchrun to start the processes of num_nodes={num_nodes} machines, "
            "got a plain process; do run `torchrun --nnodes ... script.py` on each."
        )
    strategy: Any = "auto"
    if under_torchrun or devices > 1:
        strategy = _QuietDDP(start_method="popen" if under_torchrun else "spawn", **_KEEP_BUFFERS)
    if precision == "auto":
        precision = _best_precision(chosen)
    with _quiet():
        return lightning_fabric.Fabric(
            accelerator=chosen.type,
            devices=int(devices) if chosen.index is None else [chosen.index],
            num_nodes=int(num_nodes),
            precision=precision,
            strategy=strategy,
        )


def launch(fabric: Any, function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Run ``function(fabric, *args, **kwargs)`` in each process, started here where need be.

    Parameters
    ----------
    fabric : Fabric
    function : callable
        Where processes are started, a function of a module with arguments that pickle.

    Returns
    -------
    object
        What the function returned in process 0. From a started process it comes through a pipe:
        no tensors and no more than some kilobytes; larger things go by a file.
    """
    port = os.environ.get("MASTER_PORT")
    try:
        with _quiet(), _current_device_kept():
            if spawns(fabric):
                return run_spawned(fabric, _quietly, (function, *args), kwargs)
            return fabric.launch(_quietly, function, *args, **kwargs)
    finally:
        if spawns(fabric) and port is None:
            os.environ.pop("MASTER_PORT", None)


def spawns(fabric: Any) -> bool:
    """Whether `launch` starts processes, which leave this one's objects as they are."""
    return fabric.strategy.launcher is not None and not (
        torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    )


def gather_rows(fabric: Any) -> Callable[[Tensor], Tensor] | None:
    """What brings the rows (b, ...) of all processes to each, in order of rank and with gradients.

    None where there is one process.
    """
    return None if fabric.world_size == 1 else _GatherRows.apply


def seed_of(*key: int) -> int:
    """A seed, in [0, 2⁶³), for a tuple of integers >= 0: other tuples, other streams."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int, device: Any = "cpu") -> Iterator[None]:
    """Torch's global generators of the host and a CUDA device, seeded; afterwards as before.

    Parameters
    ----------
    seed : int
    device : str or torch.device, default="cpu"
    """
    device, cuda = torch.device(device), []
    if device.type == "cuda":
        cuda = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=cuda):
        reseed(seed, device)
        yield


def reseed(seed: int, device: Any) -> None:
    """Seed torch's global generators of the host and of a CUDA device. Do so inside `seeded`."""
    torch.default_generator.manual_seed(seed)
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def unit_images(images: Tensor, low: float, high: float) -> Tensor:
    """Images (b, 1 or 3, H, W) of any dtype as float32 (b, 3, H, W), low and high as 0 and 1."""
    images = images.float()
    if low:
        images = images - low
    return (images / (high - low)).expand(-1, 3, -1, -1).contiguous()


class DeviceImages:
    """Images of a source as a network takes them.

    They stay on a GPU where they fit; else batches are read ahead, by workers, and copied from
    pinned memory.

    Parameters
    ----------
    source : ImageSource
    device : torch.device
    value_range : tuple of float or None, default=None
        Values of black and white. None: 0 and 255 for uint8, 0 and 1 for floats.
    resident : bool, default=True
        Whether they may stay on a GPU; False for a single pass.
    """

    def __init__(
        self,
        source: Any,
        device: Any,
        value_range: tuple[float, float] | None = None,
        resident: bool = True,
    ):
        self.source, self.device = source, torch.device(device)
        bytewise = np.dtype(source.dtype) == np.uint8
        self.low, self.high = value_range or ((0.0, 255.0) if bytewise else (0.0, 1.0))
        resident = resident and _fits(source, self.device)
        self._resident = _moved(source, self.device) if resident else None

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Tensor]:
        """Batches of rows, in order; the last one may be smaller.

        Parameters
        ----------
        order : ndarray of shape (m,), int64
        batch_size : int

        Yields
        ------
        Tensor of shape (b, 3, H, W), float32
            On the device, in [0, 1].
        """
        if self._resident is not None:
            # One copy for all batches: each would wait for the device.
            rows = torch.from_numpy(np.array(order)).to(self.device)
            for part in rows.split(batch_size):
                yield self._scaled(self._resident[part])
            return
        held = self.source.array() if self.device.type != "cuda" else None
        if held is not None:
            for i in range(0, len(order), batch_size):
                yield self._scaled(_to_device(held[order[i : i + batch_size]], self.device))
            return
        for _, images in self.source.batches(order, batch_size):
            yield self._scaled(_to_device(images, self.device))

    def readable(self, batch: Tensor, rows: np.ndarray) -> Tensor:
        """A batch with others of its images where rows turned out not to be readable."""
        place = self.replacements(rows, (len(rows),))
        return batch if place is None else batch[torch.from_numpy(place).to(self.device)]

    def replacements(self, rows: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray | None:
        """Which row of a batch to take in each place, so that none is one that cannot be read.

        Parameters
        ----------
        rows : ndarray of shape (b,), int64
            Of a batch that was read.
        sizes : tuple of int
            Parts of the batch, whose rows stand for each other.

        Returns
        -------
        ndarray of shape (b,), int64, or None
            None where all rows can be read.

        Raises
        ------
        ImageReadError
            If no row of a part can be read.
        """
        readable = self.source.readable[rows]
        if readable.all():
            return None
        place, start = np.arange(len(rows)), 0
        for size in sizes:
            part = slice(start, start + size)
            good, bad = (np.flatnonzero(part_of) for part_of in (readable[part], ~readable[part]))
            if len(bad) and not len(good):
                raise ImageReadError(
                    f"{self.source.name}: expected images that can be read in each batch, got "
                    f"{size} rows that cannot any more; do look whether the files are still there."
                )
            place[start + bad] = start + np.resize(good, len(bad))
            start += size
        return place

    def still_readable(self, rows: np.ndarray) -> np.ndarray:
        """Mask of the rows that were not found unreadable in this process."""
        return self.source.readable[rows]

    def workers(self) -> Any:
        """As those of the source."""
        return self.source.workers()

    def _scaled(self, images):
        return unit_images(images, self.low, self.high)


def _check_device(device, devices, name):
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device is None:
        device = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"{name}: expected device None, 'cpu', 'cuda', 'cuda:1' or 'mps', got {device!r}; do "
            "name one of these."
        ) from error
    if chosen.type not in ("cpu", "cuda", "mps") or (chosen.type == "mps" and not mps):
        raise ValueError(
            f"{name}: expected a device that is there, got {str(device)!r}; do set device=None, "
            "which takes a GPU if there is one."
        )
    there = torch.cuda.device_count() if chosen.type == "cuda" else 1
    if chosen.type == "cuda" and (not cuda or max(devices, (chosen.index or 0) + 1) > there):
        raise ValueError(
            f"{name}: expected no more than the {there} CUDA devices that torch finds, got "
            f"device={str(device)!r} and devices={devices}; do choose others, or device='cpu'."
        )
    if chosen.type == "mps" and devices > 1:
        raise ValueError(f"{name}: expected devices=1 on mps, got {devices}; do set device='cpu'.")
    if chosen.index is not None and chosen.type != "cpu" and devices > 1:
        raise ValueError(
            f"{name}: expected devices=1 beside one chosen device, got device={str(device)!r} and "
            f"devices={devices}; do set device={chosen.type!r}."
        )
    return chosen if chosen.type == "cuda" else torch.device(chosen.type)


def _best_precision(device):
    if device.type != "cuda":
        return "32-true"
    return "bf16-mixed" if torch.cuda.get_device_capability(device) >= (8, 0) else "16-mixed"


@contextmanager
def _current_device_kept():
    """Fabric makes the device that it uses torch's current one."""
    if not torch.cuda.is_initialized():
        yield
        return
    with torch.cuda.device(torch.cuda.current_device()):
        yield


@contextmanager
def _quiet():
    """Fabric's notes about processes and precision go to no one's terminal."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


class _QuietDDP(lightning_fabric.strategies.DDPStrategy):  # type: ignore[name-defined]
    def setup_environment(self):
        with _quiet():
            super().setup_environment()


class _GatherRows(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum over the processes that got it."""

    @staticmethod
    def forward(ctx, x):
        ctx.rows = len(x)
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        first = torch.distributed.get_rank() * ctx.rows
        return total[first : first + ctx.rows]


def _quietly(fabric, function, *args, **kwargs):
    with _quiet():
        return function(fabric, *args, **kwargs)


def _fits(source, device):
    if device.type != "cuda":
        return False
    size = source.n * int(np.prod(source.shape)) * np.dtype(source.dtype).itemsize
    return size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def _moved(source, device):
    dtype = torch.uint8 if np.dtype(source.dtype) == np.uint8 else torch.float32
    images = torch.empty((source.n, *source.shape), dtype=dtype, device=device)
    for rows, part in source.batches(np.arange(source.n), MOVED_IMAGES):
        images[int(rows[0]) : int(rows[0]) + len(rows)] = _to_device(part, device)
    return images


def _to_device(images, device):
    # Not every device has double precision.
    images = torch.from_numpy(images if images.dtype == np.uint8 else images.astype(np.float32))
    if device.type == "cuda":
        return images.pin_memory().to(device, non_blocking=True)
    return images.to(device)
