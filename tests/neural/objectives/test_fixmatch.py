import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.objectives.fixmatch import FixMatch  # noqa: E402


def proba(network, x):
    row = network(x[None])[0].tolist()
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def equations_3_and_4(objective, network, batch):
    """Sohn et al. 2020, row by row; also the number of sure rows."""
    labelled, unlabelled = batch.labelled, batch.unlabelled
    b, m = len(labelled), len(unlabelled)
    weak = batch.weak(torch.cat([labelled.x, unlabelled.x]))
    strong = batch.strong(unlabelled.x)
    l_s = l_u = n_sure = 0
    for i in range(b):
        p, y = proba(network, weak[i]), labelled.target[i].tolist()
        l_s -= labelled.weight[i].item() * sum(t * math.log(s) for s, t in zip(p, y)) / b
    for i in range(m):
        q = proba(network, weak[b + i])
        if max(q) >= objective.threshold:
            n_sure += 1
            p = proba(network, strong[i])
            l_u -= unlabelled.weight[i].item() * math.log(p[q.index(max(q))]) / m
    return l_s, objective.lambda_u * l_u, n_sure


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_terms_by_loops(make, image, threshold, seed):
    objective, network = (
        FixMatch(threshold, lambda_u=2.0),
        make.network(4, 3, image=image, norm=False),
    )
    found = objective.terms(network, make.batch(image=image, seed=seed))
    l_s, l_u, n_sure = equations_3_and_4(objective, network, make.batch(image=image, seed=seed))
    assert found["labelled"].item() == pytest.approx(l_s, rel=1e-4)
    assert found["unlabelled"].item() == pytest.approx(l_u, rel=1e-4)
    assert {0.0: n_sure == 7, 0.5: n_sure > 0, 1.0: n_sure == 0}[threshold]


def test_guesses_have_no_gradient(make):
    batch = make.batch()
    x = torch.rand(12, 4).requires_grad_()
    batch = replace(batch, weak=lambda _: x)
    FixMatch(0.0).terms(make.network(4, 3, norm=False), batch)["unlabelled"].backward()
    assert (x.grad == 0).all()


def test_all_views_move_the_statistics(make):
    network = make.network(4, 3)
    FixMatch().terms(network, make.batch())
    assert int(network[2].num_batches_tracked) == 1
