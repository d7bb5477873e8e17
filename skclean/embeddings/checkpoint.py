"""The state of a training in one safetensors file, from which it goes on as if never stopped."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from skclean._array import blocks, is_dask, to_numpy
from skclean._files import replacing
from skclean._optional import import_optional
from skclean._saving_networks import host_copies
from skclean.embeddings._described import as_python

try:
    import fcntl
except ImportError:  # Windows has no such locks: two runs are then not kept apart.
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
_KEY, _SEAL = "skclean", "sha256"
_FILE, _LOCK = "checkpoint.safetensors", "lock"
#: Images that tell one set from another.
FINGERPRINT_ROWS = 64


@dataclass
class Progress:
    """How far a training has come.

    Attributes
    ----------
    epoch, step : int
        The next step, and its epoch, from 0.
    seconds : float
        Spent on this epoch so far.
    totals : dict of str to Tensor
        Sum of each loss term over the steps of this epoch, on the device.
    history : dict of str to list of float
        An entry for each finished epoch.
    ended : bool
        Whether the training came to its end before the last epoch.
    kept : dict of str to Tensor
        What else a checkpoint holds.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    totals: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    ended: bool = False
    kept: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Any, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors and plain values to a safetensors file, which is whole or not there.

    Parameters
    ----------
    path : path-like
    tensors : dict of str to Tensor
        Of any device and memory format.
    values : dict
        What JSON can hold.
    """
    safetensors = import_optional("safetensors.torch", "neural")
    plain = host_copies(tensors)
    text = _json({"format": FORMAT, **values})
    metadata = {_KEY: text, _SEAL: _seal(text, plain)}
    with replacing(path) as temporary:
        safetensors.save_file(plain, temporary, metadata=metadata)


def load_checkpoint(path: Any, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` wrote, on the host.

    Parameters
    ----------
    path : path-like
    name : str
        Who speaks in errors.

    Raises
    ------
    ValueError
        If the file is damaged, or none of ours.
    """
    safetensors = import_optional("safetensors", "neural")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{name}: expected a whole checkpoint in {path}, got a damaged file ({error}); do "
            "delete it or name another folder."
        ) from error
    text = metadata.get(_KEY)
    if text is not None and metadata.get(_SEAL) != _seal(text, tensors):
        raise ValueError(
            f"{name}: expected a whole checkpoint in {path}, got one whose content is not what was "
            "written; do delete it or name another folder."
        )
    values = {} if text is None else json.loads(text)
    if values.get("format") != FORMAT:
        got = "another file" if text is None else f"format {values.get('format')}"
        raise ValueError(
            f"{name}: expected a checkpoint of format {FORMAT} in {path}, got {got}; do name "
            "another folder."
        )
    return tensors, values


def _json(values):
    """A document of plain values, and of NumPy's."""
    return json.dumps(values, default=as_python)


def _seal(text, tensors):
    """A digest of the document, and of names, types, shapes and bytes of the tensors."""
    found = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        x = tensors[key]
        found.update(f"{key} {x.dtype} {tuple(x.shape)}".encode())
        # NumPy has not every type of torch.
        found.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_settings(stored: dict[str, Any], settings: dict[str, Any], path: Any, name: str) -> None:
    """Compare the settings of a checkpoint with those of the run that wants to go on from it.

    Raises
    ------
    ValueError
        Naming the settings that differ.
    """
    missing = "nothing"
    now = json.loads(_json(settings))
    differ = [
        f"{key}={now.get(key, missing)!r} in place of {stored.get(key, missing)!r}"
        for key in {**stored, **now}
        if stored.get(key, missing) != now.get(key, missing)
    ]
    if differ:
        raise ValueError(
            f"{name}: expected the settings of the checkpoint {path}, got {', '.join(differ)}; do "
            "set them as they were, or name another folder."
        )


