import math

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.losses import (  # noqa: E402
    cross_entropy,
    early_learning,
    generalized_cross_entropy,
    negative_entropy,
    prior_divergence,
    symmetric_cross_entropy,
    weighted_mean,
)


def slow_softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def slow_cross_entropy(p, y):
    return -sum(b * math.log(a) for a, b in zip(p, y))


def zhang_equation_6(p, y, q):
    return sum(b * (1 - a**q) / q for a, b in zip(p, y))


def wang_symmetric(p, y, alpha, beta, log_zero):
    def log(v):
        return max(math.log(v), log_zero) if v > 0 else log_zero

    reverse = -sum(a * log(b) for a, b in zip(p, y))
    return alpha * slow_cross_entropy(p, y) + beta * reverse


def liu_regularizer(p, t):
    return math.log(1 - sum(a * b for a, b in zip(p, t)))


def slow_negative_entropy(p, _):
    return sum(a * math.log(a) for a in p)


LOSSES = {
    "ce": (cross_entropy, slow_cross_entropy, ()),
    "gce": (generalized_cross_entropy, zhang_equation_6, (0.7,)),
    "gce, q=1": (generalized_cross_entropy, zhang_equation_6, (1.0,)),
    "sce": (symmetric_cross_entropy, wang_symmetric, (0.1, 1.0, -4.0)),
    "elr": (early_learning, liu_regularizer, ()),
    "entropy": (lambda z, y: negative_entropy(z), slow_negative_entropy, ()),
}


def rows(b=6, C=4, seed=0, dtype=torch.float64, hard=False):
    made = torch.Generator().manual_seed(seed)
    logits, y = (2 * torch.randn(b, C, generator=made, dtype=torch.float64) for _ in "12")
    y = torch.eye(C, dtype=torch.float64)[y.argmax(dim=1)] if hard else torch.softmax(y, dim=1)
    return logits.to(dtype), y.to(dtype)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_formulas(name, dtype, hard, seed):
    fast, slow, parameters = LOSSES[name]
    logits, y = rows(seed=seed, dtype=dtype, hard=hard)
    found = fast(logits, y, *parameters)
    expected = [
        slow(slow_softmax(z), t, *parameters)
        for z, t in zip(logits.double().tolist(), y.double().tolist())
    ]
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx(expected, rel=1e-10 if dtype == torch.float64 else 1e-4)
    order = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(fast(logits[:, order], y[:, order], *parameters), found)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name):
    fast, _, parameters = LOSSES[name]
    logits, y = rows(3)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: fast(z, y, *parameters), (logits,))


@pytest.mark.parametrize("name", [*LOSSES, "prior"])
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits(name, scale):
    signs = torch.tensor([[1.0, -1, 0], [0, 1, -1], [1, 1, 1]])
    logits = (signs * scale).requires_grad_()
    y = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0.2, 0.3, 0.5]])
    if name == "prior":
        loss = prior_divergence(logits)
    else:
        fast, _, parameters = LOSSES[name]
        loss = fast(logits, y, *parameters).sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_half_precision_is_computed_with_in_single():
    logits, y = rows(dtype=torch.float32)
    assert cross_entropy(logits.bfloat16(), y).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for fast, _, parameters in LOSSES.values():
            assert fast(logits, y, *parameters).dtype == torch.float32


def test_known_values():
    logits, y = rows(hard=True)
    torch.testing.assert_close(cross_entropy(logits, y.argmax(dim=1)), cross_entropy(logits, y))
    torch.testing.assert_close(
        generalized_cross_entropy(logits, y, 1e-7), cross_entropy(logits, y), rtol=1e-5, atol=0
    )
    flat = torch.zeros(2, 4, dtype=torch.float64)
    torch.testing.assert_close(negative_entropy(flat), torch.full((2,), -math.log(4.0)).double())
    assert prior_divergence(flat) == pytest.approx(0)
    assert prior_divergence(50 * torch.eye(4)) == pytest.approx(0, abs=1e-6)


def test_prior_divergence_by_loops():
    logits, _ = rows(5, 3)
    p = [slow_softmax(z) for z in logits.tolist()]
    mean = [sum(row[c] for row in p) / 5 for c in range(3)]
    expected = sum(1 / 3 * math.log((1 / 3) / m) for m in mean)
    assert float(prior_divergence(logits)) == pytest.approx(expected)
    torch.testing.assert_close(
        prior_divergence(logits[[3, 1, 0, 2, 4]][:, [2, 0, 1]]), prior_divergence(logits)
    )


def test_weighted_mean():
    loss, weight = torch.tensor([1.0, 2, 4]), torch.tensor([1.0, 0, 0.5])
    assert weighted_mean(loss, weight) == 1
    assert weighted_mean(loss[:0], weight[:0]) == 0
