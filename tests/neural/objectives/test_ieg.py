import copy
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skclean.evidence import probe_gradient  # noqa: E402
from skclean.neural.batch import Part  # noqa: E402
from skclean.neural.mixing import mixup  # noqa: E402
from skclean.neural.objectives.ieg import (  # noqa: E402
    IEG,
    exemplar_weights,
    meta_gradients,
    momentum_of,
    pseudo_labels,
)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problem(network, image, seed=0, n=6, m=5, C=3):
    """Parameters, momentum, rows and probe rows, in float64; the network as a function of them."""
    network = network.double().train()
    params = {k: p.detach() for k, p in network.named_parameters()}
    momentum = {k: random(*p.shape, seed=seed + i) for i, (k, p) in enumerate(params.items())}
    shape = (3, 6, 6) if image else (4,)
    x, probe = random(n, *shape, seed=seed + 50), random(m, *shape, seed=seed + 51)
    given, labels = (F.one_hot(torch.arange(k) * 7 % C, C).double() for k in (n, m))
    pseudo = torch.softmax(random(n, C, seed=seed + 52), dim=1)
    omega = random(n, seed=seed + 53).abs() / n

    def function(params, x):
        buffers = {k: b.clone() for k, b in network.named_buffers()}
        return functional_call(network, {**params, **buffers}, (x,))

    return function, params, momentum, (x, given, pseudo, omega), (probe, labels)


def probe_loss(omega, lam, function, params, momentum, rows, probe):
    """L_p(Theta'(omega, lambda)) by its definition (equation 5 and algorithm 1)."""
    x, given, pseudo, _ = rows
    params = {k: p.clone().requires_grad_() for k, p in params.items()}
    targets = lam[:, None] * given + (1 - lam[:, None]) * pseudo
    loss = (omega * -(targets * torch.log_softmax(function(params, x), dim=1)).sum(dim=1)).sum()
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    ahead = {
        k: p - 0.1 * (0.9 * momentum.get(k, torch.zeros_like(p)) + g)
        for (k, p), g in zip(params.items(), grads, strict=True)
    }
    log_p = torch.log_softmax(function(ahead, probe[0]), dim=1)
    return -(probe[1] * log_p).sum(dim=1).mean()


def by_finite_differences(given, omega, *args, h=1e-5):
    n, eye = len(given), torch.eye(len(given), dtype=torch.float64)
    lam, found = torch.full((n,), 0.9, dtype=torch.float64), []
    for move in (lambda e: (omega + e, lam), lambda e: (omega, lam + e)):
        differences = [
            (probe_loss(*move(h * e), *args) - probe_loss(*move(-h * e), *args)) / (2 * h)
            for e in eye
        ]
        found.append(torch.stack(differences).detach())
    return found


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("first_step", [False, True])
def test_meta_gradients_by_finite_differences(make, image, norm, first_step):
    network = make.network(4, 3, image=image, norm=norm)
    function, params, momentum, rows, probe = problem(network, image)
    momentum = {} if first_step else momentum
    found = meta_gradients(function, params, momentum, rows, probe)
    expected = by_finite_differences(
        rows[1], rows[3], function, params, momentum, rows, probe, h=1e-5
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-5)
        assert a.abs().max() > 1e-4


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_meta_gradients_by_second_order(make, image, seed):
    network = make.network(4, 3, image=image, seed=seed)
    args = problem(network, image, seed)
    omega = args[3][3].clone().requires_grad_()
    lam = torch.full_like(omega, 0.9, requires_grad=True)
    expected = torch.autograd.grad(probe_loss(omega, lam, *args), (omega, lam))
    for a, b in zip(meta_gradients(*args), expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("first_step", [False, True])
def test_the_form_for_a_head(hidden, first_step):
    layers = [nn.Linear(4, 3)]
    if hidden:
        layers = [nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 3)]
    network = nn.Sequential(*layers)
    function, params, momentum, rows, probe = problem(network, image=False)
    rows = (*rows[:3], torch.full_like(rows[3], 1 / 6))
    momentum = {} if first_step else momentum
    found = meta_gradients(function, params, momentum, rows, probe)
    # Weights stand the other way round there.
    theirs = [p.t().numpy() for p in params.values()]
    buffers = [m.t().numpy() for m in momentum.values()] or None
    expected = probe_gradient.meta_gradients(
        theirs, buffers, *(a.numpy() for a in (*rows[:3], *probe))
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-12)
    for torch_form, array_form in [
        (exemplar_weights(found[0]), probe_gradient.exemplar_weights(expected[0])),
        (
            pseudo_labels([rows[2], rows[1]], 0.5),
            probe_gradient.pseudo_labels([rows[2].numpy(), rows[1].numpy()]),
        ),
    ]:
        np.testing.assert_allclose(torch_form.numpy(), array_form, rtol=1e-6, atol=1e-12)


