import pickle

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skclean.embeddings.nt_xent import nt_xent  # noqa: E402
from skclean.embeddings.simclr import SimCLR  # noqa: E402


def backbone():
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers.n_features = 8
    return layers


def test_parameters():
    method = clone(SimCLR(temperature=0.2)).set_params(projection_dim=5)
    assert method.get_params() == {"temperature": 0.2, "projection_dim": 5, "hidden_dim": None}
    for wrong in ({"temperature": 0}, {"projection_dim": 0}, {"hidden_dim": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SimCLR(**wrong).make(backbone(), 0)


def test_head_and_its_seed():
    net = backbone()
    state, cpu = np.random.get_state()[1].copy(), torch.get_rng_state()
    a, b, c = (SimCLR(projection_dim=5, hidden_dim=6).make(net, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), cpu)
    assert (np.random.get_state()[1] == state).all()
    assert a.backbone is net and a.trained_backbone() is net
    assert [p.shape for p in a.head.parameters()] == [(6, 8), (6,), (6,), (5, 6), (5,)]
    assert torch.equal(a.head[0].weight, b.head[0].weight)
    assert not torch.equal(a.head[0].weight, c.head[0].weight)
    assert SimCLR().make(net, 0).head[0].weight.shape == (8, 8)


def test_loss_is_nt_xent_of_the_projections():
    objective = SimCLR(temperature=0.3, projection_dim=5).make(backbone(), 0).eval()
    view1, view2 = torch.rand(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    terms = objective.loss(view1, view2)
    z1, z2 = (objective.head(objective.backbone(view)) for view in (view1, view2))
    assert list(terms) == ["loss"]
    torch.testing.assert_close(terms["loss"], nt_xent(z1, z2, 0.3))
    terms["loss"].backward()
    assert all(p.grad is not None for p in objective.parameters())


def test_frozen_parameters_are_not_trained_and_it_pickles():
    net = backbone()
    net[0].requires_grad_(False)
    objective = pickle.loads(pickle.dumps(SimCLR().make(net, 0)))
    assert sum(p.requires_grad for p in objective.parameters()) == 5
