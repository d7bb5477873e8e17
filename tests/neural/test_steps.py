from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.batch import Batch, Part  # noqa: E402
from skclean.neural.steps import Forward, descend  # noqa: E402


class Layered:
    """The squared outputs of a layer that the objective has behind the network."""

    def terms(self, network, batch, memory):
        return {"squared": memory(network(batch.labelled.x)).square().mean()}


@pytest.mark.parametrize("world", [1, 2])
def test_gradients_of_the_objectives_own_layers_are_shared(world):
    """Those of networks are shared by `DistributedDataParallel`."""
    network, memory = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    x = torch.rand(5, 3)
    part = Part(torch.arange(5), x, torch.rand(5, 2), torch.ones(5))
    batch = Batch(part, None, None, None, None, torch.Generator())
    shared = []

    def all_reduce(gradient, reduce_op):
        shared.append(reduce_op)
        return gradient * 3

    fabric = SimpleNamespace(
        world_size=world, backward=lambda x: x.backward(), all_reduce=all_reduce
    )
    terms, _ = descend(
        fabric, Forward(network), None, Layered(), batch, memory, None, lambda: None, 1, "me"
    )
    found = memory.weight.grad.clone()
    memory.zero_grad()
    memory(network(x)).square().mean().backward()
    torch.testing.assert_close(found, memory.weight.grad * (3 if world == 2 else 1))
    assert shared == ["mean", "mean"] * (world == 2) and set(terms) == {"squared"}