def test_rows_and_classes_in_another_order(make):
    network = make.network(4, 3)
    function, params, momentum, rows, probe = problem(network, image=False)
    first = meta_gradients(function, params, momentum, rows, probe)
    order, classes = torch.tensor([4, 0, 5, 2, 1, 3]), torch.tensor([1, 2, 0])
    last = f"{len(network) - 1}."
    turned = [
        {k: v[classes] if k.startswith(last) else v for k, v in values.items()}
        for values in (params, momentum)
    ]
    x, given, pseudo, omega = (a[order] for a in rows)
    second = meta_gradients(
        function, *turned, (x, given[:, classes], pseudo[:, classes], omega),
        (probe[0], probe[1][:, classes]),
    )  # fmt: skip
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a[order], b)


def trusted(n=4, C=3, seed=9, shape=(4,)):
    generator = torch.Generator().manual_seed(seed)
    return Part(
        rows=torch.arange(n),
        x=torch.rand(n, *shape, generator=generator),
        target=torch.eye(C)[torch.arange(n) % C],
        weight=torch.ones(n),
    )


def batch(make, *, image=False, noise=0.1, seed=0, n_trusted=4, **fields):
    made = make.batch(b=6, m=None, image=image, soft=False, noise=noise, seed=seed, **fields)
    return replace(made, trusted=trusted(n_trusted, shape=(3, 6, 6) if image else (4,)))


def optimizer_of(network, steps=2):
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
    return optimizer


