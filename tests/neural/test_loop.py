import os
import signal
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("lightning_fabric", "safetensors", "tqdm"):
    pytest.importorskip(needed)

from sklearn.base import BaseEstimator, clone  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skclean import GMMCleaner, LabelledSamples, PrototypeCleaner  # noqa: E402
from skclean.embeddings.checkpoint import load_checkpoint  # noqa: E402
from skclean.embeddings.devices import make_fabric  # noqa: E402
from skclean.neural import NeuralRetrainer  # noqa: E402
from skclean.neural.classifier import feature_classifier  # noqa: E402
from skclean.neural.learners import Learners  # noqa: E402
from skclean.neural.loop import train  # noqa: E402
from skclean.neural.objectives.mixmatch import MixMatch  # noqa: E402
from skclean.neural.objectives.supervised import Supervised  # noqa: E402
from skclean.neural.rows import DeviceFeatures, training_rows  # noqa: E402
from skclean.neural.schedules import Cosine  # noqa: E402

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 90)
X = (RNG.normal(size=(3, 5))[Y] + 0.4 * RNG.normal(size=(90, 5))).astype(np.float32)
Y_NOISY = np.where(RNG.random(90) < 0.3, RNG.integers(0, 3, 90), Y)
OPTIONS = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, "checkpoint_seconds": 0}


class Plain(BaseEstimator):
    """The mean loss of the labelled rows as they are."""

    parts = frozenset({"labelled"})

    def __init__(self, limit=None):
        self.limit = limit

    def start(self, n_rows, n_classes, device):
        return None

    def terms(self, network, batch, memory):
        part = batch.labelled
        if self.limit and len(part) > self.limit:
            raise torch.OutOfMemoryError("no memory")
        return {"plain": F.cross_entropy(network(part.x), part.target)}


class Stop(Exception):
    pass


def same(x, generator):
    return x


def networks(n=1):
    return [
        feature_classifier(torch.zeros(5), 1.0, 3, hidden_units=[8], dropout=0.1 * (n > 1), seed=i)
        for i in range(n)
    ]


def run(objective=None, n=1, y=Y, window=1, **options):
    objective = Plain() if objective is None else objective
    learners = Learners(networks(n), objective, len(X), 3, 0.9, loss_window=window)
    if "cleaners" in options:
        options["cleaners"] = [clone(c) for c in options["cleaners"]]
    rows = training_rows(LabelledSamples(X, y), False, np.ones(len(X), dtype=bool))
    opened = partial(DeviceFeatures, X)
    options = OPTIONS | options
    history = train(make_fabric("cpu"), learners, objective, rows, opened, same, same, **options)
    return learners, history


def assert_same(one, other):
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# The steps


