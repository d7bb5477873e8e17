import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("lightning_fabric", "safetensors", "tqdm"):
    pytest.importorskip(needed)

from sklearn.base import BaseEstimator  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skclean import GMMCleaner, LabelledSamples  # noqa: E402
from skclean.embeddings.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from skclean.embeddings.devices import launch, make_fabric  # noqa: E402
from skclean.neural import NeuralRetrainer  # noqa: E402
from skclean.neural.classifier import feature_classifier  # noqa: E402
from skclean.neural.learners import Learners  # noqa: E402
from skclean.neural.loop import train  # noqa: E402
from skclean.neural.objectives.supervised import Supervised  # noqa: E402
from skclean.neural.objectives.temporal_ensembling import TemporalEnsembling  # noqa: E402
from skclean.neural.rows import DeviceFeatures, training_rows  # noqa: E402

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


FOLLOWING = {"elr": Supervised("elr"), "temporal_ensembling": TemporalEnsembling(ramp_up=0)}


def followed(fabric, objective, **options):
    """The learners of a training of four epochs of seven steps."""
    sizes = {"hidden_units": [8], "dropout": 0.0}
    networks = [feature_classifier(torch.zeros(5), 1.0, 3, **sizes, seed=0)]
    learners = Learners(networks, objective, len(X), 3, 0.9)
    rows = training_rows(LabelledSamples(X, Y_NOISY), False, np.ones(len(X), dtype=bool))
    opened, options = partial(DeviceFeatures, X), {"epochs": 4, **options}
    options |= {"batch_size": 24, "learning_rate": 0.05, "checkpoint_seconds": 0}
    train(fabric, learners, objective, rows, opened, still, still, **options)
    return learners


def follow_rows(fabric, folder):
    """Whole trainings, and some that go on from what a process killed in epoch 3 leaves."""
    for name, objective in FOLLOWING.items():
        kept, left = Path(folder, name), Path(folder, f"{name}-left")

        def leave(epoch, record, kept=kept, left=left):
            if epoch == 2:
                shutil.copytree(kept, left)

        found = {"whole": followed(fabric, objective, checkpoint_dir=kept, on_epoch_end=leave)}
        found["resumed"] = followed(fabric, objective, checkpoint_dir=left, resume=True)
        if name == "elr":
            found["plain"] = followed(fabric, objective, balanced=False)
        for kind, learners in found.items():
            path = f"{folder}/{name}-{kind}-{fabric.global_rank}.safetensors"
            save_checkpoint(path, learners.state_dict(), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=200,
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


def load(folder, name):
    return load_checkpoint(folder / f"{name}.safetensors", "test")[0]


@pytest.mark.parametrize("name", FOLLOWING)
def test_processes_remember_the_same_of_each_row(folder, name):
    ranks = [load(folder, f"{name}-whole-{rank}") for rank in (0, 1)]
    kept = [key for key in ranks[0] if key.startswith("memories")]
    assert kept
    for key in kept:
        assert torch.equal(ranks[0][key], ranks[1][key]), key
    assert (ranks[0]["memories.0.average"].sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_killed_run_of_two_processes_ends_as_the_whole_one(folder, name):
    for rank in (0, 1):
        whole, resumed = (load(folder, f"{name}-{kind}-{rank}") for kind in ("whole", "resumed"))
        assert whole.keys() == resumed.keys()
        for key, x in whole.items():
            assert torch.equal(x, resumed[key]), key


def test_two_processes_remember_rows_drawn_once_as_one(folder):
    alone = followed(make_fabric("cpu"), FOLLOWING["elr"], balanced=False).state_dict()
    for key, x in load(folder, "elr-plain-1").items():
        torch.testing.assert_close(x, alone[key], rtol=1e-4, atol=1e-6, msg=key)


if __name__ == "__main__":
    found = trained(2)
    values = {term: x.tolist() for term, x in found.history_.items()} | {"n_iter": found.n_iter_}
    path = f"{sys.argv[1]}/trained.safetensors"
    save_checkpoint(path, found.networks_[1].state_dict(), values)
    launch(make_fabric("cpu", 2), follow_rows, sys.argv[1])