def algorithm_1(objective, network, b):
    """A step of IEG by its equations, the meta-gradient by second-order backpropagation."""
    rows, probe = b.labelled, b.trusted
    x, view, anchors = b.weak(rows.x), b.strong(rows.x), b.weak(probe.x)
    z, z_view = network(x), network(view)
    # Equation 3.
    views = [torch.softmax(v / v.square().mean().sqrt(), dim=1) for v in (z, z_view)]
    g = ((views[0] + views[1]) / 2).detach() ** 2
    g = g / g.sum(dim=1, keepdim=True)
    # Equations 2, 5, 6 and 7.
    n, base = len(rows), rows.weight / len(rows)
    omega = base.clone().requires_grad_()
    lam = torch.full_like(omega, 0.9, requires_grad=True)
    params = {k: p.detach() for k, p in network.named_parameters()}
    momentum = {}
    if b.optimizer is not None:
        state = b.optimizer.state
        momentum = {k: state[p]["momentum_buffer"] for k, p in network.named_parameters()}
    loss = probe_loss(
        omega, lam, lambda p, x: functional_call(network, p, (x,)), params, momentum,
        (x, rows.target, g, base), (anchors, probe.target),
    )  # fmt: skip
    domega, dlambda = torch.autograd.grad(loss, (omega, lam))
    best = (-domega * rows.weight).clamp_min(0)
    best = best / (best.sum() + 1e-5)
    star = torch.where(dlambda[:, None] < 0, rows.target, g)
    # Equation 8.
    log_p = torch.log_softmax(z, dim=1)
    reweighted = -(best[:, None] * (0.9 * rows.target + 0.1 * g) * log_p).sum() / 2
    relabelled = -(rows.weight[:, None] * star * log_p).sum() / n / 2
    # Equation 9.
    drawn = torch.randint(len(probe), (n,), generator=b.generator)
    pool, y, w = mixup(
        torch.cat([anchors[drawn], x, view]),
        torch.cat([probe.target[drawn], g, g]),
        torch.cat([probe.weight[drawn], rows.weight, rows.weight]),
        objective.alpha,
        b.generator,
    )
    thirds = [v / v.square().mean().sqrt() for v in network(pool).chunk(3)]
    losses = -(w[:, None] * y * torch.log_softmax(torch.cat(thirds), dim=1)).sum(dim=1)
    # Equation 4.
    q = torch.softmax(z, dim=1).detach()
    kl = (q * (q.log() - torch.log_softmax(z_view, dim=1))).sum(dim=1)
    return {
        "reweighted": reweighted,
        "relabelled": relabelled,
        "mixed_trusted": losses[:n].mean(),
        "mixed": objective.mixed_weight * losses[n:].mean(),
        "consistency": objective.consistency_weight * (rows.weight * kl).mean(),
    }


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_terms(make, image, seed):
    network, objective = make.network(4, 3, image=image, norm=False), IEG(2.0, 7.0)
    found = objective.terms(network, batch(make, image=image, seed=seed))
    expected = algorithm_1(objective, network, batch(make, image=image, seed=seed))
    assert found.keys() == expected.keys()
    grads = []
    for terms in (found, expected):
        network.zero_grad()
        sum(terms.values()).backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("image", "weights"), [(False, (0.3, 10)), (True, (5, 20))])
def test_weights_are_those_of_the_paper_on_images_alone(make, image, weights):
    network = make.network(4, 3, image=image, norm=False)
    found, expected = (o.terms(network, batch(make, image=image)) for o in (IEG(), IEG(*weights)))
    assert found == expected


def test_momentum(make):
    network = make.network(4, 3, norm=False)
    optimizer = optimizer_of(network)
    assert momentum_of(network, optimizer).keys() == dict(network.named_parameters()).keys()
    b = batch(make, optimizer=optimizer)
    expected = algorithm_1(IEG(2.0, 7.0), network, batch(make, optimizer=optimizer))
    torch.testing.assert_close(IEG().terms(network, b)["reweighted"], expected["reweighted"])
    plain = IEG().terms(network, batch(make))
    assert not torch.isclose(plain["reweighted"], expected["reweighted"], rtol=1e-3)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, None])
def test_no_momentum(make, kind):
    network = make.network(4, 3)
    optimizer = kind and kind(network.parameters())
    assert momentum_of(network, optimizer) == {}
    assert optimizer is None or not optimizer.state


def test_the_look_ahead_leaves_no_trace(make):
    network = make.network(4, 3)
    network = nn.Sequential(*network, nn.Dropout(0.0)).train()
    b, twin = batch(make), copy.deepcopy(network)
    IEG(alpha=0.0).terms(network, b)
    other = batch(make)
    x, view = other.weak(other.labelled.x), other.strong(other.labelled.x)
    probe = other.weak(other.trusted.x)
    drawn = torch.randint(4, (6,), generator=other.generator)
    for rows in (x, view, torch.cat([probe[drawn], x, view])):
        twin(rows)
    for (name, a), c in zip(network.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, c, msg=name)
    assert all(m.training for m in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_dropout_is_off_in_the_look_ahead(make):
    network = make.network(4, 3, norm=False).train()
    with_dropout = nn.Sequential(*network, nn.Dropout(0.5))
    b, pseudo = batch(make), torch.full((6, 3), 1 / 3)
    args = (b, (b.labelled.x, pseudo), b.trusted.x)
    found = (IEG()._coefficients(n, *args) for n in (network, with_dropout))
    for a, c in zip(*found, strict=True):
        torch.testing.assert_close(a, c)
    assert with_dropout[-1].training


def test_wrong_labels_weigh_less():
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(60) % 3
    x = torch.eye(3)[codes] * 2 + 0.3 * torch.randn(60, 3, generator=generator)
    given = codes.clone()
    given[:18] = (given[:18] + 1) % 3
    network = nn.Linear(3, 3)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.05)
    rows = (x, torch.eye(3)[given], torch.eye(3)[codes] * 0.8 + 0.2 / 3, torch.full((60,), 1 / 60))
    probe = (torch.eye(3) * 2, torch.eye(3))
    params = {k: p.detach() for k, p in network.named_parameters()}
    domega, dlambda = meta_gradients(
        lambda p, x: functional_call(network, p, (x,)), params, {}, rows, probe
    )
    omega = exemplar_weights(domega)
    assert float(omega[:18].sum()) < 0.01
    assert float(omega.sum()) == pytest.approx(1, abs=1e-2)
    assert (dlambda[:18] > 0).all()


