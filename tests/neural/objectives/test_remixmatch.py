import math

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.mixing import mixing_coefficients  # noqa: E402
from skclean.neural.objectives.remixmatch import (  # noqa: E402
    WINDOW,
    ReMixMatch,
    RunningDistributions,
)


def proba(network, x):
    row = network(x[None])[0].tolist()
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def normalised(row):
    return [v / sum(row) for v in row]


class SlowMemory:
    def __init__(self, C):
        self.labels = [[1 / C] * C for _ in range(WINDOW)]
        self.predictions = [[1 / C] * C for _ in range(WINDOW)]

    def share(self, name):
        return [sum(column) / WINDOW for column in zip(*getattr(self, name)[-WINDOW:])]

    def align(self, q):
        shares = zip(q, self.share("labels"), self.share("predictions"))
        return normalised([v * (a + 1e-6) / (b + 1e-6) for v, a, b in shares])

    def update(self, labels, predictions):
        self.labels.append([sum(c) / len(labels) for c in zip(*labels)])
        self.predictions.append([sum(c) / len(predictions) for c in zip(*predictions)])


def algorithm_1(o, network, batch, memory):
    """Berthelot et al. 2020, row by row."""
    labelled, unlabelled, K = batch.labelled, batch.unlabelled, o.n_views
    b, m = len(labelled), len(unlabelled)
    x = batch.strong(labelled.x)
    weak = batch.weak(unlabelled.x)
    strong = batch.strong(unlabelled.x.repeat(K, *[1] * (x.ndim - 1)))
    predicted = [proba(network, v) for v in weak]
    guessed = [normalised([v ** (1 / o.temperature) for v in memory.align(q)]) for q in predicted]
    memory.update(labelled.target.tolist(), predicted)

    def H(y, x):
        return -sum(t * math.log(s) for s, t in zip(proba(network, x), y))

    l_strong = sum(unlabelled.weight[i].item() * H(guessed[i], strong[i]) for i in range(m)) / m

    pool = torch.cat([x, strong, weak])
    targets = labelled.target.tolist() + guessed * (K + 1)
    weights = labelled.weight.tolist() + unlabelled.weight.tolist() * (K + 1)
    n = len(pool)
    order = torch.randperm(n, generator=batch.generator).tolist()
    share = mixing_coefficients(n, o.alpha, batch.generator).tolist()
    l_x = l_u = 0.0
    for i, j in enumerate(order):
        v = share[i] * pool[i] + (1 - share[i]) * pool[j]
        loss = share[i] * weights[i] * H(targets[i], v)
        loss += (1 - share[i]) * weights[j] * H(targets[j], v)
        if i < b:
            l_x += loss / b
        else:
            l_u += loss / (n - b)
    ramp = min(batch.progress / o.ramp, 1.0)
    return {
        "labelled": l_x,
        "unlabelled": o.lambda_u * ramp * l_u,
        "strong": o.lambda_strong * ramp * l_strong,
    }


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("objective", [ReMixMatch(n_views=2), ReMixMatch(0.8, n_views=1, ramp=2)])
def test_terms_by_loops(make, objective, image):
    network = make.network(4, 3, image=image, norm=False)
    memory, slow = objective.start(20, 3, "cpu"), SlowMemory(3)
    for seed in range(3):
        found = objective.terms(network, make.batch(image=image, seed=seed), memory)
        expected = algorithm_1(objective, network, make.batch(image=image, seed=seed), slow)
        assert set(found) == set(expected)
        for name, value in found.items():
            assert value.item() == pytest.approx(expected[name], rel=2e-4), name


def test_distributions_are_those_of_the_last_batches():
    memory, slow = RunningDistributions(3), SlowMemory(3)
    made = torch.Generator().manual_seed(0)
    for _ in range(WINDOW + 9):
        target, p = (torch.softmax(torch.randn(4, 3, generator=made), dim=1) for _ in "12")
        memory.update(target, p)
        slow.update(target.tolist(), p.tolist())
    torch.testing.assert_close(memory.labels, torch.tensor(slow.labels[-WINDOW:]))
    torch.testing.assert_close(memory.align(p)[0], torch.tensor(slow.align(p[0].tolist())))
    before = memory.labels.clone()
    memory.update(target[:0], p)
    assert torch.equal(memory.labels, before)
    assert set(memory.state_dict()) == {"labels", "predictions"}


def test_alignment():
    memory = RunningDistributions(2)
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    torch.testing.assert_close(memory.align(p), p)
    memory.labels.copy_(torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(memory.align(p)[0], torch.tensor([0.75, 0.25]), atol=1e-5, rtol=0)
    memory.labels.copy_(torch.tensor([1.0, 0]))
    memory.predictions.copy_(torch.tensor([0.0, 1]))
    assert torch.isfinite(memory.align(torch.tensor([[0.0, 1]]))).all()


def test_the_mixed_rows_alone_move_the_statistics(make):
    network = make.network(4, 3)
    objective = ReMixMatch(n_views=2, n_bn_groups=4)
    objective.terms(network, make.batch(), objective.start(20, 3, "cpu"))
    assert int(network[2].num_batches_tracked) == 1
