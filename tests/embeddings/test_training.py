import os
import signal
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

from torch import nn  # noqa: E402

from skclean.embeddings.devices import make_fabric  # noqa: E402
from skclean.embeddings.images import open_images  # noqa: E402
from skclean.embeddings.moco import MoCo  # noqa: E402
from skclean.embeddings.rates import learning_rate_at  # noqa: E402
from skclean.embeddings.simclr import SimCLR  # noqa: E402
from skclean.embeddings.training import fit  # noqa: E402

METHODS = {
    "simclr": SimCLR(projection_dim=8),
    "moco": MoCo(projection_dim=8, queue_size=50, n_bn_splits=2),
}
X = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
X[:35, :, :4] //= 8
LABELS = np.arange(70) // 35
OPTIONS = {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "warmup_epochs": 1, "seed": 4}


class Augment:
    """Noise and a flip; does something at a call, counted from 1."""

    def __init__(self, at=0, action=None):
        self.calls, self.at, self.action = 0, at, action

    def __call__(self, images, generator):
        self.calls += 1
        if self.calls == self.at:
            self.action()
        return (images + 0.1 * torch.randn(images.shape, generator=generator)).flip(3)


def stop():
    raise InterruptedError


def objective(method="simclr", dropout=0.2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    net.n_features = 8
    return METHODS[method].make(net, 0)


def source(images=X):
    opened = open_images(images)
    opened.check()
    return opened


def run(method="simclr", augment=None, images=None, **options):
    trained = objective(method)
    history = fit(
        make_fabric("cpu"),
        trained,
        source() if images is None else images,
        augment or Augment(),
        **{**OPTIONS, **options},
    )
    return trained.state_dict(), history


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_it_learns_and_two_runs_are_equal_to_the_bit(method, optimizer):
    rng = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    options = {"optimizer": optimizer, "epochs": 6, "learning_rate": 0.02, "clip_norm": 5.0}
    weights, history = run(method, **options)
    again, _ = run(method, **options)
    assert torch.equal(torch.get_rng_state(), rng[0])
    assert (np.random.get_state()[1] == rng[1]).all() and torch.get_num_threads() == rng[2]
    assert_equal(weights, again)
    keys = {"loss", "learning_rate", "seconds", "images_per_second", "probe"}
    assert history.keys() == keys and all(v.shape == (6,) for v in history.values())
    assert np.isfinite(history["loss"]).all() and np.isnan(history["probe"]).all()
    start = objective(method).state_dict()
    assert not torch.equal(weights["backbone.0.weight"], start["backbone.0.weight"])
    if method == "simclr" and optimizer != "lars":
        assert history["loss"][-1] < history["loss"][0]


def test_other_seeds_are_other_runs():
    weights, other = run()[0], run(seed=5)[0]
    assert not torch.equal(weights["head.0.weight"], other["head.0.weight"])


def test_the_steps_of_an_epoch():
    seen = []

    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Linear(1, 1)
            self.steps = 0

        def loss(self, view1, view2):
            rows = (255 * view1[:, 0, 0, 0]).round().long()
            seen.append(rows.tolist())
            assert not torch.equal(view1, view2)
            assert view1.is_contiguous(memory_format=torch.channels_last)
            loss = self.backbone(torch.ones(1)).square().sum()
            return {"loss": loss, "twice": 2 * loss}

        def after_step(self):
            self.steps += 1

    numbered = np.broadcast_to(np.arange(70, dtype=np.uint8)[:, None, None], (70, 8, 8)).copy()
    opened = source(numbered)
    opened.readable[[3, 40]] = False

    def nearly(images, generator):
        noise = torch.rand(images.shape, generator=generator)
        return images + 1e-4 * noise

    recorder = Recorder()
    history = fit(make_fabric("cpu"), recorder, opened, nearly, **OPTIONS)
    assert recorder.steps == 12 and [len(rows) for rows in seen] == [16] * 12
    epochs = [list(chain(*seen[4 * i : 4 * i + 4])) for i in range(3)]
    for rows in epochs:
        assert len(set(rows)) == 64 and not {3, 40} & set(rows)
    assert epochs[0] != epochs[1] != epochs[2]
    np.testing.assert_allclose(history["twice"], 2 * history["loss"])
    assert recorder.gather is None


def test_learning_rates_of_the_steps():
    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Linear(1, 1, bias=False)

        def loss(self, view1, view2):
            return {"loss": self.backbone.weight.sum()}

        def after_step(self):
            walked.append(float(self.backbone.weight.detach()))

    slope = Slope()
    walked = [float(slope.backbone.weight.detach())]
    history = fit(
        make_fabric("cpu"), slope, source(), Augment(), **OPTIONS, momentum=0, weight_decay=0
    )
    rates = [learning_rate_at(step, 12, 4, 0.05) for step in range(12)]
    np.testing.assert_allclose(-np.diff(walked), rates, atol=1e-6)
    np.testing.assert_allclose(history["learning_rate"], rates[3::4])


def test_images_that_are_read_as_they_are_needed_give_the_same():
    opened = open_images(X)
    opened.array = lambda: None
    assert_equal(run(images=opened)[0], run()[0])


def test_fewer_images_than_a_batch():
    _, history = run(images=source(X[:5]), batch_size=64)
    assert np.isfinite(history["loss"]).all()
    with pytest.raises(ValueError, match="expected at least two images.*got 1 images"):
        run(images=source(X[:1]))


@pytest.mark.parametrize("method", METHODS)
def test_the_probe_changes_nothing(method):
    weights, _ = run(method)
    labels = LABELS.copy()
    labels[::7] = -1
    probed, history = run(method, probe_labels=labels, probe_every=2)
    assert_equal(weights, probed)
    assert np.isnan(history["probe"][0]) and (history["probe"][1:] > 0.8).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [3, 12, 21])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(method, at, tmp_path):
    options = {"checkpoint_dir": tmp_path, "checkpoint_every": 1, "resume": True}
    with pytest.raises(InterruptedError):
        run(method, Augment(at, stop), checkpoint_seconds=0, **options)
    augment = Augment()
    weights, history = run(method, augment, **options)
    # Two views of each of the 12 steps; the step that was stopped is taken again.
    assert augment.calls == 24 - 2 * ((at - 1) // 2)
    expected, whole = run(method)
    assert_equal(weights, expected)
    np.testing.assert_array_equal(history["loss"], whole["loss"])
    augment = Augment()
    finished, same = run(method, augment, **options)
    assert augment.calls == 0
    assert_equal(finished, expected)
    np.testing.assert_array_equal(same["seconds"], history["seconds"])


def test_checkpoints_of_another_run(tmp_path):
    run(checkpoint_dir=tmp_path, settings={"backbone": "tiny"})
    with pytest.raises(ValueError, match=r"train: expected a folder without a checkpoint"):
        run(checkpoint_dir=tmp_path)
    with pytest.raises(
        ValueError, match=r"batch_size=8 in place of 16, backbone='nothing'.*'tiny'"
    ):
        run(checkpoint_dir=tmp_path, batch_size=8, resume=True)
    with pytest.raises(ValueError, match=r"objective='MoCoObjective' in place of 'SimCLRObj"):
        run("moco", checkpoint_dir=tmp_path, settings={"backbone": "tiny"}, resume=True)


@pytest.mark.parametrize("seconds", [0, None])
def test_numbers_that_are_not_finite(seconds, tmp_path):
    trained = objective()

    def poison():
        with torch.no_grad():
            trained.backbone[0].weight[0] = torch.nan

    # In the second epoch.
    options = {"checkpoint_dir": tmp_path, "checkpoint_every": 1, "checkpoint_seconds": seconds}
    with pytest.raises(FloatingPointError, match="'loss' in epoch 2; do lower the learning rate"):
        fit(make_fabric("cpu"), trained, source(), Augment(10, poison), **OPTIONS, **options)
    weights, _ = run(resume=True, **options)
    assert_equal(weights, run()[0])


def test_progress_is_shown_if_asked_for(capfd):
    run()
    assert capfd.readouterr() == ("", "")
    run(verbose=True)
    shown = capfd.readouterr()
    assert shown.out == "" and "loss=" in shown.err and "images/s" in shown.err


def test_killed_runs_go_on_to_the_same_end(tmp_path):
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, method, str(tmp_path / method), threads], env=environment
        )
        for method in METHODS
    ]
    try:
        assert [process.wait(timeout=120) for process in started] == [-signal.SIGKILL] * 2
    finally:
        for process in started:
            process.kill()
    for method in METHODS:
        augment = Augment()
        weights, _ = run(method, augment, checkpoint_dir=tmp_path / method, resume=True)
        # Six steps were taken in full: the run died in the middle of the second epoch.
        assert augment.calls == 24 - 2 * 6
        assert_equal(weights, run(method)[0])


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    kill = Augment(13, lambda: os.kill(os.getpid(), signal.SIGKILL))
    run(sys.argv[1], kill, checkpoint_dir=sys.argv[2], checkpoint_seconds=0)
