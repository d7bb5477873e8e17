import numpy as np
import pytest

from skclean.evidence.head import (
    cross_entropy_gradient,
    fit_scale,
    forward,
    head_proba,
    init_head,
)
from skclean.evidence.probe_gradient import (
    ProbeRows,
    _draws,
    _gradient,
    blend,
    exemplar_weights,
    keep_given,
    look_ahead,
    meta_gradients,
    mixed,
    pseudo_labels,
    supervised,
    train_head,
)


def problem(hidden, seed=0, n=6, m=5, d=4, n_classes=3, dtype=np.float64):
    rng = np.random.RandomState(seed)
    shapes = [(d, n_classes), (n_classes,)]
    if hidden:
        shapes = [(d, hidden), (hidden,), (hidden, n_classes), (n_classes,)]
    params, buffers = ([rng.standard_normal(s).astype(dtype) for s in shapes] for _ in range(2))
    X, probe_X = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    given, probe = (
        np.eye(n_classes)[rng.randint(n_classes, size=n)],
        np.eye(n_classes)[rng.randint(n_classes, size=m)],
    )
    pseudo = rng.dirichlet(np.ones(n_classes), n)
    return params, buffers, *(a.astype(dtype) for a in (X, given, pseudo, probe_X, probe))


def probe_loss(omega, lam, params, buffers, X, given, pseudo, probe_X, probe):
    """L_p(Theta'(omega, lambda)) by its definition (equation 5 and algorithm 1)."""
    targets = lam[:, None] * given + (1 - lam[:, None]) * pseudo
    grads = cross_entropy_gradient(params, X, targets, omega)
    momentum = buffers or [0 * p for p in params]
    ahead = [p - 0.1 * (0.9 * m + g) for p, m, g in zip(params, momentum, grads, strict=True)]
    return -np.mean(np.log(np.sum(head_proba(ahead, probe_X) * probe, axis=1)))


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("first_step", [False, True])
def test_meta_gradient_by_finite_differences(hidden, seed, first_step):
    params, buffers, *rest = problem(hidden, seed)
    buffers = None if first_step else buffers
    found = meta_gradients(params, buffers, *rest)
    n, h = len(rest[0]), 1e-5
    omega, lam = np.full(n, 1 / n), np.full(n, 0.9)
    for i in range(n):
        e = h * np.eye(n)[i]
        for k, (w, v) in enumerate([(e, 0 * e), (0 * e, e)]):
            up = probe_loss(omega + w, lam + v, params, buffers, *rest)
            down = probe_loss(omega - w, lam - v, params, buffers, *rest)
            np.testing.assert_allclose(found[k][i], (up - down) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("hidden", [None, 4])
def test_meta_gradient_by_the_gradient_of_each_row(hidden):
    params, buffers, X, given, pseudo, probe_X, probe = problem(hidden, seed=2)
    n, one = len(X), np.ones(1)
    grads = [0 * p for p in params]
    rows = []
    for i in range(n):
        target = 0.9 * given[i : i + 1] + 0.1 * pseudo[i : i + 1]
        by_target = [target, given[i : i + 1], pseudo[i : i + 1]]
        rows.append([cross_entropy_gradient(params, X[i : i + 1], t, one) for t in by_target])
        grads = [a + b / n for a, b in zip(grads, rows[-1][0], strict=True)]
    ahead = look_ahead(params, buffers, grads)
    G = [0 * p for p in params]
    for j in range(len(probe_X)):
        g = cross_entropy_gradient(ahead, probe_X[j : j + 1], probe[j : j + 1], one)
        G = [a + b / len(probe_X) for a, b in zip(G, g, strict=True)]
    domega, dlambda = meta_gradients(params, buffers, X, given, pseudo, probe_X, probe)
    for i, by_target in enumerate(rows):
        along = [sum(np.sum(a * b) for a, b in zip(G, r, strict=True)) for r in by_target]
        np.testing.assert_allclose(domega[i], -0.1 * along[0], atol=1e-12)
        np.testing.assert_allclose(dlambda[i], -0.1 / n * (along[1] - along[2]), atol=1e-12)


@pytest.mark.parametrize("hidden", [None, 4])
def test_meta_gradient_of_torch(hidden):
    torch = pytest.importorskip("torch")
    params, buffers, X, given, pseudo, probe_X, probe = problem(hidden, seed=3)
    X, given, pseudo, probe_X, probe = map(torch.tensor, (X, given, pseudo, probe_X, probe))
    leaves = [torch.tensor(p, requires_grad=True) for p in params]
    omega = torch.full((len(X),), 1 / len(X), dtype=torch.float64, requires_grad=True)
    lam = torch.full((len(X),), 0.9, dtype=torch.float64, requires_grad=True)

    def losses(p, rows, targets):
        h = torch.relu(rows @ p[0] + p[1]) if len(p) == 4 else rows
        return -(targets * torch.log_softmax(h @ p[-2] + p[-1], dim=1)).sum(dim=1)

    targets = lam[:, None] * given + (1 - lam[:, None]) * pseudo
    loss = (omega * losses(leaves, X, targets)).sum()
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    ahead = [
        p - 0.1 * (0.9 * torch.tensor(m) + g)
        for p, m, g in zip(leaves, buffers, grads, strict=True)
    ]
    expected = torch.autograd.grad(losses(ahead, probe_X, probe).mean(), (omega, lam))
    found = meta_gradients(
        params, buffers, *(a.numpy() for a in (X, given, pseudo, probe_X, probe))
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-12)


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, hidden, dtype):
    params, buffers, *rest = problem(hidden, dtype=dtype)
    there = [xp.asarray(p) for p in params], [xp.asarray(m) for m in buffers]
    moved = [xp.asarray(a) for a in rest]
    expected = meta_gradients(params, buffers, *rest)
    found = meta_gradients(*there, *moved)
    expected += (exemplar_weights(expected[0]), keep_given(expected[1]), blend(*rest[1:3]))
    found += (exemplar_weights(found[0]), keep_given(found[1]), blend(*moved[1:3]))
    logits, there_logits = forward(params, rest[0])[0], forward(there[0], moved[0])[0]
    expected += (pseudo_labels([logits, 2 * logits]),)
    found += (pseudo_labels([there_logits, 2 * there_logits]),)
    for a, b in zip(found, expected, strict=True):
        assert xp.to_numpy(a).dtype == dtype
        np.testing.assert_allclose(xp.to_numpy(a), b, atol=1e-5)


