import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.frozen import FrozenEstimator

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch import nn  # noqa: E402

from skclean.embeddings._described import described  # noqa: E402
from skclean.embeddings.augment import Augmentation  # noqa: E402
from skclean.embeddings.checkpoint import (  # noqa: E402
    Checkpoints,
    Progress,
    check_settings,
    fingerprint,
    load_checkpoint,
    load_optimizer,
    optimizer_tensors,
    save_checkpoint,
)
from skclean.embeddings.images import open_images  # noqa: E402
from skclean.embeddings.lars import LARS  # noqa: E402
from skclean.embeddings.simclr import SimCLR  # noqa: E402

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "plain": lambda p: torch.optim.SGD(p, 0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "lars": lambda p: LARS(p, 0.1),
}


class Scale:
    """A stand-in for Fabric's precision."""

    def __init__(self, scale=None):
        self.scale = scale

    def state_dict(self):
        return {} if self.scale is None else {"scale": self.scale}

    def load_state_dict(self, state):
        self.scale = state["scale"]


def network(seed=0, width=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten())
    return net.to(memory_format=torch.channels_last)


def step(net, optimizer, seed):
    x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_tensors_and_values(tmp_path):
    weights = torch.arange(24.0).view(2, 3, 2, 2)
    tensors = {
        "strided": weights.to(memory_format=torch.channels_last),
        "shared": weights[1],
        "scalar": torch.tensor(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, tensors, {"a": [1.5, float("nan")], "b": None})
    found, values = load_checkpoint(path, "fit")
    assert found.keys() == tensors.keys()
    for name, x in tensors.items():
        assert found[name].dtype == x.dtype and torch.equal(found[name], x)
    assert values["a"][0] == 1.5 and values["a"][1] != values["a"][1] and values["b"] is None
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_goes_on_as_if_never_stopped(kind):
    nets = [network(), network()]
    optimizers = [OPTIMIZERS[kind](net.parameters()) for net in nets]
    for net, optimizer in zip(nets, optimizers):
        for seed in range(3):
            step(net, optimizer, seed)
    tensors = copy.deepcopy(optimizer_tensors(optimizers[1]))
    tensors = {k: x.contiguous() for k, x in tensors.items()}
    optimizers[1] = OPTIMIZERS[kind](nets[1].parameters())
    load_optimizer(optimizers[1], tensors)
    for net, optimizer in zip(nets, optimizers):
        for seed in range(3, 6):
            step(net, optimizer, seed)
    assert same(*nets)
    for parameter, state in optimizers[1].state.items():
        for value in state.values():
            assert value.shape != parameter.shape or value.stride() == parameter.stride()


def test_save_and_restore(tmp_path):
    settings = {"batch_size": 5, "shape": (3, 4), "mean": np.array([0.5, 1])}
    first = Checkpoints(tmp_path / "deep" / "folder", settings, False, "fit")
    net, precision = network(), Scale(128.0)
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    assert first.restore(net, optimizer, precision) == Progress()
    step(net, optimizer, 0)
    progress = Progress(2, 7, 1.25, {"loss": torch.tensor(3.5)}, {"loss": [1.0, 1 / 3]})
    folder = tmp_path / "deep" / "folder"
    (folder / ".checkpoint.safetensors.1f").write_bytes(b"half of it")
    first.save(net, optimizer, precision, progress)
    first.close()
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint.safetensors", "lock"]
    other, scale = network(1), Scale()
    again = OPTIMIZERS["sgd"](other.parameters())
    found = Checkpoints(tmp_path / "deep" / "folder", settings, True, "fit")
    assert found.restore(other, again, scale) == progress
    assert same(net, other) and scale.scale == 128.0
    step(net, optimizer, 1)
    step(other, again, 1)
    assert same(net, other)


def test_nowhere_to_keep_it():
    nothing = Checkpoints(None, {}, True, "fit")
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    assert nothing.restore(net, optimizer, Scale()) == Progress()
    nothing.save(net, optimizer, Scale(), Progress())


def test_what_cannot_be_gone_on_from(tmp_path):
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    checkpoints = Checkpoints(tmp_path, {"seed": 1, "epochs": 9}, True, "fit")
    checkpoints.save(net, optimizer, Scale(), Progress(1))
    with pytest.raises(ValueError, match=r"that no other run writes to.*another folder"):
        Checkpoints(tmp_path, {"seed": 1, "epochs": 9}, True, "fit")
    checkpoints.close()
    with pytest.raises(ValueError, match=r"fit: expected a folder without.*resume=True"):
        Checkpoints(tmp_path, {"seed": 1, "epochs": 9}, False, "fit")
    with pytest.raises(
        ValueError, match=r"got epochs=8 in place of 9, new=2 in place of 'nothing'"
    ):
        Checkpoints(tmp_path, {"seed": 1, "epochs": 8, "new": 2}, True, "fit")
    wider = network(width=6)
    with pytest.raises(ValueError, match=r"expected the network of the checkpoint"):
        Checkpoints(tmp_path, {"seed": 1, "epochs": 9}, True, "fit").restore(
            wider, OPTIMIZERS["sgd"](wider.parameters()), Scale()
        )
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:10], b"", b"no checkpoint at all"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"fit: expected a whole checkpoint.*delete it"):
            Checkpoints(tmp_path, {}, True, "fit")


