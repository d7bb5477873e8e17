"""Networks that map images to features."""

import copy
import difflib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skclean.embeddings._torchvision import import_torchvision
from skclean.embeddings.devices import seeded
from skclean.embeddings.preact import preact_resnet18
from skclean.embeddings.weights import load_weights

#: Below this many pixels the ResNets get a stem that keeps the resolution.
SMALL_IMAGE = 64
_RESNETS = ("resnet18", "resnet34", "resnet50")
# Where other programs put the part of the weights that is the backbone.
_PREFIXES = ("network.", "module.", "backbone.", "encoder.", "model.", "_orig_mod.")


class Backbone(nn.Module):
    """A network with its normalisation in front and pooling behind.

    Parameters
    ----------
    network : Module
        Maps (b, 3, H, W) to (b, d), or to (b, d, h, w), which is averaged over h and w.
    mean, std : sequence of 3 float, default=(0, 0, 0) and (1, 1, 1)
        Of the channels: the network sees (images - mean) / std.
    image_size : int or (height, width)
        Of the images by which `n_features` is found.

    Attributes
    ----------
    n_features : int
        d.
    takes_channels_last : bool
        Whether the network works with the channels of images last in memory; one that calls
        ``x.view`` behind a convolution does not.
    """

    mean: Tensor
    std: Tensor
    takes_channels_last: bool = True

    def __init__(self, network, *, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), image_size):
        super().__init__()
        self.network = network
        device = next(network.parameters(), torch.empty(0)).device
        self.register_buffer("mean", _channels(mean, "mean").to(device))
        self.register_buffer("std", _channels(std, "std").to(device))
        if not (self.std > 0).all():
            raise ValueError(
                f"make_backbone: expected positive std, got {std}; do leave it out for no scaling"
            )
        self.n_features = self._count_features(image_size)
        self.takes_channels_last = self._tries_channels_last(image_size)

    def forward(self, images: Tensor) -> Tensor:
        """Features (b, d) of images (b, 3, H, W) in [0, 1]."""
        features = self.network((images - self.mean) / self.std)
        return features.mean((2, 3)) if getattr(features, "ndim", None) == 4 else features

    def _count_features(self, image_size):
        """Columns of the output, by a run that leaves no trace in the network."""
        training = {module: module.training for module in self.modules()}
        self.eval()
        height, width = _sides(image_size)
        try:
            with torch.no_grad():
                features = self(self.mean.expand(1, 3, height, width))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ValueError(
                "make_backbone: expected a network that takes these images, float32 of shape (b, "
                f"3, {height}, {width}), got an error ({error}); do set image_size, which makes "
                "them square, or take another backbone, or backbone='mlp' of NeuralRetrainer for "
                "rows of features"
            ) from error
        finally:
            for module, was in training.items():
                module.training = was
        if not torch.is_tensor(features) or features.ndim != 2 or len(features) != 1:
            shape = tuple(getattr(features, "shape", ())) or type(features).__name__
            raise ValueError(
                f"make_backbone: expected a network whose output has shape (b, d) or (b, d, h, w), "
                f"got {shape} for one image; do wrap it in a module that gives such features"
            )
        return features.shape[1]

    def _tries_channels_last(self, image_size):
        """Whether a copy runs so, in training and in evaluation.

        A trial: whatever stops it, also `Module.to` with parameters of five axes, is a no.
        """
        height, width = _sides(image_size)
        images = self.mean.expand(2, 3, height, width)
        try:
            trial: Any = copy.deepcopy(self).to(memory_format=torch.channels_last)
            with torch.no_grad():
                for training in (True, False):
                    trial.train(training)(images.contiguous(memory_format=torch.channels_last))
        except Exception:
            return False
        return True


def lay_out(module: Any) -> torch.memory_format:
    """Lay a module out with channels last, if each `Backbone` in it works so.

    Returns
    -------
    torch.memory_format
        That of the images that it is to be trained on.
    """
    if not all(getattr(part, "takes_channels_last", True) for part in module.modules()):
        return torch.contiguous_format
    module.to(memory_format=torch.channels_last)
    return torch.channels_last


