import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from skclean.embeddings.preact import PreActBlock, preact_resnet18  # noqa: E402


def batch_norm(x, norm):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def identity_mapping_of_figure_1b(block, x):
    """X + F(x), where F is norm, ReLU, weights, norm, ReLU, weights."""
    active = batch_norm(x, block.bn1).clamp(min=0)
    inner = F.conv2d(active, block.conv1.weight, stride=block.conv1.stride, padding=1)
    inner = F.conv2d(batch_norm(inner, block.bn2).clamp(min=0), block.conv2.weight, padding=1)
    if block.shortcut is None:
        return x + inner
    return inner + F.conv2d(active, block.shortcut.weight, stride=block.conv1.stride)


@pytest.mark.parametrize("n_in, n_out, stride", [(4, 4, 1), (4, 8, 2), (4, 8, 1), (4, 4, 2)])
def test_block(n_in, n_out, stride):
    torch.manual_seed(0)
    block = PreActBlock(n_in, n_out, stride)
    for norm in (block.bn1, block.bn2):
        torch.nn.init.uniform_(norm.weight), torch.nn.init.normal_(norm.bias)
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    x = torch.randn(3, n_in, 8, 8)
    found = block.eval()(x)
    assert found.shape == (3, n_out, 8 // stride, 8 // stride)
    torch.testing.assert_close(found, identity_mapping_of_figure_1b(block, x))


def test_network():
    network = preact_resnet18()
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 512, 4, 4)
    # 11,171,146 of the usual one for 10 classes, less its classifier, more a norm at the end.
    assert sum(p.numel() for p in network.parameters()) == 11_171_146 - 5130 + 1024
    kinds = [type(m).__name__ for m in network]
    assert kinds == ["Conv2d"] + ["PreActBlock"] * 8 + ["BatchNorm2d", "ReLU"]
    assert sum(m.shortcut is not None for m in network if isinstance(m, PreActBlock)) == 3