class Checkpoints:
    """Keeps the state of a module, an optimizer and a loop in a folder.

    Parameters
    ----------
    folder : path-like or None
        None keeps nothing.
    settings : dict of str to object
        What must be the same when the run goes on; plain values.
    resume : bool
        Whether to go on from what is there.
    name : str
        Who speaks in errors.
    writes : bool, default=True
        Whether this process writes; the others read alone.

    Raises
    ------
    ValueError
        If there is a checkpoint and `resume` is False, it cannot be gone on from, or another run
        writes to the folder.
    OSError
        If the folder cannot be written to.
    """

    def __init__(
        self, folder: Any, settings: dict[str, Any], resume: bool, name: str, writes: bool = True
    ):
        self.path: Any = None if folder is None else Path(folder) / _FILE
        self.settings = settings
        self.name = name
        self._tensors: dict[str, Tensor] = {}
        self._values: dict[str, Any] = {}
        self._lock: Any = None
        if self.path is None:
            return
        if writes:
            self._lock = _locked(self.path.parent, name)
        try:
            self._open(resume)
        except BaseException:
            self.close()
            raise

    def _open(self, resume):
        if not self.path.exists():
            return
        if not resume:
            raise ValueError(
                f"{self.name}: expected a folder without a checkpoint, got {self.path}; do set "
                "resume=True to go on from it, or name another folder."
            )
        self._tensors, self._values = load_checkpoint(self.path, self.name)
        check_settings(self._values["settings"], self.settings, self.path, self.name)

    def close(self) -> None:
        """Let other runs write to the folder."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def restore(self, module: nn.Module, optimizer: Optimizer, precision: Any) -> Progress:
        """Bring everything to the state of the checkpoint; as it is where there is none.

        Parameters
        ----------
        module : Module
        optimizer : Optimizer
            Of parameters of the module, on their device.
        precision : object with `state_dict` and `load_state_dict`
            Fabric's, which scales the loss in half precision.
        """
        if not self._values:
            return Progress()
        try:
            module.load_state_dict(_within(self._tensors, "module."))
        except RuntimeError as error:
            self.close()
            raise ValueError(
                f"{self.name}: expected the network of the checkpoint {self.path}, got another "
                "one; do pass the backbone that it was written with."
            ) from error
        load_optimizer(optimizer, _within(self._tensors, "optimizer."))
        if self._values["precision"]:
            precision.load_state_dict(self._values["precision"])
        device = next(iter(module.state_dict().values())).device
        totals = {k: x.to(device) for k, x in _within(self._tensors, "totals.").items()}
        kept = _within(self._tensors, "kept.")
        progress = Progress(**self._values["progress"], totals=totals, kept=kept)
        self._tensors = {}
        return progress

    def save(
        self, module: nn.Module, optimizer: Optimizer, precision: Any, progress: Progress
    ) -> None:
        """Write the state; the last checkpoint stays until this one is whole."""
        if self.path is None:
            return
        tensors = {f"module.{k}": x for k, x in module.state_dict().items()}
        tensors |= {f"optimizer.{k}": x for k, x in optimizer_tensors(optimizer).items()}
        tensors |= {f"totals.{k}": x for k, x in progress.totals.items()}
        tensors |= {f"kept.{k}": x for k, x in progress.kept.items()}
        values = {
            "settings": self.settings,
            "precision": precision.state_dict(),
            "progress": {k: v for k, v in vars(progress).items() if k not in ("totals", "kept")},
        }
        # What a process that was killed while it wrote has left.
        for unfinished in self.path.parent.glob(f".{self.path.name}.*"):
            unfinished.unlink(missing_ok=True)
        save_checkpoint(self.path, tensors, values)


def digest(*arrays: np.ndarray) -> str:
    """Of all that the arrays hold."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def fingerprint(rows: Any) -> str:
    """A digest by which rows are told apart, of an array or an ImageSource.

    Of all rows of an array; else of the sizes of all files, and of some of the images.
    """
    is_source = hasattr(rows, "readable")
    held = rows.array() if is_source else rows
    if held is not None:
        parts = range(held.numblocks[0]) if is_dask(held) else blocks(held.shape[0])
        rows_of = held.blocks if is_dask(held) else held
        return digest(*(to_numpy(rows_of[part]) for part in parts))
    places = np.unique(np.linspace(0, rows.n - 1, FINGERPRINT_ROWS).astype(np.int64))
    return digest(rows.read(places[rows.readable[places]]), rows.sizes())


def _locked(folder, name):
    """The folder, made where it is missing, for this run alone until the result is let go."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / _LOCK).open("w")
    if fcntl is not None:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise ValueError(
                f"{name}: expected a checkpoint_dir that no other run writes to, got {folder}; do "
                "name another folder, or wait for that run."
            ) from error
    return stream


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer, keyed by number of the parameter and name."""
    return {
        f"{i}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for i, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took, in the memory format of the parameters."""
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, value in tensors.items():
        i, _, name = key.partition(".")
        whole["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(whole)
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _within(tensors, prefix):
    return {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}
