import math

import pytest

torch = pytest.importorskip("torch")

for needed in ("lightning_fabric", "safetensors", "tqdm"):
    pytest.importorskip(needed)

from sklearn.datasets import load_digits  # noqa: E402

from skclean.neural import NeuralRetrainer  # noqa: E402
from skclean.neural.classifier import feature_classifier, image_classifier  # noqa: E402
from skclean.neural.mixing import mixing_coefficients  # noqa: E402
from skclean.neural.objectives.remixmatch import (  # noqa: E402
    WINDOW,
    ReMixMatch,
    RunningDistributions,
    rotate,
)


def proba(network, x):
    row = network(x[None])[0].tolist()
    exps = [math.exp(v - max(row)) for v in row]
    return [v / sum(exps) for v in exps]


def normalised(row):
    return [v / sum(row) for v in row]


class SlowMemory:
    def __init__(self, C):
        self.rotation = None
        self.labels = [[1 / C] * C for _ in range(WINDOW)]
        self.predictions = [[1 / C] * C for _ in range(WINDOW)]

    def share(self, name):
        return [sum(column) / WINDOW for column in zip(*getattr(self, name)[-WINDOW:])]

    def align(self, q):
        shares = zip(q, self.share("labels"), self.share("predictions"))
        return normalised([v * (a + 1e-6) / (b + 1e-6) for v, a, b in shares])

    def update(self, labels, predictions):
        self.labels.append([sum(c) / len(labels) for c in zip(*labels)])
        self.predictions.append([sum(c) / len(predictions) for c in zip(*predictions)])


def algorithm_1(o, network, batch, memory):
    """Berthelot et al. 2020, row by row."""
    labelled, unlabelled, K = batch.labelled, batch.unlabelled, o.n_views
    b, m = len(labelled), len(unlabelled)
    x = batch.strong(labelled.x)
    weak = batch.weak(unlabelled.x)
    strong = batch.strong(unlabelled.x.repeat(K, *[1] * (x.ndim - 1)))
    predicted = [proba(network, v) for v in weak]
    guessed = [normalised([v ** (1 / o.temperature) for v in memory.align(q)]) for q in predicted]
    memory.update(labelled.target.tolist(), predicted)

    def H(y, x):
        return -sum(t * math.log(s) for s, t in zip(proba(network, x), y))

    l_strong = sum(unlabelled.weight[i].item() * H(guessed[i], strong[i]) for i in range(m)) / m
    l_rotation = None
    if memory.rotation is not None:
        turns = torch.randint(4, (m,), generator=batch.generator).tolist()
        l_rotation = 0.0
        for i, turn in enumerate(turns):
            image = strong[i]
            for _ in range(turn):
                image = anticlockwise(image)
            told = memory.rotation(network.features(image[None]))[0].tolist()
            total = math.log(sum(math.exp(z) for z in told))
            l_rotation += unlabelled.weight[i].item() * (total - told[turn]) / m

    pool = torch.cat([x, strong, weak])
    targets = labelled.target.tolist() + guessed * (K + 1)
    weights = labelled.weight.tolist() + unlabelled.weight.tolist() * (K + 1)
    n = len(pool)
    order = torch.randperm(n, generator=batch.generator).tolist()
    share = mixing_coefficients(n, o.alpha, batch.generator).tolist()
    l_x = l_u = 0.0
    for i, j in enumerate(order):
        v = share[i] * pool[i] + (1 - share[i]) * pool[j]
        loss = share[i] * weights[i] * H(targets[i], v)
        loss += (1 - share[i]) * weights[j] * H(targets[j], v)
        if i < b:
            l_x += loss / b
        else:
            l_u += loss / (n - b)
    ramp = min(batch.progress / o.ramp, 1.0)
    found = {
        "labelled": l_x,
        "unlabelled": o.lambda_u * ramp * l_u,
        "strong": o.lambda_strong * ramp * l_strong,
    }
    return found if l_rotation is None else found | {"rotation": o.lambda_rotation * l_rotation}


def anticlockwise(image):
    """A square image turned by a quarter, pixel by pixel."""
    turned, side = torch.empty_like(image), image.shape[1]
    for i in range(side):
        for j in range(side):
            turned[:, i, j] = image[:, j, side - 1 - i]
    return turned


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("objective", [ReMixMatch(n_views=2), ReMixMatch(0.8, n_views=1, ramp=2)])
def test_terms_by_loops(make, objective, image):
    network = make.network(4, 3, image=image, norm=False)
    memory, slow = objective.start(20, 3, "cpu"), SlowMemory(3)
    for seed in range(3):
        found = objective.terms(network, make.batch(image=image, seed=seed), memory)
        expected = algorithm_1(objective, network, make.batch(image=image, seed=seed), slow)
        assert set(found) == set(expected)
        for name, value in found.items():
            assert value.item() == pytest.approx(expected[name], rel=2e-4), name


def test_distributions_are_those_of_the_last_batches():
    memory, slow = RunningDistributions(3), SlowMemory(3)
    made = torch.Generator().manual_seed(0)
    for _ in range(WINDOW + 9):
        target, p = (torch.softmax(torch.randn(4, 3, generator=made), dim=1) for _ in "12")
        memory.update(target, p)
        slow.update(target.tolist(), p.tolist())
    torch.testing.assert_close(memory.labels, torch.tensor(slow.labels[-WINDOW:]))
    torch.testing.assert_close(memory.align(p)[0], torch.tensor(slow.align(p[0].tolist())))
    before = memory.labels.clone()
    memory.update(target[:0], p)
    assert torch.equal(memory.labels, before)
    assert set(memory.state_dict()) == {"labels", "predictions"}


