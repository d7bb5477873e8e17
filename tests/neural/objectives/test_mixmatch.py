import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.mixing import mixing_coefficients  # noqa: E402
from skclean.neural.objectives.mixmatch import MixMatch  # noqa: E402


def proba(network, x):
    """Softmax of a row."""
    row = network(x[None])[0].tolist()
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows)]


def sharpen(p, temperature):
    powers = [v ** (1 / temperature) for v in p]
    return [v / sum(powers) for v in powers]


def slow_terms(o, network, batch):
    """Algorithm 1 and equations 3 to 13 of Berthelot et al., 3, 4 and 11 of DivideMix, by rows."""
    labelled, unlabelled, K = batch.labelled, batch.unlabelled, o.n_views
    b, m = len(labelled), len(unlabelled)
    x = torch.cat([labelled.x, unlabelled.x])
    views = batch.weak(x.repeat(K, *[1] * (x.ndim - 1)))
    mixed = batch.strong(x.repeat(K, *[1] * (x.ndim - 1))) if o.mixed_views == "strong" else views

    targets = []
    for i in range(b + m):
        of_row = [views[k * (b + m) + i] for k in range(K)]
        if i < b:
            y = labelled.target[i].tolist()
            if labelled.clean is not None:
                w, p = labelled.clean[i].item(), mean([proba(network, v) for v in of_row])
                y = sharpen([w * a + (1 - w) * c for a, c in zip(y, p)], o.temperature)
            targets.append(y)
        else:
            networks = [network] + ([batch.partner] if batch.partner is not None else [])
            q = mean([proba(net, v) for net in networks for v in of_row])
            targets.append(sharpen(q, o.temperature))
    targets = targets * K
    weights = (labelled.weight.tolist() + unlabelled.weight.tolist()) * K

    n, C = K * (b + m), len(targets[0])
    order = torch.randperm(n, generator=batch.generator).tolist()
    share = mixing_coefficients(n, o.alpha, batch.generator).tolist()
    l_x = l_u = 0.0
    average = [0.0] * C
    for i, j in enumerate(order):
        p = proba(network, share[i] * mixed[i] + (1 - share[i]) * mixed[j])
        mine, other = share[i] * weights[i], (1 - share[i]) * weights[j]
        w = mine + other
        y = [(mine * s + other * t) / w for s, t in zip(targets[i], targets[j])]
        average = [s + t / n for s, t in zip(average, p)]
        if i % (b + m) < b:
            l_x -= w * sum(t * math.log(s) for s, t in zip(p, y)) / (K * b)
        else:
            l_u += w * sum((s - t) ** 2 for s, t in zip(p, y)) / (K * m * C)
    prior = sum(math.log(1 / C / v) / C for v in average)
    ramp = min(batch.progress / o.ramp, 1.0)
    return {"labelled": l_x, "unlabelled": o.lambda_u * ramp * l_u, "prior": o.prior_weight * prior}


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("dividemix", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "objective",
    [
        MixMatch(),
        MixMatch(0.7, alpha=4, lambda_u=25, n_views=3, ramp=3, prior_weight=1),
        MixMatch(n_views=1, mixed_views="strong", prior_weight=0.5),
    ],
    ids=str,
)
def test_terms_by_loops(make, objective, dividemix, image, seed):
    network = make.network(4, 3, image=image, norm=False)
    fields = {"partner": make.network(4, 3, 1, image=image, norm=False)} if dividemix else {}
    settings = {"image": image, "clean": dividemix, "seed": seed, **fields}
    found = objective.terms(network, make.batch(**settings))
    expected = slow_terms(objective, network, make.batch(**settings))
    assert set(found) == {k for k in expected if k != "prior" or objective.prior_weight}
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name], rel=2e-4), name


def test_sure_labels_stay(make):
    """Co-refinement leaves one-hot labels alone where w is 1."""
    network, plain, other = make.network(4, 3, norm=False), *(make.batch(soft=False) for _ in "12")
    sure = replace(other, labelled=replace(other.labelled, clean=torch.ones(5)))
    first, second = (MixMatch().terms(network, batch) for batch in (plain, sure))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("n_bn_groups", [1, 3])
def test_running_statistics_move_once(make, n_bn_groups):
    network, partner = make.network(4, 3), make.network(4, 3, 1)
    norms = [net[2] for net in (network, partner)]
    batch = make.batch(clean=True, partner=partner)
    MixMatch(n_bn_groups=n_bn_groups).terms(network, batch)
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 0]
    assert (norms[1].running_mean == 0).all() and (norms[0].running_mean != 0).all()


def test_guesses_have_no_gradient(make):
    network, partner = make.network(4, 3, norm=False), make.network(4, 3, 1, norm=False)
    batch = make.batch(clean=True, partner=partner)
    x = batch.labelled.x.requires_grad_()
    batch = replace(batch, strong=lambda views: views.detach() + 0.1)
    sum(MixMatch(mixed_views="strong", ramp=0).terms(network, batch).values()).backward()
    assert x.grad is None
    assert all(p.grad is None for p in partner.parameters())
    assert all(p.grad is not None for p in network.parameters())