def test_a_folder_that_cannot_be_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        Checkpoints(tmp_path / "file" / "folder", {}, False, "fit")


def test_what_is_described_alike_in_every_process():
    assert described(None) == "None" and described(SimCLR(0.2)) == "SimCLR(temperature=0.2)"
    assert described(network) == f"{__name__}.network"
    assert described(Path("a")) == described("a") != described(Path("b"))
    assert described(np.float32(0.5)) == described(0.5) and described(np.bool_(True)) == "True"
    assert described([np.int64(8)]) == described(np.array([8])) == described([8]) == "[8]"
    assert described((Path("a"), [np.float64(0.5)])) == "['a', [0.5]]"
    one = SimCLR(np.float64(0.2))
    assert described(one) == described(SimCLR(0.2)) and type(one.temperature) is np.float64
    frozen = FrozenEstimator(SimCLR(np.float64(0.2)))
    assert described(frozen) == described(FrozenEstimator(SimCLR(0.2)))
    assert described(Scale()) == described(Scale()) != described(Scale(2.0))


class Slotted:
    __slots__ = ("scale",)

    def __init__(self, scale):
        self.scale = scale


class OneSlot:
    __slots__ = "scale"

    def __init__(self, scale):
        self.scale = scale


class Smooth(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale


@pytest.mark.parametrize(
    "make",
    [
        lambda x: Slotted(x),
        lambda x: OneSlot(x),
        lambda x: Smooth(x),
        lambda x: nn.CrossEntropyLoss(weight=torch.tensor([x, 1.0])),
        lambda x: Scale(np.full(20_000, x, dtype=object)),
        lambda x: Scale(np.full(20_000, round(10 * x)).astype("datetime64[s]")),
        lambda x: eval(f"lambda z: z in ('a', {x})"),
        lambda x: Scale(lambda z, by=x: by * z),
        lambda x: nn.Sequential(nn.ReLU(), Smooth(x)),
        lambda x: nn.CrossEntropyLoss(label_smoothing=x),
        lambda x: [Scale(x)],
        lambda x: Scale({"a": [x]}),
        lambda x: Scale({Path("a"), x}),
        lambda x: Scale(partial(Scale, scale=x)),
        lambda x: Scale(torch.tensor([x])),
        lambda x: Scale(torch.zeros(20_000) + x),
        lambda x: SimCLR(Scale(x)),
        lambda x: Scale(x).state_dict,
        lambda x: torch.device("cpu", round(10 * x)),
    ],
)
def test_objects_are_told_apart_by_what_they_keep(make):
    assert described(make(0.1)) == described(make(0.1)) != described(make(0.2))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(3).to(torch.float8_e4m3fn),
    ],
    ids=["sparse", "meta", "float8"],
)
def test_tensors_that_are_no_arrays(tensor):
    assert described(Scale(tensor)) == described(Scale(tensor.clone())) != described(Scale())


