"""Estimators that hold networks come back from a file as they were."""

import hashlib
import json
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
safetensors = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

from skclean import (  # noqa: E402
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    NeuralRetrainer,
    SSLFeaturizer,
    TransitionCleaner,
)
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.embeddings import MoCo, SimCLR  # noqa: E402
from skclean.neural import IEG, GraphRegularizer, MixMatch  # noqa: E402
from skclean.saving import SavedFileError, load, save  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.3, random_state=0)
X, IMAGES, Y = DIGITS.data[:120] / 16, DIGITS.images[:120] / 16, DIGITS.target_noisy[:120]
TRUSTED = LabelledSamples(X, Y, trusted=np.arange(120) < 30)
QUICK = {"epochs": 1, "batch_size": 32}
needs_torchvision = pytest.mark.skipif(not find_spec("torchvision"), reason="no torchvision")


def small():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.BatchNorm2d(4), nn.Dropout(0.1)
    return nn.Sequential(*layers)


RETRAINERS = {
    "supervised": (NeuralRetrainer("supervised", hidden_units=(8, 4), **QUICK), X),
    "mixmatch": (NeuralRetrainer(**QUICK), X),
    "remixmatch": (NeuralRetrainer("remixmatch", **QUICK), X),
    "temporal": (NeuralRetrainer("temporal_ensembling", **QUICK), X),
    "ieg": (NeuralRetrainer(IEG(), optimizer="sgd", **QUICK), TRUSTED),
    "two networks": (
        NeuralRetrainer(
            MixMatch(lambda_u=25),
            n_networks=2,
            cleaner=GMMCleaner(),
            warmup_epochs=1,
            graph=GraphRegularizer(),
            **(QUICK | {"epochs": 2}),
        ),
        X,
    ),
    "images": (NeuralRetrainer("supervised", "conv_net", **QUICK), IMAGES),
    "own body": (NeuralRetrainer("supervised", small(), **QUICK), IMAGES),
}
FEATURIZERS = {
    "simclr": SSLFeaturizer("simclr", small(), **QUICK),
    "moco": SSLFeaturizer(MoCo(queue_size=32), small(), **QUICK),
    "warm": SSLFeaturizer(SimCLR(temperature=0.3), small(), image_size=8, **QUICK),
    "none": SSLFeaturizer("none", small()),
}


@pytest.mark.filterwarnings("ignore::skclean.exceptions.NothingToSeparateWarning")
@pytest.mark.parametrize("name", RETRAINERS)
def test_retrainers_come_back(name, tmp_path):
    retrainer, inputs = RETRAINERS[name]
    load(save(retrainer, tmp_path / "new"))
    retrainer = clone(retrainer).fit(inputs, Y)
    again = load(save(retrainer, tmp_path / "a"))
    np.testing.assert_array_equal(again.predict_proba(inputs), retrainer.predict_proba(inputs))
    assert again.history_.keys() == retrainer.history_.keys() and again.n_iter_ >= 1
    assert repr(again.networks_) == repr(retrainer.networks_)
    if name == "supervised":
        np.testing.assert_array_equal(
            again.fit(inputs, Y).predict_proba(inputs), retrainer.predict_proba(inputs)
        )


@pytest.mark.parametrize("name", FEATURIZERS)
def test_featurizers_come_back(name, tmp_path):
    load(save(FEATURIZERS[name], tmp_path / "new"))
    featurizer = clone(FEATURIZERS[name]).fit(IMAGES)
    again = load(save(featurizer, tmp_path / "a"))
    found, expected = again.transform(IMAGES), featurizer.transform(IMAGES)
    np.testing.assert_array_equal(found.features, expected.features)
    assert repr(again.backbone_) == repr(featurizer.backbone_)


SCRIPT = """
import sys, numpy as np
from skclean.saving import load
images = np.load(sys.argv[1] + "/images.npy")
np.save(sys.argv[1] + "/proba.npy", load(sys.argv[1] + "/pipe").predict_proba(images))
"""


def test_a_pipeline_of_networks_in_another_process(tmp_path):
    steps = [
        ("features", SSLFeaturizer("simclr", small(), **QUICK)),
        ("clean", TransitionCleaner()),
        ("relabel", CredibilityRelabeler()),
        ("retrain", NeuralRetrainer("supervised", "conv_net", **QUICK)),
    ]
    images = IMAGES[:64].astype(np.float32)
    pipe = Pipeline(steps).fit(images, Y[:64])
    path = save(pipe, tmp_path / "pipe")
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    proba = np.load(tmp_path / "proba.npy")
    np.testing.assert_array_equal(proba, pipe.predict_proba(images))
    with zipfile.ZipFile(path) as file:
        members = [name for name in file.namelist() if name.startswith("networks/")]
        tensors = safetensors.load(file.read(members[0]))
        assert len(members) == 3 and all(
            x.is_floating_point() or x.ndim == 0 for x in tensors.values()
        )


