import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skclean.neural.classifier import (  # noqa: E402
    MLP,
    Classifier,
    conv_net,
    feature_classifier,
    image_classifier,
)


def test_logits_are_linear_in_the_features():
    network = feature_classifier(torch.ones(4), 2.0, 3, hidden_units=[5, 6], dropout=0.0, seed=0)
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    features = network.features(x)
    assert features.shape == (7, 6) and (features >= 0).all()
    torch.testing.assert_close(network(x), features @ network.head.weight.T + network.head.bias)


def test_mlp_without_layers_centres_and_scales():
    body = MLP(torch.tensor([1.0, 2.0]), 4.0, [], 0.0)
    torch.testing.assert_close(body(torch.tensor([[5.0, 2.0]])), torch.tensor([[1.0, 0.0]]))
    assert body.n_features == 2
    dropping = MLP(torch.zeros(1000), 1.0, [], 0.5)
    assert 0.4 < (dropping(torch.ones(1, 1000)) == 0).float().mean() < 0.6
    assert (dropping.eval()(torch.ones(1, 1000)) == 1).all()


def test_seed_decides_and_global_generators_stay():
    state = torch.random.get_rng_state()
    options = {"hidden_units": [5], "dropout": 0.0}
    one, two, other = (
        feature_classifier(torch.zeros(4), 1.0, 3, **options, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    images = [image_classifier("conv_net", 3, image_size=8, seed=s) for s in (0, 0, 1)]
    first = [net.body.network[0].weight for net in images]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("side", [1, 2, 8, 15])
def test_conv_net_takes_the_smallest_images(side):
    assert conv_net()(torch.zeros(2, 3, side, side)).shape == (2, 128, *[-(-side // 2)] * 2)


def test_trained_backbone_is_copied():
    body = image_classifier("conv_net", 3, image_size=8, seed=0).body
    network = image_classifier("auto", 4, weights=body, image_size=8, seed=0)
    assert isinstance(network, Classifier) and isinstance(network.head, nn.Linear)
    for ours, own in zip(network.body.parameters(), body.parameters(), strict=True):
        assert torch.equal(ours, own) and ours is not own
    assert network.eval()(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