def test_pseudo_labels_of_equation_3():
    rng = np.random.RandomState(0)
    views = [rng.standard_normal((4, 3)), 5 * rng.standard_normal((4, 3))]
    found = pseudo_labels(views, temperature=0.4)
    scaled = [z / np.sqrt(sum(v * v for v in z.ravel()) / z.size) for z in views]
    for i in range(4):
        mean = np.zeros(3)
        for z in scaled:
            mean += np.exp(z[i]) / np.exp(z[i]).sum() / 2
        sharp = [m ** (1 / 0.4) for m in mean]
        np.testing.assert_allclose(found[i], np.array(sharp) / sum(sharp), atol=1e-7)
    np.testing.assert_allclose(pseudo_labels([np.zeros((2, 4))]), 0.25)


def test_weights_and_choice_of_equations_2_and_6():
    gradient = np.array([-0.3, 0.2, -0.1, 0.0])
    np.testing.assert_allclose(exemplar_weights(gradient), np.array([3, 0, 1, 0]) / 4, atol=1e-4)
    np.testing.assert_array_equal(keep_given(gradient), [1, 0, 1, 0])
    np.testing.assert_array_equal(exemplar_weights(np.zeros(3)), 0)


@pytest.mark.parametrize("hidden", [None, 4])
def test_classes_and_rows_in_another_order(hidden):
    params, buffers, X, given, pseudo, probe_X, probe = problem(hidden)
    domega, dlambda = meta_gradients(params, buffers, X, given, pseudo, probe_X, probe)
    c, r = np.array([2, 0, 1]), np.array([3, 1, 0, 5, 2, 4])
    renamed = [[*p[:-2], p[-2][:, c], p[-1][c]] for p in (params, buffers)]
    other = meta_gradients(
        *renamed, X[r], given[r][:, c], pseudo[r][:, c], probe_X[::-1], probe[::-1][:, c]
    )
    np.testing.assert_allclose(other[0], domega[r], atol=1e-12)
    np.testing.assert_allclose(other[1], dlambda[r], atol=1e-12)