def make_backbone(
    backbone: str | nn.Module,
    *,
    weights: str | os.PathLike | None = None,
    image_size: int | tuple[int, int],
    seed: int,
    mean: Any = None,
    std: Any = None,
) -> Backbone:
    """A network from images to features.

    Parameters
    ----------
    backbone : str or Module
        "preact_resnet18", or the name of a classification model of torchvision, whose last layer,
        the classifier, is taken off. "resnet18", "resnet34" and "resnet50" get a stem of stride 1
        without max-pooling below 64 pixels, unless `weights` is "DEFAULT". A Module is copied as it
        is; it maps (b, 3, H, W) to (b, d) or (b, d, h, w).
    weights : None, "DEFAULT" or path, default=None
        None: drawn from `seed`; a Module keeps its own. "DEFAULT": torchvision's best pretrained
        ones, which it downloads. A path: as for `load_weights`; a classifier among them is passed
        over, as are prefixes like "module." or "backbone." and what stands outside of them.
    image_size : int or (height, width)
        Of the images, in pixels. A network of fixed size, as a vision transformer, is made for the
        smaller one, and takes square images alone.
    seed : int
        Of the initialisation. The global generators are left as they are.
    mean, std : sequence of 3 float or None, default=None
        Normalisation of the channels. None: that of pretrained weights or of the file, if
        `save_weights` wrote it from a `Backbone`, else none.

    Returns
    -------
    Backbone
        Maps float (b, 3, H, W) in [0, 1] to (b, n_features). In training mode, unless a Module came
        in evaluation mode.

    Raises
    ------
    ValueError
        If there is no such backbone, if it cannot take images of this size, or if the weights are
        not its own.
    ImportError
        If torchvision is needed and not installed.

    Examples
    --------
    >>> import torch
    >>> from skclean.embeddings.backbones import make_backbone
    >>> backbone = make_backbone("preact_resnet18", image_size=32, seed=0)
    >>> backbone.n_features
    512
    >>> backbone(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 512])
    """
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise ValueError(
            f"make_backbone: expected weights to be None, 'DEFAULT' or a path, got {weights!r}"
        )
    pretrained = weights == "DEFAULT"
    if pretrained and (isinstance(backbone, nn.Module) or backbone == "preact_resnet18"):
        raise ValueError(
            "make_backbone: expected a model of torchvision for weights='DEFAULT', got "
            f"{backbone if isinstance(backbone, str) else type(backbone).__name__}; do pass the "
            "path of its weights, or None"
        )
    normalisation = {"mean": mean, "std": std}
    heads: tuple[str, ...] = ("fc", "linear")
    if isinstance(backbone, nn.Module):
        network, heads = copy.deepcopy(backbone), ()
    # Generators of other devices are not drawn from: everything is made on the CPU.
    with seeded(seed), torch.device("cpu"):
        if backbone == "preact_resnet18":
            network = preact_resnet18()
        elif not isinstance(backbone, nn.Module):
            network, head, defaults = _torchvision_model(
                backbone, pretrained, min(_sides(image_size))
            )
            normalisation = {k: defaults[k] if v is None else v for k, v in normalisation.items()}
            heads = (head,)
        if weights is not None and not pretrained:
            stored = _load_into(network, weights, heads)
            normalisation = {k: stored.get(k) if v is None else v for k, v in normalisation.items()}
        given = {k: v for k, v in normalisation.items() if v is not None}
        return Backbone(network, image_size=image_size, **given)


def _torchvision_model(name, pretrained, image_size):
    """A classification model without its classifier, the classifier's name, and mean and std."""
    models = import_torchvision("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(str(name), ["preact_resnet18", *known], n=3)
        raise ValueError(
            f"make_backbone: expected 'preact_resnet18', a classification model of torchvision or "
            f"a torch.nn.Module, got {name!r}; do "
            + (f"you mean {' or '.join(map(repr, close))}?" if close else "see its list_models()")
        )
    weights = models.get_model_weights(name).DEFAULT if pretrained else None
    if pretrained:
        # torchvision reads the file once more, and does not ask for tensors alone.
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    settings = _settings(name, weights, image_size)
    model = models.get_model(name, weights=weights, progress=False, **settings)
    if name in _RESNETS and not pretrained and image_size < SMALL_IMAGE:
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    # SqueezeNet classifies by a convolution.
    head = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    parent, _, child = head.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    shown = weights.transforms() if pretrained else None
    return model, head, {"mean": getattr(shown, "mean", None), "std": getattr(shown, "std", None)}


def _settings(name, weights, image_size):
    """What a model has to be told beside its weights."""
    settings = {}
    if name in ("googlenet", "inception_v3"):
        settings["aux_logits"] = False
        if weights is None:
            settings["init_weights"] = True
    if name.startswith("vit_") and weights is None:
        settings["image_size"] = image_size
    return settings


def _load_into(network, path, heads):
    """Load the weights of a file, strictly, and return those that lie outside of the network."""
    expected = network.state_dict()
    outside = state = load_weights(path)
    while not expected.keys() & state.keys():
        prefix = next((p for p in _PREFIXES if any(k.startswith(p) for k in state)), None)
        if prefix is None:
            break
        outside = state
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    inside = {k: v for k, v in state.items() if k.rpartition(".")[0] not in heads or k in expected}
    missing = [k for k in expected if k not in inside and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in inside if k not in expected]
    other = [
        f"{k} {tuple(inside[k].shape)} instead of {tuple(v.shape)}"
        for k, v in expected.items()
        if k in inside and inside[k].shape != v.shape
    ]
    if missing or unexpected or other:
        found = [
            f"{what}: {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("shapes", other))
            if names
        ]
        raise ValueError(
            f"make_backbone: expected weights of this backbone in {str(Path(path))!r}, got others "
            f"({'; '.join(found)}); do pass the backbone and the image size they were made with"
        )
    network.load_state_dict(inside, strict=False)
    return {k: outside[k].flatten() for k in ("mean", "std") if k in outside}


def _sides(image_size):
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)


def _channels(values, name):
    values = torch.tensor(np.ravel(values).tolist(), dtype=torch.float32)
    if len(values) != 3 or not values.isfinite().all():
        raise ValueError(
            f"make_backbone: expected {name} of 3 finite values, got {values.tolist()}; do pass "
            f"one for each channel"
        )
    return values.view(1, 3, 1, 1)
