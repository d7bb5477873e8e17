import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skclean.embeddings.shared_norm import shared_batch_norm  # noqa: E402

CPU = torch.device("cpu")


class Asks(nn.Sequential):
    shares_batch_norm = True


def network(seed=0):
    norms = [nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(48)]
    torch.nn.init.normal_(norms[0].weight, generator=torch.Generator().manual_seed(seed))
    return nn.Sequential(Asks(*norms), nn.BatchNorm1d(48, track_running_stats=False))


def test_alone_it_is_batch_norm():
    """Outputs, gradients and running statistics."""
    plain, shared = network(), network()
    for seed in range(3):
        x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        with shared_batch_norm(shared, lambda rows: rows, CPU):
            outputs = plain(a), shared(b)
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
        for output in outputs:
            output.tanh().sum().backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)
        for one, other in zip(plain.parameters(), shared.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean", [4, 1000])
def test_running_statistics_are_those_of_all_rows(mean):
    halves = torch.randn(2, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 2 + mean
    halves[1] += 1
    whole, part = (Asks(nn.BatchNorm2d(3)) for _ in range(2))
    expected = whole(halves.flatten(0, 1))[:5]
    other = torch.stack(torch.var_mean(halves[1], (0, 2, 3), correction=0))[None]
    with shared_batch_norm(part, lambda here: torch.cat([here, other]), CPU):
        torch.testing.assert_close(part(halves[0]), expected, rtol=1e-3, atol=1e-3)
    for name, x in whole.state_dict().items():
        torch.testing.assert_close(part.state_dict()[name], x, rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_with_in_single():
    x = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 3
    half, single = Asks(nn.BatchNorm2d(3)), Asks(nn.BatchNorm2d(3))
    with shared_batch_norm(half, lambda here: here, CPU):
        found = half(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), single(x.bfloat16().float()), rtol=1e-2, atol=1e-2)
    for name, value in single.state_dict().items():
        torch.testing.assert_close(half.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_what_changes_and_what_stays():
    net = network()
    with shared_batch_norm(net, None, CPU):
        assert type(net[0][0]) is nn.BatchNorm2d
    with shared_batch_norm(net, lambda x: x, CPU):
        assert type(net[0][0]) is not nn.BatchNorm2d and type(net[1]) is nn.BatchNorm1d
        net.eval()
        x = torch.randn(3, 3, 4, 4)
        shown = net[0](x)
        net.train()
    torch.testing.assert_close(net.eval()[0](x), shown)
    net.train()
    with shared_batch_norm(net, lambda x: x, torch.device("cuda")):
        assert type(net[0][0]) is type(net[0][2]) is nn.SyncBatchNorm
    with pytest.raises(KeyError), shared_batch_norm(net, lambda x: x, CPU):
        raise KeyError
    assert type(net[0][0]) is nn.BatchNorm2d and "gather" not in vars(net[0][0])
