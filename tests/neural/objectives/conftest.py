"""Networks and batches for the tests of the objectives."""

from types import SimpleNamespace

import pytest


def _network(d, C, seed=0, image=False, norm=True):
    import torch
    from torch import nn

    layers = [nn.Flatten(), nn.Linear(d, 6), *[nn.BatchNorm1d(6)] * norm, nn.Tanh()]
    if image:
        layers = [nn.Conv2d(3, 6, 3), *[nn.BatchNorm2d(6)] * norm, nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(6, C))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.7)
    return network


def _part(b, C, shape, generator, *, soft=True, clean=False, first=0):
    import torch

    from skclean.neural.batch import Part

    target = torch.softmax(torch.randn(b, C, generator=generator) * 2, dim=1)
    if not soft:
        target = torch.eye(C)[target.argmax(dim=1)]
    return Part(
        rows=torch.arange(first, first + b),
        x=torch.rand(b, *shape, generator=generator),
        target=target,
        weight=torch.rand(b, generator=generator) + 0.5,
        clean=torch.rand(b, generator=generator) if clean else None,
    )


def _batch(b=5, m=7, C=3, *, image=False, soft=True, clean=False, seed=0, noise=0.1, **fields):
    """A batch whose views are reproducible noise; `fields` are further ones of the batch."""
    import torch

    from skclean.neural.batch import Batch

    made, views = (torch.Generator().manual_seed(s) for s in (seed, seed + 100))
    shape = (3, 6, 6) if image else (4,)

    def view(scale):
        return lambda x: x + scale * torch.randn(x.shape, generator=views)

    return Batch(
        labelled=_part(b, C, shape, made, soft=soft, clean=clean),
        unlabelled=None if m is None else _part(m, C, shape, made, first=b),
        trusted=None,
        weak=view(noise),
        strong=view(3 * noise),
        generator=torch.Generator().manual_seed(seed + 200),
        **{"progress": 4.0, "epochs": 20.0} | fields,
    )


@pytest.fixture
def make():
    """Builders of networks and batches: `make.network(d, C)`, `make.batch(b, m, C)`."""
    return SimpleNamespace(network=_network, batch=_batch)
