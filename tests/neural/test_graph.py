import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skclean import GMMCleaner, NeuralRetrainer  # noqa: E402
from skclean.neural.batch import Batch, Part  # noqa: E402
from skclean.neural.graph import GraphRegularizer, adjacency, edge_penalty  # noqa: E402


def algorithm_1(Z, Z2, threshold):
    """REED algorithm 1: A_ij <- ReLU(sim(Z_i, Z_j) - tau_c)."""

    def sim(a, b):
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b)) / norms if norms else 0.0

    return [[max(sim(a, b) - threshold, 0.0) for b in Z2.tolist()] for a in Z.tolist()]


def regularizer(A, p, q):
    """Sum over u and v of A_uv |p_u - q_v|^2 (REED 4.3.1)."""
    total = 0.0
    for u in range(len(p)):
        for v in range(len(q)):
            total += A[u][v] * sum((a - b) ** 2 for a, b in zip(p[u], q[v]))
    return total


def sharpened(logits, T):
    """p^(1/T) / sum p^(1/T)."""
    exps = [math.exp(z - max(logits)) for z in logits]
    powers = [(e / sum(exps)) ** (1 / T) for e in exps]
    return [x / sum(powers) for x in powers]


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def part(n, seed, k=3, C=3, dtype=torch.float32):
    return Part(
        rows=torch.arange(n),
        x=random(n, 4, seed=seed, dtype=dtype),
        target=torch.softmax(random(n, C, seed=seed + 1), dim=1),
        weight=random(n, seed=seed + 2).abs() + 0.1,
        embedding=random(n, k, seed=seed + 3),
    )


def batch(b=5, m=7, seed=0, dtype=torch.float32, **fields):
    return Batch(
        labelled=part(b, seed, dtype=dtype),
        unlabelled=part(m, seed + 10, dtype=dtype),
        trusted=None,
        weak=lambda x: 2 * x,
        strong=lambda x: 3 * x,
        generator=torch.Generator(),
        **fields,
    )


