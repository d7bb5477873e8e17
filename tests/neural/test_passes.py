import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skclean.neural.passes import (  # noqa: E402
    forward_in_groups,
    frozen_statistics,
    guess,
    predict_proba,
)


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.BatchNorm1d(5, momentum=None),
            nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2),
        )  # fmt: skip


def rows(n, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def state(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[k], second[k]) for k in first)


def test_frozen_statistics_change_no_output_and_leave_no_trace():
    net, plain, x = network(), network(), rows(6)
    before = state(net)
    with frozen_statistics(net):
        assert torch.equal(net(x), plain(x))
    assert same(before, state(net)) and not same(before, state(plain))
    assert [m.track_running_stats for m in net if isinstance(m, nn.BatchNorm1d)] == [1, 1, 0]
    net.eval(), network().eval()
    usual = net(x)
    with frozen_statistics(net):
        assert torch.equal(net(x), usual)


def test_statistics_move_again_after_an_error():
    net = network()
    with pytest.raises(RuntimeError), frozen_statistics(net):
        net(rows(4).flatten())
    before = state(net)
    net(rows(4))
    assert not same(before, state(net))


def test_infinite_rows_leave_no_trace():
    net = network()
    before = state(net)
    predict_proba(net, rows(4) * torch.inf)
    assert same(before, state(net))


def test_predictions_and_gradients_after_them():
    net, x = network(), rows(6)
    for training in (True, False):
        net.train(training)
        with frozen_statistics(net):
            expected = torch.softmax(net(x), dim=1)
        found = predict_proba(net, x)
        assert torch.equal(found, expected) and not found.requires_grad
        assert net.training is training
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert predict_proba(net, x).dtype == torch.float32
        net(x).float().square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_guess():
    net, x = network()[:4].eval(), rows(8)
    found = guess(net, x, 2)
    for i in range(4):
        total = sum(torch.softmax(net(x[[j]]), dim=1)[0] for j in (i, i + 4))
        torch.testing.assert_close(found[i], total / 2)


@pytest.mark.parametrize("n", [6, 7, 11])
@pytest.mark.parametrize("n_groups", [1, 2, 3])
def test_groups(n, n_groups):
    net, x = network(), rows(n)
    literal = copy.deepcopy(net)
    found = forward_in_groups(net, x, n_groups)
    expected = torch.empty_like(found)
    for j in range(n_groups):
        group = [i for i in range(n) if i % n_groups == j]
        moved = literal if j == 0 else copy.deepcopy(literal)
        with torch.no_grad():
            expected[group] = moved(x[group])
    torch.testing.assert_close(found, expected)
    assert same(state(net), state(literal))
    found.sum().backward()
    assert net[1].track_running_stats


def test_no_group_of_one_row():
    net = network()
    assert forward_in_groups(net, rows(3), 3).shape == (3, 2)
    assert forward_in_groups(net[:4].eval(), rows(1), 4).shape == (1, 5)