def test_one_row_and_duplicates():
    params, buffers, X, given, pseudo, probe_X, probe = problem(None)
    same = np.zeros(4, dtype=int)
    rest = X[same], given[same], pseudo[same], probe_X[:1], probe[:1]
    domega, _ = meta_gradients(params, buffers, *rest)
    np.testing.assert_allclose(domega, domega[0], rtol=1e-12)
    one = meta_gradients(params, buffers, X[:1], given[:1], pseudo[:1], probe_X[:1], probe[:1])
    np.testing.assert_allclose(one[0][0], domega[0], rtol=1e-12)


def test_a_row_that_says_what_the_probe_says_weighs_more():
    X = np.array([[1.0, 0.0], [1.0, 0.0]])
    given, params = np.eye(2), [np.zeros((2, 2)), np.zeros(2)]
    half = np.full((2, 2), 0.5)
    domega, dlambda = meta_gradients(params, None, X, given, half, X[:1], given[:1])
    omega = exemplar_weights(domega)
    assert omega[0] > 0.99 and omega[1] == 0
    np.testing.assert_array_equal(keep_given(dlambda), [1, 0])


def test_probe_rows_are_drawn_class_by_class():
    rng = np.random.RandomState(0)
    rows, codes = np.array([9, 4, 5, 6, 1]), np.array([2, 0, 0, 0, 2])
    at, found = ProbeRows(rows, codes).interleaved(1000, rng)
    np.testing.assert_array_equal(np.bincount(found), [500, 0, 500])
    assert set(at[found == 0]) == {4, 5, 6} and set(at[found == 2]) == {1, 9}
    at, found = ProbeRows(rows, codes).drawn(1000, rng)
    assert abs(np.mean(found == 0) - 0.6) < 0.05
    np.testing.assert_array_equal(found, np.where(np.isin(at, [4, 5, 6]), 0, 2))


def test_batches_go_through_all_rows():
    draws = _draws(np.array([3, 5, 8]), 2, np.random.RandomState(0))
    seen = np.concatenate([next(draws) for _ in range(3)])
    np.testing.assert_array_equal(np.bincount(seen)[[3, 5, 8]], 2)
    assert len(next(_draws(np.array([3]), 5, np.random.RandomState(0)))) == 5


@pytest.mark.parametrize("seed", [0, 1])
def test_supervised_losses_of_equation_8(seed):
    rng = np.random.RandomState(seed)
    params = [rng.standard_normal((4, 3)), rng.standard_normal(3)]
    x, y, g = rng.standard_normal((5, 4)), np.eye(3)[[0, 1, 2, 0, 1]], rng.dirichlet([1] * 3, 5)
    omega, choice = rng.dirichlet(np.ones(5)), np.array([1.0, 0, 0, 1, 1])
    expected = [0 * p for p in params]
    for i in range(5):
        star = y[i] if choice[i] else g[i]
        p = head_proba(params, x[i : i + 1])[0]
        r = 0.5 * (p - star) / 5 + 0.5 * omega[i] * (p - blend(y, g)[i])
        expected = [expected[0] + np.outer(x[i], r), expected[1] + r]
    found = _gradient(params, [supervised(x, y, g, omega, choice)])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_mixtures_of_equation_9():
    parts = [(np.full((50, 2), float(k)), np.full((50, 3), float(k))) for k in (1, 10, 100)]
    (anchors, by_anchor, one), (others, by_other, five) = mixed(*parts, np.random.RandomState(0))
    assert one * 50 == 1 and five * 100 == 5
    # Rows and targets are mixed alike, and each row keeps at least half of itself.
    np.testing.assert_allclose(anchors[:, 0], by_anchor[:, 0])
    np.testing.assert_allclose(others[:, 0], by_other[:, 0])
    assert ((anchors >= 1) & (anchors <= 0.5 + 50)).all()
    assert ((others[:50] >= 5.5) & (others[:50] <= 55)).all() and (others[50:] >= 50.5).all()


