import math

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from skclean.neural.mixing import (  # noqa: E402
    gaussian_ramp,
    linear_ramp,
    mixing_coefficients,
    mixup,
    sharpen,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def equation_7(proba, temperature):
    """Berthelot et al. 2019, eq. 7."""
    found = []
    for p in proba.double().tolist():
        powers = [v ** (1 / temperature) for v in p]
        found.append([v / sum(powers) for v in powers])
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0])
def test_sharpen(dtype, temperature):
    proba = torch.softmax(torch.randn(6, 4, generator=generator(), dtype=torch.float64), dim=1)
    found = sharpen(proba.to(dtype), temperature)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), equation_7(proba, temperature), rtol=1e-5, atol=1e-7)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(sharpen(proba[:, order].to(dtype), temperature), found[:, order])


def test_sharpen_at_the_ends():
    proba = torch.tensor([[1.0, 0, 0], [0.34, 0.33, 0.33], [0.5, 0.5, 0]], requires_grad=True)
    found = sharpen(proba, 1e-3)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]))
    sharpen(proba, 0.5).square().sum().backward()
    assert torch.isfinite(proba.grad).all()


@pytest.mark.parametrize("alpha", [0.4, 0.75, 1.0, 4.0])
def test_coefficients_are_beta(alpha):
    found = mixing_coefficients(4000, alpha, generator(3)).numpy()
    assert found.min() >= 0.5 and found.max() <= 1
    # The greater of l and 1 - l: P(≤ x) = F(x) - F(1 - x).
    beta = stats.beta(alpha, alpha)
    test = stats.kstest(found, lambda x: beta.cdf(x) - beta.cdf(1 - x))
    assert test.pvalue > 0.001


def test_coefficients_of_extreme_parameters():
    assert (mixing_coefficients(5, 0, generator()) == 1).all()
    assert (mixing_coefficients(500, 1e-6, generator()) == 1).float().mean() > 0.99
    near_half = mixing_coefficients(500, 1e6, generator())
    torch.testing.assert_close(near_half, torch.full((500,), 0.5), atol=3e-3, rtol=0)
    assert mixing_coefficients(0, 0.75, generator()).shape == (0,)
    assert mixing_coefficients(3, 0.75, generator(), torch.float64).dtype == torch.float64


def test_only_the_generator_is_used():
    before = torch.random.get_rng_state()
    first, again, other = (mixing_coefficients(9, 0.75, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(first.unique()) == 9


def equations_8_to_11(x, target, weight, alpha, seed):
    """Berthelot et al. 2019, eq. 8 to 11, row by row, with weights."""
    drawn = generator(seed)
    order = torch.randperm(len(x), generator=drawn).tolist()
    share = mixing_coefficients(len(x), alpha, drawn, target.dtype).tolist()
    mixed_x, mixed_target, mixed_weight = [], [], []
    for i, j in enumerate(order):
        mixed_x.append(share[i] * x[i] + (1 - share[i]) * x[j])
        w, v = share[i] * weight[i], (1 - share[i]) * weight[j]
        mixed_weight.append(w + v)
        mixed_target.append((w * target[i] + v * target[j]) / (w + v))
    return [torch.stack(v) for v in (mixed_x, mixed_target, mixed_weight)]


@pytest.mark.parametrize("shape", [(4,), (3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_mixup(shape, dtype, seed):
    made = generator(seed)
    x = torch.rand(8, *shape, generator=made, dtype=dtype)
    target = torch.softmax(torch.randn(8, 3, generator=made, dtype=dtype), dim=1)
    weight = torch.rand(8, generator=made, dtype=dtype) + 0.1
    found = mixup(x, target, weight, 0.75, generator(seed + 10))
    for one, slow in zip(found, equations_8_to_11(x, target, weight, 0.75, seed + 10)):
        assert one.dtype == dtype
        torch.testing.assert_close(one, slow)
    torch.testing.assert_close(found[1].sum(dim=1), torch.ones(8, dtype=dtype))


def test_labels_of_no_weight_have_no_say():
    target = torch.eye(4)
    weight = torch.tensor([1.0, 0, 1, 0])
    for seed in range(5):
        _, mixed, mixed_weight = mixup(torch.rand(4, 2), target, weight, 1.0, generator(seed))
        assert (mixed[:, [1, 3]] == 0).all()
        assert torch.isfinite(mixed).all()
        torch.testing.assert_close(mixed.sum(dim=1), (mixed_weight > 0).float())


def test_mixup_of_few_rows():
    x, target = torch.rand(1, 2), torch.tensor([[0.25, 0.75]])
    found = mixup(x, target, torch.ones(1), 0.75, generator())
    for one, given in zip(found, (x, target, torch.ones(1))):
        torch.testing.assert_close(one, given)
    found = mixup(x[:0], target[:0], torch.ones(0), 0.75, generator())
    assert [len(v) for v in found] == [0, 0, 0]
    x = torch.rand(6, 2)
    assert torch.equal(mixup(x, torch.eye(6), torch.ones(6), 0, generator())[0], x)


def test_ramps():
    assert [linear_ramp(t, 16) for t in (-1, 0, 4, 16, 99)] == [0, 0, 0.25, 1, 1]
    assert linear_ramp(0, 0) == gaussian_ramp(0, 0) == 1
    expected = [math.exp(-5 * (1 - min(t, 80) / 80) ** 2) for t in (0, 20, 80, 200)]
    np.testing.assert_allclose([gaussian_ramp(t, 80) for t in (0, 20, 80, 200)], expected)
