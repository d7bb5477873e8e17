"""Weights in files that hold tensors and no code."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from skclean._files import replacing
from skclean._saving_networks import host_copies

#: Endings of the files that `load_weights` hands to torch.
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
# Under which names training scripts put the weights beside other state.
_NESTED = ("state_dict", "model_state_dict", "model")


def save_weights(
    weights: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights to a safetensors file, as a whole or not at all.

    Parameters
    ----------
    weights : Module or dict of str to Tensor
        On any device, in any memory format. Tensors that share memory are written one by one.
    path : str or path
        Where the file comes to stand; a file that is there is replaced once the new one is
        complete on the disk.
    metadata : dict of str to str or None, default=None
        Written into the header of the file.

    Raises
    ------
    ValueError
        If the weights or the metadata are of other types.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    _check_state(state, "save_weights", "the weights")
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(
                f"save_weights: expected metadata of strings, got {key!r}: {value!r}; do encode it"
            )
    metadata = None if metadata is None else dict(metadata)
    with replacing(path) as scratch:
        safetensors.torch.save_file(host_copies(state), scratch, metadata)


def load_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the weights of a safetensors file, or of a torch file that holds nothing but tensors.

    Parameters
    ----------
    path : str or path
        Read by torch, with ``weights_only=True``, where it ends in .pt, .pth or .bin, and as
        safetensors otherwise. Weights under a key "state_dict", "model_state_dict" or "model" of a
        torch file are found.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, of another format, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_weights: expected a file, got no file at {str(path)!r}")
    if path.suffix not in TORCH_SUFFIXES:
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"load_weights: expected a complete safetensors file, got {str(path)!r} ({error}); "
                f"do write it again with save_weights, or name a torch file .pt"
            ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"load_weights: expected tensors alone, got Python objects or a damaged file in "
            f"{str(path)!r}; do save the state_dict alone, with save_weights: unpickling anything "
            f"else would run code that the file brings"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"load_weights: expected a complete torch file, got {str(path)!r} ({reason}); do save "
            f"it again"
        ) from error
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    _check_state(state, "load_weights", repr(str(path)))
    return dict(state)


def _check_state(state, name, where):
    if isinstance(state, Mapping):
        wrong = [k for k, v in state.items() if not isinstance(k, str) or not torch.is_tensor(v)]
        if not wrong:
            return
        found = f"{type(state[wrong[0]]).__name__} under {wrong[0]!r}"
    else:
        found = type(state).__name__
    raise ValueError(
        f"{name}: expected a dict of names and tensors, got {found} in {where}; do pass a module's "
        f"state_dict"
    )