def test_gradient_descent_by_hand():
    """Order, schedule and average: plain gradient steps give the same weights."""
    seen = []

    class Watching(Plain):
        def terms(self, network, batch, memory):
            seen.append(batch.labelled.rows.clone())
            return super().terms(network, batch, memory)

    learners, history = run(
        Watching(), schedule="step", momentum=0.0, weight_decay=0.0, balanced=False
    )
    network = networks()[0]
    average = {k: p.detach().clone() for k, p in network.named_parameters()}
    assert len(seen) == 4 * 5 and all(len(rows) == 16 for rows in seen)
    for step, rows in enumerate(seen):
        loss = F.cross_entropy(network(torch.from_numpy(X)[rows]), torch.from_numpy(Y)[rows])
        network.zero_grad()
        loss.backward()
        decay = min(0.9, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in network.named_parameters():
                p -= (0.05 if step < 10 else 0.005) * p.grad
                average[name] = decay * average[name] + (1 - decay) * p
    for name, p in learners.networks[0].named_parameters():
        torch.testing.assert_close(p, network.get_parameter(name), rtol=1e-4, atol=1e-6)
        found = learners.averaged()[0].get_parameter(name)
        torch.testing.assert_close(found, average[name], rtol=1e-4, atol=1e-6)
    assert set(history) == {"plain", "learning_rate", "seconds", "images_per_second"}
    np.testing.assert_allclose(history["learning_rate"], [0.05, 0.05, 0.005, 0.005])


def test_norms_and_biases_do_not_decay():
    decayed, _ = run(weight_decay=40.0, learning_rate=0.01, schedule="constant", momentum=0.0)
    network = decayed.networks[0]
    assert network.head.weight.norm() < 1e-3 < network.head.bias.norm()


def test_epochs_see_every_row_once_where_classes_are_not_balanced():
    seen = []

    class Watching(Plain):
        def terms(self, network, batch, memory):
            seen.extend(batch.labelled.rows.tolist())
            return super().terms(network, batch, memory)

    run(Watching(), epochs=1, batch_size=30, balanced=False)
    assert len(set(seen)) == len(seen) == 80


def test_classes_come_equally_often():
    y = np.where(np.arange(90) < 80, 0, np.arange(90) % 3)
    counts, shares = np.zeros(3), []

    class Watching(Plain):
        def terms(self, network, batch, memory):
            counts[:] += batch.labelled.target.sum(dim=0).numpy()
            shares.append(batch.shares)
            return super().terms(network, batch, memory)

    run(Watching(), y=y, epochs=1)
    assert np.ptp(counts) <= 3
    torch.testing.assert_close(shares[0], torch.from_numpy(np.bincount(y)) / 90)
    shares.clear()
    run(Watching(), y=y, epochs=1, balanced=False)
    assert shares[0] is None


def test_gradients_are_clipped():
    one, _ = run(clip_norm=1e-6, weight_decay=0.0, epochs=1)
    for a, b in zip(one.networks[0].parameters(), networks()[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


# Memory


@pytest.mark.parametrize("limit", [8, 4])
def test_out_of_memory_divides_the_step(limit):
    whole, _ = run()
    with pytest.warns(UserWarning, match="pieces from here on") as caught:
        parts, history = run(Plain(limit))
    assert f"{16 // limit} pieces" in str(caught[-1].message)
    assert len(caught) == 16 // limit // 2
    for a, b in zip(whole.networks.parameters(), parts.networks.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert np.isfinite(history["plain"]).all()


def test_out_of_memory_of_two_rows_is_an_error():
    with warnings.catch_warnings(), pytest.raises(torch.OutOfMemoryError):
        warnings.simplefilter("ignore")
        run(Plain(1))


# Checkpoints


class Breaking:
    """Ends a training in the middle of an epoch."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self, x, generator):
        self.left -= 1
        if self.left < 0:
            raise Stop
        return x


@pytest.mark.parametrize(
    "options",
    [
        {"objective": Supervised()},
        {"objective": Supervised("elr"), "optimizer": "adam"},
        {"objective": MixMatch(), "n": 2, "optimizer": "adamw", "schedule": "step"},
        {
            "objective": MixMatch(),
            "n": 2,
            "y": Y_NOISY,
            "cleaners": [GMMCleaner(), GMMCleaner()],
            "warmup": Supervised(),
            "warmup_epochs": 1,
        },
        {
            "objective": MixMatch(),
            "n": 2,
            "y": Y_NOISY,
            "cleaners": [PrototypeCleaner(max_iter=1, n_components=4)] * 2,
            "warmup": Supervised(),
            "warmup_epochs": 1,
            "window": 3,
            "schedule": Cosine(0.1, warmup=1),
        },
    ],
    ids=["supervised", "memory", "two", "divided", "prototypes"],
)
@pytest.mark.filterwarnings("ignore:.*one Gaussian explains")
@pytest.mark.parametrize("steps", [3, 12, 17, 27])
def test_resumed_run_ends_as_the_uninterrupted_one(tmp_path, options, steps, monkeypatch):
    whole, history = run(**options)
    options = options | {"checkpoint_dir": tmp_path}
    monkeypatch.setitem(globals(), "same", Breaking(steps))
    if options.get("n", 1) == 2 or steps < 20:
        with pytest.raises(Stop):
            run(**options)
    monkeypatch.undo()
    resumed, again = run(**options, resume=True)
    assert_same(whole, resumed)
    for term in history.keys() - {"seconds", "images_per_second"}:
        np.testing.assert_array_equal(history[term], again[term], err_msg=term)


def test_other_settings_are_an_error(tmp_path):
    run(checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="resume=True"):
        run(checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=r"batch_size=8 in place of 16"):
        run(checkpoint_dir=tmp_path, batch_size=8, resume=True)


def test_finished_run_is_not_trained_again(tmp_path):
    one, history = run(checkpoint_dir=tmp_path)
    other, again = run(checkpoint_dir=tmp_path, resume=True)
    assert_same(one, other)
    np.testing.assert_array_equal(history["seconds"], again["seconds"])


class Exploding(Plain):
    def terms(self, network, batch, memory):
        loss = super().terms(network, batch, memory)["plain"]
        bad = float("nan") if batch.progress >= 2.5 else 0.0
        return {"plain": loss, "explosive": loss * bad}


def test_term_that_is_not_finite_is_named_and_the_last_checkpoint_stays(tmp_path):
    options = {"checkpoint_dir": tmp_path, "checkpoint_seconds": None, "checkpoint_every": 1}
    with pytest.raises(FloatingPointError, match=r"'explosive'.*epoch 3"):
        run(Exploding(), **options)
    tensors, values = load_checkpoint(tmp_path / "checkpoint.safetensors", "test")
    assert values["progress"]["epoch"] == 2
    assert all(x.isfinite().all() for x in tensors.values())


# Killed


class Killer(BaseEstimator):
    def on_epoch_end(self, retrainer, epoch, record):
        if epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)


def retrained(folder, **changes):
    retrainer = NeuralRetrainer(
        epochs=8, checkpoint_dir=folder, checkpoint_every=3, batch_size=16, **changes
    )
    return retrainer.fit(X, Y_NOISY)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_killed_run_goes_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(tmp_path / "killed")]
    result = subprocess.run(command, env=environment, timeout=120, capture_output=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    resumed = retrained(tmp_path / "killed", resume=True)
    whole = retrained(None)
    for a, b in zip(resumed.networks_, whole.networks_, strict=True):
        assert_same(a, b)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))


if __name__ == "__main__":
    retrained(sys.argv[1], callbacks=[Killer()])
