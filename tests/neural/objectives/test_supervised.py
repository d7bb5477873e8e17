import math

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.mixing import mixing_coefficients  # noqa: E402
from skclean.neural.objectives.supervised import RunningPredictions, Supervised  # noqa: E402


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def row_loss(objective, p, y):
    """Loss of a row, by the papers' formulas."""
    C, s = len(p), objective.label_smoothing
    y = [(1 - s) * v + s / C for v in y]
    if objective.loss == "gce":
        return sum(b * (1 - a**objective.q) / objective.q for a, b in zip(p, y))
    ce = -sum(b * math.log(a) for a, b in zip(p, y))
    if objective.loss == "sce":
        logs = [max(math.log(b), objective.log_zero) if b else objective.log_zero for b in y]
        rce = -sum(a * b for a, b in zip(p, logs))
        return objective.alpha * ce + objective.beta * rce
    return ce


def slow_terms(objective, network, batch):
    """Row by row; no mixup."""
    part = batch.labelled
    x = (batch.weak if objective.views == "weak" else batch.strong)(part.x)
    b, total, confidence = len(x), 0.0, 0.0
    for i in range(b):
        p, w = softmax(network(x[i : i + 1])[0].tolist()), part.weight[i].item()
        total += w * row_loss(objective, p, part.target[i].tolist()) / b
        confidence += w * sum(v * math.log(v) for v in p) / b
    return total, objective.confidence_penalty * confidence


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    "objective",
    [
        Supervised(),
        Supervised("gce", q=0.4),
        Supervised("sce", alpha=2.0, beta=0.3, log_zero=-3),
        Supervised("elr"),
        Supervised(label_smoothing=0.2, confidence_penalty=0.7, views="strong"),
    ],
    ids=str,
)
def test_terms_by_loops(make, objective, image, soft):
    network = make.network(4, 3, image=image, norm=False)
    memory = objective.start(20, 3, "cpu")
    found = objective.terms(network, make.batch(image=image, soft=soft), memory)
    total, confidence = slow_terms(objective, network, make.batch(image=image, soft=soft))
    assert found["labelled"].item() == pytest.approx(total, rel=1e-4)
    if objective.confidence_penalty:
        assert found["confidence"].item() == pytest.approx(confidence, rel=1e-4)
    assert ("confidence" in found) == (objective.confidence_penalty > 0)
    assert ("early_learning" in found) == (objective.loss == "elr")


def test_early_learning_by_loops(make):
    objective = Supervised("elr", elr_weight=2.0, elr_decay=0.6)
    network = make.network(4, 3, norm=False)
    memory = objective.start(20, 3, "cpu")
    averages = {i: [0.0] * 3 for i in range(20)}
    for seed in range(3):
        found = objective.terms(network, make.batch(seed=seed), memory)
        batch, expected = make.batch(seed=seed), 0.0
        x = batch.weak(batch.labelled.x)
        for i, row in enumerate(batch.labelled.rows.tolist()):
            p = softmax(network(x[i : i + 1])[0].tolist())
            averages[row] = [0.6 * t + 0.4 * v for t, v in zip(averages[row], p)]
            agreement = sum(t * v for t, v in zip(averages[row], p))
            weight = batch.labelled.weight[i].item()
            expected += 2 * weight * math.log(1 - agreement) / len(x)
        assert found["early_learning"].item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(memory.average, torch.tensor(list(averages.values())))


def test_a_row_drawn_twice_is_averaged_once():
    memory = RunningPredictions(4, 2)
    proba = torch.tensor([[1.0, 0], [0.5, 0.5], [0.2, 0.8]])
    moved = memory.update(torch.tensor([2, 0, 2]), proba, 0.5)
    expected = torch.tensor([[0.3, 0.2], [0.25, 0.25], [0.3, 0.2]])
    torch.testing.assert_close(moved, torch.tensor([[0.3, 0.2], [0.25, 0.25], [0.3, 0.2]]))
    torch.testing.assert_close(memory.average[[2, 0, 2]], expected)
    assert (memory.average[[1, 3]] == 0).all()
    assert set(memory.state_dict()) == {"average"}


def test_mixup_by_loops(make):
    network = make.network(4, 3, norm=False)
    found = Supervised(mixup=0.6).terms(network, make.batch())["labelled"]
    batch, expected = make.batch(), 0.0
    part = batch.labelled
    x, b = batch.weak(part.x), len(part)
    order = torch.randperm(b, generator=batch.generator).tolist()
    share = mixing_coefficients(b, 0.6, batch.generator).tolist()
    for i, j in enumerate(order):
        p = softmax(network((share[i] * x[i] + (1 - share[i]) * x[j])[None])[0].tolist())
        for row, s in ((i, share[i]), (j, 1 - share[i])):
            expected += (
                s * part.weight[row].item() * row_loss(Supervised(), p, part.target[row].tolist())
            )
    assert found.item() == pytest.approx(expected / b, rel=1e-4)


def test_wrong_parameters(make):
    with pytest.raises(ValueError, match="loss"):
        Supervised("mse").start(3, 2, "cpu")
    with pytest.raises(ValueError, match="Supervised: expected no mixup with loss='elr'"):
        Supervised("elr", mixup=0.5).start(3, 2, "cpu")
    assert Supervised().start(3, 2, "cpu") is None
