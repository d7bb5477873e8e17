"""A disk without room: an error that names the file, the old file as it was, nothing beside it."""

import importlib.util
import os

import numpy as np
import pytest

pytest.importorskip("pyarrow")

LARGE = {"save_cleaner": 20_000, "write_report": 100_000, "write_purified": 4_000, "embed": 40}
NEURAL = ("torch", "lightning_fabric", "safetensors", "tqdm")
has_torch = all(importlib.util.find_spec(name) for name in NEURAL)
needs_torch = pytest.mark.skipif(not has_torch, reason="no torch")


def room_left(folder, room):
    """Fill the disk up to some bytes."""
    (folder / "filling").unlink(missing_ok=True)
    at = os.statvfs(folder)
    size = at.f_bavail * at.f_frsize - room
    with (folder / "filling").open("wb") as stream:
        stream.write(b"\0" * max(size, 0))


def state(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rooms(rng, most):
    """Room for nothing, for nearly all, for something between."""
    return [0, 4096, *(int(most * share) for share in rng.random(2)), most]


def assert_refused(end, folder, before, names):
    """True where the job failed, as it must; the files are those of before."""
    if end.code == 0:
        return False
    assert end.code == 1, end
    assert "No space left" in end.said and any(f"'{folder / n}'" in end.said for n in names), end
    assert "Traceback" not in end.said
    assert state(folder) == before
    return True


@pytest.mark.parametrize("suffix", ["parquet", "csv", "npz"])
def test_purify(forks, small_disk, tmp_path, rng, rounds, suffix, record_property):
    y = np.arange(1500) % 3
    X = 4 * np.eye(3, 5)[y] + rng.standard_normal((1500, 5))
    np.savez(tmp_path / "d.npz", X=X, y=y, extra=rng.standard_normal(1500))
    names = (f"o.{suffix}", "r.html", "m.skclean")
    outputs = [x for pair in zip(("--out", "--report", "--save-model"), names) for x in pair]
    refused = 0
    for _ in rounds(1, 0.003):
        for room in rooms(rng, 150_000)[:: 1 if suffix == "parquet" else 2]:
            for old in (b"", b"old"):
                (small_disk / "filling").unlink(missing_ok=True)
                for name in names:
                    (small_disk / name).unlink(missing_ok=True)
                    if old:
                        (small_disk / name).write_bytes(old)
                room_left(small_disk, room)
                before = state(small_disk)
                job = ("cli", "purify", tmp_path / "d.npz", "-c", "gmm", *outputs, "--force", "-q")
                end = forks.run(*job, folder=small_disk)
                if assert_refused(end, small_disk, before, names):
                    refused += 1
                    assert end.said.count("\n") == 1 and end.said.startswith("skclean: error: ")
                else:
                    assert set(os.listdir(small_disk)) == {"filling", *names}
    record_property("refused", refused)
    assert refused


WRITERS = ["save_cleaner", "write_report", "write_purified"]
WRITERS += [pytest.param("embed", marks=needs_torch)]


@pytest.mark.parametrize("job", WRITERS)
def test_writers(forks, small_disk, rng, rounds, job, record_property):
    refused = 0
    for i in rounds(1, 0.02):
        for room in rooms(rng, LARGE[job]):
            (small_disk / "filling").unlink(missing_ok=True)
            (small_disk / "f.parquet").write_bytes(b"old" * (i % 2))
            room_left(small_disk, room)
            before = state(small_disk)
            end = forks.run(
                job, small_disk / "f.parquet", 48 if job == "embed" else 90, folder=small_disk
            )
            refused += assert_refused(end, small_disk, before, ["f.parquet"])
            assert sorted(os.listdir(small_disk)) == ["f.parquet", "filling"]
    record_property("refused", refused)
    assert refused


@needs_torch
@pytest.mark.parametrize("job", ["retrain", "simclr"])
def test_checkpoints(forks, small_disk, tmp_path, rng, rounds, job, record_property):
    """What was reached stays, and with room the training comes to the same end."""
    whole, weights = tmp_path / "whole", tmp_path / "weights"
    folder = small_disk / "checkpoints"
    run = forks.run(job, folder, whole, folder=tmp_path)
    assert run.code == 0, run.said
    size = sum(path.stat().st_size for path in folder.iterdir())
    for path in folder.iterdir():
        path.unlink()
    refused = 0
    for _ in rounds(1, 0.005):
        for room in (0, int(size * 1.5), int(size * rng.random())):
            room_left(small_disk, room)
            end = forks.run(job, folder, weights, folder=tmp_path)
            file = folder / "checkpoint.safetensors"
            assert end.code == 1 and "No space left" in end.said and str(file) in end.said, end
            assert set(os.listdir(folder)) <= {"lock", file.name}
            refused += 1
            (small_disk / "filling").unlink()
        assert forks.run(job, folder, weights, folder=tmp_path).code == 0
        assert weights.read_bytes() == whole.read_bytes()
        for path in folder.iterdir():
            path.unlink()
    record_property("refused", refused)