@pytest.mark.parametrize("hidden", [None, 6])
def test_training_finds_right_labels_and_leaves_rows_without_one(hidden):
    rng = np.random.RandomState(0)
    truth = np.arange(300) % 3
    X = (2 * np.eye(3, 5)[truth] + rng.standard_normal((300, 5))).astype(np.float32)
    given = np.where(rng.random_sample(300) < 0.4, rng.randint(3, size=300), truth)
    right = given == truth
    probe = np.flatnonzero(right)[:30]
    codes = np.where(np.isin(np.arange(300), [*probe, 290, 291]), -1, given)
    scale = fit_scale(X, 16.0)
    start = init_head(5, 3, hidden, rng, X[:1])
    settings = {"n_cycles": 2, "cycle_length": 60, "learning_rate": 0.1, "batch_size": 50}
    found = train_head(start, scale, X, codes, (probe, truth[probe]), rng=rng, **settings)
    assert np.mean(forward(found.params, scale(X))[0].argmax(axis=1) == truth) > 0.85
    np.testing.assert_array_equal(np.isnan(found.omega), codes < 0)
    np.testing.assert_array_equal(np.isnan(found.choice), codes < 0)
    drawn = codes >= 0
    assert found.choice[drawn & right].mean() > found.choice[drawn & ~right].mean() + 0.3
    assert found.omega[drawn & right].mean() > found.omega[drawn & ~right].mean()
    assert (start[-1] == 0).all()


