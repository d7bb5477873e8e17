import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("lightning_fabric", "safetensors", "tqdm"):
    pytest.importorskip(needed)

from sklearn.base import BaseEstimator  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skclean import GMMCleaner  # noqa: E402
from skclean.embeddings.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from skclean.neural import NeuralRetrainer  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="torch was built without gloo",
)
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 120)
X = (RNG.normal(size=(3, 5))[Y] + 0.4 * RNG.normal(size=(120, 5))).astype(np.float32)
Y_NOISY = np.where(RNG.random(120) < 0.3, RNG.integers(0, 3, 120), Y)


class Plain(BaseEstimator):
    """The mean loss of the labelled rows as they are: what a row becomes is the same everywhere."""

    parts = frozenset({"labelled"})

    def start(self, n_rows, n_classes, device):
        return None

    def terms(self, network, batch, memory):
        part = batch.labelled
        return {"plain": F.cross_entropy(network(part.x), part.target)}


def still(x, generator):
    return x


class Ender(BaseEstimator):
    def on_epoch_end(self, retrainer, epoch, record):
        return epoch == 3


def trained(devices):
    retrainer = NeuralRetrainer(
        Plain(),
        devices=devices,
        device="cpu",
        n_networks=2,
        cleaner=GMMCleaner(),
        warmup_epochs=2,
        epochs=6,
        optimizer="sgd",
        augmentation=still,
        validation_fraction=0.2,
        callbacks=[Ender()],
    )
    return retrainer.fit(X, Y_NOISY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=100,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_two_processes_are_trained_as_one(folder):
    alone = trained(1)
    tensors, values = load_checkpoint(folder / "trained.safetensors", "test")
    assert alone.n_iter_ == values["n_iter"] == 4
    for term in ("labelled_share", "plain", "validation"):
        np.testing.assert_allclose(values[term], alone.history_[term], rtol=1e-5, err_msg=term)
    assert values["labelled_share"][1] == 1 > values["labelled_share"][3]
    for name, x in alone.networks_[1].state_dict().items():
        torch.testing.assert_close(tensors[name], x, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    found = trained(2)
    values = {term: x.tolist() for term, x in found.history_.items()} | {"n_iter": found.n_iter_}
    path = f"{sys.argv[1]}/trained.safetensors"
    save_checkpoint(path, found.networks_[1].state_dict(), values)
