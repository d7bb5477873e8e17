from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from skclean.embeddings.lars import LARS  # noqa: E402
from skclean.embeddings.optimizers import (  # noqa: E402
    make_optimizer,
    set_learning_rate,
)

FABRIC = SimpleNamespace(
    device=torch.device("cpu"), strategy=SimpleNamespace(precision=SimpleNamespace())
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("sgd", torch.optim.SGD), ("lars", LARS), ("adamw", torch.optim.AdamW)],
)
def test_norms_and_biases_are_neither_decayed_nor_adapted(kind, expected):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = make_optimizer(module, kind, 0.1, 0.02, 0.8, FABRIC)
    assert type(optimizer) is expected
    weights, others = optimizer.param_groups
    assert [p.ndim for p in weights["params"]] == [4] and weights["weight_decay"] == 0.02
    assert [p.ndim for p in others["params"]] == [1, 1, 1] and others["weight_decay"] == 0
    if kind == "lars":
        assert weights["adapt"] and not others["adapt"]
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_unknown_kind():
    module = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="expected optimizer"):
        make_optimizer(module, "lamb", 0.1, 0.0, 0.9, FABRIC)
