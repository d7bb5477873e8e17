"""The state of a training in one safetensors file, from which it goes on as if never stopped."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from skclean._files import replacing
from skclean._optional import import_optional

FORMAT = 1
_KEY = "skclean"
_FILE = "checkpoint.safetensors"


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
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    totals: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)


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
    plain = {
        # Copies: the file format knows neither strides nor shared memory.
        name: x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, x in tensors.items()
    }
    text = json.dumps({"format": FORMAT, **values})
    with replacing(path) as temporary:
        safetensors.save_file(plain, temporary, metadata={_KEY: text})


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
            text = (file.metadata() or {}).get(_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{name}: expected a whole checkpoint in {path}, got a damaged file ({error}); do "
            "delete it or name another folder."
        ) from error
    values = {} if text is None else json.loads(text)
    if values.get("format") != FORMAT:
        got = "another file" if text is None else f"format {values.get('format')}"
        raise ValueError(
            f"{name}: expected a checkpoint of format {FORMAT} in {path}, got {got}; do name "
            "another folder."
        )
    return tensors, values


def check_settings(stored: dict[str, Any], settings: dict[str, Any], path: Any, name: str) -> None:
    """Compare the settings of a checkpoint with those of the run that wants to go on from it.

    Raises
    ------
    ValueError
        Naming the settings that differ.
    """
    missing = "nothing"
    differ = [
        f"{key}={settings.get(key, missing)!r} in place of {stored.get(key, missing)!r}"
        for key in {**stored, **settings}
        if stored.get(key, missing) != settings.get(key, missing)
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

    Raises
    ------
    ValueError
        If there is a checkpoint and `resume` is False, or it cannot be gone on from.
    """

    def __init__(self, folder: Any, settings: dict[str, Any], resume: bool, name: str):
        self.path = None if folder is None else Path(folder) / _FILE
        self.settings = json.loads(json.dumps(settings))
        self.name = name
        self._tensors: dict[str, Tensor] = {}
        self._values: dict[str, Any] = {}
        if self.path is None or not self.path.exists():
            return
        if not resume:
            raise ValueError(
                f"{name}: expected a folder without a checkpoint, got {self.path}; do set "
                "resume=True to go on from it, or name another folder."
            )
        self._tensors, self._values = load_checkpoint(self.path, name)
        check_settings(self._values["settings"], self.settings, self.path, name)

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
            raise ValueError(
                f"{self.name}: expected the network of the checkpoint {self.path}, got another "
                f"({error}); do pass the backbone that it was written with."
            ) from error
        load_optimizer(optimizer, _within(self._tensors, "optimizer."))
        if self._values["precision"]:
            precision.load_state_dict(self._values["precision"])
        device = next(iter(module.state_dict().values())).device
        totals = {k: x.to(device) for k, x in _within(self._tensors, "totals.").items()}
        progress = Progress(**self._values["progress"], totals=totals)
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
        values = {
            "settings": self.settings,
            "precision": precision.state_dict(),
            "progress": {k: getattr(progress, k) for k in ("epoch", "step", "seconds", "history")},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # What a process that was killed while it wrote has left.
        for unfinished in self.path.parent.glob(f".{self.path.name}.*"):
            unfinished.unlink(missing_ok=True)
        save_checkpoint(self.path, tensors, values)


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
