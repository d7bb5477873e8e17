import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

from torch import nn  # noqa: E402

from skclean.embeddings.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from skclean.embeddings.devices import make_fabric, spawns  # noqa: E402
from skclean.embeddings.images import open_images  # noqa: E402
from skclean.embeddings.moco import MoCo  # noqa: E402
from skclean.embeddings.simclr import SimCLRObjective  # noqa: E402
from skclean.embeddings.training import fit  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="torch was built without gloo",
)
X = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
OPTIONS = {"epochs": 3, "batch_size": 16, "learning_rate": 0.5, "warmup_epochs": 1}


def backbone(norm=False):
    """MoCo's is without batch norm, whose statistics are those of a process there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3), *[nn.BatchNorm2d(6)] * norm, nn.AdaptiveAvgPool2d(2)]
        net = nn.Sequential(*layers, nn.Tanh(), nn.Flatten())
    net.n_features = 24
    return net


def simclr():
    net = backbone(norm=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return SimCLRObjective(net, nn.Sequential(nn.Linear(24, 5), nn.BatchNorm1d(5)), 0.5)


def moco():
    return MoCo(queue_size=30, projection_dim=5).make(backbone(), 0)


def source():
    opened = open_images(X)
    opened.check()
    return opened


class Views:
    """The image, then the image turned: what a row becomes does not depend on the process."""

    calls = 0

    def __call__(self, images, generator):
        self.calls += 1
        return images if self.calls % 2 else images.flip(3)


class Both(nn.Module):
    """Two objectives side by side, each with a network of its own."""

    def __init__(self, folder):
        super().__init__()
        self.simclr, self.moco, self.folder = simclr(), moco(), str(folder)

    @property
    def gather(self):
        return self.simclr.gather

    @gather.setter
    def gather(self, gather):
        self.simclr.gather = self.moco.gather = gather

    def loss(self, view1, view2):
        terms = [part.loss(view1, view2)["loss"] for part in (self.simclr, self.moco)]
        return {"loss": sum(terms), "simclr": terms[0]}

    def after_step(self):
        self.moco.after_step()
        if self.gather:
            path = f"{self.folder}/rank{torch.distributed.get_rank()}.safetensors"
            save_checkpoint(path, self.state_dict(), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    result = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == ""
    return folder


def test_two_processes_train_as_one(folder):
    """NT-Xent and SimCLR's batch norms gather the views of both, the queue their keys."""
    alone = Both(folder)
    history = fit(make_fabric("cpu"), alone, source(), Views(), **OPTIONS)
    tensors, values = load_checkpoint(folder / "fit.safetensors", "test")
    for term in ("loss", "simclr"):
        np.testing.assert_allclose(values[term], history[term], rtol=1e-5)
    for name, x in alone.state_dict().items():
        torch.testing.assert_close(tensors[name], x, rtol=1e-4, atol=1e-5, msg=name)
    assert int(tensors["moco.pointer"]) == 6 * 16 % 30
    start = Both(folder).state_dict()
    for name in ("simclr.head.0.weight", "moco.head.0.weight", "moco.queue"):
        assert not torch.isclose(tensors[name], start[name], rtol=0.01).all()


def test_both_processes_have_the_same_networks_and_queues(folder):
    ranks = [load_checkpoint(folder / f"rank{rank}.safetensors", "test")[0] for rank in (0, 1)]
    trained, _ = load_checkpoint(folder / "fit.safetensors", "test")
    assert ranks[0].keys() == ranks[1].keys() == trained.keys()
    for name, x in trained.items():
        assert torch.equal(x, ranks[0][name]) and torch.equal(x, ranks[1][name]), name


if __name__ == "__main__":
    where = sys.argv[1]
    fabric, trained = make_fabric("cpu", 2), Both(where)
    assert spawns(fabric)
    environment = dict(os.environ)
    history = fit(fabric, trained, source(), Views(), **OPTIONS)
    assert dict(os.environ) == environment
    values = {term: history[term].tolist() for term in ("loss", "simclr")}
    save_checkpoint(f"{where}/fit.safetensors", trained.state_dict(), values)
