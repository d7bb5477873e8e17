import numpy as np
import pytest

from skclean.linalg.optim import Adam, Momentum, batches

PAIRS = [
    (Momentum(0.1, 0.9, 0.01), ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})),
    (
        Adam(0.01, (0.5, 0.999), weight_decay=3e-4),
        ("Adam", {"lr": 0.01, "betas": (0.5, 0.999), "weight_decay": 3e-4}),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_steps_are_those_of_torch(ours, theirs):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (3,)]
    params = [rng.standard_normal(s) for s in shapes]
    first = [p.copy() for p in params]
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = getattr(torch.optim, theirs[0])(tensors, **theirs[1])
    for _ in range(7):
        grads = [rng.standard_normal(s) for s in shapes]
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = torch.tensor(grad)
        optimizer.step()
        params = ours.step(params, grads)
    for param, tensor, start in zip(params, tensors, first, strict=True):
        np.testing.assert_allclose(param, tensor.detach().numpy(), rtol=1e-12)
        assert not np.allclose(param, start)


@pytest.mark.parametrize("kind", [Momentum, Adam])
def test_every_library_finds_the_minimum(kind, xp):
    target = np.array([1.0, -2.0, 3.0], dtype=np.float32)
    goal, x = xp.asarray(target), xp.asarray(np.zeros(3, dtype=np.float32))
    optimizer = kind(0.1)
    for _ in range(300):
        (x,) = optimizer.step([x], [x - goal])
    np.testing.assert_allclose(xp.to_numpy(x), target, atol=1e-2)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (3, 10), (1, 1), (0, 4)])
def test_batches_hold_every_row_once(n, size):
    parts = list(batches(n, size, np.random.RandomState(0)))
    assert sorted(np.concatenate(parts)) == list(range(n)) if parts else n == 0
    assert all(len(part) == size for part in parts[:-1])
