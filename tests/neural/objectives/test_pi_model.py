import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.objectives.pi_model import PiModel, consistency_ramp  # noqa: E402


def proba(network, x):
    row = network(x[None])[0].tolist()
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def algorithm_1(objective, network, batch, t, T):
    """Laine & Aila 2017, row by row; the cross-entropy is a mean over the labelled rows."""
    labelled, unlabelled = batch.labelled, batch.unlabelled
    x = torch.cat([labelled.x, unlabelled.x])
    weight = torch.cat([labelled.weight, unlabelled.weight]).tolist()
    a, b = batch.weak(x), batch.weak(x)
    l_x = l_u = 0.0
    for i, w in enumerate(weight):
        p, q = proba(network, a[i]), proba(network, b[i])
        if i < len(labelled):
            y = labelled.target[i].tolist()
            l_x -= w * sum(t * math.log(s) for s, t in zip(p, y)) / len(labelled)
        l_u += w * sum((s - t) ** 2 for s, t in zip(p, q)) / (len(p) * len(x))
    ramp = math.exp(-5 * (1 - min(t / T, 1)) ** 2) if t >= 1 else 0.0
    return l_x, objective.weight * ramp * l_u


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.9, 1.0, 7.5, 30.0])
@pytest.mark.parametrize("seed", range(2))
def test_terms_by_loops(make, image, progress, seed):
    objective = PiModel(20.0, ramp_up=20)
    network = make.network(4, 3, image=image, norm=False)
    found = objective.terms(network, make.batch(image=image, seed=seed, progress=progress), None)
    batch = make.batch(image=image, seed=seed)
    l_x, l_u = algorithm_1(objective, network, batch, progress, 20)
    assert found["labelled"].item() == pytest.approx(l_x, rel=1e-4)
    assert found["consistency"].item() == pytest.approx(l_u, rel=1e-4)
    assert (l_u > 0) == (progress >= 1)


def test_ramp(make):
    def at(progress, length, epochs):
        return consistency_ramp(make.batch(progress=progress, epochs=epochs), length)

    assert at(0.99, 0, 10.0) == 0
    assert at(1.0, 0, 10.0) == 1
    assert at(80.0, None, 300.0) == at(8.0, None, 30.0) == 1
    assert at(40.0, None, 300.0) == pytest.approx(math.exp(-5 / 4))
    ramp = [at(t, 80, 300.0) for t in range(1, 100)]
    assert ramp == sorted(ramp)


def test_both_views_have_gradients(make):
    views = [torch.rand(12, 4).requires_grad_() for _ in range(2)]
    drawn = iter(views)
    batch = replace(make.batch(progress=10.0), weak=lambda x: next(drawn))
    network = make.network(4, 3, norm=False)
    PiModel(ramp_up=1).terms(network, batch)["consistency"].backward()
    assert all(view.grad.abs().sum() > 0 for view in views)


def test_equal_views(make):
    batch = replace(make.batch(progress=10.0), weak=lambda x: x)
    found = PiModel(ramp_up=1).terms(make.network(4, 3), batch)
    assert found["consistency"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("m", [None, 0])
def test_labelled_rows_alone(make, m):
    batch = make.batch(m=m, progress=10.0)
    found = PiModel(ramp_up=1).terms(make.network(4, 3), batch)
    assert found["consistency"] > 0