def test_guesses_are_aligned_to_the_labels_and_not_to_how_they_are_drawn(make):
    shares, objective = torch.tensor([0.7, 0.2, 0.1]), ReMixMatch(n_views=1)
    memory = objective.start(20, 3, "cpu")
    objective.terms(make.network(4, 3), make.batch(shares=shares), memory)
    assert torch.equal(memory.labels[-1], shares)


def test_alignment():
    memory = RunningDistributions(2)
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    torch.testing.assert_close(memory.align(p), p)
    memory.labels.copy_(torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(memory.align(p)[0], torch.tensor([0.75, 0.25]), atol=1e-5, rtol=0)
    memory.labels.copy_(torch.tensor([1.0, 0]))
    memory.predictions.copy_(torch.tensor([0.0, 1]))
    assert torch.isfinite(memory.align(torch.tensor([[0.0, 1]]))).all()


def test_the_mixed_rows_alone_move_the_statistics(make):
    network = make.network(4, 3)
    objective = ReMixMatch(n_views=2, n_bn_groups=4)
    objective.terms(network, make.batch(), objective.start(20, 3, "cpu"))
    assert int(network[2].num_batches_tracked) == 1


def classifier(seed=0):
    """Without batch norm, whose statistics are those of a batch."""
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Tanh())
    return image_classifier(body, 3, image_size=6, seed=seed)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_rotations_by_loops(make, weight):
    network, objective = classifier(), ReMixMatch(n_views=2, lambda_rotation=weight)
    memory, slow = objective.start(20, 3, "cpu"), SlowMemory(3)
    memory.attach(network)
    slow.rotation = memory.rotation
    batch = make.batch(image=True)
    first = objective.terms(network, batch, memory)["rotation"].item()
    expected = weight * batch.unlabelled.weight.mean() * math.log(4)
    assert first == pytest.approx(float(expected), rel=1e-5)
    slow.update(make.batch(image=True).labelled.target.tolist(), [[1 / 3] * 3])
    torch.nn.init.normal_(memory.rotation.weight, generator=torch.Generator().manual_seed(0))
    slow.labels, slow.predictions = memory.labels.tolist(), memory.predictions.tolist()
    for seed in range(3):
        found = objective.terms(network, make.batch(image=True, seed=seed), memory)
        expected = algorithm_1(objective, network, make.batch(image=True, seed=seed), slow)
        assert set(found) == set(expected)
        for name, value in found.items():
            assert value.item() == pytest.approx(expected[name], rel=2e-4), name


def test_turned_images():
    x = torch.rand(40, 3, 5, 8)
    turned, turns = rotate(x, torch.Generator().manual_seed(0))
    assert turned.shape == x.shape and set(turns.tolist()) == {0, 1, 2, 3}
    for image, whole, turn in zip(turned, x, turns.tolist()):
        expected = whole[:, :, 1:6]
        for _ in range(turn):
            expected = anticlockwise(expected)
        assert torch.equal(image[:, :, 1:6], expected)
        assert not image[:, :, :1].any() and not image[:, :, 6:].any()


def test_rotations_for_a_backbone_of_one_size_of_images():
    X, y = torch.rand(24, 8, 12, 3).numpy(), [0, 1, 2] * 8
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 12, 4))
    retrainer = NeuralRetrainer(ReMixMatch(n_views=1), flat, epochs=1).fit(X, y)
    assert retrainer.history_["rotation"][0] > 0


def test_no_rotations_of_features_and_where_they_have_no_weight(make):
    features = feature_classifier(torch.zeros(4), 1.0, 3, hidden_units=[5], dropout=0, seed=0)
    for network, objective in (
        (features, ReMixMatch()),
        (classifier(), ReMixMatch(lambda_rotation=0)),
    ):
        memory = objective.start(20, 3, "cpu")
        memory.attach(network)
        assert not list(memory.parameters())
        found = objective.terms(network, make.batch(image=network is not features), memory)
        assert "rotation" not in found


def test_rotations_are_learned():
    digits = load_digits()
    retrainer = NeuralRetrainer(ReMixMatch(n_views=1), epochs=8, learning_rate=0.01)
    losses = retrainer.fit(digits.images[:160], digits.target[:160]).history_["rotation"]
    assert losses[-1] < 0.6 * math.log(4) and losses[-1] < losses[0]


def test_rotations_go_on_from_a_checkpoint(tmp_path):
    digits = load_digits()
    X, y = digits.images[:100], digits.target[:100]
    options = {"epochs": 4, "batch_size": 16}
    whole = NeuralRetrainer(ReMixMatch(n_views=1), **options).fit(X, y)
    options |= {"checkpoint_dir": tmp_path, "checkpoint_every": 2}
    broken = NeuralRetrainer(ReMixMatch(n_views=1), **options, callbacks=[Breaks()])
    with pytest.raises(KeyError):
        broken.fit(X, y)
    again = NeuralRetrainer(ReMixMatch(n_views=1), **options, resume=True).fit(X, y)
    assert (again.predict_proba(X) == whole.predict_proba(X)).all()


class Breaks:
    def on_epoch_end(self, retrainer, epoch, record):
        if epoch == 2:
            raise KeyError(epoch)