def test_objects_that_lead_back_to_themselves():
    owner = Scale()
    owner.scale = [Scale(owner)]
    assert described(owner) == described(copy.deepcopy(owner))


WORDS = """
from skclean.embeddings._described import described
f = lambda x: x in {"one", "two", "three"}
print(described([{"one", "two", "three"}, frozenset("abc"), len, str, object(), f]))
"""


def test_words_are_the_same_in_other_processes():
    found = {
        subprocess.run(
            [sys.executable, "-c", WORDS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1


def test_tuples_are_described_as_lists_and_whole_floats_as_integers():
    assert described((8, 8)) == described([8, 8]) == described(np.array([8, 8])) == "[8, 8]"
    assert described(2.0) == described(2) == "2" and described(1e300) == "1e+300"
    assert described(SimCLR(1.0)) == described(SimCLR(1)) != described(SimCLR(1.5))
    assert described(SimCLR(np.array([1.0, 2.5]))) == "SimCLR(temperature=[1, 2.5])"
    assert described(Augmentation(scale=[0.2, 1])) == "Augmentation()"


def test_numbers_are_compared_as_such():
    stored = {"one": 1.0, "none": -0.0, "list": [2.0, 1], "dict": {"a": 1, "b": 2.0}}
    now = {"dict": {"b": 2, "a": 1.0}, "list": (2, 1.0), "none": 0, "one": np.float32(1)}
    check_settings(stored, now, "it", "fit")
    with pytest.raises(ValueError, match=r"got one=2 in place of 1\.0"):
        check_settings({"one": 1.0}, {"one": 2}, "it", "fit")


def test_long_settings_are_described_to_their_end():
    for size in (31, 1000):
        values = np.zeros((2, size))
        values[1, size // 2] = 1
        first, other = (FrozenEstimator(SimCLR(row)) for row in values)
        assert described(first) != described(other)
    with config_context(print_changed_only=False):
        assert described(SimCLR(0.2)) == "SimCLR(temperature=0.2)"


def test_fingerprints_tell_rows_apart():
    rows = np.random.default_rng(0).random((500, 4, 4, 3), dtype=np.float32)
    source = open_images(rows)
    assert fingerprint(rows) == fingerprint(rows.copy()) != fingerprint(rows[::-1])
    assert fingerprint(source) == fingerprint(open_images(rows.copy()))
    assert fingerprint(source) != fingerprint(open_images(rows[::-1]))
    other = rows.copy()
    other[3] += 1
    assert fingerprint(source) != fingerprint(open_images(other))


def test_files_are_told_apart_by_their_sizes(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{i}.png" for i in range(200)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    source = open_images(paths, on_error="skip")
    before = fingerprint(open_images(paths))
    assert fingerprint(source) == before
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(paths[1])
    assert fingerprint(open_images(paths)) != before
    paths[1].unlink()
    assert fingerprint(source) != before


def test_chunks_of_dask_are_read_once():
    da = pytest.importorskip("dask.array")
    rows, read = np.random.default_rng(0).random((3000, 4)), []
    lazy = da.from_array(rows, chunks=(1500, 4)).map_blocks(
        lambda x: read.append(len(x)) or x, dtype=float, meta=np.empty((0, 4))
    )
    assert fingerprint(lazy) == fingerprint(rows) and read == [1500, 1500]


def test_files_of_others(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "checkpoint.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"format 1 in .*got another file"):
        load_checkpoint(path, "fit")
    save_checkpoint(path, {}, {"format": 99})
    with pytest.raises(ValueError, match=r"got format 99"):
        load_checkpoint(path, "fit")


def test_the_last_checkpoint_outlives_a_failing_one(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"x": torch.ones(2)}, {})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"x": torch.zeros(2)}, {"unknown": object()})
    assert load_checkpoint(path, "fit")[0]["x"].tolist() == [1, 1]
    assert len(list(tmp_path.iterdir())) == 1
