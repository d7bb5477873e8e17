from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch import nn  # noqa: E402

from skclean.embeddings._torchvision import import_torchvision  # noqa: E402
from skclean.embeddings.backbones import lay_out, make_backbone  # noqa: E402
from skclean.embeddings.weights import save_weights  # noqa: E402

try:
    models = import_torchvision("torchvision.models")
except ImportError:
    pytest.skip("torchvision is not installed", allow_module_level=True)

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make(backbone="resnet18", image_size=32, seed=0, **settings):
    return make_backbone(backbone, image_size=image_size, seed=seed, **settings)


def tiny():
    """4 features in a map, with what a dry run could disturb."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))


class Viewing(nn.Module):
    """As many write networks: `view` wants the channels first in memory."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        return self.head(self.conv(x).relu().view(len(x), -1))


class Deep(nn.Module):
    """Parameters of five axes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)

    def forward(self, x):
        return self.conv(x[:, None]).mean(dim=(2, 3, 4))


class Picky(nn.Module):
    """Looks at the layout of more images than one, or in one mode, and keeps what has no copy."""

    def __init__(self, look):
        super().__init__()
        self.conv, self.look = nn.Conv2d(3, 4, 3), look

    def forward(self, x):
        x = self.conv(x)
        self.look(self, x)
        return x.mean(dim=(2, 3))


class Named(nn.Module):
    """A network whose outputs have names, as those of transformers have."""

    def forward(self, x):
        return OrderedDict(pooler_output=x.mean((2, 3)))


def asserts(self, x):
    assert x.is_contiguous()


def raises(self, x):
    if not x.is_contiguous():
        raise ValueError("channels first")


def by_channel(self, x):
    x.view(x.shape[0] * x.shape[1], 1, *x.shape[2:])


def in_training(self, x):
    return x.view(len(x), -1) if self.training else None


def in_evaluation(self, x):
    return None if self.training else x.view(len(x), -1)


def without_copy(self, x):
    self.last = (side for side in x.shape)


PICKY = map(Picky, [asserts, raises, by_channel, in_training, in_evaluation, without_copy])


def assert_same(module, state):
    found = module if isinstance(module, dict) else module.state_dict()
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize(
    "name, n_features",
    [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048), ("preact_resnet18", 512)]
    + [("mobilenet_v3_small", 1024), ("squeezenet1_1", 512), ("googlenet", 1024)],
)
def test_names(name, n_features):
    backbone = make(name)
    assert backbone.training and all(m.training for m in backbone.modules())
    features = backbone(IMAGES)
    assert features.shape == (3, n_features) and backbone.n_features == n_features
    assert not any(1000 in p.shape for p in backbone.parameters())
    features.sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("network", [Viewing(), Deep(), *PICKY])
def test_networks_that_cannot_have_channels_last(network):
    backbone = make(network)
    assert not backbone.takes_channels_last
    assert lay_out(nn.ModuleList([backbone])) == torch.contiguous_format
    assert backbone.network.conv.weight.is_contiguous()
    assert backbone(IMAGES.contiguous(memory_format=lay_out(backbone))).shape[0] == 3


def test_trials_leave_no_trace():
    network = tiny()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    backbone = make(network)
    assert_same(backbone.network, before)
    assert torch.equal(torch.get_rng_state(), state) and backbone.network.training


def test_others_have_channels_last():
    backbone = make(tiny())
    assert backbone.takes_channels_last and backbone.network[0].weight.is_contiguous()
    assert lay_out(nn.ModuleList([backbone])) == torch.channels_last
    assert backbone.network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_stems():
    small, large = make(image_size=63).network, make(image_size=64).network
    assert small.conv1.weight.shape == (64, 3, 3, 3) and small.conv1.stride == (1, 1)
    assert small(IMAGES).shape == (3, 512) and isinstance(small.maxpool, nn.Identity)
    assert large.conv1.weight.shape == (64, 3, 7, 7) and large.conv1.stride == (2, 2)
    assert isinstance(large.maxpool, nn.MaxPool2d)


def test_features_are_torchvisions():
    backbone = make(image_size=64).eval()
    reference = models.resnet18().eval()
    state = {**reference.state_dict(), **backbone.network.state_dict()}
    reference.load_state_dict(state)
    logits = reference(IMAGES)
    torch.testing.assert_close(reference.fc(backbone(IMAGES)), logits)


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "mobilenet_v3_small"])
def test_the_seed_decides(name):
    state = torch.random.get_rng_state()
    first, same, other = make(name), make(name), make(name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same(same, first.state_dict())
    assert any(
        not torch.equal(a, b) for a, b in zip(first.state_dict().values(), other.parameters())
    )


def test_modules_are_copied_and_left_alone():
    network = tiny()
    network[1].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    backbone = make(network, mean=[0.1, 0.2, 0.3], std=np.array([0.5, 0.6, 0.7]))
    assert backbone.n_features == 4 and backbone.network is not network
    assert [m.training for m in backbone.network] == [True, False, True]
    assert_same(backbone.network, before)
    expected = network.eval()((IMAGES - backbone.mean) / backbone.std).mean((2, 3))
    torch.testing.assert_close(backbone.eval()(IMAGES), expected)
    backbone.train()(IMAGES)
    assert_same(network, before)
    flat = make(nn.Sequential(nn.Flatten(), nn.LazyLinear(7)), image_size=8)
    assert flat.n_features == 7 and flat(IMAGES[..., :8, :8]).shape == (3, 7)


def test_normalisation():
    backbone = make(tiny(), mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1))
    assert set(dict(backbone.named_buffers())) >= {"mean", "std"}
    seen = []
    backbone.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(IMAGES)
    for channel, std in enumerate((0.25, 0.5, 1)):
        torch.testing.assert_close(seen[0][:, channel], (IMAGES[:, channel] - 0.5) / std)
    plain = make(tiny())
    assert not plain.mean.any() and (plain.std == 1).all()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "mobilenet_v3_small"])
def test_weights_of_a_file(tmp_path, name, suffix):
    path = tmp_path / f"weights{suffix}"
    head = {"resnet18": "fc", "preact_resnet18": "linear"}.get(name, "classifier.3")
    expected = make(name, seed=1).network.state_dict()
    state = {**expected, f"{head}.weight": torch.zeros(10, 2), f"{head}.bias": torch.zeros(10)}
    for prefix in ("", "module.backbone.", "_orig_mod.encoder."):
        stored = {prefix + key: value for key, value in state.items()}
        if prefix:
            stored["projector.weight"] = torch.zeros(3)
        save_weights(stored, path) if suffix == ".safetensors" else torch.save(stored, path)
        assert_same(make(name, weights=path).network, expected)
    # Files of old versions do not count the batches.
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_weights(state, tmp_path / "old.safetensors")
    assert_same(make(name, weights=tmp_path / "old.safetensors").network, expected)


def test_a_file_of_a_backbone_brings_its_normalisation(tmp_path):
    source = make(seed=1, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    trained = nn.ModuleDict({"backbone": source, "projector": nn.Linear(2, 2)})
    for stored in (source, trained):
        save_weights(stored, tmp_path / "weights.safetensors")
        assert_same(make(weights=tmp_path / "weights.safetensors"), source.state_dict())
    other = make(weights=str(tmp_path / "weights.safetensors"), mean=(0, 0, 0))
    assert not other.mean.any() and torch.equal(other.std, source.std)
    custom = make(tiny(), mean=(0.1, 0.2, 0.3))
    save_weights(custom, tmp_path / "weights.safetensors")
    found = make(tiny(), weights=tmp_path / "weights.safetensors")
    assert_same(found, custom.state_dict())


def test_wrong_weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(make("resnet18", image_size=64).network, path)
    with pytest.raises(ValueError, match=r"shapes: conv1.weight \(64, 3, 7, 7\) instead of"):
        make(weights=path)
    with pytest.raises(ValueError, match=r"missing: layer1.2.conv1.weight.* and more"):
        make("resnet34", weights=path, image_size=64)
    with pytest.raises(ValueError, match=r"missing: 0.weight.* unexpected: "):
        make(tiny(), weights=path)
    state = make(tiny()).network.state_dict()
    save_weights({**state, "fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match=r"got others \(unexpected: fc.weight\)"):
        make(tiny(), weights=path)


def test_pretrained_weights_and_their_normalisation(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    reference = models.resnet18()
    name = Path(models.ResNet18_Weights.DEFAULT.url).name
    torch.save(reference.state_dict(), tmp_path / "checkpoints" / name)
    backbone = make(weights="DEFAULT")
    state = reference.state_dict()
    assert_same(backbone.network, {k: v for k, v in state.items() if not k.startswith("fc.")})
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(backbone.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))
    assert not make(weights="DEFAULT", mean=(0, 0, 0)).mean.any()
    for other in (tiny(), "preact_resnet18"):
        with pytest.raises(ValueError, match="expected a model of torchvision for weights"):
            make(other, weights="DEFAULT")


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"backbone": "resnet81"}, r"got 'resnet81'; do you mean 'resnet18'"),
        ({"backbone": "fasterrcnn_resnet50_fpn"}, "a classification model of torchvision"),
        ({"backbone": "preact_resnet81"}, "'preact_resnet18'"),
        ({"backbone": 3}, "got 3"),
        ({"backbone": "alexnet"}, r"takes these images, float32 of shape \(b, 3, 32, 32\)"),
        ({"backbone": nn.Conv2d(1, 2, 3)}, "network that takes these images"),
        ({"backbone": nn.Flatten(2)}, r"got \(1, 3, 1024\) for one image"),
        ({"backbone": nn.Flatten(0)}, r"got \(3072,\) for one image"),
        ({"backbone": Named()}, "got OrderedDict for one image; do wrap it"),
        ({"weights": 3}, "expected weights to be None, 'DEFAULT' or a path, got 3"),
        ({"mean": (0.5,)}, "expected mean of 3 finite values"),
        ({"std": (1, 1, float("nan"))}, "expected std of 3 finite values"),
        ({"std": (1, 0, 1)}, "expected positive std"),
    ],
)
def test_wrong_settings(settings, match):
    with pytest.raises(ValueError, match=match):
        make(**settings)


def test_images_that_are_not_square():
    assert make_backbone("resnet18", image_size=(20, 36), seed=0).n_features == 512
    with pytest.raises(ValueError, match=r"shape \(b, 3, 32, 48\), .* do set image_size"):
        make_backbone("vit_b_32", image_size=(32, 48), seed=0)