def network(C=3, seed=0, dtype=torch.float32):
    layer = nn.Linear(4, C).to(dtype)
    with torch.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(random(*p.shape, seed=seed + i))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [-0.2, 0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_adjacency(seed, threshold, dtype):
    Z, Z2 = random(6, 3, seed=seed, dtype=dtype), random(4, 3, seed=seed + 9, dtype=dtype)
    expected = torch.tensor(algorithm_1(Z, Z2, threshold), dtype=dtype)
    torch.testing.assert_close(adjacency(Z, Z2, threshold), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_edge_penalty(seed, dtype):
    p, q = (torch.softmax(3 * random(n, 5, seed=seed + n, dtype=dtype), dim=1) for n in (6, 4))
    A = random(6, 4, seed=seed, dtype=dtype).relu()
    found, expected = edge_penalty(A, p, q), regularizer(A.tolist(), p.tolist(), q.tolist())
    assert found.dtype == dtype
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_terms(seed, temperature):
    net, b = network(), batch(seed=seed)
    graph = GraphRegularizer(0.02, 0.03, threshold=0.1, temperature=temperature)
    found = graph.terms(net, b)
    p = [sharpened(z, temperature) for z in net(2 * b.unlabelled.x).tolist()]
    L, U = b.labelled, b.unlabelled
    w, v = U.weight.tolist(), L.weight.tolist()
    across = algorithm_1(U.embedding, L.embedding, 0.1)
    across = [[w[i] * a * v[j] for j, a in enumerate(row)] for i, row in enumerate(across)]
    within = algorithm_1(U.embedding, U.embedding, 0.1)
    within = [[w[i] * a * w[j] for j, a in enumerate(row)] for i, row in enumerate(within)]
    lu = 0.02 * 128**2 / 35 * regularizer(across, p, L.target.tolist())
    uu = 0.03 * 128**2 / 49 * regularizer(within, p, p)
    assert float(found["graph_lu"].detach()) == pytest.approx(lu, rel=1e-4)
    assert float(found["graph_uu"].detach()) == pytest.approx(uu, rel=1e-4)
    assert lu > 0
    assert uu > 0


def test_the_sum_of_the_paper_at_its_batch_size():
    b = batch(128, 128)
    b.labelled.weight.fill_(1)
    b.unlabelled.weight.fill_(1)
    net = network()
    found = GraphRegularizer(temperature=1.0).terms(net, b)
    p = torch.softmax(net(2 * b.unlabelled.x), dim=1)
    A = adjacency(b.unlabelled.embedding, b.unlabelled.embedding, 0.5)
    expected = 0.005 * (A * torch.cdist(p, p).square()).sum()
    torch.testing.assert_close(found["graph_uu"], expected, rtol=1e-3, atol=1e-4)


def test_gradient():
    A = random(6, 4, dtype=torch.float64).relu()
    p, q = (random(n, 3, seed=n, dtype=torch.float64).requires_grad_() for n in (6, 4))
    assert torch.autograd.gradcheck(edge_penalty, (A, p, q))


def test_classes_and_rows_in_another_order():
    net, b, graph = network(), batch(), GraphRegularizer(threshold=0.0)
    first = graph.terms(net, b)
    order, classes = torch.tensor([3, 0, 6, 1, 5, 2, 4]), torch.tensor([2, 0, 1])
    other = network()
    with torch.no_grad():
        for p in other.parameters():
            p.copy_(p[classes])
    U = b.unlabelled
    moved = Part(*(getattr(U, f)[order] for f in ("rows", "x", "target", "weight")))
    moved = replace(moved, embedding=U.embedding[order])
    changed = replace(
        b,
        unlabelled=moved,
        labelled=replace(b.labelled, target=b.labelled.target[:, classes]),
    )
    second = graph.terms(other, changed)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_embeddings_that_are_all_the_same(value):
    b = batch()
    for p in (b.labelled, b.unlabelled):
        p.embedding.fill_(value)
    found = GraphRegularizer().terms(network(), b)
    assert all(torch.isfinite(v) for v in found.values())
    assert all((v > 0) == bool(value) for v in found.values())


def test_one_class_and_one_prediction():
    net, b = network(), batch()
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([1e4, 0, 0]))
    b.labelled.target.copy_(torch.eye(3)[[0]])
    found = GraphRegularizer(threshold=-1.0).terms(net, b)
    assert all(abs(float(v.detach())) < 1e-4 for v in found.values())


@pytest.mark.parametrize("m", [None, 0])
def test_no_unlabelled_rows(m):
    b = batch(m=m or 0)
    b = replace(b, unlabelled=None) if m is None else b
    assert GraphRegularizer().terms(network(), b) == {}


def test_no_labelled_rows():
    found = GraphRegularizer(threshold=0.0).terms(network(), batch(b=0))
    assert float(found["graph_lu"].detach()) == 0
    assert float(found["graph_uu"].detach()) > 0


def test_statistics_of_batch_norm_stay():
    net = nn.Sequential(nn.BatchNorm1d(4), network())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    sum(GraphRegularizer(threshold=0.0).terms(net, batch()).values()).backward()
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert net[0].weight.grad.abs().sum() > 0


def test_autocast():
    net, b = network(), batch()
    expected = GraphRegularizer(threshold=0.0).terms(net, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GraphRegularizer(threshold=0.0).terms(net, b)
    for name, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.05, atol=1e-3)


def test_embeddings_are_needed():
    b = batch()
    b = replace(b, labelled=replace(b.labelled, embedding=None))
    with pytest.raises(ValueError, match="GraphRegularizer: expected embeddings of all rows"):
        GraphRegularizer().terms(network(), b)


@pytest.mark.parametrize("graph", [True, np.bool_(True), GraphRegularizer(threshold=0.1)])
def test_a_fit_on_images_alone_says_so_before_it_trains(graph):
    images = np.zeros((20, 4, 4))
    told = []
    seen = SimpleNamespace(on_epoch_end=lambda *record: told.append(record))
    retrainer = NeuralRetrainer(graph=graph, cleaner=GMMCleaner(), callbacks=[seen])
    with pytest.raises(ValueError, match=r"container with features for graph=.*SSLFeaturizer"):
        retrainer.set_params(epochs=2, warmup_epochs=1).fit(images, np.arange(20) % 2)
    assert not told


def test_an_estimator():
    graph = clone(GraphRegularizer(lambda_lu=0.1)).set_params(threshold=0.7)
    assert graph.get_params()["threshold"] == 0.7
    with pytest.raises(ValueError, match="threshold"):
        GraphRegularizer(threshold=2).terms(network(), batch())
    assert np.isclose(graph.lambda_lu, 0.1)
