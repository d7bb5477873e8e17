import copy
import math
import pickle
from collections import deque

import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skclean.embeddings.moco import (  # noqa: E402
    MoCo,
    SplitBatchNorm2d,
    enqueue,
    info_nce,
    join_batch_norm,
    momentum_update,
    n_equal_groups,
    split_batch_norm,
)


def backbone(norm=True, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    layers.n_features = 8
    return layers


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def equation_1(queries, keys, queue, temperature):
    """He et al. 2020, eq. 1, averaged over the queries."""
    total = 0.0
    for q, k in zip(queries.tolist(), keys.tolist()):
        dots = [sum(a * b for a, b in zip(q, other)) for other in [k, *queue.tolist()]]
        exps = [math.exp(dot / temperature) for dot in dots]
        total -= math.log(exps[0] / sum(exps))
    return total / len(queries)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_info_nce(dtype, seed):
    q, k = (F.normalize(random(5, 4, seed=seed + i, dtype=dtype), dim=1) for i in (0, 10))
    queue = F.normalize(random(9, 4, seed=seed + 20, dtype=dtype), dim=1)
    found = float(info_nce(q, k, queue, 0.2))
    assert found == pytest.approx(equation_1(q, k, queue, 0.2), rel=1e-5)
    shuffled = queue[torch.randperm(9, generator=torch.Generator().manual_seed(seed))]
    assert float(info_nce(q, k, shuffled, 0.2)) == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("sizes", [[4], [3], [5, 2, 7], [10], [11, 1], [25]])
def test_queue_against_a_list(sizes):
    queue, pointer = torch.zeros(10, 2), torch.zeros(1, dtype=torch.int64)
    twin, written = deque(torch.zeros(10, 2).tolist(), maxlen=10), 0
    for step in range(40):
        keys = random(sizes[step % len(sizes)], 2, seed=step)
        enqueue(queue, pointer, keys)
        for key in keys.tolist():
            twin.append(key)
            written += 1
        assert int(pointer) == written % 10
        oldest_first = queue.roll(-int(pointer), 0)
        assert oldest_first.tolist() == list(twin)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 1.0])
def test_momentum_update_against_lists(momentum):
    slow, fast = ([random(3, 2, seed=seed + i) for i in (0, 1)] for seed in (0, 5))
    twins = [x.double().flatten().tolist() for x in slow]
    for step in range(20):
        fast = [x + 0.1 * random(3, 2, seed=step) for x in fast]
        momentum_update(slow, fast, momentum)
        twins = [
            [momentum * s + (1 - momentum) * f for s, f in zip(twin, x.flatten().tolist())]
            for twin, x in zip(twins, fast)
        ]
    for x, twin in zip(slow, twins):
        assert x.flatten().tolist() == pytest.approx(twin, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "wanted", "expected"),
    [(32, 8, 8), (8, 8, 4), (12, 8, 6), (7, 8, 1), (1, 8, 1), (2, 8, 1), (9, 4, 3), (32, 1, 1)],
)
def test_groups_are_equal_and_have_two_rows(n, wanted, expected):
    assert n_equal_groups(n, wanted) == expected


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_split_batch_norm_is_batch_norm_of_each_group(memory_format):
    x = (2 + 3 * random(12, 5, 4, 4)).contiguous(memory_format=memory_format).requires_grad_()
    split = split_batch_norm(nn.BatchNorm2d(5, momentum=0.3), 4)
    assert type(split) is SplitBatchNorm2d
    nn.init.normal_(split.weight, generator=torch.Generator().manual_seed(1))
    plain = [join_batch_norm(copy.deepcopy(split)) for _ in range(4)]
    parts = [norm(x[3 * i : 3 * i + 3]) for i, norm in enumerate(plain)]
    found = split(x)
    torch.testing.assert_close(found, torch.cat(parts))
    assert found.is_contiguous(memory_format=memory_format)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(norm, name) for norm in plain]).mean(dim=0)
        torch.testing.assert_close(getattr(split, name), mean)
    assert split.num_batches_tracked == 1
    weights = random(*x.shape, seed=2)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x)
    (expected,) = torch.autograd.grad((torch.cat(parts) * weights).sum(), x)
    torch.testing.assert_close(gradient, expected)
    split.eval()
    joined = join_batch_norm(copy.deepcopy(split))
    assert torch.equal(split(x), joined(x))
    assert split.state_dict().keys() == nn.BatchNorm2d(5).state_dict().keys()


