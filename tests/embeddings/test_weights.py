import os
import pickle

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")

from torch import nn  # noqa: E402

from skclean.embeddings.weights import load_weights, save_weights  # noqa: E402


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    image_like = torch.randn(4, 3, 5, 5, generator=generator)
    return {
        "conv.weight": image_like.contiguous(memory_format=torch.channels_last),
        "tied": image_like[0],
        "tied again": image_like[0],
        "transposed": torch.randn(3, 7, generator=generator).T,
        "half": torch.randn(3, generator=generator).to(torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 2),
        "trained": nn.Parameter(torch.ones(2)),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key


def test_there_and_back(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    save_weights(state, path, {"backbone": "resnet18"})
    assert_same(load_weights(path), state)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"backbone": "resnet18"}
    assert os.listdir(tmp_path) == [path.name]


def test_a_module(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4))
    module.append(module[2])  # shared weights
    module.to(memory_format=torch.channels_last)
    save_weights(module, str(tmp_path / "weights.safetensors"))
    assert_same(load_weights(str(tmp_path / "weights.safetensors")), module.state_dict())


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, state, monkeypatch):
    path = tmp_path / "weights.safetensors"
    save_weights({"a": torch.zeros(2)}, path)
    save_weights(state, path)
    assert_same(load_weights(path), state)

    def fail(tensors, scratch, metadata):
        scratch.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        save_weights({"a": torch.zeros(2)}, path)
    assert_same(load_weights(path), state)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_torch_files(tmp_path, state, suffix, key):
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / f"w{suffix}")
    assert_same(load_weights(tmp_path / f"w{suffix}"), state)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize(
    "write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))]
)
def test_code_in_a_file_is_never_run(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    for name in ("trap.pt", "trap.safetensors"):
        write({"a": Trap()}, tmp_path / name)
        expected = "would run code" if name == "trap.pt" else "complete safetensors file"
        with pytest.raises(ValueError, match=expected):
            load_weights(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("left", [0, 3, 20, 1000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_truncated_files(tmp_path, suffix, left):
    path = tmp_path / f"weights{suffix}"
    write = save_weights if suffix == ".safetensors" else torch.save
    write({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"load_weights: expected .*, got .*; do"):
        load_weights(path)


def test_other_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a file"):
        load_weights(tmp_path / "nothing.safetensors")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="expected a dict of names and tensors, got list"):
        load_weights(tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "number.pt")
    with pytest.raises(ValueError, match="got int under 'a'"):
        load_weights(tmp_path / "number.pt")
    for weights in ([1], {"a": 1.0}, {1: torch.zeros(2)}):
        with pytest.raises(ValueError, match="save_weights: expected a dict of names and tensors"):
            save_weights(weights, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="expected metadata of strings, got 'epoch': 3"):
        save_weights({"a": torch.zeros(2)}, tmp_path / "a.safetensors", {"epoch": 3})
    assert not (tmp_path / "a.safetensors").exists()
