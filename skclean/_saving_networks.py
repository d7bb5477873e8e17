"""Networks as their layers, plain settings and tensors, and back; needs torch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skclean._saving_types import UnknownNameError, class_name, find_class, is_network_class

#: What each torch.nn.Module has, hooks among it, before anything is set.
_EMPTY = vars(nn.Module())
_OWN = ("training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


def describe_network(encoder: Any, network: nn.Module) -> dict[str, Any]:
    """The entry of a network, whose tensors become a member of their own.

    Raises
    ------
    ValueError
        If a layer is none of torch, torchvision and skclean, or holds what is not stored.
    """
    layers = _Layers(encoder)
    root = layers.describe(network)
    encoder.networks.append(layers.tensors)
    return {
        "kind": "network",
        "member": len(encoder.networks) - 1,
        "layers": layers.entries,
        "root": root,
    }


class _Layers:
    """The layers of a network, each behind its own parts."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.tensors: dict[str, Tensor] = {}
        self.places: dict[int, str] = {}
        self.entries: list[dict[str, Any]] = []
        self.seen: dict[int, int] = {}

    def describe(self, module):
        """Position of the layer among the entries."""
        if id(module) in self.seen:
            return self.seen[id(module)]
        state, name = vars(module), class_name(type(module))
        hooked = [k for k, v in _EMPTY.items() if k not in _OWN and state.get(k) != v]
        if name is None or hooked:
            raise self.encoder.refused(module, "a network with hooks" if hooked else None)
        parts = {}
        for key, part in state["_modules"].items():
            self.encoder._path.append(f".{key}")
            parts[key] = None if part is None else self.describe(part)
            self.encoder._path.pop()
        self.entries.append(
            {
                "class": name,
                "training": module.training,
                "parameters": self._tensors(state["_parameters"]),
                "buffers": self._tensors(state["_buffers"]),
                "passing": sorted(state["_non_persistent_buffers_set"]),
                "layers": parts,
                "state": self.encoder.pairs({k: v for k, v in state.items() if k not in _EMPTY}),
            }
        )
        self.seen[id(module)] = len(self.entries) - 1
        return self.seen[id(module)]

    def _tensors(self, named):
        return {key: None if x is None else self._tensor(x) for key, x in named.items()}

    def _tensor(self, x):
        if id(x) not in self.places:
            self.places[id(x)] = str(len(self.tensors))
            self.tensors[self.places[id(x)]] = x
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        return {
            "tensor": self.places[id(x)],
            "trained": x.requires_grad,
            "channels_last": last and not x.is_contiguous(),
        }


def host_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: its format knows neither strides nor shared memory."""
    return {
        name: x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, x in tensors.items()
    }


def make_network(decoder: Any, entry: dict[str, Any]) -> nn.Module:
    """The network of an entry, on the host."""
    if type(entry["member"]) is not int:
        raise ValueError(f"no member: {entry['member']!r}")
    tensors = decoder.networks(entry["member"])
    laid: dict[str, Tensor] = {}
    parameters: dict[str, Tensor] = {}
    layers: list[nn.Module] = []

    def tensor(place, trained):
        if place is None:
            return None
        x = tensors[place["tensor"]]
        if place["channels_last"] is True:
            if place["tensor"] not in laid:
                laid[place["tensor"]] = x.to(memory_format=torch.channels_last)
            x = laid[place["tensor"]]
        if not trained:
            return x
        # A parameter of two layers stays one.
        return parameters.setdefault(
            place["tensor"], nn.Parameter(x, requires_grad=place["trained"] is True)
        )

    for made in entry["layers"]:
        cls: Any = find_class(made["class"])
        if not is_network_class(cls):
            raise UnknownNameError(made["class"])
        layer = object.__new__(cls)
        nn.Module.__init__(layer)
        state = decoder.state(made["state"])
        if state.keys() & _EMPTY.keys():
            raise ValueError("a layer with other insides")
        layer.__dict__.update(state)
        layer.training = made["training"] is True
        own = vars(layer)
        own["_parameters"].update({k: tensor(v, True) for k, v in made["parameters"].items()})
        own["_buffers"].update({k: tensor(v, False) for k, v in made["buffers"].items()})
        own["_non_persistent_buffers_set"].update(map(str, made["passing"]))
        for key, place in made["layers"].items():
            own["_modules"][key] = None if place is None else layers[place]
        layers.append(layer)
    return layers[entry["root"]]