def test_split_and_join_a_network():
    net = nn.Sequential(backbone(), nn.BatchNorm1d(8), nn.BatchNorm2d(3, track_running_stats=False))
    kinds = [type(part) for part in net.modules()]
    text = str(net)
    split_batch_norm(net, 2)
    assert [type(part) for part in net.modules()].count(SplitBatchNorm2d) == 1
    assert pickle.loads(pickle.dumps(net))[0][1].n_splits == 2
    join_batch_norm(net)
    assert [type(part) for part in net.modules()] == kinds and str(net) == text


def test_parameters():
    method = clone(MoCo(momentum=0.9)).set_params(queue_size=7)
    assert method.momentum == 0.9 and method.queue_size == 7
    for wrong in ({"momentum": 1.1}, {"queue_size": 0}, {"n_bn_splits": 0}, {"temperature": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MoCo(**wrong).make(backbone(), 0)


def test_objective():
    cpu = torch.get_rng_state()
    a, b, c = (MoCo(queue_size=20).make(backbone(), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), cpu)
    assert torch.equal(a.queue, b.queue) and not torch.equal(a.queue, c.queue)
    torch.testing.assert_close(a.queue.norm(dim=1), torch.ones(20))
    assert {"queue", "pointer"} < a.state_dict().keys()
    for slow, fast in ((a.slow_backbone, a.backbone), (a.slow_head, a.head)):
        for p, q in zip(slow.parameters(), fast.parameters()):
            assert torch.equal(p, q) and p is not q and not p.requires_grad
    moved = [p for p in a.parameters() if p.requires_grad]
    expected = [*a.backbone.parameters(), *a.head.parameters()]
    assert len(moved) == len(expected) and all(p is q for p, q in zip(moved, expected))
    assert len(MoCo(hidden_dim=0).make(backbone(), 0).head) == 1
    assert type(a.backbone[1]) is SplitBatchNorm2d
    assert type(a.trained_backbone()[1]) is nn.BatchNorm2d


def test_steps_against_the_algorithm():
    """He et al. 2020, algorithm 1, without batch norm, which makes the order of keys matter."""
    objective = MoCo(0.2, momentum=0.7, queue_size=10, projection_dim=4).make(backbone(False), 0)
    fast = nn.Sequential(copy.deepcopy(objective.backbone), copy.deepcopy(objective.head))
    slow = copy.deepcopy(fast)
    queue = objective.queue.clone()
    optimizers = [torch.optim.SGD(m.parameters(), 0.5) for m in (objective, fast)]
    for step in range(7):
        view1, view2 = random(2, 4, 3, 8, 8, seed=step)
        q = F.normalize(fast(view1), dim=1)
        k = F.normalize(slow(view2), dim=1).detach()
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / 0.2
        loss = F.cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
        found = objective.loss(view1, view2)["loss"]
        torch.testing.assert_close(found, loss)
        for value, optimizer in zip((found, loss), optimizers):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        objective.after_step()
        with torch.no_grad():
            for p, s in zip(fast.parameters(), slow.parameters()):
                s.copy_(0.7 * s + 0.3 * p)
        queue = torch.cat([queue, k])[-10:]
        torch.testing.assert_close(objective.queue.roll(-int(objective.pointer), 0), queue)
    slow_copies = [*objective.slow_backbone.parameters(), *objective.slow_head.parameters()]
    for p, s in zip(slow_copies, slow.parameters()):
        torch.testing.assert_close(p, s)


def test_keys_are_computed_in_another_order():
    objective = MoCo(n_bn_splits=4).make(backbone(), 0)
    seen = []
    objective.slow_backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    view1, view2 = random(2, 16, 3, 8, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective.loss(view1, view2)
    assert not torch.equal(seen[0], view2)
    assert sorted(seen[0].sum((1, 2, 3)).tolist()) == sorted(view2.sum((1, 2, 3)).tolist())