def holding(network):
    return SSLFeaturizer("none", network)


def test_what_torch_keeps_of_a_network_is_kept(tmp_path):
    layer = nn.Linear(3, 3)
    layer.weight.requires_grad_(False)
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last).half()
    network = nn.Sequential(layer, nn.ReLU(), layer, conv, nn.BatchNorm1d(3)).eval()
    network.register_buffer("shown", torch.arange(3), persistent=False)
    network[4].train()
    tied = nn.Linear(3, 3)
    tied.weight = layer.weight
    network.append(tied)
    again = load(save(holding(network), tmp_path / "a")).backbone
    assert again[0] is again[2] and again[5].weight is again[0].weight
    assert not again[0].weight.requires_grad and again[0].bias.requires_grad
    assert again[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert [m.training for m in again.modules()] == [m.training for m in network.modules()]
    assert again.state_dict().keys() == network.state_dict().keys()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)
    assert torch.equal(again.shown, torch.arange(3)) and "shown" not in again.state_dict()


@needs_torchvision
def test_models_of_torchvision_come_back(tmp_path):
    from skclean.embeddings.backbones import make_backbone

    for name in ("mobilenet_v3_small", "squeezenet1_1"):
        backbone = make_backbone(name, image_size=64, seed=0).eval()
        again = load(save(holding(backbone), tmp_path / "a", overwrite=True)).backbone
        x = torch.rand(2, 3, 64, 64)
        with torch.inference_mode():
            assert torch.equal(again(x), backbone(x))


class Mine(nn.Linear):
    pass


def test_other_networks_are_refused(tmp_path):
    hooked = nn.Sequential(nn.Linear(3, 3))
    hooked[0].register_forward_hook(lambda *inputs: None)
    lazy = nn.Linear(3, 3)
    lazy.activation = torch.sin
    for network, message in (
        (nn.Sequential(nn.ReLU(), Mine(3, 3)), r"Mine at SSLFeaturizer\.backbone\.1"),
        (hooked, r"a network with hooks at SSLFeaturizer\.backbone\.0"),
        (lazy, r"sin at SSLFeaturizer\.backbone\.activation"),
    ):
        with pytest.raises(ValueError, match=message):
            save(holding(network), tmp_path / "a")
    with pytest.raises(ValueError, match=r"function at|at NeuralRetrainer\.augmentation"):
        save(NeuralRetrainer(augmentation=torch.relu), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_cleaners_fitted_on_tensors_judge_tensors_again(tmp_path):
    tensors, later = torch.from_numpy(X), torch.from_numpy(X + 0.1)
    for cleaner in (GMMCleaner(), TransitionCleaner()):
        cleaner.fit(LabelledSamples(tensors, Y))
        again = load(save(cleaner, tmp_path / "a", overwrite=True))
        for rows in (tensors, later, LabelledSamples(later, Y)):
            found, expected = again.transform(rows), cleaner.transform(rows)
            np.testing.assert_array_equal(found.proba, expected.proba)
            np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_keep_their_dtype(dtype, tmp_path):
    cleaner = GMMCleaner()
    cleaner.value_ = [torch.tensor([0, 1.5, 3]).to(dtype), dtype, torch.device("cpu")]
    again = load(save(cleaner, tmp_path / "a")).value_
    assert torch.equal(again[0], cleaner.value_[0]) and again[1:] == cleaner.value_[1:]


def test_without_torch_the_error_says_what_to_install(tmp_path):
    path = save(NeuralRetrainer("supervised", **QUICK).fit(X, Y), tmp_path / "a")
    script = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from skclean.saving import load\n"
        f"try:\n    load({str(path)!r})\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 'pip install "skclean[neural]"' in done.stdout, done.stderr


def test_damaged_weights_are_refused(tmp_path):
    path = save(NeuralRetrainer("supervised", **QUICK).fit(X, Y), tmp_path / "a")
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    weights = "networks/0.safetensors"
    document = json.loads(parts["document.json"])
    network = next(e for e in document["objects"] if e["kind"] == "network")
    twice = json.dumps(document | {"objects": [*document["objects"], network]})
    network["layers"][-1]["class"] = "torch.nn.NoSuchLayer"
    for changes in (
        {"document.json": twice},
        {weights: parts[weights][:-8]},
        {weights: b"\x80\x04N."},
        {"document.json": json.dumps(document)},
    ):
        with zipfile.ZipFile(path, "w") as file:
            file.comment = b"skclean.save sha256 " + b"0" * 64
            for name, content in (parts | changes).items():
                file.writestr(name, content)
        whole = path.read_bytes()[:-64]
        path.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())
        with pytest.raises(SavedFileError):
            load(path)


@pytest.mark.parametrize("estimator", [RETRAINERS["two networks"][0], SSLFeaturizer(MoCo())])
def test_skops_takes_them_before_a_fit(estimator):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(estimator)
    again = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    assert repr(again) == repr(estimator)