def test_one_trusted_row_and_a_class_without_any(make):
    network = make.network(4, 3).eval()
    found = IEG().terms(network, batch(make, n_trusted=1))
    assert all(torch.isfinite(v) for v in found.values())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rows_that_are_all_the_same(make, value):
    network, b = make.network(4, 3), batch(make, noise=0.0)
    b.labelled.x.fill_(value)
    b.trusted.x.fill_(value)
    found = IEG().terms(network, b)
    sum(found.values()).backward()
    assert all(torch.isfinite(v) for v in found.values())
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_no_weight_no_loss(make):
    b = batch(make)
    for part in (b.labelled, b.trusted):
        part.weight.zero_()
    assert all(v == 0 for v in IEG().terms(make.network(4, 3), b).values())


def test_the_generator_decides(make):
    network = make.network(4, 3)
    before = torch.random.get_rng_state()
    first, again = (IEG().terms(copy.deepcopy(network), batch(make)) for _ in "12")
    assert all(torch.equal(first[k], again[k]) for k in first)
    other = replace(batch(make), generator=torch.Generator().manual_seed(1))
    assert not torch.equal(IEG().terms(copy.deepcopy(network), other)["mixed"], first["mixed"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_autocast(make):
    network, seen = make.network(4, 3), []
    network[1].register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = IEG().terms(network, batch(make))
        sum(found.values()).backward()
    assert all(v.dtype == torch.float32 for v in found.values())
    # Two views, then the look-ahead's three passes, then the mixtures.
    assert seen == [torch.bfloat16] * 2 + [torch.float32] * 3 + [torch.bfloat16]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("way", ["method", "function"])
def test_compiled_networks(make, way):
    network = make.network(4, 3)
    expected = IEG().terms(copy.deepcopy(network), batch(make))
    if way == "method":
        network.compile(backend="aot_eager")
    else:
        network = torch.compile(network, backend="aot_eager")
    found = IEG().terms(network, batch(make))
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_parameters_that_are_not_trained(make):
    network = make.network(4, 3)
    network[1].requires_grad_(False)
    sum(IEG().terms(network, batch(make)).values()).backward()
    assert network[1].weight.grad is None


def test_group_norm_with_channels_last(make):
    layers = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))
    expected = IEG().terms(network, batch(make, image=True))
    found = IEG().terms(network.to(memory_format=torch.channels_last), batch(make, image=True))
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("n", [None, 0])
def test_trusted_rows_are_needed(make, n):
    b = replace(batch(make), trusted=None if n is None else trusted(0))
    with pytest.raises(ValueError, match="IEG: expected trusted rows"):
        IEG().terms(make.network(4, 3), b)


def test_an_estimator():
    objective = clone(IEG(alpha=1.0))
    assert objective.parts == {"labelled", "trusted"}
    assert objective.start(3, 2, torch.device("cpu")) is None
    with pytest.raises(ValueError, match="temperature"):
        IEG(temperature=0).start(3, 2, torch.device("cpu"))