def literal_training(torch, params, scale, X, given, probe, rng, size, n_cycles, first, rate):
    """Algorithm 1 by autograd: torch's SGD, all losses by their formulas, the same draws."""
    leaves = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in params]
    sgd = torch.optim.SGD(leaves, lr=rate, momentum=0.9, weight_decay=5e-4)
    average, step, found = [p.detach().clone() for p in leaves], 0, []
    draws, probes = _draws(np.flatnonzero(given >= 0), size, rng), ProbeRows(*probe)
    eye = torch.eye(len(params[-1]), dtype=torch.float64)

    def rows_of(rows, codes):
        return torch.tensor(scale(X[rows])).double(), eye[torch.tensor(codes)]

    def logits(p, x):
        return (torch.relu(x @ p[0] + p[1]) if len(p) == 4 else x) @ p[-2] + p[-1]

    def cross(p, x, targets):
        return -(targets * torch.log_softmax(logits(p, x), dim=1)).sum(dim=1)

    for cycle in range(n_cycles):
        length = round(first * 1.5**cycle)
        for k in range(length):
            lr = rate * 0.9**cycle * 0.5 * (1 + np.cos(np.pi * k / length))
            rows = next(draws)
            x, y = rows_of(rows, given[rows])
            view = x + torch.tensor(0.1 * scale.unit * rng.standard_normal(x.shape))
            with torch.no_grad():
                views = [
                    z / (z**2).mean().sqrt() for z in (logits(leaves, x), logits(leaves, view))
                ]
                g = (sum(torch.softmax(z, dim=1) for z in views) / 2) ** 2
                g = g / g.sum(dim=1, keepdim=True)
                fixed = torch.softmax(logits(leaves, x), dim=1)
            probe_x, probe_y = rows_of(*probes.interleaved(size, rng))
            omega = torch.full((size,), 1 / size, dtype=torch.float64, requires_grad=True)
            lam = torch.full((size,), 0.9, dtype=torch.float64, requires_grad=True)
            targets = lam[:, None] * y + (1 - lam[:, None]) * g
            slopes = torch.autograd.grad(
                (omega * cross(leaves, x, targets)).sum(), leaves, create_graph=True
            )
            momentum = [sgd.state[p].get("momentum_buffer", 0 * p) for p in leaves]
            ahead = [
                p - 0.1 * (0.9 * m + s) for p, m, s in zip(leaves, momentum, slopes, strict=True)
            ]
            domega, dlam = torch.autograd.grad(cross(ahead, probe_x, probe_y).mean(), (omega, lam))
            omega = torch.relu(-domega)
            omega, choice = omega / (omega.sum() + 1e-5), (dlam < 0).double()
            found.append((rows, size * omega.numpy(), choice.numpy()))
            star = choice[:, None] * y + (1 - choice[:, None]) * g
            loss = cross(leaves, x, star).mean() / 2
            loss = loss + (omega * cross(leaves, x, 0.9 * y + 0.1 * g)).sum() / 2
            log_view = torch.log_softmax(logits(leaves, view), dim=1)
            loss = loss + 20 * (fixed * (fixed.log() - log_view)).sum(dim=1).mean()
            anchor_x, anchor_y = rows_of(*probes.drawn(size, rng))
            pool, labels = torch.cat([anchor_x, x, view]), torch.cat([anchor_y, g, g])
            beta = rng.beta(0.5, 0.5, size=(3 * size, 1))
            order = torch.tensor(rng.permutation(3 * size))
            beta = torch.tensor(np.maximum(beta, 1 - beta))
            pool, labels = (beta * v + (1 - beta) * v[order] for v in (pool, labels))
            mixtures = cross(leaves, pool, labels)
            loss = loss + mixtures[:size].mean() + 5 * mixtures[size:].mean()
            sgd.param_groups[0]["lr"] = lr
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            step += 1
            keep = min(0.999, (1 + step) / (10 + step))
            average = [
                keep * a + (1 - keep) * p.detach() for a, p in zip(average, leaves, strict=True)
            ]
    return [a.numpy() for a in average], found


@pytest.mark.parametrize("hidden", [None, 4])
def test_training_is_algorithm_1_by_autograd(hidden):
    torch = pytest.importorskip("torch")
    rng = np.random.RandomState(0)
    params = problem(hidden, seed=4)[0]
    X = rng.standard_normal((20, 4))
    given = np.where(np.arange(20) < 3, -1, rng.randint(3, size=20))
    probe, scale = (np.arange(4), np.array([0, 1, 2, 2])), fit_scale(X, 16.0)
    average, steps = literal_training(
        torch, params, scale, X, given, probe, np.random.RandomState(1), 6, 2, 4, 0.02
    )
    assert len(steps) == 4 + 6
    found = train_head(
        [p.astype(np.float32) for p in params],
        scale,
        X,
        given,
        probe,
        n_cycles=2,
        cycle_length=4,
        learning_rate=0.02,
        batch_size=6,
        rng=np.random.RandomState(1),
    )
    for a, b in zip(found.params, average, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    for i in range(3, 20):
        of_row = [
            (w, c)
            for rows, w, c in zip(*zip(*steps, strict=True), strict=True)
            for w, c in zip(w[rows == i], c[rows == i], strict=True)
        ]
        np.testing.assert_allclose(found.omega[i], np.mean([w for w, _ in of_row]), atol=1e-3)
        np.testing.assert_allclose(found.choice[i], np.mean([c for _, c in of_row]), atol=1e-6)
    assert np.isnan(found.omega[:3]).all()
