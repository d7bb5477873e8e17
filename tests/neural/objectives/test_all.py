"""What holds for every objective of this package that needs no trusted rows."""

import copy
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from sklearn.base import clone  # noqa: E402

from skclean.neural.objectives.fixmatch import FixMatch  # noqa: E402
from skclean.neural.objectives.mixmatch import MixMatch  # noqa: E402
from skclean.neural.objectives.pi_model import PiModel  # noqa: E402
from skclean.neural.objectives.remixmatch import ReMixMatch  # noqa: E402
from skclean.neural.objectives.supervised import Supervised  # noqa: E402
from skclean.neural.objectives.temporal_ensembling import TemporalEnsembling  # noqa: E402

OBJECTIVES = [
    Supervised(),
    Supervised("gce", mixup=0.5),
    Supervised("sce", label_smoothing=0.1, confidence_penalty=1.0),
    Supervised("elr"),
    MixMatch(prior_weight=1.0),
    MixMatch(n_bn_groups=3, mixed_views="strong"),
    FixMatch(0.3),
    ReMixMatch(n_views=2),
    PiModel(),
    TemporalEnsembling(),
]

pytestmark = pytest.mark.parametrize("objective", OBJECTIVES, ids=str)


def terms(objective, network, batch, C=3):
    return objective.terms(network, batch, objective.start(40, C, torch.device("cpu")))


def loss(*args):
    return sum(terms(*args).values())


@pytest.mark.parametrize("image", [False, True])
def test_finite_scalars_with_gradients(make, objective, image):
    network = make.network(4, 3, image=image)
    found = terms(objective, network, make.batch(image=image, clean=True))
    assert all(v.shape == () and v.dtype == torch.float32 for v in found.values())
    sum(found.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert any((p.grad != 0).any() for p in network.parameters())


def test_the_generators_decide(make, objective):
    network = make.network(4, 3)
    before = torch.random.get_rng_state()
    first, again = (terms(objective, copy.deepcopy(network), make.batch()) for _ in "12")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[k], again[k]) for k in first)
    other = replace(make.batch(), generator=torch.Generator().manual_seed(1))
    mixes = isinstance(objective, (MixMatch, ReMixMatch)) or bool(getattr(objective, "mixup", 0))
    assert torch.equal(loss(objective, network, other), sum(first.values())) != mixes
    assert torch.equal(torch.random.get_rng_state(), before)


def test_classes_in_another_order(make, objective):
    order = torch.tensor([2, 0, 1])
    network, batch = make.network(4, 3), make.batch(clean=True)
    permuted, other = copy.deepcopy(network), make.batch(clean=True)
    with torch.no_grad():
        for p in permuted[-1].parameters():
            p.copy_(p[order])
    other = replace(
        other,
        labelled=replace(other.labelled, target=other.labelled.target[:, order]),
        unlabelled=replace(other.unlabelled, target=other.unlabelled.target[:, order]),
    )
    torch.testing.assert_close(
        loss(objective, permuted, other), loss(objective, network, batch), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("m", [None, 0])
@pytest.mark.parametrize("clean", [False, True])
def test_no_unlabelled_rows(make, objective, m, clean):
    network = make.network(4, 3)
    found = terms(objective, network, make.batch(m=m, clean=clean))
    assert "labelled" in found and not {"unlabelled", "strong"} & set(found)
    sum(found.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("m", [None, 1, 6])
def test_one_labelled_row(make, objective, m):
    network = make.network(4, 3, norm=False)
    assert torch.isfinite(loss(objective, network, make.batch(1, m)))


def test_no_labelled_row(make, objective):
    network = make.network(4, 3)
    if objective.parts == {"labelled"}:
        network.eval()
    found = terms(objective, network, make.batch(0, 6))
    assert found["labelled"] == 0
    assert all(torch.isfinite(v) for v in found.values())


def test_classes_without_rows(make, objective):
    batch = make.batch(C=4, soft=False)
    batch.labelled.target.zero_()[:, 1] = 1
    network = make.network(4, 4)
    total = loss(objective, network, batch, 4)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits(make, objective, scale):
    network = make.network(4, 3, norm=False)
    with torch.no_grad():
        network[-1].weight.mul_(scale)
        network[-1].bias.zero_()
    total = loss(objective, network, make.batch(soft=False, clean=True))
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in network[-1].parameters())


def test_no_weight_no_loss(make, objective):
    network, batch = make.network(4, 3), make.batch()
    for part in (batch.labelled, batch.unlabelled):
        part.weight.zero_()
    found = terms(objective, network, batch)
    assert all(v == 0 for k, v in found.items() if k != "prior")


def test_losses_in_single_precision_under_autocast(make, objective):
    network = make.network(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = terms(objective, network, make.batch(clean=True))
        sum(found.values()).backward()
    assert all(v.dtype == torch.float32 for v in found.values())
    assert all(p.grad is not None for p in network.parameters())
    plain = terms(objective, make.network(4, 3), make.batch(clean=True))
    for name, value in found.items():
        torch.testing.assert_close(value, plain[name], rtol=0.1, atol=0.1)


def test_estimators(objective):
    copied = clone(objective)
    assert copied is not objective and str(copied) == str(objective)
    assert objective.parts <= {"labelled", "unlabelled"}


def test_wrong_parameters(objective):
    names = {
        "Supervised": "q",
        "MixMatch": "temperature",
        "FixMatch": "threshold",
        "ReMixMatch": "n_views",
    }
    wrong = clone(objective).set_params(**{names.get(type(objective).__name__, "weight"): -1})
    with pytest.raises(ValueError, match="must be"):
        wrong.start(3, 2, torch.device("cpu"))
