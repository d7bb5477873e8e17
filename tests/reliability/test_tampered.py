"""Checkpoints and saved models that somebody changed: refused, or the same as before."""

import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from skclean import CredibilityRelabeler, GMMCleaner, PurifiedClassifier, TransitionCleaner
from skclean.saving import SavedFileError, load, save

NEURAL = ("torch", "lightning_fabric", "safetensors", "tqdm")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = np.where(RNG.random(60) < 0.2, RNG.integers(0, 2, 60), X[:, 0] > 0).astype(int)


def altered(content, rng, most=4):
    """The bytes with other ones at a few places, cut, or with some left out."""
    content = bytearray(content)
    for _ in range(rng.integers(1, most)):
        place = int(rng.integers(len(content)))
        if rng.random() < 0.3:
            place = int(rng.integers(min(len(content), 2000)))
        kind = rng.integers(6)
        if kind < 3:
            content[place] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            content[place : place + 8] = rng.bytes(8)
        elif kind == 4:
            del content[place : place + int(rng.integers(1, 100))]
        else:
            del content[place:]
        if len(content) < 10:
            break
    return bytes(content)


MODELS = {
    "gmm": GMMCleaner(),
    "transition": TransitionCleaner(),
    "forest": Pipeline(
        [
            ("clean", GMMCleaner()),
            ("relabel", CredibilityRelabeler()),
            ("classify", PurifiedClassifier(RandomForestClassifier(2, random_state=0))),
        ]
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path, rng, rounds, name, record_property):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = save(MODELS[name].fit(X, Y), tmp_path / "whole").read_bytes()
    path, refused = tmp_path / "m", 0
    for _ in rounds(40):
        content = altered(whole, rng)
        path.write_bytes(content)
        try:
            model = load(path)
        except SavedFileError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            assert content == whole and isinstance(model, BaseEstimator)
    record_property("refused", refused)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint in the middle of a training, and the weights that it ends with."""
    for name in NEURAL:
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("trained")

    class Stop(BaseEstimator):
        def on_epoch_end(self, retrainer, epoch, record):
            if epoch == 2:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        retrained(folder, callbacks=[Stop()])
    content = (folder / "checkpoint.safetensors").read_bytes()
    return content, weights(retrained(folder))


def retrained(folder, **changes):
    from skclean.neural import NeuralRetrainer

    settings = {"epochs": 4, "batch_size": 30, "hidden_units": 4, "random_state": 0}
    settings |= {"checkpoint_dir": folder, "checkpoint_every": 1, "resume": True}
    return NeuralRetrainer("supervised", **settings, **changes).fit(X, Y)


def weights(retrainer):
    return b"".join(
        x.numpy().tobytes() for n in retrainer.networks_ for x in n.state_dict().values()
    )


def outcome(tmp_path, content):
    """The weights of a training that goes on from these bytes, or the error."""
    folder = tmp_path / "checkpoints"
    folder.mkdir(exist_ok=True)
    file = folder / "checkpoint.safetensors"
    file.write_bytes(content)
    try:
        return weights(retrained(folder))
    except ValueError as error:
        assert "expected" in str(error) and str(file) in str(error), error
        assert file.read_bytes() == content
        return None


def test_checkpoints(tmp_path, trained, rng, rounds, record_property):
    whole, expected = trained
    assert outcome(tmp_path, whole) == expected
    refused = 0
    for _ in rounds(30, 0.5):
        found = outcome(tmp_path, altered(whole, rng))
        assert found in (None, expected)
        refused += found is None
    record_property("refused", refused)


def parts(content):
    """The JSON head of a safetensors file and the bytes behind it."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(head, body):
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def paths(value, place=()):
    """Places of all values in nested dicts and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, held in pairs:
        yield (*place, key)
        if isinstance(held, dict | list):
            yield from paths(held, (*place, key))


def test_checkpoints_with_other_values(tmp_path, trained, rng, rounds, record_property):
    """Well-formed files in which a value of the document, or the name of a tensor, is another."""
    whole, expected = trained
    others = [None, -1, 2**70, 1.5, "x", "__reduce__", [], {}, True, [[1]], {"epoch": 1}]
    refused = 0
    for _ in rounds(30, 0.3):
        head, body = parts(whole)
        values = json.loads(head["__metadata__"]["skclean"])
        if rng.random() < 0.2:
            names = [name for name in head if name != "__metadata__"]
            head[str(rng.choice(["x", "optimizer.a.b", "module.", "totals."]))] = head.pop(
                names[rng.integers(len(names))]
            )
        else:
            places = list(paths(values))
            *place, last = places[rng.integers(len(places))]
            held = values
            for key in place:
                held = held[key]
            if rng.random() < 0.3 and isinstance(held, dict):
                del held[last]
            else:
                held[last] = others[rng.integers(len(others))]
            head["__metadata__"]["skclean"] = json.dumps(values)
        found = outcome(tmp_path, joined(head, body))
        assert found in (None, expected)
        refused += found is None
    record_property("refused", refused)
    assert refused


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x80\x04N.", b"PK\x03\x04"], ids=repr)
def test_other_files_are_no_checkpoints(tmp_path, trained, content):
    assert outcome(tmp_path, content) is None


def test_pickles_are_not_opened(tmp_path, trained):
    torch = pytest.importorskip("torch")

    class Runs:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"settings": Runs()}, tmp_path / "p")
    assert outcome(tmp_path, (tmp_path / "p").read_bytes()) is None
    with pytest.raises(SavedFileError):
        load(tmp_path / "p")
    assert not (tmp_path / "ran").exists()
