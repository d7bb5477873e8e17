import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skclean.neural.ema import AveragedNetwork  # noqa: E402


def network(seed=0, dropout=0.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 3)
        )
    return layers.train()


def steps(net, n, seed=0):
    """A few steps of SGD; yields their number."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(n):
        optimizer.zero_grad()
        net(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()
        yield step


def mixmatch_ema(start, histories, decay):
    """For every number of every parameter, a <- d a + (1 - d) w."""
    average = [p.tolist() for p in start]
    for step, history in enumerate(histories):
        d = min(decay, (1 + step) / (10 + step))
        average = [
            [d * a + (1 - d) * w for a, w in zip(mine, other)]
            for mine, other in zip(average, [p.tolist() for p in history])
        ]
    return average


@pytest.mark.parametrize("decay", [0.2, 0.999])
def test_average_of_the_parameters(decay):
    net = network()
    start = [p.detach().clone().ravel() for p in net.parameters()]
    averaged, histories = AveragedNetwork(net, decay), []
    for step in steps(net, 6):
        averaged.update(net, step)
        histories.append([p.detach().clone().ravel() for p in net.parameters()])
    expected = mixmatch_ema(start, histories, decay)
    for found, value in zip(averaged.network.parameters(), expected, strict=True):
        torch.testing.assert_close(found.ravel(), torch.tensor(value), atol=1e-6, rtol=1e-5)
        assert not found.requires_grad


def test_statistics_are_those_of_the_network():
    net = network()
    averaged = AveragedNetwork(net)
    for step in steps(net, 3):
        averaged.update(net, step)
    for mine, other in zip(averaged.network.buffers(), net.buffers(), strict=True):
        assert torch.equal(mine, other)
    assert int(averaged.network[1].num_batches_tracked) == 3


def test_the_network_is_left_alone():
    net = network()
    averaged = AveragedNetwork(net, 0.5)
    before = copy.deepcopy(net.state_dict())
    averaged.update(net, 0)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_evaluation_mode_stays():
    averaged = AveragedNetwork(network(dropout=0.5)).train()
    assert not any(m.training for m in averaged.modules())
    x = torch.ones(2, 4)
    assert torch.equal(averaged(x), averaged(x))


def test_without_decay_it_follows():
    net = network()
    followed = AveragedNetwork(net, 0.0)
    for step in steps(net, 2):
        followed.update(net, step)
    for name, p in net.named_parameters():
        assert torch.equal(followed.network.state_dict()[name], p)


def test_state_goes_on():
    net, other = network(), network()
    whole = AveragedNetwork(net, 0.9)
    for step in steps(net, 4):
        whole.update(net, step)
    first = AveragedNetwork(other, 0.9)
    for step in steps(other, 4):
        if step == 2:
            resumed = AveragedNetwork(network(seed=5), 0.9)
            resumed.load_state_dict(first.state_dict())
            first = resumed
        first.update(other, step)
    for a, b in zip(whole.state_dict().values(), first.state_dict().values(), strict=True):
        assert torch.equal(a, b)
