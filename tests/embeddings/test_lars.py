import math

import pytest

torch = pytest.importorskip("torch")

from skclean.embeddings.lars import LARS  # noqa: E402


def algorithm_1(weights, gradients, rates, momentum, decay, trust, adapt):
    """You et al. 2017, algorithm 1, for one layer as a list of numbers."""
    v = [0.0] * len(weights)
    for gradient, rate in zip(gradients, rates):
        size = math.sqrt(sum(w * w for w in weights))
        slope = math.sqrt(sum(g * g for g in gradient))
        scale = trust * size / (slope + decay * size) if adapt and size and slope else 1.0
        v = [momentum * a + rate * scale * (g + decay * w) for a, g, w in zip(v, gradient, weights)]
        weights = [w - a for w, a in zip(weights, v)]
    return weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_algorithm(dtype, adapt, seed):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(12, generator=generator, dtype=torch.float64)
    gradients = torch.randn(6, 12, generator=generator, dtype=torch.float64)
    rates = [0.1, 0.2, 0.4, 0.3, 0.2, 0.0]
    w = torch.nn.Parameter(start.to(dtype, copy=True).view(3, 4))
    optimizer = LARS(
        [w], lr=1.0, momentum=0.8, weight_decay=0.01, trust_coefficient=0.02, adapt=adapt
    )
    for gradient, rate in zip(gradients, rates):
        w.grad = gradient.to(dtype).view(3, 4)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    expected = algorithm_1(start.tolist(), gradients.tolist(), rates, 0.8, 0.01, 0.02, adapt)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert w.flatten().tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_without_adaptation_it_is_sgd_at_a_constant_rate():
    layers = [torch.nn.Linear(4, 3) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    optimizers = [
        LARS(layers[0].parameters(), 0.1, weight_decay=0.05, adapt=False),
        torch.optim.SGD(layers[1].parameters(), 0.1, momentum=0.9, weight_decay=0.05),
    ]
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for layer, optimizer in zip(layers, optimizers):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(layers[0].weight, layers[1].weight)
    torch.testing.assert_close(layers[0].bias, layers[1].bias)


def test_the_step_does_not_depend_on_the_scale_of_the_gradient():
    steps = []
    for scale in (1.0, 1000.0):
        w = torch.nn.Parameter(torch.arange(1.0, 7).view(2, 3))
        w.grad = scale * torch.ones(2, 3)
        LARS([w], 0.5).step()
        steps.append(w.detach().clone())
    torch.testing.assert_close(*steps)


def test_zero_weights_and_zero_gradients_stay_finite():
    zero, still, unused = (torch.nn.Parameter(x * torch.ones(3)) for x in (0.0, 2.0, 1.0))
    zero.grad, still.grad = torch.ones(3), torch.zeros(3)
    optimizer = LARS([zero, still, unused], 0.1, weight_decay=0.0)
    assert optimizer.step(lambda: torch.tensor(3.0)) == 3
    assert zero.tolist() == pytest.approx([-0.1] * 3)
    assert still.tolist() == [2.0] * 3 and unused not in optimizer.state
