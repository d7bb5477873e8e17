import math

import pytest

torch = pytest.importorskip("torch")

from skclean.embeddings.nt_xent import nt_xent  # noqa: E402


def views(b=6, d=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, d, generator=generator, dtype=torch.float64).to(dtype) for _ in "12"]


def equation_1(z1, z2, temperature):
    """Chen et al. 2020, eq. 1, averaged over both views of all images."""
    z = z1.double().tolist() + z2.double().tolist()
    n, total = len(z1), 0.0

    def sim(u, v):
        dot = sum(a * b for a, b in zip(u, v))
        return dot / math.sqrt(sum(a * a for a in u)) / math.sqrt(sum(b * b for b in v))

    for i in range(2 * n):
        j = (i + n) % (2 * n)
        below = sum(math.exp(sim(z[i], z[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(sim(z[i], z[j]) / temperature) / below)
    return total / (2 * n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_equation(dtype, seed, temperature):
    z1, z2 = views(7, 4, seed, dtype)
    found = nt_xent(z1, z2, temperature)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert float(found) == pytest.approx(equation_1(z1, z2, temperature), rel=tolerance)


def test_gradient_by_finite_differences():
    z1, z2 = (z.requires_grad_() for z in views(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z1, z2))


def test_invariances():
    z1, z2 = views(8)
    loss = nt_xent(z1, z2, 0.3)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    scale = torch.rand(8, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    for other in ((z2, z1), (z1[order], z2[order]), (z1 * scale, z2 * 7)):
        torch.testing.assert_close(nt_xent(*other, 0.3), loss)
    assert nt_xent(z1, z2.roll(1, 0), 0.3) != loss


def test_rows_of_other_processes_count_in_both_parts():
    z1, z2 = views(6)
    other = torch.stack([z1[4:], z2[4:]], dim=1)
    found = nt_xent(z1[:4], z2[:4], 0.5, lambda z: torch.cat([z, other]))
    torch.testing.assert_close(found, nt_xent(z1, z2, 0.5))


def test_single_precision_under_autocast():
    z1, z2 = views(6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nt_xent(z1, z2, 0.5)
    assert torch.equal(found, nt_xent(z1, z2, 0.5))


def test_degenerate():
    z1, z2 = views(1)
    assert nt_xent(z1, z2, 0.5) == 0
    same = torch.ones(4, 3, requires_grad=True)
    loss = nt_xent(same, same, 1e-4)
    assert float(loss.detach()) == pytest.approx(math.log(7))
    loss.backward()
    assert torch.isfinite(same.grad).all()
    z1, z2 = views(5)
    assert torch.isfinite(nt_xent(z1 * 1e8, z2, 1e-6))
